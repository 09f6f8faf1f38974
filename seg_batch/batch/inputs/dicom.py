"""Inputs of DICOM places: one for each series that is an image, told apart by what its files say.

Localisers, single slices and files of other kinds are left out, and said. Series that are images and make no volume, such
as one with a gap, are inputs that are refused.
"""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from seg_batch.batch.inputs.tables import InputSpec
from seg_batch.core.errors import InputError
from seg_batch.core.files import why_not_local
from seg_batch.core.registry.formats import FORMATS, split
from seg_batch.core.units import counted_plainly
from seg_batch.io.dicom.first_bytes import HEAD_BYTES, begins_dicom
from seg_batch.io.dicom.series import Series
from seg_batch.io.dicom.survey import (
    Survey,
    is_single,
    named_files,
    survey_once,
    why_unfit,
    words_of_single,
)
from seg_batch.io.dicom.tree import Zip, holds_dicom, tree_at

_UID_END = 8  # characters of a UID that tell two series with one number apart


@dataclass(frozen=True)
class Place:
    """What is asked for: the series at ``path``, of the files ``names`` in it or of all. ``where``: see ``InputSpec``;
    ``beside``: other places, so that names of what lies deeper in this one begin with its own."""

    path: str
    where: str
    volume: int | None = None
    series: str | None = None
    names: tuple[str, ...] = ()
    beside: bool = False


def places(text: str, asked: Place, matching: Callable[[str], Iterable[str]]) -> list[Place]:
    """Those that a path or a pattern names: each folder and zip, and single files together as one place."""
    if os.path.lexists(text) or not glob.has_magic(text):
        return [replace(asked, path=text)]
    found = {path.rstrip("/") for path in matching(text)}
    folders = {path for path in found if os.path.isdir(path)}
    outermost = sorted(path for path in found if not folders & _folders_of(path))
    files = [path for path in outermost if path not in folders]
    zips = {path for path in files if _is_zip(path)}
    whole = [replace(asked, path=path, beside=True) for path in outermost if path in folders | zips]
    return whole + together([path for path in files if path not in zips], asked)


def _folders_of(path: str) -> set[str]:
    """All folders that a path lies in."""
    parts = path.split("/")
    return {"/".join(parts[:n]) for n in range(1, len(parts))}


def together(files: Sequence[str], asked: Place) -> list[Place]:
    """Single files as one place, since a series has many."""
    if not files:
        return []
    folder = os.path.commonpath([os.path.dirname(path) or "." for path in files])
    return [
        replace(asked, path=folder, names=tuple(os.path.relpath(path, folder) for path in files))
    ]


def is_dicom(path: str) -> bool:
    """Whether it is a file or a zip of DICOM."""
    if not os.path.isfile(path):
        return False
    with suppress(OSError):
        return begins_dicom(_head(path)) or (_is_zip(path) and holds_dicom(Path(path)))
    return False


def slices_among(paths: Iterable[str]) -> list[str]:
    """The files that begin as DICOM does, sorted; those whose names are of images of another format are not looked at."""
    own = {ending for form in FORMATS.values() if form.has_series for ending in form.endings}
    found = []
    for path in sorted(paths):
        ending = split(path)[1].lower()
        if (not ending or ending in own) and os.path.isfile(path):
            with suppress(OSError):
                found += [path] * begins_dicom(_head(path))
    return found


def _head(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(HEAD_BYTES)


def specs_of(place: Place) -> list[InputSpec]:
    """An input for each series, and for what is left out; one with an error where there is none."""
    if why := why_not_local(place.path):
        return [InputSpec(place.path, place.where, error=why)]
    try:
        seen = survey_once(place.path, place.names)
    except InputError as error:
        return [InputSpec(place.path, place.where, error=error.message)]
    return list(_specs(place, seen))


def _specs(place: Place, seen: Survey) -> Iterator[InputSpec]:
    blank = InputSpec(place.path, place.where, volume=place.volume)
    wanted = [one for one in seen.series if _is_asked_for(one, place.series)]
    why = {one.key: why_unfit(one, place.series is not None) for one in wanted}
    images = [one for one in wanted if place.series or not (one.aside or is_single(one))]
    for one, spec in zip(images, _named(place, seen, images, blank), strict=True):
        yield replace(spec, error=f"{spec.key}: {why[one.key]}" if why[one.key] else None)
    for one in wanted:
        if one not in images:
            yield replace(
                blank, left_out=f"series {_words(one)}: {one.aside or words_of_single(one)}"
            )
    if seen.others:
        counts = ", ".join(f"{what} ({count})" for what, count in seen.reasons.items())
        yield replace(
            blank, left_out=f"{counted_plainly(len(seen.others), 'other file')}: {counts}"
        )
    if not images:
        held = f"; it holds {_counts(seen)}" if seen.series or seen.others else ""
        called = f" called {place.series}" if place.series else ""
        yield replace(
            blank,
            error=f"{place.path}: no DICOM series{called} that could be a volume there{held}: check the path",
            is_empty=not called,
        )


def _is_asked_for(one: Series, choice: str | None) -> bool:
    return choice is None or choice in (str(one.facts.number), one.key, one.facts.uid)


def _words(one: Series) -> str:
    """``4 (…65422118, MR, 6 slices)``; what a description says may be of a patient, and is not said."""
    number = "" if one.facts.number is None else f"{one.facts.number} "
    return f"{number}(...{one.key[-_UID_END:]}, {one.facts.modality}, {counted_plainly(len(one.slices), 'slice')})"


def _counts(seen: Survey) -> str:
    words = Counter(
        one.aside or (words_of_single(one) if is_single(one) else "a series") for one in seen.series
    )
    return ", ".join(
        f"{what} ({count})" for what, count in (words + Counter(seen.reasons)).most_common(5)
    )


def _named(
    place: Place, seen: Survey, images: Sequence[Series], blank: InputSpec
) -> list[InputSpec]:
    """Each series with the folder that its files share, their names in it, and a name that tells it from the others."""
    root, is_zip = _root(place.path)
    files = {one.key: named_files(one, seen) for one in images}
    folders = {
        key: os.path.commonpath([os.path.dirname(name) for name in names])
        for key, names in files.items()
    }
    several = len({one.facts.uid for one in images}) > 1
    if is_zip and not several:
        stems = dict.fromkeys(folders, _stem(root, "", False))
    else:
        stems = {key: _stem(root, f, place.beside or is_zip) for key, f in folders.items()}
    ends = _endings(images, stems)
    made = []
    for one in images:
        folder = "" if is_zip else folders[one.key]
        names = tuple(name[len(os.path.join(folder, "")) :] for name in files[one.key])
        path = os.path.join(root, folder) if folder else root
        made.append(
            replace(
                blank,
                path=path,
                series=one.key,
                series_files=names,
                id=stems[one.key] + ends[one.key],
            )
        )
    return made


def _root(path: str) -> tuple[str, bool]:
    """The folder or zip that the names of files are below, and whether it is a zip."""
    if not os.path.isfile(path):
        return path.rstrip("/") or path, False
    return str(tree_at(path).root), _is_zip(path)


def _stem(root: str, folder: str, beside: bool) -> str:
    """The folders of a series below its place, joined: the name stays the same when others come to the place. ``beside``: other
    places, so that they follow its name."""
    name = os.path.basename(os.path.abspath(root))
    own = os.path.splitext(name)[0] if os.path.isfile(root) else name
    below = folder.split("/") if folder else []
    return "_".join([own, *below] if beside or not below else below)


def _endings(images: Sequence[Series], stems: dict[str, str]) -> dict[str, str]:
    """What follows the stem of each: nothing where it is alone, else its number; and of its UID where that is not enough."""
    number = {
        one.key: "" if one.facts.number is None else f"_s{one.facts.number}" for one in images
    }
    alone = Counter(stems.values())
    first = {key: stem + number[key] * (alone[stem] > 1) for key, stem in stems.items()}
    taken = Counter(first.values())
    return {
        key: name[len(stems[key]) :]
        + (f"_{key[-_UID_END:].replace('#', '_').replace('.', '_')}" if taken[name] > 1 else "")
        for key, name in first.items()
    }


def _is_zip(path: str) -> bool:
    try:
        return isinstance(tree_at(path), Zip)
    except OSError:
        return False
