"""Plain rules beside a model: what they find is known, and a model that is no better is told of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seg_batch.datasets.build import make_patches
from seg_batch.datasets.label_classes import of_card
from seg_batch.evaluation.baselines.rules import Discriminant, Threshold
from seg_batch.evaluation.baselines.sample import _boxes
from seg_batch.evaluation.baselines.scores import Baselines
from seg_batch.evaluation.evaluate import evaluate_bundle
from tests.support.training.pairs import bright_recipe, bright_scene, scene_recipe


def test_a_discriminant_is_that_of_bayes_for_normal_classes() -> None:
    rng = np.random.default_rng(3)
    labels = np.repeat([0, 2, 3], [2000, 5000, 1000])
    means = np.array([[0, 0, 0], [9, 9, 9], [1500.0, 20, 0.1], [-900.0, 30, 0.2]])
    mixed = rng.normal(size=(len(labels), 3)) @ np.array([[400, 3, 0.02], [0, 6, 0], [0, 0, 0.05]])
    values = means[labels] + mixed
    rule = Discriminant.fitted(values, labels)
    covariance = np.cov(
        (
            values
            - np.array([values[labels == k].mean(0) for k in range(4) if k != 1])[
                np.searchsorted([0, 2, 3], labels)
            ]
        ).T,
        bias=True,
    )
    scores = []
    for k in (0, 2, 3):
        off = values - values[labels == k].mean(0)
        distance = np.einsum("ij,jk,ik->i", off, np.linalg.inv(covariance), off)
        scores.append(np.log((labels == k).mean()) - distance / 2)
    bayes = np.array([0, 2, 3])[np.argmax(scores, 0)]
    assert (rule(values) == bayes).mean() > 0.999
    copied = np.c_[values, values[:, :1]]  # a channel that follows from another
    assert (Discriminant.fitted(copied, labels)(copied) == bayes).mean() > 0.99


def test_a_threshold_is_the_best_of_all_cuts_of_all_indices() -> None:
    rng = np.random.default_rng(5)
    values = rng.uniform(1, 9, (60, 3))
    labels = np.where((values[:, 2] - values[:, 0]) / (values[:, 2] + values[:, 0]) < 0.17, 4, 1)
    labels[:5] = 5 - labels[:5]
    rule = Threshold.fitted(values, labels, ("red", "green", "nir"))
    best = 0
    indices = [values[:, c] for c in range(3)]
    pairs = [(a, b) for a in range(3) for b in range(a + 1, 3)]
    indices += [(values[:, a] - values[:, b]) / (values[:, a] + values[:, b]) for a, b in pairs]
    for index in indices:
        for cut in index:
            right = int(((index >= cut) == (labels == 4)).sum())
            best = max(best, right, len(labels) - right)
    assert int((rule(values) == labels).sum()) == best
    assert rule.words.startswith("(red - nir) / (red + nir) at")
    other = Threshold.fitted(values, 5 - labels, ("red", "green", "nir"))  # below for above
    assert np.array_equal(other(values), 5 - rule(values))


def guess(k: int) -> Any:
    def one_class(patches: np.ndarray) -> np.ndarray:
        scores = np.zeros((*patches.shape[:-1], 2), np.float32)
        scores[..., k] = 1
        return scores

    return one_class


@pytest.mark.parametrize("kind", ["dataset", "pair"])
def test_a_model_that_is_no_better_is_told_of(tmp_path: Path, kind: str) -> None:
    given, truth = bright_scene(tmp_path)
    recipe = bright_recipe()
    make_patches([given], tmp_path / "d.zarr", recipe, cluster="inline")
    card, data = recipe.card.card(), tmp_path / "d.zarr"
    if kind == "pair":
        boxes = {"test": [[[96, 32], [160, 160]]], "validation": [[[0, 0], [48, 64]]]}
        split = {"cases": {"scene": "boxes"}, "boxes": {"scene": boxes}, "grid": "model"}
        card, data = card.model_copy(update={"split": split}), Path(given)
    found = evaluate_bundle((card, guess(0)), data, output=tmp_path / "out")
    rules = {row["rule"]: row for row in found["baselines"]}
    assert list(rules) == ["commonest class", "linear discriminant", "threshold"]
    scored = truth[96:160, 32:160] == 7
    common = max(scored.mean(), 1 - scored.mean())
    assert rules["commonest class"]["accuracy"] in (
        pytest.approx(common, abs=1e-4),
        pytest.approx(1 - common, abs=1e-4),
    )
    assert rules["threshold"]["accuracy"] > 0.95
    assert rules["linear discriminant"]["accuracy"] > 0.95
    assert any("does not beat the linear discriminant" in line for line in found["warnings"])
    assert "linear discriminant" in (tmp_path / "out" / "index.html").read_text()


def test_without_a_training_part_the_commonest_class_is_of_what_is_scored(tmp_path: Path) -> None:
    given, truth = bright_scene(tmp_path)
    found = evaluate_bundle((bright_recipe().card.card(), guess(1)), given, split="all")
    (row,) = found["baselines"]
    assert row["words"] == "of what is scored"
    share = float((truth == 7).mean())
    assert row["accuracy"] == pytest.approx(max(share, 1 - share), abs=1e-4)


def test_what_holds_one_class_has_no_more_rules() -> None:
    classes = of_card(scene_recipe().card.card())
    rules = Baselines.of(classes, (np.zeros((5, 1)), np.ones(5, np.int64)), ()).rules
    assert [rule.name for rule in rules] == ["commonest class"]


def test_a_sample_is_of_the_whole_image() -> None:
    """What is full before the last box does not end at the top."""
    rows = [box.start[0] for box in _boxes((12_800, 12_800), np.random.default_rng(0), 256)[:40]]
    assert min(rows) < 3_000
    assert max(rows) > 9_000
