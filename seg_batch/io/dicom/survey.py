"""Which series lie in a place, told apart by what their headers say. Each header is read once."""

from __future__ import annotations

import os
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from seg_batch.core.errors import InputError
from seg_batch.core.units import counted_plainly
from seg_batch.io.dicom.first_bytes import HEAD_BYTES, begins_dicom, is_index
from seg_batch.io.dicom.geometry import placed
from seg_batch.io.dicom.grouping import Read, grouped, interned
from seg_batch.io.dicom.header import DAMAGED, NotAnImageError, read_header
from seg_batch.io.dicom.one_series.checks import require_image
from seg_batch.io.dicom.one_series.volumes import volumes_of
from seg_batch.io.dicom.series import Other, Series
from seg_batch.io.dicom.tree import ZIP, Member, Tree, tree_at

_IS_NO_VOLUME = ", where a volume is needed"
_LISTED = 8  # series in a message
_BESIDE = 2000  # files beside one that are looked at for others of its series


@dataclass(frozen=True)
class Survey:
    """The series of a place, by number and UID, and the files that are no slices of a volume."""

    series: tuple[Series, ...]
    others: tuple[Other, ...]

    @property
    def reasons(self) -> dict[str, int]:
        """How many other files there are, by what they are."""
        return dict(Counter(other.why for other in self.others).most_common())


def survey(path: str | Path, names: tuple[str, ...] = ()) -> Survey:
    """The series at a folder, zip or file; that of a place as it was is remembered. ``names``: of the only files that count;
    empty: all. ``InputError`` where it can't be read."""
    tree = tree_at(path, names)
    return _remembered(tree.root.absolute(), names, _members(tree, path))


@lru_cache(maxsize=4)
def _remembered(root: Path, names: tuple[str, ...], members: tuple[Member, ...]) -> Survey:
    return _surveyed(tree_at(root, names), members)


def survey_once(path: str | Path, names: tuple[str, ...] = ()) -> Survey:
    """The same, not remembered."""
    tree = tree_at(path, names)
    return _surveyed(tree, _members(tree, path))


def _members(tree: Tree, path: str | Path) -> tuple[Member, ...]:
    try:
        return tuple(tree.members())
    except zipfile.BadZipFile as error:
        raise InputError(f"{path}: a damaged zip ({error}); copy it again") from None
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror}); check the path") from error


def _surveyed(tree: Tree, members: Iterable[Member]) -> Survey:
    others, known = list[Other](), dict[object, object]()
    read = list[Read]()
    for member in members:
        try:
            read += [interned(*each, known) for each in _slices(tree, member)]
        except NotAnImageError as error:
            others.append(Other(member.name, str(error)))
    return Survey(tuple(grouped(read)), tuple(others))


def _slices(tree: Tree, member: Member) -> Iterator[Read]:
    if member.aside:
        raise NotAnImageError(member.aside)
    try:
        with tree.open(member.name) as file:
            head = file.read(HEAD_BYTES)
            _require_dicom(head)
            file.seek(0)
            facts, slices = read_header(file, member)
    except (OSError, EOFError, zipfile.BadZipFile) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise NotAnImageError(f"can't be read ({why})") from None
    return ((facts, each) for each in slices)


def _require_dicom(head: bytes) -> None:
    if is_index(head):
        raise NotAnImageError("an index (DICOMDIR)")
    if head[:4] in ZIP:
        raise NotAnImageError("a zip, to be named by itself")
    if not begins_dicom(head):
        raise NotAnImageError("not DICOM" if head else "empty")


def why_unfit(series: Series, asked: bool = False) -> str:
    """Why a series makes no volume to be segmented; empty where it does. ``asked``: for it, even as a localiser or one slice."""
    if series.fault or (series.aside and not asked):
        return series.fault or series.aside
    if is_single(series) and not asked:
        return words_of_single(series) + _IS_NO_VOLUME
    try:
        for volume in volumes_of("", _each_once(series)).series:
            placed("", volume)
    except InputError as error:
        return error.message.removeprefix(": ")
    return ""


def why_aside(series: Series) -> str:
    """Why a series is none to be segmented unasked; empty also for one that is to be refused for a fault."""
    if series.fault or any(each.fault for each in series.slices):
        return ""
    return series.aside or ("one slice" + _IS_NO_VOLUME if len(series.slices) == 1 else "")


def is_single(series: Series) -> bool:
    """Whether it is one slice, once or at several times."""
    return len({each.position for each in series.slices}) == 1


def words_of_single(series: Series) -> str:
    """What such a series is: ``one slice``, or ``5 slices at one place``."""
    count = len(_each_once(series).slices)
    return "one slice" if count == 1 else f"{counted_plainly(count, 'slice')} at one place"


def _each_once(series: Series) -> Series:
    """Without files that came twice; whether these are equal is seen when they are opened."""
    once = {(s.sop_uid, s.frame) if s.sop_uid else (s.file, s.frame): s for s in series.slices}
    return replace(series, slices=tuple(once.values()))


def series_at(path: str | Path, choice: str | None = None, names: tuple[str, ...] = ()) -> Series:
    """The series of a place: the only one that makes a volume, or that which ``choice`` names by its number, its key, or a
    part of its UID that no other has. ``names``: of the only files that count; empty: all. ``InputError`` where that is none
    or not one, with what is there."""
    seen = survey(path, names)
    if not seen.series:
        raise InputError(
            f"{path}: no DICOM image there{_instead(seen)}; give a folder that holds a series"
        )
    if choice is not None:
        return _sound(path, _chosen(path, seen.series, choice))
    if len(seen.series) == 1:
        return _sound(path, _of_several_slices(path, seen.series[0]))
    fit = [one for one in seen.series if not why_unfit(one)]
    if len(fit) == 1:
        return fit[0]
    what = f"{len(fit)} series that make a volume" if fit else "none of its series makes a volume"
    raise InputError(
        f"{path}: {what}; choose one with --series N or UID ({_listed(fit or seen.series)})"
    )


def _sound(path: str | Path, series: Series) -> Series:
    if series.fault:
        raise InputError(f"{path}: {series.fault}")
    return series


def called(series: Sequence[Series], choice: str) -> list[Series]:
    """Those that are called just so, by number, key or UID; else those of which it is a part of the UID."""
    exact = [one for one in series if choice in (one.key, str(one.facts.number))]
    of_uid = [one for one in series if choice == one.facts.uid]
    return exact or of_uid or [one for one in series if len(choice) > 3 and choice in one.key]


def _chosen(path: str | Path, series: tuple[Series, ...], choice: str) -> Series:
    found = called(series, choice)
    if len(found) == 1:
        return found[0]
    if not found:
        raise InputError(f"{path}: no series {choice}; there are {_listed(series)}")
    raise InputError(
        f"{path}: {len(found)} series are called {choice}; choose by UID ({_listed(found)})"
    )


def _listed(series: Iterable[Series]) -> str:
    """``3: "T1 sagittal", MR, 176 slices``; by the key where another has the number."""
    listed = list(series)
    numbers = Counter(one.facts.number for one in listed)
    words = [
        f"{one.key if one.facts.number is None or numbers[one.facts.number] > 1 else one.facts.number}: "
        f'"{one.facts.description[:40]}", {one.facts.modality}, {counted_plainly(len(one.slices), "slice")}'
        for one in listed[:_LISTED]
    ]
    more = f"; and {len(listed) - _LISTED} more: segbatch inspect lists them" * (
        len(listed) > _LISTED
    )
    return "; ".join(words) + more


def _instead(seen: Survey) -> str:
    """What is there: `` (not DICOM: 3, a dose: 1)``."""
    words = ", ".join(f"{why}: {count}" for why, count in list(seen.reasons.items())[:4])
    return f" ({words})" if words else ""


def _of_several_slices(path: str | Path, series: Series) -> Series:
    """The series; InputError where it is none to be taken unasked, or one slice: with how many lie beside it."""
    if series.aside:
        require_image(path, series)  # what no option takes has no remedy but another series
        raise InputError(
            f"{path}: {series.aside}; give an image, or take it all the same with --series"
        )
    if not is_single(series):
        return series
    beside, place = 0, Path(path)
    if place.is_file() and series.slices[0].file == "":
        beside = _beside(place, series.facts.uid)
    hint = (
        f"{beside} more of its series lie beside it: give the folder {place.parent}"
        if beside
        else "give all files of its series"
    )
    raise InputError(f"{path}: {words_of_single(series)}{_IS_NO_VOLUME}; {hint}")


def _beside(path: Path, uid: str) -> int:
    """How many files beside this one are of its series, of the first that are looked at."""
    names = sorted(each.name for each in path.parent.iterdir() if each != path)[:_BESIDE]
    if not names:
        return 0
    found = survey(path.parent, tuple(names)).series
    return sum(len(one.slices) for one in found if one.facts.uid == uid)


def named_files(series: Series, seen: Survey) -> tuple[str, ...]:
    """The files of all volumes of its UID, sorted: the series is made again from these alone, under the same key. And the
    damaged files in the folder that they share, any of which may be a slice of it."""
    of_uid = (one for one in seen.series if one.facts.uid == series.facts.uid)
    files = {each.file for one in of_uid for each in one.slices}
    folder = os.path.join(os.path.commonpath([os.path.dirname(name) for name in files]), "")
    damaged = {other.file for other in seen.others if other.why.startswith(DAMAGED)}
    return tuple(sorted(files | {name for name in damaged if name.startswith(folder)}))
