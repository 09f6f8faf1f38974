"""A training by each scheme makes a bundle whose predictions are those that were scored."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from seg_batch.config.predict_options import PredictOptions
from seg_batch.datasets.build import make_patches
from seg_batch.evaluation.evaluate import evaluate_bundle
from seg_batch.inference.predict import predict_one
from seg_batch.inference.request import Request
from seg_batch.training.train import train
from tests.support.training.pairs import volume_recipe, volumes


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ct", "nonzero", "range", "percentiles"])
def test_what_is_scored_in_training_is_what_predict_makes(tmp_path: Path, kind: str) -> None:
    recipe = volume_recipe(steps=20, validate_every=10).changed(card={"normalisation": kind})
    folder = volumes(tmp_path / "v", 4)
    make_patches([str(folder)], tmp_path / "d.zarr", recipe, cluster="inline")
    card = train(tmp_path / "d.zarr", tmp_path / "b")
    assert card["normalisation"]["kind"] == ("card" if kind == "ct" else kind)
    assert (card["normalisation"]["low"] is not None) == (kind == "ct")
    scored = card["scores"]["test"]["overall"]["mean_dice"]["mean"]
    image, product = folder / "images/case_2.nii.gz", tmp_path / "o.nii.gz"
    exact = PredictOptions(precision="float32")
    predict_one(Request(str(image), str(product), model=str(tmp_path / "b"), options=exact))
    truth = np.asarray(nibabel.load(folder / "labels/case_2.nii.gz").dataobj) == 1
    made = np.asarray(nibabel.load(product).dataobj) == 1
    assert scored == pytest.approx(2 * (truth & made).sum() / (truth.sum() + made.sum()), abs=1e-3)
    assert scored > 0.1
    again = evaluate_bundle(tmp_path / "b", tmp_path / "d.zarr", options=exact)
    assert again["scores"]["overall"]["mean_dice"]["mean"] == pytest.approx(scored, abs=1e-3)
