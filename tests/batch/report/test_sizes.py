"""The sizes of classes in tables: every class of every input, in the unit of its kind."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from seg_batch.batch.report import sizes
from seg_batch.batch.report.sizes import mark_odd_sizes, size_columns, size_tables


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
    known |= {"model": "m", "odd_sizes": []}
    return {"input": name, "output": f"{name}_labels", "kind": kind, "classes": classes, **known}


def of_class(k: int, voxels: int, **size: float) -> dict[str, Any]:
    return {"id": k, "name": f"c{k}", "colour": [k, k, k], "voxels": voxels, "share": 0.1, **size}


def test_a_size_that_is_not_known_is_empty() -> None:
    rows = [row("a,b.tif", [of_class(1, 3)]), row("b.tif", [of_class(1, 0, hectares=0.0)])]
    text = size_tables(rows)["areas.csv"].decode()
    first, second = text.splitlines()[1:]
    assert first == '"a,b.tif","a,b.tif_labels",complete,no,1,c1,3,0.1,'
    assert second == "b.tif,b.tif_labels,complete,yes,1,c1,0,0.1,0.0"
    assert list(size_tables(rows)) == ["areas.csv", "areas_by_class.csv"]
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


def volumes(*sizes: float, k: int = 1) -> list[Any]:
    return [
        row(f"{n}", [of_class(0, 9, millilitres=9.0), of_class(k, 1, millilitres=size)], "volume")
        for n, size in enumerate(sizes)
    ]


def odd(rows: list[Any]) -> list[str]:
    mark_odd_sizes(rows)
    return [r["input"] for r in rows if r["odd_sizes"]]


def test_a_table_has_a_column_per_class_of_any_input() -> None:
    first = row("a", [of_class(1, 3, millilitres=0.3), of_class(2, 0, millilitres=0.0)], "volume")
    second = row("b", [of_class(2, 5, millilitres=0.5), of_class(3, 6, millilitres=0.6)], "volume")
    assert size_tables([first, second])["volumes_by_class.csv"].decode().splitlines() == [
        "input,product,status,to_review,c1 [mL],c2 [mL],c3 [mL]",
        "a,a_labels,complete,no,0.3,0.0,",
        "b,b_labels,complete,yes,,0.5,0.6",
    ]


def test_a_volume_far_from_the_median_of_the_run_is_marked() -> None:
    rows = volumes(3.0, 3.1, 2.9, 0.0, 3.2, 30.0, 2.8, 0.9)
    assert odd(rows) == ["3", "5", "7"]
    assert rows[5]["odd_sizes"] == [{"name": "c1", "millilitres": 30.0, "median": 2.95}]
    (column,) = size_columns(rows)[0]
    assert column.odd(rows[5]) == "the median of this run is 2.95 mL"
    assert column.odd(rows[0]) == ""


def test_the_farthest_size_comes_first() -> None:
    rows = [
        row(str(n), [of_class(k, 1, millilitres=s) for k, s in enumerate((9.0, *sizes))], "volume")
        for n, sizes in enumerate([(1.0, 1.0, 1.0)] * 6 + [(4.0, 0.0, 90.0)])
    ]
    mark_odd_sizes(rows)
    assert [o["name"] for o in rows[6]["odd_sizes"]] == ["c2", "c3", "c1"]


def test_what_is_usual_is_not_marked() -> None:
    assert odd(volumes(1.0, 90.0, 1.0, 1.0)) == [], "four have no median to speak of"
    assert odd(volumes(1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)) == [], "they spread"
    assert odd(volumes(5.0, 0.0, 0.0, 5.0, 5.0, 5.0)) == [], "a third of them have none"
    assert odd(volumes(0.0, 0.0, 0.0, 0.0, 7.0)) == [], "most have none"
    scenes = [row(str(n), [of_class(1, n, hectares=s)]) for n, s in enumerate([1.0] * 6 + [99.0])]
    assert odd(scenes) == [], "each scene shows another place"
    partial = volumes(3.0, 3.1, 2.9, 3.0, 3.2, 0.0)
    partial[5]["status"] = "partial"
    assert odd(partial) == [], "it says itself that a part is missing"
    other = [*volumes(3.0, 3.1, 2.9, 3.0, 3.2), {**volumes(99.0)[0], "model": "other"}]
    assert odd(other) == []
