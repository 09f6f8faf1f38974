"""Seeing a training: its files can be read back, and the progress line tells the truth."""

from __future__ import annotations

import csv
import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from seg_batch.cli.display.bars import TrainBar, TrainingPace
from seg_batch.config.card import ClassInfo, ModelCard, Normalisation
from seg_batch.config.recipe import Recipe
from seg_batch.core import events
from seg_batch.core.units import show_s
from seg_batch.datasets.build import make_patches
from seg_batch.datasets.patch_set import PatchSet
from seg_batch.nn.training.history import Row
from seg_batch.training.curves import running_mean, write_curves, write_history
from seg_batch.training.examples import ExamplePatches, Examples, choose_examples
from seg_batch.training.provenance import configuration_hash, data_hash, training_summary
from tests.support.training.pairs import volume_recipe, volumes

pytestmark = pytest.mark.full  # left to make test: whole runs, or many networks

COLOURS = ((0, 0, 0), (230, 159, 0), (86, 180, 233))


def rows(n: int = 40, every: int = 10) -> list[Row]:
    """A row each 20 steps; the score is best at the second validation."""
    return [
        Row(
            step=20 * k,
            loss=1 / k,
            lr=1e-3,
            seconds=6.0 * k,
            wait=0.01,
            scores={"score": 0.9 - abs(k - 2 * every) / 100, "accuracy": 0.5}
            if k % every == 0
            else None,
        )
        for k in range(1, n + 1)
    ]


def card(rank: int) -> ModelCard:
    classes = tuple(ClassInfo(id=k, name=f"class {k}", colour=c) for k, c in enumerate(COLOURS))
    kind: Any = {2: "raster", 3: "volume"}[rank]
    rule = Normalisation(kind="identity")
    return ModelCard(name="m", kind=kind, rank=rank, classes=classes, normalisation=rule)  # type: ignore[arg-type]


def pixels(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return np.moveaxis(file.read()[:3], 0, -1)


def test_a_history_reads_back_as_it_was(tmp_path: Path) -> None:
    write_history(tmp_path, rows())
    back = [Row(**row) for row in json.loads((tmp_path / "history.json").read_text())]
    assert back == rows()
    with (tmp_path / "history.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [float(line["loss"]) for line in table] == [row.loss for row in rows()]
    told = [float(line["accuracy"]) for line in table if line["accuracy"]]
    assert told == [0.5] * 4


def test_curves_are_a_picture_of_1000_pixels_without_pyplot(tmp_path: Path) -> None:
    before = "matplotlib.pyplot" in sys.modules
    write_curves(tmp_path / "a.png", rows(), best_step=400)
    write_curves(tmp_path / "b.png", rows(), best_step=200)
    write_curves(tmp_path / "c.png", [Row(1, math.nan, 1e-3, 1.0)])  # a run that died at once
    a, b = pixels(tmp_path / "a.png"), pixels(tmp_path / "b.png")
    assert a.shape[1] == 1000
    assert (a != b).any(), "the best step is marked"
    assert ("matplotlib.pyplot" in sys.modules) == before


def test_the_running_mean_is_the_mean_of_a_window() -> None:
    values = np.random.default_rng(1).normal(size=101)
    found, half = running_mean(values, 0.1), 5
    slow = [values[max(0, k - half) : k + half + 1].mean() for k in range(101)]
    np.testing.assert_allclose(found, slow, rtol=1e-12)


@pytest.mark.parametrize("rank", [2, 3])
def test_examples_show_truth_and_prediction_in_the_colours_of_the_card(
    tmp_path: Path, rank: int
) -> None:
    rng = np.random.default_rng(3)
    shape = (2, *(20, 24, 28)[:rank])
    truth = np.zeros(shape, int)
    truth[(slice(None), *(slice(6, 14),) * rank)] = 1
    found = np.where(truth == 1, 2, 0)
    x = rng.normal(size=(*shape, 4))
    shown = ExamplePatches(x, truth, np.ones(shape, bool), ("case a", "case b"))
    paths = Examples(tmp_path / "examples", shown, card(rank))(40, lambda _: np.eye(3)[found])
    assert [p.name for p in paths] == ["step_000040_1.png", "step_000040_2.png"]
    image = pixels(paths[0])
    third = image.shape[1] // 3
    panels = [image[:-60, k * third : (k + 1) * third] for k in range(3)]  # without the legend
    assert not (panels[0] == COLOURS[1]).all(-1).any()
    assert (panels[1] == COLOURS[1]).all(-1).sum() > 500
    assert not (panels[1] == COLOURS[2]).all(-1).any()
    assert (panels[2] == COLOURS[2]).all(-1).sum() > 500


def test_time_left_is_that_of_the_nearer_limit() -> None:
    pace = TrainingPace()
    for row in rows():
        pace.add(row)  # 20 steps each 6 s
    assert pace.steps_per_s == pytest.approx(20 / 6)
    assert pace.left_s(1000, None) == pytest.approx((1000 - 800) * 6 / 20)
    assert pace.left_s(100_000, 5) == pytest.approx(300 - 240)
    assert pace.done(1000, 5) == pytest.approx(max(800 / 1000, 240 / 300))
    assert pace.best == (0.9, 400)
    assert "200 samples/s" in " ".join(pace.words(1000, 60))


def test_after_a_resume_the_speed_is_that_of_now() -> None:
    pace = TrainingPace()
    pace.add(Row(1000, 1.0, 1e-3, 5000.0))
    assert pace.steps_per_s == pytest.approx(0.2)  # better than nothing
    pace.add(Row(1020, 1.0, 1e-3, 5002.0))
    assert pace.steps_per_s == pytest.approx(10)


def test_time_is_shown_as_on_a_clock() -> None:
    assert [show_s(v) for v in (5, 65.4, 3725, math.inf)] == ["0:05", "1:05", "1:02:05", "?"]


def test_without_a_terminal_validations_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with TrainBar() as bar:
        bar.on(events.Stage("training"))
        for row in rows():
            bar.on(events.TrainingRow(**vars(row), steps=800, per_step=6))
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "segbatch: training"
    assert len(told) == 1 + 1 + 4, "the stage, the first row, four validations"
    pattern = r"segbatch: step 400/800, loss 0\.0500, best 0\.9000 at 400, 20 samples/s, waiting 1%, 2:00 left"
    assert re.fullmatch(pattern, told[3])
    with TrainBar(quiet=True) as bar:
        bar.on(events.TrainingRow(**vars(rows()[9]), steps=800))
    assert capsys.readouterr().err == ""


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> tuple[PatchSet, Recipe]:
    folder = tmp_path_factory.mktemp("trained")
    recipe = volume_recipe()
    make_patches([str(volumes(folder / "set", 4))], folder / "out", recipe, cluster="inline")
    return PatchSet(folder / "out"), recipe


def test_examples_are_held_out_patches_as_the_model_sees_them(
    cut: tuple[PatchSet, Recipe], tmp_path: Path
) -> None:
    patches, recipe = cut
    drafted = recipe.card.card(patches.normaliser)
    regions = patches.held("validation")
    shown = choose_examples(regions, drafted)
    assert shown.x.shape == (1, 24, 24, 24, 1)
    assert shown.names == ("case_1",)
    z, y, x = regions[0].extent  # smaller than the patch: it lies at the start, mirrored beyond
    labels, valid = regions[0].truth(regions[0].box)
    np.testing.assert_array_equal(shown.truth[0, :z, :y, :x], labels)
    assert shown.valid[0].sum() == valid.sum() == z * y * x
    given = []

    def predict(x: np.ndarray) -> np.ndarray:
        given.append(x)
        return np.eye(2)[shown.truth]

    assert len(Examples(tmp_path, shown, drafted)(20, predict)) == 1
    np.testing.assert_array_equal(given[0], shown.x)


def test_a_summary_counts_each_held_out_voxel_once(cut: tuple[PatchSet, Recipe]) -> None:
    patches, recipe = cut
    found = training_summary(patches, recipe, rows(), 400)
    json.dumps(found, allow_nan=False)
    for part, case in (("validation", "case_1"), ("test", "case_2")):
        told = found["parts"][part]
        assert told["cases"] == [case]
        labels = patches.held(part)[0].group["labels"][:]
        assert list(told["voxels"].values()) == np.bincount(labels.ravel()).tolist()
    assert found["parts"]["training"]["cases"] == ["case_0", "case_3"]
    assert found["samples"] == 800 * recipe.fit.batch
    assert found["minutes"] == 4.0
    assert found["waited"] == 0.01


@pytest.mark.full
def test_hashes_follow_bytes_and_settings_and_nothing_else(
    cut: tuple[PatchSet, Recipe], tmp_path: Path
) -> None:
    patches, recipe = cut
    folder = volumes(tmp_path / "elsewhere", 4)
    make_patches([str(folder)], tmp_path / "a", recipe, cluster="inline")
    assert data_hash(PatchSet(tmp_path / "a")) == data_hash(patches)
    image = folder / "images" / "case_0.nii.gz"
    image.write_bytes((folder / "images" / "case_3.nii.gz").read_bytes())
    make_patches([str(folder)], tmp_path / "b", recipe, cluster="inline")
    assert data_hash(PatchSet(tmp_path / "b")) != data_hash(patches)
    same = configuration_hash(recipe)
    assert re.fullmatch("[0-9a-f]{12}", same)
    assert configuration_hash(recipe.changed(card={"description": "other words"})) == same
    assert configuration_hash(recipe.changed(fit={"steps": 3})) != same


def test_event_files_hold_every_number(tmp_path: Path) -> None:
    from seg_batch.nn.backend import tf
    from seg_batch.nn.training.tensorboard import TensorBoardLog

    history = rows(4, 2)
    with TensorBoardLog(tmp_path / "logs") as board:
        for row in history:
            board.on(events.TrainingRow(**vars(row), steps=4))
    (path,) = (tmp_path / "logs").iterdir()
    scalars: dict[tuple[str, int], float] = {}
    for event in tf.compat.v1.train.summary_iterator(str(path)):
        for value in event.summary.value:
            scalars[value.tag, event.step] = float(tf.make_ndarray(value.tensor))
    for row in history:
        assert scalars["train/loss", row.step] == pytest.approx(row.loss)
        assert scalars["train/wait", row.step] == pytest.approx(row.wait)
    told = {step for tag, step in scalars if tag == "validation/score"}
    assert told == {row.step for row in history if row.scores}
