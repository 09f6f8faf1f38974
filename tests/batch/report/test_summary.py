"""The numbers of the report: those of the journal, added up slowly; and what a verdict may say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_batch.batch.report.history import history_of
from seg_batch.batch.report.summary import run_report
from seg_batch.batch.report.timeline import timeline
from seg_batch.batch.report.write import write
from seg_batch.core.errors import InputError
from tests.support.batch.run_folders import BEGUN, FACTS, RESULT, Told


def facts(told: Told) -> dict[str, Any]:
    return run_report(history_of(told.lines), "n", {})


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
    assert run_report(history_of([]), "n", {})["verdict"] == "unfinished"


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
    lanes = {row["worker"]: row for row in timeline(facts(told))["workers"]}
    (bar,) = lanes["h:1"]["lanes"][0]
    assert bar.x + bar.width < lanes["h:1"]["gone"][0] < lanes["h:2"]["gone"][0]
    assert lanes["h:2"]["lanes"] == []


def test_blocks_of_a_large_input_are_told_of_their_workers(tmp_path: Path) -> None:
    report = tmp_path / "a.tif.json"
    intervals = {"h:2": [[BEGUN + 3, BEGUN + 4]], "h:3": [[BEGUN + 3, BEGUN + 6]]}
    report.write_text(json.dumps({"spells": intervals}))
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


def test_what_was_stopped_says_why_how_far_it_came_and_that_it_goes_on(tmp_path: Path) -> None:
    """One of 6 blocks, 2 of them on disk, and one small, whose worker fell silent."""
    output = tmp_path / "a.tif"
    markers = tmp_path / "a.tif.work.zarr" / "done"
    markers.mkdir(parents=True)
    for name, worker, spell in (("0.0", "h:2", [3, 5]), ("0.1", "h:3", [3, 90])):
        times = [BEGUN + t for t in spell]
        (markers / f"{name}.json").write_text(json.dumps({"worker": worker, "spell": times}))
    told = Told(tmp_path / "run")
    told.tell(1, "surveyed", "a", facts={**FACTS, "blocks": 6, "output": str(output)})
    told.tell(1, "surveyed", "b", facts=FACTS)
    told.tell(1, "surveyed", "c", facts=FACTS)
    told.tell(2, "started", "a", attempt=1)
    told.tell(2, "started", "b", attempt=1)
    told.tell(4, "stopping", why="SIGINT received")
    killed = facts(told)
    told.tell(9, "ended", status=130, why="SIGINT received")
    found = facts(told)
    assert {key: row_of(found, key)["error"] for key in "abc"} == {
        "a": "stopped before its end (SIGINT received), 2 of 6 blocks are on disk: the same command goes on",
        "b": "stopped before its end (SIGINT received): the same command goes on",
        "c": "",
    }
    assert row_of(found, "a")["blocks"] == {"total": 6, "done": 2}
    assert found["totals"]["voxels_per_s"] == pytest.approx(100 * 2 / 6 / 9, abs=1e-3)
    lanes = {
        w["worker"]: [(s["start"] - BEGUN, s["stop"] - BEGUN, s["ended"]) for s in w["spells"]]
        for w in found["workers"]
    }
    assert lanes == {
        "(worker not told)": [(2, 9, "stopped")],
        "nighthost:7 (leading)": [(2, 9, "stopped")],
        "h:2": [(3, 5, "done")],
        "h:3": [(3, 9, "done")],
    }
    assert row_of(killed, "b")["error"].startswith(
        "no end is told: it is still going, or was killed"
    )


def test_a_resumed_input_took_as_long_as_all_its_sessions(tmp_path: Path) -> None:
    blocks = {"total": 18, "done": 18, "failed": 0, "resumed": 12}
    told = Told(tmp_path)
    told.tell(1, "surveyed", "a", facts={**FACTS, "blocks": 18})
    told.tell(2, "started", "a", attempt=1)
    told.tell(59, "ended", status=130, why="SIGINT received")
    told.tell(100, "begun", workflow_sha256="", host="x", pid=1, segbatch="0.1.0")
    shared = {"h:2": 4, "h:3": 2}
    told.done(101, 13, "a", {**RESULT, "blocks": blocks, "workers": shared}, "x:1")
    told.tell(120, "ended", status=0, why="")
    told.tell(200, "begun", workflow_sha256="", host="x", pid=2, segbatch="0.1.0")
    told.tell(900, "ended", status=0, why="")
    found = facts(told)
    row = row_of(found, "a")
    assert (row["seconds"], row["voxels_per_s"]) == (57 + 13, 100 / 70)
    assert row["workers"] == ["h:2", "h:3"], "not the coordinator, which led them"
    assert found["totals"]["seconds"] == 59 + 20 + 700
    assert found["totals"]["voxels_per_s"] == pytest.approx(100 / 79, abs=1e-3), (
        "the last found nothing left to do"
    )


KINDS = st.sampled_from(["surveyed", "refused", "started", "retried", "done", "failed"])
OF_RUNS = st.sampled_from(["begun", "ended"])
FIELDS = {
    "surveyed": {"facts": FACTS},
    "refused": {"error": "no"},
    "started": {"attempt": 1},
    "retried": {"attempt": 1, "error": "lost", "wait_s": 1},
    "done": {"outcome": RESULT},
    "failed": {"error": "no", "status": 3},
    "begun": {"workflow_sha256": "", "host": "x", "pid": 1, "segbatch": "0.1.0"},
    "ended": {"status": 130, "why": ""},
}
OF_INPUTS = st.tuples(KINDS, st.sampled_from("abc"), st.integers(0, 5))
TOLD = st.lists(
    OF_INPUTS | OF_INPUTS | st.tuples(OF_RUNS, st.none(), st.integers(0, 5)), max_size=30
)


def events_of(told: list) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    at = BEGUN
    for kind, key, pause in told:
        at += pause
        events.append({"t": at, "event": kind, "input": key, **FIELDS[kind]})
    return events


@given(TOLD)
def test_a_spell_ends_as_the_next_event_of_its_input_says(told: list) -> None:
    events = events_of(told)
    ends = {"begun": "lost", "started": "lost", "ended": "stopped"}
    expected = []
    for i, event in enumerate(events):
        if event["event"] == "started":
            own = (e for e in events[i + 1 :] if e["input"] in (None, event["input"]))
            after = next((e["event"] for e in own if e["event"] != "surveyed"), "begun")
            expected.append((event["input"], event["t"], ends.get(after, after)))
    found = [(spell.input, spell.start, spell.ended) for spell in history_of(events).intervals]
    assert sorted(found) == sorted(expected)


@given(TOLD)
def test_totals_are_sums_over_rows_and_every_input_has_one(told: list) -> None:
    found = run_report(history_of(events_of(told)), "n", {})
    rows = found["inputs"]
    last = {key: kind for kind, key, _ in told if key}
    assert sorted(row["input"] for row in rows) == sorted(last)
    assert sum(found["statuses"].values()) == len(rows)
    for row in rows:
        if last[row["input"]] in ("refused", "failed"):
            assert row["status"] == last[row["input"]]
        if row["status"] == "complete":
            assert ("done", row["input"]) in {(kind, key) for kind, key, _ in told}
        assert (row["status"] == "unfinished") == ("goes on" in row["error"])
    done = [row for row in rows if row["status"] in ("complete", "partial")]
    assert found["totals"]["tiles"] == sum(row["tiles"] for row in done)
    assert sum(c["voxels"] for c in found["totals"]["classes"]) == 5 * len(done)
    begun = sum(kind == "started" for kind, _, _ in told)
    assert sum(len(w["spells"]) for w in found["workers"]) == begun


def test_a_folder_without_a_journal_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no run folder"):
        write(tmp_path)


def test_what_went_wrong_stands_first_then_what_is_to_review(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.done(1, 1, "fine", RESULT, "h:1")
    told.done(2, 1, "odd", {**RESULT, "review": ["look"]}, "h:1")
    told.done(3, 1, "holes", {**RESULT, "status": "partial", "review": ["look"]}, "h:1")
    told.tell(1, "surveyed", "later", facts=FACTS)
    told.tell(4, "refused", "never", error="no")
    told.tell(5, "failed", "lost", error="no", status=3)
    told.tell(6, "started", "begun", attempt=1)
    order = [row["input"] for row in facts(told)["inputs"]]
    assert order == ["never", "lost", "holes", "odd", "begun", "later", "fine"]
