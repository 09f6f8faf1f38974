"""A training killed anywhere and given again ends with the weights of one that nobody killed."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seg_batch.config.command_options import TrainOverrides
from seg_batch.core import events
from seg_batch.core.callbacks import Callback
from seg_batch.core.errors import OutputError, StoreError
from seg_batch.core.files import file_lock
from seg_batch.datasets.build import make_patches
from seg_batch.nn.loading import load_model
from seg_batch.training.train import train
from tests.support.training.pairs import bright_recipe, bright_scene

KILLED = """
import os, signal, sys
def watch(event, arguments):
    if event == "os.rename" and sys.argv[1] in str(arguments[1]):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
from seg_batch.cli.main import app
app(sys.argv[2:], standalone_mode=False)
"""


def weights(bundle: Path) -> str:
    """The sha256 of all weights; a model file also holds the date."""
    digest = hashlib.sha256()
    for array in load_model(bundle / "model.keras").get_weights():
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A training from a manifest that ran through."""
    folder = tmp_path_factory.mktemp("whole")
    bright_scene(folder)
    manifest, recipe = folder / "cases.csv", folder / "recipe.yaml"
    manifest.write_text("id,image,label\nscene,scene.tif,label.tif\n")
    recipe.write_text(bright_recipe().model_dump_json())
    train(manifest, folder / "b", wishes=TrainOverrides(recipe=recipe))
    return {"data": manifest, "recipe": recipe, "sha256": weights(folder / "b"), "folder": folder}


def killed(where: str, *arguments: object) -> None:
    """The command in a process that dies as it moves a file to a path with ``where`` in it."""
    command = [sys.executable, "-c", KILLED, where, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.full
def test_killed_while_cutting_and_while_training(whole: dict[str, Any], tmp_path: Path) -> None:
    bundle, work = tmp_path / "b", tmp_path / "b.work"
    given = ("train", whole["data"], "-o", bundle, "--recipe", whole["recipe"], "-q")
    killed("done/tiles", *given)
    assert (work / "patches.zarr.work").is_dir()
    killed("checkpoint-00000003.json", *given)
    assert sorted(path.stem for path in (work / "fit").glob("checkpoint-*.json")) == [
        "checkpoint-00000001",
        "checkpoint-00000002",
    ]
    assert not bundle.exists()
    (tmp_path / "b.part" / "b").mkdir(
        parents=True
    )  # as a kill leaves it while the bundle is filled
    _damaged_is_named(work / "fit" / "checkpoint-00000002.npz", whole, bundle)
    assert weights(bundle) == whole["sha256"]
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def _damaged_is_named(arrays: Path, whole: dict[str, Any], bundle: Path) -> None:
    """Damage costs a step, and says so."""
    content = bytearray(arrays.read_bytes())
    content[len(content) // 2] ^= 1
    arrays.write_bytes(content)
    with pytest.warns(UserWarning, match="checkpoint-00000002.json is damaged"):
        train(whole["data"], bundle, wishes=TrainOverrides(recipe=whole["recipe"]))


@pytest.mark.full
def test_a_dataset_cut_before_gives_the_same_weights(whole: dict[str, Any], tmp_path: Path) -> None:
    make_patches([whole["data"]], tmp_path / "d.zarr", whole["recipe"])
    train(tmp_path / "d.zarr", tmp_path / "b")
    assert weights(tmp_path / "b") == whole["sha256"]


class StopError(Exception):
    """Ends a training."""


class Stops(Callback):
    """Ends the training at a row."""

    def on(self, event: events.Event) -> None:
        if isinstance(event, events.TrainingRow):
            raise StopError


@pytest.mark.slow
def test_another_training_in_the_way_is_refused_or_begun_anew(
    whole: dict[str, Any], tmp_path: Path
) -> None:
    bundle = tmp_path / "b"
    for settings in (("fit.seed=5",), ("cut.overlap=[8, 8]",)):
        other = TrainOverrides(recipe=whole["recipe"], settings=settings)
        with pytest.raises(StopError):
            train(whole["data"], bundle, wishes=other, callback=Stops())
        assert any((tmp_path / "b.work" / "fit").glob("checkpoint-*"))
        same = TrainOverrides(recipe=whole["recipe"])
        with pytest.raises((StoreError, OutputError), match="--overwrite"):
            train(whole["data"], bundle, wishes=same)
        assert any((tmp_path / "b.work" / "fit").glob("checkpoint-*")), "the other one is kept"
        train(whole["data"], bundle, wishes=same, overwrite=True)
        assert weights(bundle) == whole["sha256"]
        assert [path.name for path in tmp_path.iterdir()] == ["b"]
        bundle.rename(tmp_path.with_name(f"{tmp_path.name}-{settings[0]}"))


@pytest.mark.slow
def test_overwrite_goes_on_with_the_same_training(whole: dict[str, Any], tmp_path: Path) -> None:
    """A killed command with --overwrite, given again, does not begin anew."""
    bundle, wishes = tmp_path / "b", TrainOverrides(recipe=whole["recipe"])
    bundle.mkdir()
    (bundle / "card.json").write_text("an earlier bundle")
    with pytest.raises(StopError):
        train(whole["data"], bundle, wishes=wishes, overwrite=True, callback=Stops())
    assert (bundle / "card.json").read_text() == "an earlier bundle"
    first = min((tmp_path / "b.work" / "fit").glob("checkpoint-*.json"))
    before = first.stat().st_mtime_ns
    with pytest.raises(StopError):
        train(whole["data"], bundle, wishes=wishes, overwrite=True, callback=Stops())
    assert first.stat().st_mtime_ns == before
    train(whole["data"], bundle, wishes=wishes, overwrite=True)
    assert weights(bundle) == whole["sha256"]


@pytest.mark.full
def test_two_at_once_are_refused(whole: dict[str, Any], tmp_path: Path) -> None:
    work = tmp_path / "b.work"
    work.mkdir()
    with file_lock(work, OSError()), pytest.raises(OutputError, match="another segbatch run"):
        train(whole["data"], tmp_path / "b", wishes=TrainOverrides(recipe=whole["recipe"]))
    assert work.is_dir(), "it is the other one's"
    os.rmdir(work)
