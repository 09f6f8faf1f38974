"""Whole nights in this process: products, what is set aside, what another try finds."""

from __future__ import annotations

import errno
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from seg_batch.batch import survey
from seg_batch.batch.cleanup import REPORTS
from seg_batch.batch.dry_run import plan_lines, plan_run
from seg_batch.batch.journal import Journal, open_run
from seg_batch.batch.run import run_unattended
from seg_batch.batch.shutdown import Shutdown
from seg_batch.config.workflow import Workflow
from seg_batch.core import events
from seg_batch.core.callbacks import Callback
from seg_batch.core.errors import BusyError, InputError, RefusedError, StoreError
from seg_batch.core.run_files import ATTEMPT
from seg_batch.inference.request import Prepared, Request, prepare
from tests.support.batch.nights import run_night
from tests.support.files import address_raster, damaged, products, write_raster

Made = Callable[..., Workflow]


def journal_of(workflow: Workflow) -> list[dict[str, Any]]:
    return Journal.read(Path(workflow.run_folder) / "journal.jsonl")


def counted(workflow: Workflow, kind: str) -> Counter[str]:
    return Counter(
        Path(event["input"]).name for event in journal_of(workflow) if event["event"] == kind
    )


@pytest.mark.full
def test_products_are_those_of_predict_alone(night: Made, alone: dict[str, bytes]) -> None:
    told = run_night(night())
    assert (told["status"], told["complete"], told["refused"]) == (3, 7, 1)
    out = Path(night().outputs.folder)
    assert products(out) == alone
    left = [path.name for path in out.iterdir() if ".work." in path.name or ATTEMPT in path.name]
    assert not left
    results = [event["outcome"] for event in journal_of(night()) if event["event"] == "done"]
    assert all(len(str(result)) < 4000 for result in results)
    assert counted(night(), "refused") == {"bad.tif": 1}


@pytest.mark.full
def test_the_same_night_again_touches_nothing(night: Made) -> None:
    run_night(night())
    out = Path(night().outputs.folder)
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.*")}
    others = out / f"other_labels.tif.{ATTEMPT}h-1-2.work.zarr"
    for left in (out / f"small0_labels.tif.{ATTEMPT}h-1-2.work.zarr", others):
        left.mkdir()  # of an attempt that was killed after another one had succeeded
    (out / "small1_labels.tif.json1a_b2c3d.part").touch()
    told = run_night(night())
    others.rmdir()  # nothing of this night
    assert (told["status"], told["resumed"], told["complete"]) == (3, 7, 7)
    assert {path: path.stat().st_mtime_ns for path in out.glob("*.*")} == before
    assert set(counted(night(), "started").values()) == {1}


@pytest.mark.full
def test_overwrite_makes_anew_what_came_to_its_end(night: Made, scenes: Path) -> None:
    """Also where some were refused."""
    workflow = night(inputs={"paths": [str(scenes / "small0.tif"), str(scenes / "bad.tif")]})
    product = Path(workflow.outputs.folder) / "small0_labels.tif"
    assert run_night(workflow)["status"] == 3
    before = product.stat().st_mtime_ns
    told = run_night(workflow, overwrite=True)
    assert (told["status"], told["resumed"], told["refused"]) == (3, 0, 1)
    assert product.stat().st_mtime_ns > before
    assert set(counted(workflow, "started").values()) == {1}


@pytest.mark.full
def test_a_lost_product_is_made_again_and_no_other(night: Made, alone: dict[str, bytes]) -> None:
    run_night(night())
    lost = Path(night().outputs.folder) / "small2_labels.tif"
    lost.unlink()
    assert run_night(night())["resumed"] == 6
    assert lost.read_bytes() == alone[lost.name]
    assert [name for name, n in counted(night(), "started").items() if n > 1] == ["small2.tif"]


@pytest.mark.full
def test_largest_first(night: Made, scenes: Path) -> None:
    class Order(Callback):
        def __init__(self) -> None:
            self.small: list[str] = []

        def on(self, event: events.Event) -> None:
            if isinstance(event, events.InputStarted) and event.facts["blocks"] == 1:
                self.small.append(Path(event.key).name)

    order = Order()
    run_night(night(inputs=str(scenes / "small*.tif")), order)
    assert order.small == [f"small{i}.tif" for i in reversed(range(5))]


class Stopping(Callback):
    """Asks to stop when the first input of a kind is in hand."""

    def __init__(self, stop: Shutdown, blocks: int) -> None:
        self.stop, self.blocks = stop, blocks

    def on(self, event: events.Event) -> None:
        match event:
            case events.InputStarted(_, facts) if (facts["blocks"] > 1) == (self.blocks > 1):
                self.stop.ask("enough for today")


@pytest.mark.full
@pytest.mark.parametrize("blocks", [1, 6])
def test_a_stopped_night_goes_on(
    night: Made, scenes: Path, alone: dict[str, bytes], blocks: int
) -> None:
    """In hand is finished, nothing else is begun; the next try does the rest, and only that."""
    workflow = night(inputs=str(scenes / "[sl]*.tif"))
    stop = Shutdown()
    told = run_night(workflow, Stopping(stop, blocks), stop=stop)
    assert (told["status"], told["why"]) == (130, "enough for today")
    assert told["left"] == 7 - told["complete"] > 0
    assert journal_of(workflow)[-1]["status"] == 130
    assert run_night(workflow)["resumed"] == told["complete"]
    assert products(Path(workflow.outputs.folder)) == alone


@pytest.mark.full
def test_a_damaged_input_makes_a_partial_product(night: Made, scenes: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    damaged(tmp_path / "in" / "hole.tif")
    shutil.copy(scenes / "small0.tif", tmp_path / "in")
    told = run_night(night(inputs=str(tmp_path / "in"), on_failure={"retries": 0}))
    assert (told["status"], told["partial"], told["complete"]) == (3, 1, 1)
    with rasterio.open(tmp_path / "out" / "hole_labels.tif") as file:
        assert file.tags()["SEGBATCH_STATUS"] == "PARTIAL"
    assert not list((tmp_path / "out").glob(f"*{ATTEMPT}*"))


@pytest.mark.full
def test_what_can_not_be_read_is_tried_again(night: Made, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    damaged(tmp_path / "in" / "hole.tif")
    workflow = night(inputs=str(tmp_path / "in"), on_failure={"retries": 1})
    assert run_night(workflow)["partial"] == 1
    assert counted(workflow, "retried") == {"hole.tif": 1}
    assert counted(workflow, "started") == {"hole.tif": 2}
    (again,) = [event for event in journal_of(workflow) if event["event"] == "retried"]
    assert (again["attempt"], again["wait_s"]) == (1, 1)
    assert "can't be read at" in again["error"]


@pytest.mark.full  # it waits a second
def test_a_header_that_a_disk_gave_at_the_second_time(
    night: Made, scenes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stumbles = [OSError(errno.EIO, "Input/output error")]

    def prepared(request: Request) -> Prepared:
        if stumbles:
            raise InputError(f"{request.input} can't be read") from stumbles.pop()
        return prepare(request)

    monkeypatch.setattr(survey, "prepare", prepared)
    assert run_night(night(inputs=str(scenes / "small0.tif")))["complete"] == 1
    assert not stumbles


@pytest.mark.full
def test_what_is_set_aside_is_a_list_for_another_night(
    night: Made, scenes: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    hole = damaged(tmp_path / "in" / "hole.tif")
    shutil.copy(scenes / "bad.tif", tmp_path / "in")
    shutil.copy(scenes / "small0.tif", tmp_path / "in")
    workflow = night(inputs=str(tmp_path / "in"), on_failure={"retries": 0})
    aside = Path(run_night(workflow)["run"]) / "set-aside.txt"
    assert aside.read_text().count("\n#") + 1 == 2
    assert "# partial: the input can't be read at" in aside.read_text()
    again = Path(shutil.copy(aside, tmp_path / "list.txt"))
    for path in (hole, tmp_path / "in" / "bad.tif"):
        shutil.copy(scenes / "small1.tif", path)
    mended = night(inputs={"list": str(again)}, name="mended", outputs=str(tmp_path / "two"))
    assert run_night(mended)["complete"] == 2
    assert not (Path(mended.run_folder) / "set-aside.txt").exists()


def test_too_many_bad_inputs_stop_the_night(night: Made, scenes: Path) -> None:
    told = run_night(night(on_failure={"stop_after": 1}))
    assert told["status"] == 130
    assert "as many as were allowed" in told["why"]
    assert told["complete"] == 0


def test_too_little_disk_stops_before_anything_is_touched(
    night: Made, scenes: Path, tmp_path: Path
) -> None:
    """A scene of 600 000 x 600 000 that nobody has room for."""
    (tmp_path / "in").mkdir()
    vast = tmp_path / "in" / "vast.tif"
    profile = {"driver": "GTiff", "width": 600_000, "height": 600_000, "count": 1, "dtype": "uint8"}
    options = {"tiled": True, "blockxsize": 4096, "blockysize": 4096, "SPARSE_OK": "TRUE"}
    place = {"crs": "EPSG:32612", "transform": Affine(30, 0, 301905, 0, -30, 4154085)}
    with rasterio.open(vast, "w", **profile, **options, **place, BIGTIFF="YES"):
        pass
    told = run_night(night(inputs=str(tmp_path / "in"), options={"block": [65536, 65536]},
                           limits={"memory": "200GiB"}))  # fmt: skip
    assert (told["status"], told["left"]) == (130, 1)
    assert "free some space" in told["why"]
    assert not list((tmp_path / "out").glob("vast*"))


@pytest.mark.full
def test_another_workflow_is_refused_in_the_same_folder(night: Made, scenes: Path) -> None:
    one = {"inputs": str(scenes / "small0.tif")}
    run_night(night(**one))
    other = night(**one, options={"block": [1024, 1024], "taper": "linear"})
    outdated = [Path(other.run_folder) / name for name in REPORTS]
    for path in outdated:
        path.write_text("of the first")
    with pytest.raises(StoreError, match="another workflow"):
        run_night(other)
    assert all(path.exists() for path in outdated), "it is still the first's folder"
    assert run_night(other, overwrite=True)["complete"] == 1
    assert not any(path.exists() for path in outdated)
    aside = list(Path(other.run_folder).glob("journal-until-*"))
    assert Journal.read(aside[0])[-1]["event"] == "ended"
    assert journal_of(other)[0]["event"] == "begun"
    assert run_night(other)["resumed"] == 1


@pytest.mark.full
def test_more_inputs_go_on_with_the_same_night(night: Made, scenes: Path) -> None:
    run_night(night(inputs=str(scenes / "small0.tif")))
    told = run_night(night(inputs=str(scenes / "small[01].tif")))
    assert (told["status"], told["resumed"], told["complete"]) == (0, 1, 2)


@pytest.mark.full
def test_an_input_that_changed_is_told_of_and_made_anew_if_asked(
    night: Made, scenes: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    path = Path(shutil.copy(scenes / "small0.tif", tmp_path / "in"))
    workflow = night(inputs=str(path))
    assert run_night(workflow)["status"] == 0
    write_raster(path, address_raster((300, 333), 1, "uint8") + np.uint8(1))
    assert run_night(workflow)["refused"] == 1
    aside = [event for event in journal_of(workflow) if event["event"] == "refused"]
    assert "the input file has changed" in aside[0]["error"]
    assert run_night(workflow, overwrite=True)["complete"] == 1


KILLED = """
import os, signal, sys
from pathlib import Path
from seg_batch.batch.journal import open_run
with open_run(Path(sys.argv[1])):
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.full
def test_a_coordinator_killed_before_it_began_leaves_a_night_to_begin(
    night: Made, scenes: Path
) -> None:
    """Twice: it holds the folder and has told nothing of what it would do there."""
    workflow = night(inputs=str(scenes / "small0.tif"))
    Path(workflow.run_folder).mkdir(parents=True)
    for _ in range(2):
        command = [sys.executable, "-c", KILLED, workflow.run_folder]
        assert subprocess.run(command).returncode == -signal.SIGKILL
    assert [event["event"] for event in journal_of(workflow)] == ["taken_over"]
    assert run_night(workflow)["status"] == 0


def test_a_plan_says_of_how_many_machines_its_times_are(night: Made, scenes: Path) -> None:
    one = {"inputs": str(scenes / "small0.tif")}
    (alone,) = [line for line in plan_lines(plan_run(night(**one))) if "rough" in line]
    far = plan_run(night(**one, cluster="tcp://127.0.0.1:1"))  # nobody is asked
    (shared,) = [line for line in plan_lines(far) if "rough" in line]
    assert alone.endswith("times are rough")
    assert shared == f"{alone}, and those of one machine like this: several share them"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "no-such"}, "night: model: there is no model 'no-such'"),
        ({"model": ["probe", "no-such"]}, "there is no model 'no-such'"),
        ({"cluster": "no-such.yaml"}, "no-such.yaml: can't be read"),
        ({"inputs": {"list": "no-such.txt"}}, "no-such.txt: can't be read"),
    ],
)
def test_what_all_inputs_need_is_looked_for_before_any_is_touched(
    night: Made, changes: dict[str, Any], said: str
) -> None:
    workflow = night(**changes)
    unattended = partial(run_unattended, say=print, write=print)
    for done in (run_night, lambda w: unattended(w, Callback()), plan_run):
        with pytest.raises(RefusedError, match=said) as refused:
            done(workflow)
        assert refused.value.status == 2
    assert not Path(workflow.outputs.folder).exists()


def test_a_night_has_one_owner(night: Made, scenes: Path) -> None:
    workflow = night(inputs=str(scenes / "small0.tif"))
    Path(workflow.run_folder).mkdir(parents=True)
    with (
        open_run(Path(workflow.run_folder)),
        pytest.raises(BusyError, match="another segbatch run"),
    ):
        run_night(workflow)
    assert run_night(workflow)["status"] == 0


@pytest.mark.full
def test_volumes(night: Made, volumes: Path) -> None:
    told = run_night(night(inputs=str(volumes), options={}))
    assert (told["status"], told["complete"]) == (0, 2)
    assert np.all([path.stat().st_size > 0 for path in Path(told["run"]).glob("*.jsonl")])
