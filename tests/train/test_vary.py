"""Variation as training uses it: seeded, never blending labels, leaving its inputs as they are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from seg_batch.augment import vary
from seg_batch.dataset import Draw
from seg_batch.recipe import Augment

BENT = {"rotate_degrees": 25, "scale": 0.2}
COLOURS = {"gain": 0.1, "shift": 0.1, "gamma": 0.2, "noise": 0.1, "blur": 0.8}
SHAPES: list[Any] = [((40, 36), (24, 24)), ((20, 22, 18), (12, 12, 12))]


def pair(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The image holds its own coordinates, which linear interpolation keeps; labels 0, 5, 200."""
    places = np.moveaxis(np.indices(shape), 0, -1).astype(np.float32)
    labels = np.array([0, 5, 200], np.uint8)
    return places, labels[(places.sum(-1).astype(int) // 3 + places[..., 0].astype(int)) % 3]


@pytest.mark.parametrize(("shape", "patch"), SHAPES)
@pytest.mark.parametrize("seed", range(8))
def test_a_bent_turned_and_mirrored_label_is_that_of_the_nearest_voxel(
    shape: Any, patch: Any, seed: int
) -> None:
    axes = tuple(range(len(shape)))
    how = Augment(flip=axes, quarter_turns=axes[-2:], **BENT)
    source, labels = pair(shape)
    image, label = vary(source, labels, patch, how, np.random.default_rng(seed))
    nearest = np.rint(image).astype(int)
    sure = (np.abs(image - nearest) < 0.49).all(-1)  # halves may fall on either side
    assert sure.mean() > 0.8
    expected = labels[tuple(np.moveaxis(nearest, -1, 0))]
    np.testing.assert_array_equal(label[sure], expected[sure])
    assert set(np.unique(label)) <= {0, 5, 200}


@pytest.mark.parametrize(("shape", "patch"), SHAPES)
def test_the_same_seed_gives_the_same_pair_and_inputs_stay(shape: Any, patch: Any) -> None:
    how = Augment(flip=(0,), quarter_turns=(0, 1), **BENT, **COLOURS)
    image, labels = pair(shape)
    image.flags.writeable = labels.flags.writeable = False  # writing to them would raise
    one, two, other = (vary(image, labels, patch, how, np.random.default_rng(s)) for s in (1, 1, 2))
    for a, b, c in zip(one, two, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)
    assert (one[0].dtype, one[0].shape) == (np.float32, (*patch, len(shape)))
    assert (one[1].dtype, one[1].shape) == (np.uint8, patch)


@pytest.mark.parametrize("balance", [0.0, 0.3, 0.8])
def test_a_rare_class_is_drawn_as_often_as_balance_says(balance: float) -> None:
    histogram = np.zeros((41, 3), int)
    histogram[:, 0], histogram[7, 2] = 100, 1  # class 1 never occurs: two to choose from
    rows = np.arange(1, 41)
    patches = SimpleNamespace(rows=lambda part: rows, histogram=histogram, path="made")
    draw, rng = Draw(patches, balance), np.random.default_rng(3)  # type: ignore[arg-type]
    drawn = np.array([draw(rng) for _ in range(4000)])
    expected = balance / 2 + balance / 2 / 40 + (1 - balance) / 40
    assert (drawn == 7).mean() == pytest.approx(expected, abs=0.03)
    assert set(drawn) <= set(rows)
