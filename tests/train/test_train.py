"""Training end to end: dataset, bundle, scores that predict can confirm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from seg_batch.card import read_card
from seg_batch.dataset import PatchSet
from seg_batch.errors import InputError, OutputError
from seg_batch.verbs.patches import make_patches
from seg_batch.verbs.scoring import score
from seg_batch.verbs.train import train
from tests.train.made import class_of, scene_pair, scene_recipe, volume_recipe, volumes


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
    assert found.mean_dice == 1
    wrong = score(regions, card, lambda patches: np.roll(knows(patches), 1, -1))
    assert wrong.accuracy == 0


def dataset(folder: Path, **fit: Any) -> Path:
    path = folder / "d.zarr"
    cases = volumes(folder / "v", 5)
    make_patches([str(cases)], path, volume_recipe(**fit), cluster="inline")
    return path


def test_a_dataset_without_validation_is_refused(tmp_path: Path) -> None:
    make_patches([scene_pair(tmp_path)], tmp_path / "d.zarr", scene_recipe())
    with pytest.raises(InputError, match="validation"):
        train(tmp_path / "d.zarr", tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_what_can_not_be_trained_leaves_nothing(tmp_path: Path) -> None:
    path = dataset(tmp_path, filters=[2] * 6)
    before = {p.name for p in tmp_path.iterdir()}
    with pytest.raises(InputError, match="multiple of 32"):
        train(path, tmp_path / "b", steps=1)
    with pytest.raises(InputError, match="--arch"):
        train(path, tmp_path / "b", arch="unet")
    (tmp_path / "b").mkdir()
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="exists"):
            train(path, tmp_path / "b", overwrite=overwrite)
    assert {p.name for p in tmp_path.iterdir()} == before | {"b"}


@pytest.mark.full
def test_a_bundle_from_volumes_is_what_predict_takes(tmp_path: Path) -> None:
    path = dataset(tmp_path, validate_every=20, augment={"flip": [0, 1, 2], "noise": 0.1})
    card = train(path, tmp_path / "b", steps=60)
    assert read_card(tmp_path / "b").model_dump(mode="json") == card
    assert {p.name for p in (tmp_path / "b").iterdir()} == {
        "card.json",
        "history.jsonl",
        "model.keras",
    }
    rows = [json.loads(line) for line in (tmp_path / "b" / "history.jsonl").open()]
    best = max(row["scores"]["score"] for row in rows if row["scores"])
    assert best > 0.6, "a bright ball is easy to learn"
    table = card["scores"]["test"]
    assert card["scores"]["validation"]["mean_dice"] == pytest.approx(best, abs=1e-3)
    assert card["compute"]["flops"] > 0
    _predict_confirms(tmp_path, table)
    again = train(path, tmp_path / "c", steps=2, from_bundle=str(tmp_path / "b"))
    assert again["scores"]["validation"]["mean_dice"] > 0.5, "it began where the other ended"


def _predict_confirms(folder: Path, table: dict[str, Any]) -> None:
    """The score in the card is that of the product of ``predict`` on the same case."""
    from seg_batch.plan import Options
    from seg_batch.verbs.predict import predict_one
    from seg_batch.verbs.request import Request

    (case,) = table["cases"]
    image, product = folder / "v" / "images" / f"{case}.nii.gz", folder / "out.nii.gz"
    options = Options(precision="float32")
    predict_one(Request(str(image), str(product), model=str(folder / "b"), options=options))
    truth = np.asarray(nibabel.load(folder / "v" / "labels" / f"{case}.nii.gz").dataobj)
    found = np.asarray(nibabel.load(product).dataobj)
    dice = 2 * ((truth == 1) & (found == 1)).sum() / ((truth == 1).sum() + (found == 1).sum())
    assert table["mean_dice"] == pytest.approx(dice, abs=1e-4)
