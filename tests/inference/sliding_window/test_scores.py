"""Logits and independent classes: labels and kept probabilities against SciPy's functions, by machine code and by NumPy."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, softmax

from seg_batch.config.card import ModelCard, make_card
from seg_batch.core.errors import InputError, SegbatchError
from seg_batch.core.geometry import Blocks, Box, Grid
from seg_batch.core.kernels.exponential import EACH, SIGMOID, SOFTMAX
from seg_batch.core.normalise import Normaliser, Pixels
from seg_batch.core.taper import Taper
from seg_batch.inference.sliding_window import plain_sums
from seg_batch.inference.sliding_window.block import BlockResult, Rows, predict_block
from seg_batch.inference.sliding_window.empty import EmptyRule
from seg_batch.inference.sliding_window.scores import Scores, scores_of
from seg_batch.inference.sliding_window.stitch import Stitcher
from seg_batch.io.sources.views.open_view import Seen

IDS = np.array([3, 0, 8, 11], np.uint8)
GRID = Grid((34, 27), (14, 12), (4, 3), (1, 0))
KINDS = [
    Scores(kind, background, last)
    for kind, background, last in [
        (SOFTMAX, -1, False),
        (SIGMOID, -1, False),
        (SIGMOID, 1, False),
        (SIGMOID, 1, True),
        (EACH, 0, True),
        (EACH, 3, False),
    ]
]
EMPTY = EmptyRule(label=255, below=-1.9, below_label=8)


def logits(patches: np.ndarray) -> np.ndarray:
    """Four scores that depend on the place in the patch, some far beyond what ``exp`` takes, with ties."""
    y, x = np.indices(patches.shape[1:-1]).astype(np.float32)
    value = patches[..., 0] * (y + 2 * x) / 4
    wild = np.where(patches[..., 0] > 1.5, np.float32(150), np.float32(1))
    steps = np.arange(4, dtype=np.float32)
    return (np.rint(4 * np.sin(value[..., None] * (steps + 1))) * wild[..., None]).astype(
        np.float32
    )


def block(
    stitcher: Stitcher, values: np.ndarray, box: Box, small: int, *, direct: bool = True
) -> tuple[BlockResult, np.ndarray, np.ndarray]:
    """Labels, kept probabilities and, unless labelled directly, the sums."""
    kept = np.full((len(IDS), *box.shape), 99, np.uint8)
    sums = np.zeros((*box.shape, len(IDS)), np.float32)

    def read(window: Box, box: Box) -> Seen:
        return Seen(Pixels(values[window.slices()]), Pixels(values[box.slices()]), [])

    def keep(rows: Rows) -> None:
        sums[rows.box.slices(box.start)] = rows.sums

    with patch.object(plain_sums, "SMALL", small):
        on_rows = None if direct else keep
        found = predict_block(stitcher, read, box, IDS, probabilities=kept, on_rows=on_rows)
    return found, kept, sums


def by_hand(scores: Scores, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices and probabilities of sums, in SciPy's words and float64."""
    index, wide = sums.argmax(-1), sums.astype(float)
    if scores.last:
        above = [k for k in range(len(IDS)) if k != scores.background]
        index = np.full(sums.shape[:-1], scores.background)
        for k in above:
            index[sums[..., k] > sums[..., scores.background]] = k
    if scores.kind == SOFTMAX:
        return index, softmax(wide, axis=-1)
    made = expit(wide) if scores.kind == SIGMOID else np.clip(wide, 0, 1)
    if scores.background >= 0:
        made[..., scores.background] = 1 - np.delete(made, scores.background, -1).max(-1)
    return index, made


@pytest.mark.full
@settings(max_examples=12)
@given(
    st.sampled_from(KINDS), st.tuples(st.integers(9, 34), st.integers(9, 27)), st.integers(0, 99)
)
def test_any_blocks_give_what_whole_arrays_do(
    scores: Scores, shape: tuple[int, int], seed: int
) -> None:
    values = np.random.default_rng(seed).uniform(-2, 2, (*GRID.extent, 1)).astype(np.float32)
    normaliser = Normaliser((0.0,), (1.0,))
    stitcher = Stitcher(GRID, Taper(GRID), normaliser, logits, 4, 2, 2, EMPTY, scores)
    whole = Box.whole(GRID.extent)
    ways = [block(stitcher, values, whole, *how) for how in ((-1,), (1 << 40,))]
    seen, _, sums = block(stitcher, values, whole, -1, direct=False)
    index, made = by_hand(scores, sums)
    low = values[..., 0] <= -1.9
    labels = np.where(low, 8, IDS[index])
    for found, kept, _ in ways:
        assert np.array_equal(found.labels, labels)
        assert kept.tobytes() == ways[0][1].tobytes()
        assert np.abs(kept[:, ~low] / 255 - np.moveaxis(made, -1, 0)[:, ~low]).max() < 0.51 / 255
        assert (kept[:, low] == [[0], [0], [255], [0]]).all()
        np.testing.assert_allclose(found.seams.jumps, seen.seams.jumps, rtol=1e-5)
    for part in Blocks(GRID.extent, shape):
        found, kept, _ = block(stitcher, values, part.box, (-1, 1 << 40)[part.index[0] % 2])
        assert np.array_equal(found.labels, labels[part.box.slices()])
        assert np.array_equal(kept, ways[0][1][:, *part.box.slices()])


@pytest.mark.full
@pytest.mark.parametrize("scores", KINDS)
def test_jumps_are_those_of_probabilities(scores: Scores) -> None:
    """At most one in a pair of voxels of exclusive classes, however far their logits are apart."""
    values = np.random.default_rng(1).uniform(-2, 2, (*GRID.extent, 1)).astype(np.float32)
    normaliser = Normaliser((0.0,), (1.0,))
    stitcher = Stitcher(GRID, Taper(GRID), normaliser, logits, 4, 2, 2, EmptyRule(255), scores)
    found, _, sums = block(stitcher, values, Box.whole(GRID.extent), -1, direct=False)
    made = by_hand(scores, sums)[1]
    assert np.abs(scores.probabilities(sums) - made).max() < 1e-5
    labels = np.searchsorted(np.sort(IDS), found.labels)
    chosen = np.argsort(IDS)[labels]
    right = np.take_along_axis(made, chosen[..., None], -1)[..., 0]
    assert np.abs(scores.of_labels(sums, chosen) - right).max() < 1e-5
    if scores.kind == SOFTMAX:
        assert 0 < found.seams.jumps.sum() <= found.seams.pairs.sum()


@pytest.mark.parametrize("small", [-1, 1 << 40])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("scores", KINDS)
def test_scores_that_are_not_finite_make_no_probabilities(
    scores: Scores, value: float, small: int
) -> None:
    def broken(patches: np.ndarray) -> np.ndarray:
        found = logits(patches)
        found[:, 2, 3, 2] = value
        return found

    stitcher = Stitcher(
        GRID, Taper(GRID), Normaliser((0.0,), (1.0,)), broken, 4, 2, 1, EmptyRule(255), scores
    )
    values = np.ones((*GRID.extent, 1), np.float32)
    with pytest.raises(SegbatchError, match="not finite"):
        block(stitcher, values, Box.whole(GRID.extent), small)


def card(**fields: object) -> ModelCard:
    return make_card(
        name="any",
        kind="raster",
        classes=[{"id": k, "name": f"k{k}"} for k in range(3)],
        normalisation={"kind": "identity"},
        **fields,
    )


@pytest.mark.parametrize(
    ("output", "scores"),
    [
        ({}, Scores()),
        ({"gives": "logits", "blend": "logits"}, Scores(SOFTMAX)),
        ({"gives": "logits", "classes": "independent"}, Scores(EACH, 0)),
        (
            {"gives": "logits", "blend": "logits", "classes": "independent", "rule": "last"},
            Scores(SIGMOID, 0, True),
        ),
    ],
)
def test_a_card_says_what_scores_are(output: dict[str, str], scores: Scores) -> None:
    assert scores_of(card(output=output)) == scores


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"output": {"classes": "independent", "rule": "last"}, "background": None}, "background"),
        ({"taper": "gauss"}, "did you mean gaussian"),
        ({"tta": "flips:x,y"}, "did you mean flips:"),
        ({"output": {"shrink": [4, 4]}}, "give the patch"),
        ({"output": {"shrink": [4, 4]}, "patch": [8, 8]}, "leaves nothing"),
        ({"output": {"shrink": [4]}, "patch": [16, 16]}, "leaves nothing"),
        (
            {"output": {"shrink": [4, 4]}, "patch": [16, 16], "overlap": [8, 8]},
            "less than the patch",
        ),
    ],
)
def test_cards_that_make_no_labels_are_refused(fields: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        card(**fields)
    assert "\n" not in refused.value.message


@pytest.mark.parametrize("scores", KINDS)
def test_labels_of_an_array_are_those_of_the_rule(scores: Scores) -> None:
    sums = np.random.default_rng(5).integers(-3, 4, (6, 7, 4)).astype(np.float32)
    expected = np.empty((6, 7), int)
    for place in np.ndindex(6, 7):
        row = sums[place]
        above = [k for k in range(4) if row[k] > row[scores.background]]
        last = above[-1] if above else scores.background
        expected[place] = last if scores.last else int(row.argmax())
    assert np.array_equal(scores.labels_of(sums), expected)
