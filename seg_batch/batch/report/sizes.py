"""The sizes of classes: ``areas.csv`` and ``volumes.csv``, and their columns in the table of inputs."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Any

from seg_batch.batch.report.rows import InputRow
from seg_batch.core import units
from seg_batch.core.run_files import AREAS, VOLUMES
from seg_batch.inference.report import SIZE_UNITS, SizeUnit

MOST_COLUMNS = 12
TABLES: dict[str, tuple[str, SizeUnit]] = {
    "raster": (AREAS, "hectares"),
    "volume": (VOLUMES, "millilitres"),
}
HEAD = ("input", "product", "status", "to_review", "class_id", "name", "voxels", "share")


def size_tables(inputs: list[InputRow]) -> dict[str, bytes]:
    """Name and content of each table that the inputs with a product make: a row per input and class, also for
    classes without a voxel. A size is empty where voxels have none."""
    tables = {}
    for kind, (name, unit) in TABLES.items():
        rows = [
            (
                row["input"],
                row["output"],
                row["status"],
                "yes" if row["review"] else "no",
                c["id"],
                c["name"],
                c["voxels"],
                c["share"],
                c.get(unit, ""),
            )
            for row in inputs
            if row["kind"] == kind
            for c in row["classes"]
        ]
        if rows:
            text = io.StringIO()
            writer = csv.writer(text, lineterminator="\n")
            writer.writerows([(*HEAD, SIZE_UNITS[unit]), *rows])
            tables[name] = text.getvalue().encode("utf-8", "surrogateescape")
    return tables


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
