"""The report of nights that really ran: what their coordinator writes is what the report reads."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from seg_batch.batch.journal import Journal
from seg_batch.batch.journal.events import InputFacts, InputResult, JournalEvent
from seg_batch.batch.journal.status import RunStatus, status_of
from seg_batch.batch.report import write
from seg_batch.batch.report.rows import RunReport
from seg_batch.batch.shutdown import Shutdown
from seg_batch.config.workflow import Workflow
from seg_batch.core import events
from seg_batch.core.callbacks import Callback
from tests.support.batch.nights import run_night
from tests.support.declared import drift
from tests.support.files import address_raster, write_raster


class Enough(Callback):
    """Asks to stop after two blocks; takes an input away that was looked at already."""

    def __init__(self, stop: Shutdown, gone: Path) -> None:
        self.stop, self.gone, self.blocks = stop, gone, 0

    def on(self, event: events.Event) -> None:
        match event:
            case events.RunPlanned():
                self.gone.unlink()
            case events.BlockEnded():
                self.blocks += 1
                if self.blocks == 2:
                    self.stop.ask("SIGINT received")


def workflow_over(folder: Path) -> Workflow:
    """A scene of six blocks, and two small ones."""
    (folder / "in").mkdir()
    write_raster(folder / "in" / "large.tif", address_raster((2100, 1100), 1, "uint8"))
    write_raster(folder / "in" / "small.tif", address_raster((300, 333), 1, "uint8"))
    write_raster(folder / "in" / "gone.tif", address_raster((300, 333), 1, "uint8"))
    told = {
        "name": "night",
        "inputs": str(folder / "in"),
        "model": "probe",
        "outputs": str(folder / "out"),
        "options": {"block": [1024, 1024]},
        "cluster": "inline",
    }
    return Workflow.model_validate(told)


def by_name(facts: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {Path(row["input"]).name: row for row in facts["inputs"]}


@pytest.mark.full
def test_a_night_that_is_stopped_and_resumed_is_told_as_it_was(tmp_path: Path) -> None:
    workflow = workflow_over(tmp_path)
    stop = Shutdown()
    enough = Enough(stop, tmp_path / "in" / "gone.tif")
    assert run_night(workflow, enough, stop=stop)["status"] == 130
    run = Path(workflow.run_folder)
    stopped = write(run)
    on_disk = len(list((tmp_path / "out").glob("large*.work.zarr/done/*.*.json")))
    assert 2 <= on_disk < 6
    assert by_name(stopped)["large.tif"]["error"] == (
        f"stopped before its end (SIGINT received), {on_disk} of 6 blocks are on disk: "
        "the same command goes on"
    )
    assert stopped["verdict"] == "unfinished"
    assert "the same command goes on" in (run / "report.html").read_text(encoding="utf-8")

    (tmp_path / "in" / "gone.tif").touch()  # there again, and empty
    assert run_night(workflow)["status"] == 3
    facts = write(run)
    rows = by_name(facts)
    assert {name: row["status"] for name, row in rows.items()} == {
        "gone.tif": "refused",
        "large.tif": "complete",
        "small.tif": "complete",
    }
    events = Journal.read(run / "journal.jsonl")
    spells = [spell for worker in facts["workers"] for spell in worker["spells"]]
    of_large = [s for s in spells if s["input"].endswith("large.tif")]
    led = [s for w in facts["workers"] if w["worker"].endswith("(leading)") for s in w["spells"]]
    assert [s["ended"] for s in led] == ["stopped", "done"]
    assert rows["large.tif"]["seconds"] == pytest.approx(
        sum(s["stop"] - s["start"] for s in led), abs=0.002
    )
    assert len(of_large) - len(led) == 6, "one per block, of whichever session"
    begun = Counter(e["input"] for e in events if e["event"] == "started")
    refused = [s["ended"] for s in spells if s["input"].endswith("gone.tif")]
    assert refused == ["refused"] * begun[rows["gone.tif"]["input"]]
    assert refused, "it was refused after the start"


def test_what_is_written_is_what_is_declared(tmp_path: Path) -> None:
    """Who adds a key to a row, a summary, an event or a status has to declare it, and the other way."""
    workflow = workflow_over(tmp_path)
    (tmp_path / "in" / "gone.tif").write_bytes(b"II*\0")  # refused
    run_night(workflow)
    run = Path(workflow.run_folder)
    facts = write(run)
    assert {row["status"] for row in facts["inputs"]} == {"refused", "complete"}
    assert drift(facts, RunReport) == []
    assert drift(status_of(run), RunStatus) == []
    events = Journal.read(run / "journal.jsonl")
    assert [drift(event, JournalEvent) for event in events if event["input"]] == [[]] * 7
    of_inputs = [(e.get("facts"), InputFacts) for e in events if "facts" in e]
    of_inputs += [(e.get("outcome"), InputResult) for e in events if "outcome" in e]
    optional = [
        f".{key} is declared and not there" for key in ("workers", "why", "also", "stac", "remote")
    ]
    for told, declared in of_inputs:
        assert told is not None
        assert set(drift(told, declared, whole=True)) <= set(optional)
