"""The sizes of classes: tables for spreadsheets, columns in the table of inputs, and which of them are odd."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log
from statistics import median
from typing import Any

from seg_batch.batch.report.rows import InputRow, OddSize
from seg_batch.core import units
from seg_batch.core.run_files import AREAS, AREAS_BY_CLASS, VOLUMES, VOLUMES_BY_CLASS
from seg_batch.inference.report import SIZE_UNITS, SizeUnit

MOST_COLUMNS = 12
TABLES: dict[str, tuple[str, str, SizeUnit]] = {
    "raster": (AREAS, AREAS_BY_CLASS, "hectares"),
    "volume": (VOLUMES, VOLUMES_BY_CLASS, "millilitres"),
}
WHOSE = ("input", "product", "status", "to_review")
HEAD = (*WHOSE, "class_id", "name", "voxels", "share")

# A volume is odd that is more than this many times smaller or larger than the median of the run, and further from it
# than this many (scaled) median deviations; or 0, where at most this share of the inputs is. Fewer inputs than the
# last have no median to speak of.
ODD_TIMES, ODD_DEVIATIONS, OFTEN, FEWEST = 3.0, 3.5, 0.2, 5
DEVIATION = 1.4826  # standard deviation of a normal distribution, in median deviations


def size_tables(inputs: list[InputRow]) -> dict[str, bytes]:
    """Name and content of each table that the inputs with a product make: a row per input and class, and a row per
    input with a column per class; also for classes without a voxel. A size is empty where voxels have none."""
    tables = {}
    for kind, (long, wide, unit) in TABLES.items():
        rows = [row for row in inputs if row["kind"] == kind and row["classes"]]
        if rows:
            tables[long] = _csv((*HEAD, SIZE_UNITS[unit]), _by_row(rows, unit))
            tables[wide] = _csv(*_by_column(rows, unit))
    return tables


def _csv(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([head, *rows])
    return text.getvalue().encode("utf-8", "surrogateescape")


def _whose(row: InputRow) -> tuple[Any, ...]:
    return row["input"], row["output"], row["status"], "yes" if row["review"] else "no"


def _by_row(rows: list[InputRow], unit: SizeUnit) -> list[tuple[Any, ...]]:
    return [
        (*_whose(row), c["id"], c["name"], c["voxels"], c["share"], c.get(unit, ""))
        for row in rows
        for c in row["classes"]
    ]


def _by_column(rows: list[InputRow], unit: SizeUnit) -> tuple[list[str], list[list[Any]]]:
    """Head and rows of the table with a column per class."""
    names = list(dict.fromkeys(c["name"] for row in rows for c in row["classes"]))
    table = []
    for row in rows:
        sizes = {c["name"]: c.get(unit, "") for c in row["classes"]}
        table.append([*_whose(row), *(sizes.get(name, "") for name in names)])
    return [*WHOSE, *(f"{name} [{SIZE_UNITS[unit]}]" for name in names)], table


def mark_odd_sizes(inputs: list[InputRow]) -> None:
    """Put into each complete volume its classes whose size is far from the median of the run, of one model. Scenes are
    left out: each shows another place."""
    sizes: dict[tuple[str | None, str], list[tuple[InputRow, float]]] = {}
    for row in inputs:
        for c in row["classes"] if row["status"] == "complete" else ():
            if "millilitres" in c and c["id"] != row["background"]:
                key = row["model"], c["name"]
                sizes.setdefault(key, []).append((row, c["millilitres"]))
    for (_, name), found in sizes.items():
        usual = _Usual([size for _, size in found])
        for row, size in found:
            if usual.far(size):
                middle = round(usual.middle, 6)
                row["odd_sizes"].append({"name": name, "millilitres": size, "median": middle})
    for row in inputs:
        row["odd_sizes"].sort(key=_likeness)


def _likeness(odd: OddSize) -> float:
    """1 for a size like the median, 0 for one that is 0: the farthest comes first."""
    low, high = sorted((odd["millilitres"], odd["median"]))
    return low / high


class _Usual:
    """What volumes of one class are usual in a run. They differ by factors, so deviations are those of logarithms."""

    def __init__(self, sizes: list[float]) -> None:
        self.middle = median(sizes)
        self._known = len(sizes) >= FEWEST and self.middle > 0
        self._often_missing = sum(size == 0 for size in sizes) > OFTEN * len(sizes)
        if self._known:
            apart = median(self._apart(size) for size in sizes if size > 0)
            self._most = max(log(ODD_TIMES), ODD_DEVIATIONS * DEVIATION * apart)

    def _apart(self, size: float) -> float:
        return abs(log(size / self.middle))

    def far(self, size: float) -> bool:
        if not self._known:
            return False
        return self._apart(size) > self._most if size > 0 else not self._often_missing


@dataclass(frozen=True)
class SizeColumn:
    """A class in the table of inputs, in ``unit``, or as a share (empty) of inputs without sizes."""

    name: str
    colour: tuple[int, ...]
    unit: SizeUnit | None

    @property
    def heading(self) -> str:
        return SIZE_UNITS[self.unit] if self.unit else "%"

    def cell(self, row: InputRow) -> tuple[str, Any]:
        """Text and number; of an input without the class a dash."""
        sizes = [c for c in row["classes"] if c["name"] == self.name and _unit(c) == self.unit]
        if not sizes:
            return units.NONE, None
        if self.unit is None:
            return units.share(sizes[0]["share"]), sizes[0]["share"]
        return units.number(sizes[0][self.unit]), sizes[0][self.unit]

    def odd(self, row: InputRow) -> str:
        """What is odd of the size in this row, in words; empty for nothing."""
        found = (odd["median"] for odd in row["odd_sizes"] if odd["name"] == self.name)
        return next((f"the median of this run is {units.number(m)} mL" for m in found), "")


def size_columns(inputs: list[InputRow]) -> tuple[list[SizeColumn], int]:
    """A column per class and unit, in the order of the models, without backgrounds; where these are many,
    those of most voxels, and how many are left out."""
    totals: dict[SizeColumn, int] = {}
    for row in inputs:
        for c in row["classes"]:
            if c["id"] != row["background"]:
                colour = tuple(c.get("colour") or (128, 128, 128))
                column = SizeColumn(c["name"], colour, _unit(c))
                totals[column] = totals.get(column, 0) + c["voxels"]
    kept = sorted(totals, key=lambda column: -totals[column])[:MOST_COLUMNS]
    return [column for column in totals if column in kept], len(totals) - len(kept)


def _unit(row: Any) -> SizeUnit | None:
    return next((unit for unit in SIZE_UNITS if unit in row), None)
