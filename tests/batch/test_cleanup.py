"""What attempts leave beside a product: those at work keep it, the rest is removed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from seg_batch.batch.dispatch import attempt_at
from seg_batch.config.workflow import Workflow
from seg_batch.core.errors import BusyError
from seg_batch.executors.faults import fault_of
from seg_batch.inference.outputs import Outputs
from seg_batch.inference.request import Request
from seg_batch.inference.resume import clean, leaving_nothing_behind
from seg_batch.io.sinks.work_store import WorkStore
from tests.support.batch.nights import run_night
from tests.support.io.stores import store_spec


def attempt(product: Path) -> Outputs:
    return Outputs(product, attempt_at(Request(str(product))).attempt)


def of_another(path: Path, process: int, host: str | None = None) -> Path:
    """The name of a folder as a process of that number would have made it."""
    name = path.name.replace(f"-{os.getpid()}-", f"-{process}-")
    return path.with_name(name.replace(os.uname().nodename, host or os.uname().nodename))


def test_an_attempt_at_work_keeps_its_store_when_another_one_ends(tmp_path: Path) -> None:
    """Whatever machine it is on: a worker that outlived its coordinator, say."""
    outputs = attempt(tmp_path / "x.tif")
    here, staged = (
        of_another(p, os.getpid(), "far-away") for p in (outputs.store, outputs.staging)
    )
    staged.mkdir()
    with WorkStore.create(here, store_spec((8, 8), (4, 4))).lock():
        clean(Outputs(outputs.product))
        assert set(tmp_path.iterdir()) == {here, staged}
    clean(Outputs(outputs.product))
    assert not list(tmp_path.iterdir())


def test_an_attempt_that_is_about_to_hold_its_store_keeps_it_while_its_process_lives(
    tmp_path: Path,
) -> None:
    outputs = attempt(tmp_path / "x.tif")
    dead = subprocess.Popen(["true"])
    dead.wait()
    gone = [of_another(path, dead.pid) for path in (outputs.store, outputs.staging)]
    far = of_another(outputs.staging, os.getpid(), "far-away")
    for path in (outputs.store, outputs.staging, *gone, far):
        path.mkdir()
    clean(Outputs(outputs.product))
    assert set(tmp_path.iterdir()) == {outputs.store, outputs.staging}


def test_a_store_that_was_taken_away_may_be_made_again(tmp_path: Path) -> None:
    store = WorkStore.create(tmp_path / "x.work.zarr", store_spec((8, 8), (4, 4)))
    shutil.rmtree(store.path)
    with pytest.raises(BusyError) as raised:
        store.new_map()
    assert fault_of(raised.value) == "passing", "the input is well"


@pytest.mark.full
def test_a_night_leaves_what_others_are_at_in_its_folder(
    night: Callable[..., Workflow], scenes: Path
) -> None:
    workflow = night(inputs=str(scenes / "small0.tif"))
    assert run_night(workflow)["complete"] == 1
    others = attempt(Path(workflow.outputs.folder) / "small0_labels.tif").store
    others.mkdir()
    assert run_night(workflow)["resumed"] == 1
    assert others.exists()


def test_an_attempt_that_fails_takes_what_killed_ones_left_here(tmp_path: Path) -> None:
    outputs, dead = attempt(tmp_path / "x.tif"), subprocess.Popen(["true"])
    dead.wait()
    gone = of_another(outputs.staging, dead.pid)
    far = of_another(outputs.staging, dead.pid, "far-away")
    for path in (gone, far):
        path.mkdir()
    with pytest.raises(ValueError, match="it fails"), leaving_nothing_behind(outputs):
        raise ValueError("it fails")
    assert list(tmp_path.iterdir()) == [far]


@pytest.mark.full
def test_what_killed_attempts_were_making_is_taken_away(
    night: Callable[..., Workflow], scenes: Path
) -> None:
    """They lost the race, and nobody comes after them at this input."""
    workflow = night(inputs=str(scenes / "small0.tif"))
    assert run_night(workflow)["complete"] == 1
    product = Path(workflow.outputs.folder) / "small0_labels.tif"
    made = set(product.parent.iterdir())
    dead = subprocess.Popen(["true"])
    dead.wait()
    store = of_another(attempt(product).store, dead.pid)
    mine = product.with_name("notes.part")
    for path in (
        store.with_name(f"{store.name}.part-{dead.pid}"),
        product.with_name(f"{product.name}.part"),
        product.with_name("small0_labels_probabilities.tif.part"),
        mine,
    ):
        (path / "half").mkdir(parents=True)
    assert run_night(workflow)["resumed"] == 1
    assert set(product.parent.iterdir()) == made | {mine}


@pytest.mark.full
def test_names_that_libraries_stumble_over(
    night: Callable[..., Workflow], scenes: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in (" blank.tif", "b.tif", os.fsdecode(b"\xff.tif")):
        shutil.copy(scenes / "small0.tif", folder / name)
    (folder / "bad\nname.tif").write_text("no image")
    workflow = night(inputs=str(folder))
    out = Path(workflow.outputs.folder)
    out.mkdir()
    notes = out / "b_labels.tif.try-again.txt"
    notes.write_text("mine")
    told = run_night(workflow)
    assert (told["complete"], told["refused"]) == (2, 2)
    assert notes.exists(), "no attempt of ours"
    aside = Path(workflow.run_folder, "set-aside.txt").read_bytes()
    assert aside.count(b"rename it") == 1
    named = [line for line in aside.splitlines() if not line.startswith(b"#")]
    assert named == [os.fsencode(folder) + b"/\xff.tif"]
