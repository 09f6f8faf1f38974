"""The specification of an input, and readers of CSV manifests and of lists of paths."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seg_batch.config.predict_options import band_names
from seg_batch.config.recipe.manifest import read_images
from seg_batch.core.errors import InputError, PlanError, WorkflowError
from seg_batch.core.privacy.addresses import (
    absolute,
    folder_and_name,
    is_remote,
    joined,
    shown,
    why_no_input,
)
from seg_batch.core.privacy.pseudonym import Pseudonym
from seg_batch.core.registry.formats import FORMATS, split
from seg_batch.core.text import nearest, other_separator
from seg_batch.io.sources.naming.stac_item import StacItem
from seg_batch.io.sources.naming.stack_names import image_stem, mosaic_stem

STACKED = "|"  # between the files of one image
MOST_BYTES = 64 << 20
COLUMNS = ("input", "output", "volume", "series", "model", "bands")


@dataclass(frozen=True)
class InputSpec:
    """One input as the workflow specifies it. ``where``: the place that names ``path``
    (``inputs.paths``, or a line of a list); ``output``: its name below the output folder, in a
    ``Listing`` its path; ``volume``: an index into a 4-D file; ``model``: its own, from the
    manifest, as are ``bands``; ``error``: why it can't be an input, as far as that is known before it is opened.
    ``more``: further files whose channels follow those of ``path``, or further pieces of a ``mosaic``; ``id``: the name of the image where a file's is not.
    ``series``: which one of a DICOM place, in the files ``series_files`` of it where they are known; ``left_out``: why what is
    there is no input, and not refused either; ``name``: that of a mosaic in the run; ``is_empty``: its place is there and holds nothing of its kind.
    ``item``: the STAC item that its files are assets of. ``pseudonym``: what stands for it, where it is not to be known."""

    path: str
    where: str = field(default="", compare=False)
    output: str | None = None
    volume: int | None = None
    model: tuple[str, ...] | None = None
    bands: tuple[str, ...] | None = None
    error: str | None = None
    more: tuple[str, ...] = ()
    id: str | None = None
    series: str | None = None
    series_files: tuple[str, ...] = ()
    left_out: str = ""
    mosaic: bool = False
    item: StacItem | None = None
    name: str = ""
    is_empty: bool = field(default=False, compare=False)
    pseudonym: Pseudonym | None = field(default=None, compare=False)

    @property
    def files(self) -> tuple[str, ...]:
        return (self.path, *self.more)

    @property
    def key(self) -> str:
        """Its name in the run: the path, those of further files after ``|`` (without their folder, where it
        is the same), with ``#series`` for one of a place and ``#volume`` for a volume of a 4-D file; that of its
        STAC item; or its code."""
        if self.pseudonym is not None:
            return self.pseudonym.code
        if self.item is not None:
            return self.item.key
        if self.name:
            return self.name
        if self.error is not None and not self.more and self.series is None:
            path = shown(self.path)
        else:
            path, *more = (shown(absolute(each)) for each in self.files)
            folder = os.path.join(os.path.dirname(path), "")
            path = STACKED.join([path, *(each.removeprefix(folder) for each in more)])
        parts = (path, self.series, self.volume)
        return "#".join(str(part) for part in parts if part is not None)

    @property
    def named(self) -> str:
        """The path of a file that is called as the image is; or as its code, in a folder called as that of its folder."""
        if self.pseudonym is not None:
            return os.path.join(
                self.pseudonym.folder, self.pseudonym.code + split(shown(self.path))[1]
            )
        if self.item is not None:
            folder, name = (part.replace("/", "_") for part in (self.item.collection, self.item.id))
            return os.path.join(folder or "stac", name + FORMATS["geotiff"].endings[0])
        if self.id is None and not self.more and not is_remote(self.path):
            return self.path
        folder, first = folder_and_name(self.path)
        stem = self.id or (mosaic_stem if self.mosaic else image_stem)(self.files)
        return os.path.join(folder, stem + split(first)[1])

    @property
    def stem(self) -> str:
        """What ``{stem}`` is in names of further products; empty: what its files' names begin with."""
        if self.pseudonym is not None:
            return self.pseudonym.code
        return self.item.stem if self.item is not None else ""

    @property
    def identity(self) -> tuple[object, ...]:
        """What two specifications of the same prediction have in common."""
        places = tuple(map(shown, self.files)) if self.item is not None else ()
        return (self.key, self.id, self.output, self.volume, self.series, self.model, self.bands, places)  # fmt: skip


def files_of_key(key: str) -> list[str]:
    """The paths in the key of an input that is refused, and has no request."""
    if is_remote(key):
        return [key.split(STACKED)[0]]
    path, *more = [key] if os.path.lexists(key) else key.split(STACKED)
    if not os.path.lexists(path) and os.path.lexists(place := path.partition("#")[0]):
        path = place
    return [path, *(os.path.join(os.path.dirname(path), each) for each in more)]


def _files(name: str, folder: str, where: str) -> dict[str, Any]:
    """The files that ``a|b`` in a list or table names, and why they are no input; one where a file has
    this very name."""
    whole = os.path.join(folder, name)
    parts = [name] if os.path.lexists(whole) else [part.strip() for part in name.split(STACKED)]
    path, *more = (joined(folder, part) for part in parts)
    errors = (why_no_input(part) for part in parts)
    error = next(filter(None, errors), "") or _not_utf8((path, *more), where)
    if not all(parts):
        path, more, error = (
            where,
            [],
            f"{where}: {name[:80]!r} names no file beside a bar: name one",
        )
    return {"path": path, "more": tuple(more), "error": error}


def _cases(path: str, volume: int | None, series: str | None) -> Iterator[InputSpec]:
    """The cases of the manifest of a training. WorkflowError where the file is none."""
    try:
        cases = read_images(Path(path))
    except InputError as error:
        raise WorkflowError(error.message) from None
    for case in cases:
        first, *more = case.image
        where = f"{path}: {case.id}"
        yield InputSpec(first, where, volume=volume, series=series, more=tuple(more), id=case.id)


def rows_of_list(path: str, volume: int | None, series: str | None = None) -> Iterator[InputSpec]:
    """One path per line; empty lines and those that begin with ``#`` are skipped."""
    folder, empty = os.path.dirname(os.path.abspath(path)), True
    for number, line in enumerate(_text(path).split("\n"), start=1):
        name = line.strip()
        if name and not name.startswith("#"):
            where, empty = f"{path}:{number}", False
            yield InputSpec(
                **_files(name, folder, where), where=where, volume=volume, series=series
            )
    if empty:
        raise WorkflowError(f"{path}: it names no input: give one path a line")


def rows_of_manifest(
    path: str, volume: int | None, series: str | None = None
) -> Iterator[InputSpec]:
    """One row per input. ``input`` may name several files of one image, joined by ``|``; ``model`` several
    whose predictions are averaged; ``bands`` several, too. The manifest of a training, in YAML or with the column image:
    its cases. WorkflowError where the file is no such table, or one without rows; a faulty row gives an input with an
    error."""
    if path.lower().endswith((".yaml", ".yml")):
        yield from _cases(path, volume, series)
        return
    text, folder, empty = _text(path), os.path.dirname(os.path.abspath(path)), True
    if separator := other_separator(text):
        raise WorkflowError(f"{path}:1: {separator}")
    rows = csv.DictReader(io.StringIO(text, newline=""), restkey="", restval="", strict=True)
    try:
        if "image" in (names := rows.fieldnames or ()) and "input" not in names:
            yield from _cases(path, volume, series)
            return
        _require_columns(path, names)
        for row in rows:
            empty = False
            yield _row(row, folder, f"{path}:{rows.line_num}", volume, series)
    except csv.Error as error:
        line = rows.reader.line_num
        raise WorkflowError(f"{path}:{line}: not CSV ({error}): mend it") from None
    if empty:
        raise WorkflowError(f"{path}: it has a header and no rows: add one for each input")


def _require_columns(path: str, names: Sequence[str]) -> None:
    for number, name in enumerate(names):
        column = 1 + sum(len(before) + 1 for before in names[:number])
        if name not in COLUMNS:
            near = nearest(name, COLUMNS)
            raise WorkflowError(f"{path}:1:{column}: unknown column {name[:60]!r}: {near}")
        if name in names[:number]:
            raise WorkflowError(f"{path}:1:{column}: the column {name!r} stands there twice")
    if "input" not in names:
        raise WorkflowError(f"{path}:1:1: there is no column input: name it in the first line")


def _row(
    row: dict[str, str], folder: str, where: str, volume: int | None, series: str | None
) -> InputSpec:
    if row.get(""):
        return InputSpec(where, where, error=f"{where}: more values than columns: quote the commas")
    name, number = row["input"].strip(), row.get("volume", "").strip()
    if not name:
        return InputSpec(where, where, error=f"{where}: the row has no input: name a file")
    if number and not (number.isascii() and number.isdecimal() and len(number) < 10):
        return InputSpec(where, where, error=f"{where}: {number[:20]!r} is no volume: count from 0")
    try:
        bands = band_names("bands", text) if (text := row.get("bands", "").strip()) else None
    except PlanError as error:
        return InputSpec(where, where, error=f"{where}: {error.message}")
    models = tuple(filter(None, (part.strip() for part in row.get("model", "").split("|"))))
    return InputSpec(
        **_files(name, folder, where),
        where=where,
        output=row.get("output", "").strip() or None,
        volume=int(number) if number else volume,
        series=row.get("series", "").strip() or series,
        model=tuple(os.path.join(folder, m) if "/" in m else m for m in models) or None,
        bands=bands,
    )


def _not_utf8(paths: Iterable[str], where: str) -> str | None:
    """Why a path with bytes that are no UTF-8 is no input, where there is no such file."""
    odd = (p for p in paths if any("\udc80" <= letter <= "\udcff" for letter in p))
    if (path := next((path for path in odd if not os.path.lexists(path)), None)) is None:
        return None
    return f"{where}: not UTF-8, so {os.path.basename(path)[:80]} can't be found: save it as UTF-8"


def _text(path: str) -> str:
    """The text of a list; bytes of names that are not UTF-8 are kept as surrogates."""
    try:
        with open(path, "rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise WorkflowError(f"{path}: can't be read ({error.strerror}): check the path") from None
    if len(data) > MOST_BYTES:
        raise WorkflowError(f"{path}: larger than 64 MiB, no list of inputs is: split it")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise WorkflowError(f"{path}: it is UTF-16: save it as UTF-8")
    return data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
