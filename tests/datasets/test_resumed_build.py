"""A dataset is the same whatever the workers and the size of a task, and wherever a run was killed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

from seg_batch.config.recipe import Recipe
from seg_batch.core import events
from seg_batch.core.callbacks import Callback
from seg_batch.core.errors import InputError, OutputError, StoreError
from seg_batch.datasets.build import make_patches
from seg_batch.datasets.patch_set import PatchSet
from seg_batch.datasets.work_folder import work_folder
from tests.support.patience import Gate
from tests.support.training.pairs import scene_pair, scene_recipe, volume_recipe, volumes

pytestmark = pytest.mark.full  # of real size, or killed for real

HELD = {
    "test": {"boxes": [[[60, 0], [110, 130]]]},
    "validation": {"boxes": [[[0, 90], [40, 130]]]},
    "gap": 4,
}
SMALL = 30_000  # bytes in a task: some five patches


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


class Killed(BaseException):
    """Ends a run at an event, as an interrupt would."""


class Fuse(Callback):
    """Ends the run at its ``n``-th event."""

    def __init__(self, n: int) -> None:
        self.left = n

    def on(self, event: events.Event) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed


def scene(folder: Path) -> tuple[list[str], Recipe]:
    return [scene_pair(folder)], scene_recipe(
        hold_out=HELD, cut={"patch": [40, 40], "overlap": [30, 30]}
    )


def test_wherever_a_run_ends_the_same_command_finishes_it(tmp_path: Path) -> None:
    given, recipe = scene(tmp_path)
    make_patches(given, tmp_path / "whole.zarr", recipe)
    expected, out = content(tmp_path / "whole.zarr"), tmp_path / "d.zarr"
    ended = 0
    for n in range(0, 100, 2):
        fuse = Fuse(n)
        try:
            make_patches(given, out, recipe, callback=fuse, task_bytes=SMALL)
        except Killed:
            ended += 1
            assert not out.exists()
            continue
        break
    assert ended > 3
    assert fuse.left >= 0, "it was finished by a run that was not ended"
    # Task size is in the fingerprint, and nowhere else.
    found = content(out)
    assert {k for k in expected if expected[k] != found.get(k)} <= {"zarr.json"}
    assert set(expected) == set(found)
    assert not work_folder(out).exists()


def test_each_run_does_only_what_is_left(tmp_path: Path) -> None:
    given, recipe = scene(tmp_path)
    out = tmp_path / "d.zarr"
    with pytest.raises(Killed):
        make_patches(given, out, recipe, callback=Fuse(9), task_bytes=SMALL)
    done = {p: p.stat().st_mtime_ns for p in (work_folder(out) / "done").glob("tiles*")}
    chunks = {p: p.stat().st_mtime_ns for p in (work_folder(out) / "dataset/image").glob("c.*")}
    assert done
    assert chunks
    with pytest.raises(Killed):
        make_patches(given, out, recipe, callback=Fuse(6), task_bytes=SMALL)
    assert {p: p.stat().st_mtime_ns for p in done} == done
    finished = [p for p, t in chunks.items() if p.stat().st_mtime_ns == t]
    assert len(finished) >= len(chunks) - 12, "at most the two tasks in flight were done twice"


KILLED = """
import sys
from pathlib import Path
from seg_batch.config.recipe import read_recipe
from seg_batch.datasets.build import make_patches
make_patches([sys.argv[1]], sys.argv[2], Path(sys.argv[3]), task_bytes=int(sys.argv[4]))
"""


@pytest.mark.parametrize("receipts", [1, 4])
def test_a_killed_process_leaves_what_the_next_one_finishes(tmp_path: Path, receipts: int) -> None:
    given, recipe = scene(tmp_path)
    (tmp_path / "r.json").write_text(recipe.model_dump_json())
    make_patches(given, tmp_path / "whole.zarr", recipe, task_bytes=SMALL)
    out = tmp_path / "d.zarr"
    arguments = [given[0], str(out), str(tmp_path / "r.json"), str(SMALL)]
    gate = Gate(tmp_path, f"{work_folder(out)}/done/*.json", after=receipts)
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, *arguments], env={**os.environ, **gate.environment}
    ) as run:
        gate.wait(run)
        run.kill()
    assert not out.exists()
    make_patches(given, out, recipe, task_bytes=SMALL)
    assert content(out) == content(tmp_path / "whole.zarr")
    assert not work_folder(out).exists()


def test_killed_between_moving_and_tidying_up(tmp_path: Path) -> None:
    """The three moments around the last moves, as a kill leaves them."""
    given, recipe = scene(tmp_path)
    out, work = tmp_path / "d.zarr", tmp_path / "d.zarr.work"
    with pytest.raises(Killed):
        make_patches(given, out, recipe, callback=Fuse(9))  # the last stage, before the moves
    shutil.copytree(work, tmp_path / "kept")
    made = make_patches(given, out, recipe)
    expected = content(out)
    # Moved, not yet tidied up.
    shutil.copytree(tmp_path / "kept", work)
    shutil.rmtree(work / "dataset")
    digest = PatchSet(out).fingerprint
    (work / "done" / "published.json").write_text(f'{{"digest": "{digest}", "found": {{}}}}')
    assert make_patches(given, out, recipe) == made
    assert content(out) == expected
    assert not work.exists()
    # The earlier result stepped aside, the new one not yet in its place.
    shutil.copytree(tmp_path / "kept", work)
    out.rename(work / "earlier")
    assert make_patches(given, out, recipe, overwrite=True) == made
    assert content(out) == expected
    assert not work.exists()


def test_another_plan_is_refused_and_overwrite_begins_anew(tmp_path: Path) -> None:
    given, recipe = scene(tmp_path)
    out = tmp_path / "d.zarr"
    with pytest.raises(Killed):
        make_patches(given, out, recipe, callback=Fuse(6), task_bytes=SMALL)
    other = recipe.changed(cut={"overlap": [16, 16]})
    with pytest.raises(StoreError, match=r"another dataset \(other cut\)"):
        make_patches(given, out, other, task_bytes=SMALL)
    os.utime(tmp_path / "label.tif")
    with pytest.raises(StoreError, match="case image"):
        make_patches(given, out, recipe, task_bytes=SMALL)
    make_patches(given, out, other, task_bytes=SMALL, overwrite=True)
    assert PatchSet(out).recipe == other
    assert not work_folder(out).exists()


def test_a_folder_that_is_not_ours_stays(tmp_path: Path) -> None:
    given, recipe = scene(tmp_path)
    work = tmp_path / "d.zarr.work"
    work.mkdir()
    (work / "mine.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="no work folder of segbatch"):
            make_patches(given, tmp_path / "d.zarr", recipe, overwrite=overwrite)
    assert (work / "mine.txt").read_text() == "mine"


def test_a_finished_dataset_of_the_same_plan_is_used_again(tmp_path: Path) -> None:
    given, recipe = scene(tmp_path)
    out = tmp_path / "d.zarr"
    made = make_patches(given, out, recipe, reuse=True)
    before = {p: p.stat().st_mtime_ns for p in (out / "image").iterdir()}
    other = recipe.changed(fit={"steps": 7})
    assert make_patches(given, out, other, reuse=True) == made
    assert {p: p.stat().st_mtime_ns for p in (out / "image").iterdir()} == before
    assert PatchSet(out).recipe.fit.steps == 7
    with pytest.raises(OutputError, match="exists"):
        make_patches(given, out, recipe.changed(cut={"overlap": [16, 16]}), reuse=True)


@pytest.mark.parametrize("workers", [2])
def test_two_workers_cut_one_scene_as_one_does(tmp_path: Path, workers: int) -> None:
    given, recipe = scene(tmp_path)
    make_patches(given, tmp_path / "one.zarr", recipe, cluster="inline", task_bytes=SMALL)
    options = {"cluster": "local", "workers": workers, "task_bytes": SMALL}
    make_patches(given, tmp_path / "two.zarr", recipe, **options)  # type: ignore[arg-type]
    assert content(tmp_path / "one.zarr") == content(tmp_path / "two.zarr")


def test_compressed_volumes_of_several_tasks_share_a_copy_and_leave_none(tmp_path: Path) -> None:
    folder = [str(volumes(tmp_path / "v", 3))]
    made = volume_recipe().changed(
        card={"patch": [8, 8, 8], "overlap": [0, 0, 0]},
        cut={"patch": [8, 8, 8], "overlap": [0, 0, 0]},
    )
    make_patches(folder, tmp_path / "one.zarr", made)
    make_patches(folder, tmp_path / "two.zarr", made, task_bytes=5000)
    one, two = content(tmp_path / "one.zarr"), content(tmp_path / "two.zarr")
    assert {k for k in one if one[k] != two.get(k)} == {"zarr.json"}
    assert not list(tmp_path.glob("*.work"))


def test_a_damaged_or_older_dataset_is_named_and_not_used(tmp_path: Path) -> None:
    given, recipe = scene(tmp_path)
    out = tmp_path / "d.zarr"
    make_patches(given, out, recipe)
    patches = PatchSet(out)
    row = int(patches.rows("training")[0])
    chunk = out / "image" / f"c.{row}.0.0.0"
    chunk.write_bytes(chunk.read_bytes()[:-9] + b"\0" * 9)
    with pytest.raises(InputError, match=f"patch {row} does not read back"):
        patches.read(row)
    zarr.open_group(out, mode="r+").attrs["version"] = 1
    with pytest.raises(InputError, match="version 1, this segbatch reads 2"):
        PatchSet(out)


def test_receipts_of_arrays_that_are_gone_count_for_nothing(tmp_path: Path) -> None:
    given, recipe = scene(tmp_path)
    make_patches(given, tmp_path / "whole.zarr", recipe)
    out, work = tmp_path / "d.zarr", tmp_path / "d.zarr.work"
    with pytest.raises(Killed):
        make_patches(given, out, recipe, callback=Fuse(8), task_bytes=SMALL)
    assert len(list((work / "done").glob("*.json"))) > 2
    (work / "done" / "laid-out.json").unlink()  # as a kill would, while the folder is removed
    make_patches(given, out, recipe, task_bytes=SMALL)
    one, two = content(tmp_path / "whole.zarr"), content(out)
    assert {k for k in one if one[k] != two.get(k)} == {"zarr.json"}


def test_only_a_dataset_is_overwritten(tmp_path: Path) -> None:
    given, recipe = scene(tmp_path)
    out = tmp_path / "image.zarr"
    zarr.create_array(out, shape=(3,), dtype="u1", attributes={"kept": True})
    with pytest.raises(OutputError, match=r"image\.zarr exists: give another output"):
        make_patches(given, out, recipe, overwrite=True)
    assert zarr.open_array(out, mode="r").attrs["kept"]


def test_a_dataset_says_which_share_of_a_patch_is_labelled(tmp_path: Path) -> None:
    given, recipe = scene(tmp_path)
    make_patches(given, tmp_path / "d.zarr", recipe)
    patches = PatchSet(tmp_path / "d.zarr")
    np.testing.assert_allclose(
        patches.valid, patches.histogram.sum(1) / np.prod(patches.patch), rtol=1e-6
    )
