"""Bad input of the command ``train``: one line, status 2, nothing left behind."""

from __future__ import annotations

import re
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import yaml
import zarr

from seg_batch.config.recipe import Recipe
from seg_batch.core import events
from seg_batch.core.callbacks import Callback
from seg_batch.core.errors import OutputError
from seg_batch.datasets.build import make_patches
from seg_batch.datasets.patch_set import PatchSet
from seg_batch.datasets.samples import Samples
from seg_batch.training.train import train
from seg_batch.training.training_set import Wishes
from tests.support.files import write_raster
from tests.support.training.pairs import bright_recipe, bright_scene, command, refused


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A pair's files, a recipe, the dataset cut by it."""
    folder = tmp_path_factory.mktemp("given")
    pair, _ = bright_scene(folder)
    image, _, label = pair.partition("=")
    recipe = written(folder / "recipe.yaml", bright_recipe())
    make_patches([pair], folder / "d.zarr", recipe)
    found = {"image": image, "label": label, "dataset": folder / "d.zarr", "recipe": recipe}
    return {name: Path(path) for name, path in found.items()}


def written(path: Path, recipe: Recipe | dict[str, Any]) -> Path:
    plain = recipe.model_dump(mode="json") if isinstance(recipe, Recipe) else recipe
    path.write_text(yaml.safe_dump(plain))
    return path


@pytest.fixture
def said(tmp_path: Path) -> Callable[..., str]:
    """The line that ``train`` refuses with; nothing is left in its folder."""
    out = tmp_path / "out"
    out.mkdir()

    def run(*arguments: object) -> str:
        line = refused("train", *arguments, "-o", out / "b", "-q")
        assert list(out.iterdir()) == []
        return line

    return run


def pair(image: Path, label: Path) -> str:
    return f"{image}={label}"


def test_what_nothing_is_held_out_of(
    given: dict[str, Path], said: Callable[..., str], tmp_path: Path
) -> None:
    both = pair(given["image"], given["label"])
    blind = written(tmp_path / "r.yaml", bright_recipe(hold_out={"validation": {}}))
    assert "hold_out.validation" in said(both, "--recipe", blind)
    make_patches([both], tmp_path / "d.zarr", blind)
    assert "hold_out.validation" in said(tmp_path / "d.zarr")
    everything = {"test": {"cases": ["scene"]}, "validation": {}}
    tests = written(tmp_path / "t.yaml", bright_recipe(hold_out=everything))
    assert "nothing is left to train on" in said(both, "--recipe", tests)


def test_pairs_that_can_not_be_learnt_from(
    given: dict[str, Path], said: Callable[..., str], tmp_path: Path
) -> None:
    with rasterio.open(given["label"]) as file:
        labels = file.read()
    how = ("--recipe", given["recipe"])
    one = write_raster(tmp_path / "one.tif", np.full_like(labels, 7))
    assert "only the class bright" in said(pair(given["image"], one), *how)
    assert "only the value 7" in said(pair(given["image"], one))
    small = write_raster(tmp_path / "small.tif", labels[:, :-3])
    assert "small.tif" in said(pair(given["image"], small), *how)
    strange = labels.copy()
    strange[0, 90, 90] = 9
    odd = write_raster(tmp_path / "odd.tif", strange)
    line = said(pair(given["image"], odd), *how)
    assert "odd.tif" in line
    assert "9" in line
    cut = tmp_path / "cut.tif"
    cut.write_bytes(given["image"].read_bytes()[:-4000])
    assert "cut.tif" in said(pair(cut, given["label"]), *how)
    assert "gone.tif" in said(pair(tmp_path / "gone.tif", given["label"]), *how)
    assert "nothing.zarr" in said(tmp_path / "nothing.zarr")


def test_a_dataset_cut_for_another_card(
    given: dict[str, Path], said: Callable[..., str], tmp_path: Path
) -> None:
    other = (
        "card.classes=[{id: 1, name: a, colour: [0, 0, 0]}, {id: 2, name: b, colour: [1, 1, 1]}]"
    )
    for line in (
        said(given["dataset"], "--set", other),
        said(given["dataset"], "--recipe", written(tmp_path / "r.yaml", _three_classes())),
    ):
        assert "was cut for another recipe (card.classes)" in line
    assert "(cut.overlap)" in said(given["dataset"], "--set", "cut.overlap=[8, 8]")
    assert "(hold_out)" in said(given["dataset"], "--set", "hold_out.gap=[9, 9]")
    assert "--align and --fold" in said(given["dataset"], "--align", "nearest")


def _three_classes() -> dict[str, Any]:
    names = ("dark", "bright", "other")
    return {
        "card": {"classes": [{"id": k, "name": n, "colour": [k] * 3} for k, n in enumerate(names)]}
    }


def test_names_that_do_not_exist(given: dict[str, Path], said: Callable[..., str]) -> None:
    for data in (
        (given["dataset"],),
        (pair(given["image"], given["label"]), "--recipe", given["recipe"]),
    ):
        assert "did you mean unetpp?" in said(*data, "--arch", "unet_pp")
        assert "did you mean dice?" in said(*data, "--set", "loss.terms=[{name: dicee}]")
        assert "did you mean batch?" in said(*data, "--set", "fit.batsh=3")
        assert "did you mean weight?" in said(
            *data, "--set", "loss.terms=[{name: dice, wieght: 2}]"
        )
        assert "no model 'nobody'" in said(*data, "--from", "nobody")
        assert "no model 'nobody'" in said(*data, "--teacher", "nobody")
        assert "fit.steps" in said(*data, "--steps", "-3")
    assert "recipe.yml" in said(given["dataset"], "--recipe", "recipe.yml")


@pytest.fixture
def dataset(given: dict[str, Path], tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(given["dataset"], tmp_path / "d.zarr"))


def spoil(chunk: Path) -> None:
    content = bytearray(chunk.read_bytes())
    content[-9:] = b"\0" * 9
    chunk.write_bytes(content)


@pytest.mark.full
def test_a_damaged_dataset_is_named_and_not_used(dataset: Path, said: Callable[..., str]) -> None:
    held = next(dataset.glob("held/*/labels/c.*"))
    whole = held.read_bytes()
    spoil(held)
    assert "what is held out of scene does not read back" in said(dataset)
    held.write_bytes(whole)
    for row in PatchSet(dataset).rows("training"):
        spoil(dataset / "image" / f"c.{row}.0.0.0")
    line = said(dataset)
    assert "d.zarr: patch" in line
    assert "cut the dataset anew" in line
    spoil(next((dataset / "histogram").rglob("c.*")))
    assert "its index does not read back" in said(dataset)


@pytest.mark.full
def test_values_that_are_no_numbers_are_named_and_the_last_checkpoint_stays(
    dataset: Path, tmp_path: Path
) -> None:
    patches = PatchSet(dataset)
    tiles = [Samples(patches, patches.recipe).describe(k) for k in range(16)]
    bad = next(k for k in range(8, 16) if tiles[k] not in tiles[:8])  # first seen in step 3 or 4
    y, _, x, _ = map(int, re.findall(r"\d+", tiles[bad]))
    (row,) = np.flatnonzero((patches.start == (y, x)).all(1))
    images = zarr.open_group(dataset, mode="r+")["image"]
    whole = images[row]
    images[row] = np.full_like(whole, np.nan)
    arguments = ("train", dataset, "-o", tmp_path / "b", "-q")
    line = refused(*arguments)
    assert f"the images of {tiles[bad]} hold values that are no numbers" in line
    kept = f"checkpoint-{bad // 4:08d}.json"
    assert f"checkpoint {bad // 4} is kept" in line
    assert (tmp_path / "b.work" / "fit" / kept).is_file()
    assert not (tmp_path / "b").exists()
    images[row] = whole
    command(*arguments)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "d.zarr"]


@contextmanager
def largest(size_bytes: int) -> Iterator[None]:
    """No file may grow beyond this; what a full disk is to a writer."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class Shrinks(Callback):
    """Lets files grow no further once a stage begins."""

    def __init__(self, stage: str) -> None:
        self.at = stage

    def on(self, event: events.Event) -> None:
        if event == events.Stage(self.at):
            limit = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, limit[1]))


@pytest.mark.full
def test_a_disk_that_refuses(given: dict[str, Path], tmp_path: Path) -> None:
    short = ("train", given["dataset"], "-o", tmp_path / "b", "-q", "--steps", 2)
    with largest(3000):
        assert "can't write" in refused(*short)
    assert list(tmp_path.iterdir()) == []
    wishes = Wishes(settings=("fit.steps=2",))
    with largest(10_000_000), pytest.raises(OutputError, match="can't write") as caught:
        train(given["dataset"], tmp_path / "b", wishes=wishes, callback=Shrinks("scoring test"))
    assert "\n" not in caught.value.message
    assert [path.name for path in tmp_path.iterdir()] == ["b.work"]
    command(*short)
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_a_place_that_is_taken_or_closed(given: dict[str, Path], tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine").write_text("")
    before = sorted(tmp_path.rglob("*"))
    for more in ((), ("--overwrite",)):
        assert "exists: give another output" in refused(
            "train", given["dataset"], "-o", taken, *more
        )
    closed = taken / "mine" / "b"
    assert "can't be written" in refused("train", given["dataset"], "-o", closed)
    assert sorted(tmp_path.rglob("*")) == before
