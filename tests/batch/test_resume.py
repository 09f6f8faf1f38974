"""A night resumes a product only where it would make the same one now."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zarr

from seg_batch.batch.dry_run import plan_lines, plan_run
from seg_batch.batch.job import PlannedInput, RefusedInput, job_of
from seg_batch.batch.journal import Journal, begin, fold, open_run
from seg_batch.batch.journal.events import InputFacts, InputResult
from seg_batch.batch.resume import crash_suspects, is_up_to_date, prepare_folder
from seg_batch.batch.summaries import input_facts
from seg_batch.config.workflow import Workflow
from seg_batch.core import events
from seg_batch.core.callbacks import Callback
from seg_batch.core.errors import StoreError
from seg_batch.core.run_files import JOURNAL
from seg_batch.inference.bundles import find_bundle
from seg_batch.inference.predict import predict_one
from seg_batch.inference.request import Request, prepare
from tests.support.batch.nights import run_night
from tests.support.files import damaged

Made = Callable[..., Workflow]


def said(workflow: Workflow, kind: str = "refused") -> list[str]:
    events = Journal.read(Path(workflow.run_folder) / "journal.jsonl")
    return [event["error"] for event in events if event["event"] == kind]


def facts(path: Path, **asked: Any) -> InputFacts:
    return input_facts(
        prepare(Request(str(path), f"{path.parent}/out/", **{"model": "probe", **asked}))
    )


def test_a_result_stands_for_the_same_input_model_and_place(scenes: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(scenes / "small0.tif", tmp_path))
    first = facts(path)
    result: InputResult = {"of": first["of"], "output": first["output"]}

    def planned(facts: InputFacts) -> PlannedInput:
        return PlannedInput("key", Request(str(path)), facts)

    assert is_up_to_date(result, planned(facts(path)))
    gone, damaged = RefusedInput("key", "gone"), RefusedInput("key", "damaged", seen=True)
    assert is_up_to_date(result, gone), "nothing else can be made of it"
    assert not is_up_to_date(result, damaged)
    probe = find_bundle("probe").card.model_copy(update={"weights_sha256": ""})

    def other(patches: Any) -> Any:
        return patches

    assert not is_up_to_date(result, planned(facts(path, model=(probe, other))))
    assert not is_up_to_date(result, planned({**first, "output": f"{tmp_path}/other.tif"}))
    os.utime(path, ns=(1, 1))
    assert not is_up_to_date(result, planned(facts(path)))


def test_one_chunk_of_a_zarr_makes_it_another_input(tmp_path: Path) -> None:
    path = tmp_path / "in.zarr"
    array = zarr.create_array(
        path, shape=(200, 300), chunks=(100, 100), dtype="uint8", dimension_names=["y", "x"]
    )
    array[:] = 7
    before = facts(path)["of"]
    assert facts(path)["of"] == before
    at = path.stat().st_mtime_ns
    zarr.open_array(path, mode="r+")[150:, 250:] = 8
    assert path.stat().st_mtime_ns == at, "the folder itself says nothing"
    assert facts(path)["of"] != before


@pytest.mark.full
def test_products_that_changed_places_are_told_of(
    night: Made, scenes: Path, tmp_path: Path
) -> None:
    def listed(*names: str) -> Workflow:
        rows = [f"{scenes}/small{i}.tif,{name}" for i, name in enumerate(names)]
        (tmp_path / "list.csv").write_text("\n".join(["input,output", *rows, ""]))
        return night(inputs={"manifest": str(tmp_path / "list.csv")})

    assert run_night(listed("one", "two"))["complete"] == 2
    assert run_night(listed("one", "two"))["resumed"] == 2
    told = run_night(listed("two", "one"))
    assert (told["status"], told["resumed"], told["refused"]) == (3, 0, 2)
    assert all("the input file has changed" in why for why in said(listed("two", "one")))


@pytest.mark.full
def test_lost_probabilities_are_made_again(night: Made, scenes: Path) -> None:
    workflow = night(
        inputs=str(scenes / "small0.tif"), options={"block": [1024, 1024], "probabilities": True}
    )
    run_night(workflow)
    (made,) = Path(workflow.outputs.folder).glob("*_probabilities.tif")
    before = made.read_bytes()
    made.write_bytes(b"x" * len(before))
    assert run_night(workflow)["refused"] == 1, "it may be somebody's"
    made.unlink()
    assert run_night(workflow)["complete"] == 1
    assert made.read_bytes() == before
    assert run_night(workflow)["resumed"] == 1


@pytest.mark.full
def test_what_was_set_aside_and_taken_away_is_forgotten(
    night: Made, scenes: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    for name in ("small0.tif", "small1.tif", "bad.tif"):
        shutil.copy(scenes / name, tmp_path / "in")
    workflow = night(inputs=str(tmp_path / "in"))
    assert run_night(workflow)["status"] == 3
    (tmp_path / "in" / "bad.tif").unlink()
    (tmp_path / "in" / "small1.tif").unlink()
    assert run_night(workflow)["status"] == 0
    known = fold(Journal.read(Path(workflow.run_folder) / "journal.jsonl"))
    assert [Path(key).name for key in known.inputs] == ["small0.tif", "small1.tif"]
    assert known.totals().by_status["complete"] == 2


@pytest.mark.full
def test_an_input_that_changes_while_it_is_segmented_is_begun_anew(
    night: Made, scenes: Path, tmp_path: Path
) -> None:
    """Half of it would be of the one, half of the other."""
    path = Path(shutil.copy(scenes / "large0.tif", tmp_path))

    class Changing(Callback):
        blocks = 0

        def on(self, event: events.Event) -> None:
            self.blocks += isinstance(event, events.BlockEnded)
            if self.blocks == 3 and isinstance(event, events.BlockEnded):
                shutil.copyfile(scenes / "large1.tif", path)

    workflow = night(inputs=str(path))
    assert run_night(workflow, Changing())["refused"] == 1
    assert "changed while it was segmented" in said(workflow)[0]
    assert run_night(workflow)["complete"] == 1
    alone = Path(str(tmp_path / "alone.tif"))
    predict_one(Request(str(path), str(alone), model="probe", cluster="inline"))
    (made,) = Path(workflow.outputs.folder).glob("*.tif")
    assert made.read_bytes() == alone.read_bytes()


class Order(Callback):
    def __init__(self) -> None:
        self.begun: list[str] = []

    def on(self, event: events.Event) -> None:
        if isinstance(event, events.InputStarted):
            self.begun.append(Path(event.key).name)


@pytest.mark.full
@pytest.mark.parametrize("deaths", [1, 2])
def test_what_was_in_hand_at_two_deaths_is_done_last(
    night: Made, scenes: Path, deaths: int
) -> None:
    """The largest, which else is first: it may crash its reader, and would keep all others from an end."""
    workflow = night(inputs=str(scenes / "small[234].tif"))
    job = job_of(workflow)
    job.folder.mkdir(parents=True)
    (key,) = (key for key in job.requests if "small4" in key)
    for _ in range(deaths):
        with open_run(job.folder) as journal:
            prepare_folder(job)
            begin(journal, job.fingerprint)
            journal.append("started", key, attempt=1)
    order = Order()
    assert run_night(workflow, order)["complete"] == 3
    assert order.begun.index("small4.tif") == (0 if deaths == 1 else 2)
    assert crash_suspects(Journal.read(job.folder / JOURNAL)) == ({} if deaths == 1 else {key: 2})


def test_an_input_is_not_feared_for_what_was_told_of_it(night: Made, scenes: Path) -> None:
    job = job_of(night(inputs=str(scenes / "small0.tif")))
    (key,) = job.requests
    told = {
        "done": {"outcome": {"status": "partial"}},
        "withdrawn": {},
        "failed": {"error": "", "status": 3},
    }
    job.folder.mkdir(parents=True)
    with open_run(job.folder) as journal:
        for kind, fields in [*told.items()] * 2:
            begin(journal, job.fingerprint)
            journal.append("started", key, attempt=1)
            journal.append(kind, key, **fields)
        for _ in range(3):
            begin(journal, job.fingerprint)
            journal.append("started", key, attempt=1)
            journal.append("ended", status=130, why="interrupted at once")
        assert not crash_suspects(Journal.read(journal.path))
        for _ in range(2):
            begin(journal, job.fingerprint)
            journal.append("started", key, attempt=1)
    assert crash_suspects(Journal.read(job.folder / JOURNAL)) == {key: 2}


@pytest.mark.full
def test_a_plan_is_of_what_is_left_and_refused_where_the_night_is(
    night: Made, scenes: Path
) -> None:
    assert run_night(night(inputs=str(scenes / "small0.tif")))["complete"] == 1
    two = night(inputs=str(scenes / "small[01].tif"))
    before = {path: path.stat().st_mtime_ns for path in Path(two.outputs.folder).rglob("*")}
    plan = plan_run(two)
    assert [Path(key).name for key in plan["complete"]] == ["small0.tif"]
    assert [Path(key).name for key in plan["inputs"]] == ["small1.tif"]
    assert plan["totals"]["inputs"] == 1
    assert "complete before: 1" in plan_lines(plan)
    other = night(inputs=str(scenes / "small0.tif"), post="majority:3")
    with pytest.raises(StoreError, match="another workflow"):
        plan_run(other)
    assert len(plan_run(other, overwrite=True)["inputs"]) == 1
    after = {path: path.stat().st_mtime_ns for path in Path(two.outputs.folder).rglob("*")}
    assert after == before


@pytest.mark.full
def test_a_partial_product_is_told_of_though_a_further_try_is_refused(
    night: Made, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    hole = damaged(tmp_path / "in" / "hole.tif")

    class Removing(Callback):
        def on(self, event: events.Event) -> None:
            if isinstance(event, events.InputRetried):
                hole.unlink()

    told = run_night(night(inputs=str(hole), on_failure={"retries": 1}), Removing())
    assert (told["status"], told["partial"], told["refused"]) == (3, 1, 0)
    assert len(list((tmp_path / "out").glob("hole_labels.tif"))) == 1


@pytest.mark.full
def test_a_night_killed_before_it_did_an_input_anew_is_not_complete(
    night: Made, scenes: Path, tmp_path: Path
) -> None:
    """The input was changed, surveyed, and then put back: it is told of once more."""
    workflow = night(inputs=str(scenes / "small0.tif"))
    run_night(workflow)
    job = job_of(workflow)
    (key,) = job.requests
    with open_run(job.folder) as journal:
        assert list(prepare_folder(job).complete) == [key]
        begin(journal, job.fingerprint)
        journal.append("surveyed", key, facts={"blocks": 1})
    journal_of = job.folder / JOURNAL
    assert fold(Journal.read(journal_of)).totals().open == 1
    assert run_night(workflow)["status"] == 0
    assert fold(Journal.read(journal_of)).totals().by_status["complete"] == 1
