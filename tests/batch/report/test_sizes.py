"""The sizes of classes in tables: every class of every input, in the unit of its kind."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from seg_batch.batch.report import sizes
from seg_batch.batch.report.sizes import size_columns, size_tables


def read(run: Path, name: str) -> list[dict[str, str]]:
    with (run / name).open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def test_tables_hold_a_row_per_input_and_class(made: tuple) -> None:
    facts, _, run = made
    for name, kind, unit, short in (
        ("areas.csv", "raster", "hectares", "ha"),
        ("volumes.csv", "volume", "millilitres", "mL"),
    ):
        expected = [
            (row["input"], row["output"], c["name"], c["voxels"], c[unit])
            for row in facts["inputs"]
            if row["kind"] == kind
            for c in row["classes"]
        ]
        found = [
            (r["input"], r["product"], r["name"], int(r["voxels"]), float(r[short]))
            for r in read(run, name)
        ]
        assert found == expected
        assert len(found) % 8 == 0, "all classes of the probe, whether they occur or not"


def row(name: str, classes: list[dict[str, Any]], kind: str = "raster") -> Any:
    known = {"status": "complete", "review": ["look"] * name.startswith("b"), "background": 0}
    return {"input": name, "output": f"{name}_labels", "kind": kind, "classes": classes, **known}


def of_class(k: int, voxels: int, **size: float) -> dict[str, Any]:
    return {"id": k, "name": f"c{k}", "colour": [k, k, k], "voxels": voxels, "share": 0.1, **size}


def test_a_size_that_is_not_known_is_empty() -> None:
    rows = [row("a,b.tif", [of_class(1, 3)]), row("b.tif", [of_class(1, 0, hectares=0.0)])]
    text = size_tables(rows)["areas.csv"].decode()
    first, second = text.splitlines()[1:]
    assert first == '"a,b.tif","a,b.tif_labels",complete,no,1,c1,3,0.1,'
    assert second == "b.tif,b.tif_labels,complete,yes,1,c1,0,0.1,0.0"
    assert list(size_tables(rows)) == ["areas.csv"]
    assert size_tables([]) == {}


def test_columns_are_the_classes_of_most_voxels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "MOST_COLUMNS", 3)
    rows = [
        row("a", [of_class(k, n, hectares=n / 10) for k, n in enumerate((900, 5, 0, 7))]),
        row("b", [of_class(9, 6)]),
    ]
    columns, left_out = size_columns(rows)
    assert [(c.name, c.heading) for c in columns] == [("c1", "ha"), ("c3", "ha"), ("c9", "%")]
    assert left_out == 1
    assert [c.cell(rows[0]) for c in columns] == [("0.5", 0.5), ("0.7", 0.7), ("–", None)]
    assert columns[2].cell(rows[1]) == ("10.0 %", 0.1)
