"""A block by machine code and by NumPy, against sums, labels and probabilities made of whole arrays: the same bits."""

from __future__ import annotations

import itertools
from dataclasses import fields
from unittest.mock import patch

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from seg_batch.core.geometry import Box, Grid
from seg_batch.core.normalise import Normaliser, Pixels
from seg_batch.core.taper import TAPERS, Taper
from seg_batch.inference.sliding_window import plain_sums
from seg_batch.inference.sliding_window.block import BlockResult, Rows, predict_block
from seg_batch.inference.sliding_window.empty import EmptyRule
from seg_batch.inference.sliding_window.seams import SeamCounts
from seg_batch.inference.sliding_window.stitch import Predictor, Stitcher, cut
from seg_batch.io.sources.views.open_view import Seen
from tests.support.strategies import grids_with_box

IDS = np.array([3, 0, 8, 11, 5], np.uint8)
EMPTY = EmptyRule(label=255, below=-0.9, below_label=8)


def scores(patches: np.ndarray) -> np.ndarray:
    """Five classes, of which each patch has its own opinion, with ties and values beyond 0 to 1."""
    corner = (slice(None), *(slice(1),) * (patches.ndim - 1))
    value = patches[..., :1] + patches[corner]
    steps = np.arange(5, dtype=np.float32)
    return np.rint(8 * np.sin(value * (steps + 1))).astype(np.float32) / np.float32(7)


def in_memory(order: str) -> Predictor:
    def predictor(patches: np.ndarray) -> np.ndarray:
        made = scores(patches)
        if order == "first":
            return np.moveaxis(np.ascontiguousarray(np.moveaxis(made, -1, 1)), 1, -1)
        if order == "uint8":
            return (made > 0).astype(np.uint8)
        return np.flip(made, 1) if order == "flipped" else made

    return predictor


def by_hand(stitcher: Stitcher, held: Pixels, box: Box) -> np.ndarray:
    """The sums of a box: each tile over the whole extent, in grid order."""
    grid, whole = stitcher.grid, Box.whole(stitcher.grid.extent)
    total = np.zeros((*grid.extent, len(IDS)), np.float32)
    for tile in grid.touching(box):
        patches = stitcher.normaliser(cut(held, whole, tile.box, grid.extent))[None]
        inside = tile.box.intersection(whole)
        part = inside.slices(tile.box.start)
        weights = stitcher.taper.weights(tile)[..., None]
        total[inside.slices()] += stitcher.predictor(patches)[0][part] * weights
    return total[box.slices()]


def block(
    stitcher: Stitcher, held: Pixels, box: Box, small: int, *, direct: bool
) -> tuple[BlockResult, np.ndarray, np.ndarray]:
    """With its sums, where nothing is labelled directly."""
    sums = np.full((*box.shape, len(IDS)), np.nan, np.float32)
    kept = np.full((len(IDS), *box.shape), 99, np.uint8)

    def keep(rows: Rows) -> None:
        sums[rows.box.slices(box.start)] = rows.sums

    def read(window: Box, box: Box) -> Seen:
        return Seen(held[window.slices()], held[box.slices()], [])

    with patch.object(plain_sums, "SMALL", small):
        on_rows = None if direct else keep
        found = predict_block(stitcher, read, box, IDS, probabilities=kept, on_rows=on_rows)
    return found, kept, sums


@settings(max_examples=60)
@given(
    grids_with_box().filter(lambda pair: len(pair[0].extent) > 1),
    st.sampled_from(TAPERS),
    st.sampled_from(["last", "first", "uint8", "flipped"]),
    st.booleans(),
    st.integers(0, 99),
)
def test_a_block_has_the_bits_of_whole_arrays(
    asked: tuple[Grid, Box], taper: str, order: str, holes: bool, seed: int
) -> None:
    (grid, box), rng = asked, np.random.default_rng(seed)
    values = rng.uniform(-1, 1, (*grid.extent, 2)).astype(np.float32)
    valid = rng.random(values.shape) < 0.9
    valid[Box((0,) * len(grid.extent), box.start).slices()] = False
    held = Pixels(values, valid if holes else None)
    empty = EMPTY if holes else EmptyRule(255)
    normaliser = Normaliser((0.1, 0.2), (0.7, 0.9))
    stitcher = Stitcher(
        grid, Taper(grid, taper), normaliser, in_memory(order), len(IDS), len(grid.extent), 2, empty
    )
    ways = [
        block(stitcher, held, box, small, direct=direct)
        for small, direct in itertools.product((-1, 1 << 40), (False, True))
    ]
    sums = by_hand(stitcher, held, box)
    labels = IDS[sums.argmax(-1)]
    probabilities = np.moveaxis(np.rint(np.clip(sums, 0, 1) * np.float32(255)), -1, 0)
    if holes:
        inside = held[box.slices()]
        without, low = ~inside.any_valid(), inside.valid[..., 0] & (inside.values[..., 0] <= -0.9)
        labels[low], labels[without] = 8, 255
        probabilities[:, low] = [[0], [0], [255], [0], [0]]
        probabilities[:, without] = 0
        sums = np.where((low | without)[..., None], 0, sums)
    for found, kept, seen in ways:
        assert np.array_equal(found.labels, labels)
        assert np.array_equal(kept, probabilities)
        if not np.isnan(seen).all():  # else nothing was stitched
            seen = np.where((low | without)[..., None], 0, seen) if holes else seen
            assert seen.tobytes() == sums.tobytes()
    for field in fields(SeamCounts):
        first, *others = (getattr(found.seams, field.name) for found, *_ in ways)
        for other in others:
            np.testing.assert_allclose(other, first, rtol=1e-6 if field.name == "jumps" else 0)
