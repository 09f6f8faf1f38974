"""A bundle is scored on what predict writes: with the chain of its card, or the one asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seg_batch.config.predict_options import PredictOptions
from seg_batch.core.errors import PlanError
from seg_batch.evaluation.evaluate import evaluate_bundle, evaluate_files
from seg_batch.inference.api.predict import predict
from tests.support.evaluation.label_files import CARD, scene, thirds

NAMES = [c.name for c in CARD.classes]
CHAINS: dict[str, tuple[str, ...]] = {
    "labels": ("majority:3", "min_size:4", f"largest:{NAMES[1]}"),
    "probabilities": (f"threshold:{NAMES[1]}=0.05,{NAMES[2]}=0.6", "min_size:0.001ha"),
    "image": ("crf:iterations=2,radius=2,contrast=50,smooth=10", "majority:3"),
}


@pytest.mark.full
@pytest.mark.parametrize("name", CHAINS)
def test_what_is_scored_is_what_predict_writes(name: str, tmp_path: Path) -> None:
    image, label = scene(tmp_path, "a", 3)
    pair, out = f"{image}={label}", tmp_path / "a_labels.tif"
    model: Any = (CARD.model_copy(update={"post": ()}), thirds)
    report = predict(image, out, model=model, post=CHAINS[name])
    assert all(row["voxels_changed"] for row in report["post"][:1])
    expected = evaluate_files(out, label)["scores"]["confusion"]
    options = PredictOptions(post=CHAINS[name])
    found = evaluate_bundle(model, pair, split="all", options=options)["scores"]["confusion"]
    assert found == expected
    plain = evaluate_bundle(model, pair, split="all")["scores"]["confusion"]
    assert not np.array_equal(plain, expected)


def test_a_chain_that_does_not_fit_is_refused_here_too(tmp_path: Path) -> None:
    image, label = scene(tmp_path, "a", 3)
    with pytest.raises(PlanError, match="millilitres are for volumes"):
        evaluate_bundle(
            (CARD, thirds),
            f"{image}={label}",
            split="all",
            options=PredictOptions(post=("min_size:2mL",)),
        )
