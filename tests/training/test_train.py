"""Training end to end: dataset, bundle, scores that predict and evaluate can confirm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import rasterio

from seg_batch.config.card import read_card
from seg_batch.config.command_options import TrainOverrides
from seg_batch.config.predict_options import PredictOptions
from seg_batch.config.recipe import read_recipe
from seg_batch.core.files import sha256
from seg_batch.datasets.build import make_patches
from seg_batch.datasets.patch_set import PatchSet
from seg_batch.evaluation.evaluate import evaluate_bundle
from seg_batch.evaluation.score import score
from seg_batch.inference.predict import predict_one
from seg_batch.inference.request import Request
from seg_batch.training.train import train
from tests.support.training.pairs import (
    TEST,
    bright_recipe,
    bright_scene,
    class_of,
    scene_pair,
    scene_recipe,
    volume_recipe,
    volumes,
)

FILES = {
    "model.keras",
    "card.json",
    "recipe.yaml",
    "split.json",
    "training.json",
    "history.csv",
    "history.json",
    "curves.png",
    "examples",
}


def knows(patches: np.ndarray) -> np.ndarray:
    """A predictor that reads the class off the address."""
    return np.eye(3, dtype=np.float32)[class_of(patches[..., 0])]


def test_scores_are_stitched_and_a_perfect_model_is_perfect(tmp_path: Path) -> None:
    held = {"test": {"boxes": [[[60, 10], [110, 130]]]}, "gap": 0}
    make_patches([scene_pair(tmp_path)], tmp_path / "d.zarr", scene_recipe(hold_out=held))
    patches = PatchSet(tmp_path / "d.zarr")
    regions, card = patches.held("test"), patches.recipe.card.card()
    found = score(regions, card, knows)
    assert found.total.sum() == 50 * 120
    assert found.accuracy == 1
    assert found.mean_dice_of_true == 1
    wrong = score(regions, card, lambda patches: np.roll(knows(patches), 1, -1))
    assert wrong.accuracy == 0


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A bundle trained on the bright scene: card, folders, truth."""
    folder = tmp_path_factory.mktemp("scene")
    pair, truth = bright_scene(folder)
    recipe = bright_recipe(fit={"steps": 30, "validate_every": 10, "checkpoint_every": 100})
    make_patches([pair], folder / "d.zarr", recipe)
    card = train(folder / "d.zarr", folder / "b", tensorboard=str(folder / "events"))
    return {"card": card, "folder": folder, "truth": truth, "recipe": recipe}


@pytest.mark.full
def test_a_bundle_is_whole_and_its_card_says_what_was_measured(scene: dict[str, Any]) -> None:
    bundle, card = scene["folder"] / "b", scene["card"]
    assert {path.name for path in bundle.iterdir()} == FILES
    assert not list(scene["folder"].glob("*.work"))
    assert not list(scene["folder"].glob(".*part"))
    assert read_card(bundle).model_dump(mode="json") == card
    assert card["weights_sha256"] == sha256(bundle / "model.keras")
    assert card["architecture"] == {"name": "anunet", "filters": [4, 8]}
    assert card["multiple"] == [2, 2]
    assert min(card["compute"]["activation_bytes"], card["compute"]["flops"]) > 0
    assert len(card["normalisation"]["mean"]) == len(card["normalisation"]["std"]) == 1
    assert read_recipe(bundle / "recipe.yaml") == scene["recipe"]
    assert card["split"] == json.loads((bundle / "split.json").read_text())
    assert card["split"]["boxes"]["scene"]["test"] == [[list(TEST[0]), list(TEST[1])]]
    assert card["border"]["overlap"]
    assert any((bundle / "examples").glob("*.png"))
    assert any(path.stat().st_size > 500 for path in (scene["folder"] / "events").iterdir())


@pytest.mark.full
def test_scores_are_those_of_evaluate_and_of_the_map(scene: dict[str, Any]) -> None:
    folder, scores = scene["folder"], scene["card"]["scores"]
    table = scores["test"]
    assert "scene [96:160,32:160]" in table["measured_on"]
    assert "scene [0:48,0:64]" in scores["validation"]["measured_on"]
    assert sum(map(sum, table["confusion"])) == 64 * 128
    assert set(table["classes"]) == {"dark", "bright"}
    assert scores["training"]["steps"] == 30
    exact = PredictOptions(precision="float32", patch="card", overlap="card")
    again = evaluate_bundle(folder / "b", folder / "d.zarr", split="test", options=exact)
    for name in ("overall", "classes", "confusion"):
        assert again["scores"][name] == table[name]
    assert again["calibration"] == table["calibration"]
    assert again["seams"] == table["seams"]
    request = Request(
        str(folder / "scene.tif"), str(folder / "map.tif"), model=str(folder / "b"), options=exact
    )
    predict_one(request)
    with rasterio.open(folder / "map.tif") as file:
        right = file.read(1) == scene["truth"]
    assert right.mean() > 0.9
    box = tuple(slice(a, b) for a, b in zip(*TEST, strict=True))
    assert table["overall"]["accuracy"]["mean"] == pytest.approx(right[box].mean(), abs=1e-4)


@pytest.mark.full
def test_the_best_checkpoint_is_the_one_in_the_bundle(scene: dict[str, Any]) -> None:
    rows = json.loads((scene["folder"] / "b" / "history.json").read_text())
    rows = rows if isinstance(rows, list) else rows["rows"]
    scored = {row["step"]: row["scores"]["score"] for row in rows if row.get("scores")}
    assert list(scored) == [10, 20, 30]
    told = scene["card"]["scores"]
    best = told["validation"]["overall"]["mean_dice"]["mean"]
    assert scored[told["training"]["best_step"]] == max(scored.values())
    assert best == pytest.approx(max(scored.values()), abs=1e-4)


@pytest.mark.full
def test_a_bundle_from_volumes_is_what_predict_takes(tmp_path: Path) -> None:
    recipe = volume_recipe(steps=60, validate_every=20)
    recipe = recipe.changed(augment={"flip": [0, 1, 2], "noise": 0.1})
    make_patches([str(volumes(tmp_path / "v", 5))], tmp_path / "d.zarr", recipe, cluster="inline")
    card = train(tmp_path / "d.zarr", tmp_path / "b")
    assert {path.name for path in (tmp_path / "b").iterdir()} == FILES
    table = card["scores"]["test"]
    found = table["overall"]["mean_dice"]["mean"]
    assert found > 0.6, "a bright ball is easy to learn"
    assert card["split"]["cases"]["case_2"] == "test"
    assert found == pytest.approx(_dice_of_product(tmp_path, "case_2"), abs=1e-4)
    more = TrainOverrides(settings=("fit.steps=2",))
    again = train(tmp_path / "d.zarr", tmp_path / "c", wishes=more, from_bundle=str(tmp_path / "b"))
    began = again["scores"]["validation"]["overall"]["mean_dice"]["mean"]
    assert began > 0.5, "it began where the other ended"
    start = {key: card[key] for key in ("name", "weights_sha256")}
    assert again["scores"]["training"]["from"] == start
    assert "from" not in card["scores"]["training"]


def _dice_of_product(folder: Path, case: str) -> float:
    """Of the product of ``predict`` on a case."""
    image, product = folder / "v" / "images" / f"{case}.nii.gz", folder / "out.nii.gz"
    options = PredictOptions(precision="float32")
    predict_one(Request(str(image), str(product), model=str(folder / "b"), options=options))
    truth = np.asarray(nibabel.load(folder / "v" / "labels" / f"{case}.nii.gz").dataobj)
    found = np.asarray(nibabel.load(product).dataobj)
    both = ((truth == 1) & (found == 1)).sum()
    return float(2 * both / ((truth == 1).sum() + (found == 1).sum()))
