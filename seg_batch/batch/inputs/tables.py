"""Inputs as they were named; and those that files of their own name: a CSV manifest, or one path per line."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from seg_batch.core.errors import WorkflowError
from seg_batch.core.text import nearest

MOST_BYTES = 64 << 20
COLUMNS = ("input", "output", "volume", "model")


@dataclass(frozen=True)
class InputSpec:
    """What a workflow says of one input: ``path``, named by ``where`` (``inputs.paths``, or a line of a
    list); ``output``: its name below the output folder, or once listed its path; ``model``: its own,
    where the manifest gives one; ``error``: why it can be no input, as far as that is known already."""

    path: str
    where: str = field(default="", compare=False)
    output: str | None = None
    volume: int | None = None
    model: tuple[str, ...] | None = None
    error: str | None = None

    @property
    def key(self) -> str:
        """What the run calls it: its path, with ``#volume`` where one of a 4-D file was named."""
        path = os.path.abspath(self.path) if self.error is None else self.path
        return path if self.volume is None else f"{path}#{self.volume}"

    @property
    def asked(self) -> tuple[object, ...]:
        """All that was said of it: who names a file twice with the same words means it once."""
        return (self.key, self.output, self.volume, self.model)


def rows_of_list(path: str, volume: int | None) -> Iterator[InputSpec]:
    """One path per line; empty lines and those that begin with ``#`` say nothing."""
    folder = os.path.dirname(os.path.abspath(path))
    for number, line in enumerate(_text(path).split("\n"), start=1):
        name = line.strip()
        if name and not name.startswith("#"):
            yield InputSpec(os.path.join(folder, name), f"{path}:{number}", volume=volume)


def rows_of_manifest(path: str, volume: int | None) -> Iterator[InputSpec]:
    """One row per input; ``model`` may name several to be averaged, joined by ``|``. WorkflowError
    where the file is no such table; a row that is none is an input with an error."""
    rows = csv.DictReader(io.StringIO(_text(path), newline=""), restkey="", restval="", strict=True)
    folder = os.path.dirname(os.path.abspath(path))
    try:
        _require_columns(path, rows.fieldnames or ())
        for row in rows:
            yield _row(row, folder, f"{path}:{rows.line_num}", volume)
    except csv.Error as error:
        line = rows.reader.line_num
        raise WorkflowError(f"{path}:{line}: not CSV ({error}): mend it") from None


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


def _row(row: dict[str, str], folder: str, where: str, volume: int | None) -> InputSpec:
    if row.get(""):
        return InputSpec(where, where, error=f"{where}: more values than columns: quote the commas")
    name, number = row["input"].strip(), row.get("volume", "").strip()
    if not name:
        return InputSpec(where, where, error=f"{where}: the row has no input: name a file")
    if number and not (number.isascii() and number.isdecimal() and len(number) < 10):
        return InputSpec(where, where, error=f"{where}: {number[:20]!r} is no volume: count from 0")
    models = tuple(filter(None, (part.strip() for part in row.get("model", "").split("|"))))
    return InputSpec(
        path=os.path.join(folder, name),
        where=where,
        output=row.get("output", "").strip() or None,
        volume=int(number) if number else volume,
        model=tuple(os.path.join(folder, m) if "/" in m else m for m in models) or None,
    )


def _text(path: str) -> str:
    """The text of a list; bytes of names that are not UTF-8 come through as the system has them."""
    try:
        with open(path, "rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise WorkflowError(f"{path}: can't be read ({error.strerror}): check the path") from None
    if len(data) > MOST_BYTES:
        raise WorkflowError(f"{path}: larger than 64 MiB, no list of inputs is: split it")
    return data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
