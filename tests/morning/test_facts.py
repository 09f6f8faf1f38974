"""The numbers of the report: those of the journal, added up slowly; and what a verdict may say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_batch.errors import InputError
from seg_batch.morning.facts import facts_of
from seg_batch.morning.night import night
from seg_batch.morning.timeline import timeline
from seg_batch.morning.write import write
from tests.morning.made import BEGUN, Told

RESULT: dict[str, Any] = {
    "status": "complete",
    "output": "/nowhere/a.tif",
    "report": "/nowhere/a.tif.json",
    "product": {"sha256": "0" * 64, "bytes": 10, "mtime_ns": 1},
    "seconds": 2.0,
    "stages_s": {"read": 0.5, "model": 1.0, "total": 1.5},
    "tiles": 30,
    "tiles_skipped": 10,
    "blocks": {"total": 1, "done": 1, "failed": 0, "resumed": 0},
    "promised_bytes": 100,
    "peak_rss_bytes": 90,
    "worker": "h:1",
    "classes": [
        {
            "id": 1,
            "name": "forest",
            "colour": [0, 99, 0],
            "voxels": 5,
            "share": 0.5,
            "hectares": 2.5,
        }
    ],
    "seam_index": 1.02,
    "warnings": ["not georeferenced"],
    "failures": [],
}
FACTS = {"kind": "raster", "extent": [10, 10], "blocks": 1, "voxels": 100, "model": "m"}


def facts(told: Told) -> dict[str, Any]:
    return facts_of(night(told.lines), "n", {})


def row_of(found: dict[str, Any], key: str) -> dict[str, Any]:
    return next(row for row in found["inputs"] if row["input"] == key)


def test_only_a_whole_run_is_complete(tmp_path: Path) -> None:
    def verdict(*ends: tuple[str, dict[str, Any]], status: int | None = 0) -> str:
        told = Told(tmp_path)
        told.tell(1, "surveyed", "a", facts=FACTS)
        told.done(2, 2, "a", RESULT, "h:1")
        for kind, fields in ends:
            told.tell(5, kind, "b", **fields)
        if status is not None:
            told.tell(9, "ended", status=status, why="")
        return facts(told)["verdict"]

    assert verdict() == "complete"
    assert verdict(status=None) == "unfinished"
    assert verdict(status=130) == "unfinished", "not all that it should do need be in the journal"
    assert verdict(status=3) == "not complete"
    assert verdict(("surveyed", {"facts": FACTS})) == "unfinished"
    assert verdict(("started", {"attempt": 1})) == "unfinished"
    assert verdict(("refused", {"error": "no"})) == "not complete"
    assert verdict(("failed", {"error": "no", "status": 3})) == "not complete"
    assert verdict(("done", {"outcome": {**RESULT, "status": "partial"}})) == "not complete"
    assert facts_of(night([]), "n", {})["verdict"] == "unfinished"


def test_a_row_says_what_the_result_says(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.tell(1, "surveyed", "a", facts=FACTS)
    told.done(2, 2, "a", RESULT, "h:1")
    row = row_of(facts(told), "a")
    assert row["skipped_share"] == 0.25
    assert row["voxels_per_s"] == 50
    assert row["stages_s"] == {"read": 0.5, "model": 1.0}
    same = ("tiles", "promised_bytes", "peak_rss_bytes", "seam_index", "classes", "output")
    assert {key: row[key] for key in same} == {key: RESULT[key] for key in same}
    assert row["warnings"] == [
        "not georeferenced",
        "the product is no longer where it was written",
    ]


def test_a_product_that_changed_since_is_told(tmp_path: Path) -> None:
    product = tmp_path / "a.tif"
    product.write_bytes(b"0123456789")
    told = Told(tmp_path / "run")
    told.done(2, 2, "a", {**RESULT, "output": str(product)}, "h:1")
    assert row_of(facts(told), "a")["warnings"] == ["not georeferenced"]
    product.write_bytes(b"012345678")
    assert "has changed since" in row_of(facts(told), "a")["warnings"][-1]


def test_an_input_done_again_after_a_failure_counts_once(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.tell(1, "started", "a", attempt=1)
    told.tell(2, "failed", "a", error="no", status=3)
    told.tell(3, "ended", status=3, why="")
    told.tell(10, "begun", workflow_sha256="", host="other", pid=1, segbatch="0.1.0")
    told.tell(11, "surveyed", "a", facts=FACTS)
    told.done(12, 2, "a", RESULT, "h:2")
    told.tell(20, "ended", status=0, why="")
    found = facts(told)
    assert found["verdict"] == "complete"
    assert found["totals"]["tiles"] == 30
    assert found["totals"]["seconds"] == 3 + 10
    assert [s["host"] for s in found["sessions"]] == ["nighthost", "other"]


def test_spells_tell_what_ended_how_and_gaps_are_only_idleness(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.done(1, 4, "a", RESULT, "h:1")
    told.tell(2, "started", "b", attempt=1, worker="h:2")
    told.tell(4, "retried", "b", attempt=1, error="lost", wait_s=1)
    told.tell(6, "started", "b", attempt=2, worker="h:2")
    told.tell(7, "surveyed", "c", facts=FACTS)  # the last sign of life
    told.tell(50, "begun", workflow_sha256="", host="x", pid=1, segbatch="0.1.0")
    told.done(51, 4, "b", RESULT, "h:2")
    told.tell(55, "ended", status=0, why="")
    first, second = facts(told)["workers"]
    at = [(s["start"] - BEGUN, s["stop"] - BEGUN, s["ended"]) for s in second["spells"]]
    assert at == [(2, 4, "retried"), (6, 7, "lost"), (51, 55, "done")]
    assert (second["busy_s"], second["longest_gap_s"]) == (7, 2)
    assert (first["worker"], first["busy_s"], first["longest_gap_s"]) == ("h:1", 4, 0)


def test_a_lane_ends_where_its_worker_was_lost(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.done(1, 4, "a", RESULT, "h:1")
    told.tell(6, "worker_lost", worker="h:1", why="its process ended")
    told.tell(7, "worker_dropped", worker="h:2", why="nothing works there")
    told.done(8, 4, "b", RESULT, "h:3")
    gone = {w["worker"]: w["gone"] for w in facts(told)["workers"]}
    assert gone["h:1"] == {"t": BEGUN + 6, "why": "its process ended"}
    assert gone["h:2"] == {"t": BEGUN + 7, "why": "nothing works there"}
    assert gone["h:3"] is None
    lanes = {lane.worker: lane for lane in timeline(facts(told)).workers}
    (bar,) = lanes["h:1"].lanes[0]
    assert bar.x + bar.width < lanes["h:1"].gone[0] < lanes["h:2"].gone[0]
    assert lanes["h:2"].lanes == ()


def test_blocks_of_a_large_input_are_told_of_their_workers(tmp_path: Path) -> None:
    report = tmp_path / "a.tif.json"
    spells = {"h:2": [[BEGUN + 3, BEGUN + 4]], "h:3": [[BEGUN + 3, BEGUN + 6]]}
    report.write_text(json.dumps({"spells": spells}))
    told = Told(tmp_path / "run")
    blocks = {"total": 2, "done": 2, "failed": 0, "resumed": 0}
    told.done(2, 5, "a", {**RESULT, "blocks": blocks, "report": str(report)}, "h:1")
    assert {w["worker"]: w["busy_s"] for w in facts(told)["workers"]} == {
        "h:1 (leading)": 5,
        "h:2": 1,
        "h:3": 3,
    }
    report.write_text("{")
    assert [w["worker"] for w in facts(told)["workers"]] == ["h:1 (leading)"]


KINDS = st.sampled_from(["surveyed", "refused", "started", "retried", "done", "failed"])
FIELDS = {
    "surveyed": {"facts": FACTS},
    "refused": {"error": "no"},
    "started": {"attempt": 1},
    "retried": {"attempt": 1, "error": "lost", "wait_s": 1},
    "done": {"outcome": RESULT},
    "failed": {"error": "no", "status": 3},
}


@given(st.lists(st.tuples(KINDS, st.sampled_from("abc"), st.integers(0, 5)), max_size=30))
def test_totals_are_sums_over_rows_and_every_input_has_one(told: list) -> None:
    events: list[dict[str, Any]] = []
    at = BEGUN
    for kind, key, pause in told:
        at += pause
        events.append({"t": at, "event": kind, "input": key, **FIELDS[kind]})
    found = facts_of(night(events), "n", {})
    rows = found["inputs"]
    assert sorted(row["input"] for row in rows) == sorted({key for _, key, _ in told})
    assert sum(found["statuses"].values()) == len(rows)
    last = {key: kind for kind, key, _ in told}
    for row in rows:
        if last[row["input"]] in ("refused", "failed"):
            assert row["status"] == last[row["input"]]
        if row["status"] == "complete":
            assert ("done", row["input"]) in {(kind, key) for kind, key, _ in told}
    done = [row for row in rows if row["status"] in ("complete", "partial")]
    assert found["totals"]["tiles"] == sum(row["tiles"] for row in done)
    assert sum(c["voxels"] for c in found["totals"]["classes"]) == 5 * len(done)
    begun = sum(kind == "started" for kind, _, _ in told)
    assert sum(len(w["spells"]) for w in found["workers"]) == begun


def test_a_folder_without_a_journal_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no run folder"):
        write(tmp_path)
