"""One block by the loop that predicting and scoring share, against its parts over the whole image."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from seg_batch.core.geometry import Blocks, Box, Grid
from seg_batch.core.normalise import Normaliser, Pixels
from seg_batch.core.taper import Taper
from seg_batch.inference.sliding_window.block import BlockResult, Read, Rows, predict_block
from seg_batch.inference.sliding_window.stitch import EmptyRule, Stitcher
from seg_batch.io.sources.views.open_view import Seen
from tests.support.strategies import boxes

GRID = Grid((40, 30), (12, 10), (6, 4), (1, 0))
IDS = np.array([3, 0, 8], np.uint8)
EMPTY = EmptyRule(label=255, below=-0.9, below_label=8, unreadable_label=254)
BOXES = boxes(GRID.extent)


def crooked(patches: np.ndarray) -> np.ndarray:
    """A predictor that sees where in the patch it is."""
    y, x = np.indices(patches.shape[1:-1]).astype(np.float32)
    value = patches[..., 0] * (y + 2 * x) / 12
    return np.stack([0.5 + value / 5, 0.5 - value / 5, 0.3 + 0.3 * np.cos(3 * value)], -1)


STITCHER = Stitcher(GRID, Taper(GRID), Normaliser((0.0,), (1.0,)), crooked, 3, 2, 2, EMPTY)


def image() -> np.ndarray:
    y, x = np.indices(GRID.extent)
    return np.sin(97 * y + 13 * x)[..., None].astype(np.float32)


def reading(values: np.ndarray, valid: np.ndarray | None, holes: list[Box]) -> Read:
    def read(window: Box, box: Box) -> Seen:
        parts = [part for hole in holes if (part := hole.intersection(window)).size]
        pixels = Pixels(values, valid)
        return Seen(pixels[window.slices()], pixels[box.slices()], parts)

    return read


def by_blocks(read: Read, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    labels = np.full(GRID.extent, 99, np.uint8)
    probabilities = np.full((3, *GRID.extent), 99, np.uint8)
    for block in Blocks(GRID.extent, shape):
        kept = probabilities[:, *block.box.slices()]
        labels[block.box.slices()] = predict_block(
            STITCHER, read, block.box, IDS, probabilities=kept
        ).labels
    return labels, probabilities


def whole(read: Read) -> tuple[BlockResult, list[Rows]]:
    seen: list[Rows] = []

    def keep(rows: Rows) -> None:
        seen.append(Rows(rows.box, rows.sums.copy(), rows.labels.copy(), rows.decided))

    return predict_block(STITCHER, read, Box.whole(GRID.extent), IDS, on_rows=keep), seen


@given(BOXES, BOXES, st.tuples(st.integers(3, 40), st.integers(3, 30)))
def test_any_blocks_label_alike_what_is_empty_and_what_cannot_be_read(
    low: Box, hole: Box, shape: tuple[int, int]
) -> None:
    values, valid = image(), np.ones((*GRID.extent, 1), bool)
    values[low.slices()] = -1
    valid[hole.slices()] = False
    labels, probabilities = by_blocks(reading(values, valid, [hole]), shape)
    lost, skipped = ~valid[..., 0], valid[..., 0] & (values[..., 0] <= -0.9)
    assert (labels[lost] == 254).all()
    assert (probabilities[:, lost] == 0).all()
    assert (labels[skipped] == 8).all()
    assert (probabilities[:, skipped] == [[0], [0], [255]]).all()
    result, rows = whole(reading(values, valid, []))
    assert np.array_equal(labels[~lost], result.labels[~lost])
    assert (result.labels[lost] == 255).all()
    for part in rows:
        at = part.box.slices()
        assert part.decided is not None
        assert np.array_equal(part.decided, ~(lost | skipped)[at])
        decided = IDS[part.sums.argmax(-1)][part.decided]
        assert np.array_equal(labels[at][part.decided], decided)
    assert not rows or sum(part.box.size for part in rows) == values.size


def test_a_block_of_nothing_is_not_stitched_and_counts_its_tiles() -> None:
    told: list[int] = []
    read = reading(np.full((*GRID.extent, 1), -1, np.float32), None, [])
    box = Box((10, 10), (25, 20))
    found = predict_block(STITCHER, read, box, IDS, on_tiles=told.append)
    assert found.tiles == found.skipped == sum(told) == GRID.count(box) > 1
    assert (found.labels == 8).all()
    assert not found.seams.pairs.any()


def test_only_the_part_of_a_hole_in_the_block_is_set() -> None:
    hole, box = Box((8, 0), (12, 30)), Box((10, 10), (25, 20))
    valid = np.ones((*GRID.extent, 1), bool)
    valid[hole.slices()] = False
    found = predict_block(STITCHER, reading(image(), valid, [hole]), box, IDS)
    assert (found.labels[:2] == 254).all()
    assert np.isin(found.labels[2:], IDS).all()
    assert found.unreadable == [hole.intersection(GRID.window(box))]
