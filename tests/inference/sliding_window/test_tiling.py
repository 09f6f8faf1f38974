"""What a model sees beyond what it labels: zeros around small images, a margin of valid convolutions, nnU-Net's steps."""

from __future__ import annotations

import math
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import correlate, gaussian_filter

from seg_batch.config.card import ModelCard, make_card
from seg_batch.config.predict_options import PredictOptions
from seg_batch.core.errors import PlanError
from seg_batch.core.geometry import Axis, Blocks, Box, Grid, Tiling
from seg_batch.core.normalise import Normaliser, Pixels
from seg_batch.core.taper import TAPERS, Taper, rows
from seg_batch.inference.ensemble import without_repeats
from seg_batch.inference.sliding_window import plain_sums
from seg_batch.inference.sliding_window.block import predict_block
from seg_batch.inference.sliding_window.empty import EmptyRule
from seg_batch.inference.sliding_window.grid import AS_TRAINED, as_card_says, make_grid
from seg_batch.inference.sliding_window.stitch import Counts, Predictor, Stitcher
from seg_batch.io.sources.views.open_view import Seen

NUMBERS = Normaliser((0.5,), (2.0,))
PAD = {"mirror": "symmetric", "zero": "constant"}


@st.composite
def grids(draw: st.DrawFn, most: int = 3) -> Grid:
    """Of 2-D and 3-D images, many of them smaller than a tile."""
    rank = draw(st.sampled_from([2, 2, 3]))
    extent = tuple(draw(st.integers(1, 26 if rank == 2 else 9)) for _ in range(rank))
    patch = tuple(draw(st.integers(2, 11)) for _ in range(rank))
    overlap = tuple(draw(st.integers(0, p - 1)) for p in patch)
    margin = tuple(draw(st.integers(0, o // 2)) for o in overlap)
    shrink = tuple(draw(st.integers(0, most)) for _ in range(rank))
    lead = tuple(draw(st.integers(0, (p - 1) // 2)) for p in patch)
    padding, even = draw(st.sampled_from(["mirror", "zero"])), draw(st.booleans())
    tiling = Tiling(shrink, padding, even, lead=draw(st.sampled_from([(), lead])))
    return Grid(extent, patch, overlap, margin, tiling)


def kernel(shrink: tuple[int, ...]) -> np.ndarray:
    shape = tuple(2 * m + 1 for m in shrink)
    return np.random.default_rng(3).normal(size=shape)


def valid_convolution(shrink: tuple[int, ...]) -> Predictor:
    """``(n, *patch, 1)`` to two scores of what remains of a patch."""
    weights = kernel(shrink)
    inside = tuple(slice(m, -m or None) for m in shrink)

    def predict(patches: np.ndarray) -> np.ndarray:
        made = np.stack([correlate(p[..., 0].astype(float), weights)[inside] for p in patches])
        return np.stack([made, 1 - made], -1).astype(np.float32)

    return predict


def image(extent: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(7).uniform(1, 3, (*extent, 1)).astype(np.float32)


def by_blocks(stitcher: Stitcher, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    out = np.full((*stitcher.grid.extent, 2), np.nan, np.float32)
    for block in Blocks(stitcher.grid.extent, shape):
        window = stitcher.grid.window(block.box)
        held = Pixels(values[window.slices()])
        for row, sums in stitcher.sums(held, window, block.box, Counts()):
            top = row - block.box.start[0]
            out[block.box.slices()][top : top + len(sums)] = sums
    return out


def stitching(grid: Grid, predictor: Predictor, taper: str = "hann", batch: int = 2) -> Stitcher:
    rank = len(grid.extent)
    return Stitcher(grid, Taper(grid, taper), NUMBERS, predictor, 2, rank, batch, EmptyRule(255))


@pytest.mark.full
@settings(max_examples=20)
@given(grids(), st.sampled_from(TAPERS), st.data())
def test_valid_convolutions_give_those_of_the_whole_padded_image(
    grid: Grid, taper: str, data: st.DataObject
) -> None:
    """Every voxel is labelled, at the border of the image too, in any blocks with the same bytes."""
    values, shrink = image(grid.extent), grid.shrink
    normal = ((values[..., 0].astype(float) - 0.5) / 2).astype(np.float32)
    more = [(m, m) for m in shrink]
    padded = np.pad(normal, more, mode=PAD[grid.tiling.padding])  # type: ignore[call-overload]
    inside = tuple(slice(m, -m or None) for m in shrink)
    expected = correlate(padded.astype(float), kernel(shrink))[inside]
    stitcher = stitching(grid, valid_convolution(shrink), taper)
    found = by_blocks(stitcher, values, grid.extent)
    np.testing.assert_allclose(found[..., 0], expected, atol=1e-4)
    shape = tuple(data.draw(st.integers(1, n)) for n in grid.extent)
    pieces = by_blocks(stitching(grid, valid_convolution(shrink), taper, 3), values, shape)
    assert pieces.tobytes() == found.tobytes()


def crooked(patches: np.ndarray) -> np.ndarray:
    """Sees where in the patch it is, and the whole patch."""
    places = np.indices(patches.shape[1:-1]).astype(np.float32)
    ramp = sum((k + 1) * p for k, p in enumerate(places))
    whole = patches.mean(tuple(range(1, patches.ndim - 1)), keepdims=True)[..., 0]
    value = patches[..., 0] * (1 + ramp) + whole
    return np.stack([value, 1 - value], -1)


@pytest.mark.full
@settings(max_examples=20)
@given(grids(most=0), st.sampled_from(TAPERS))
def test_small_images_lie_in_the_middle_of_zeros(grid: Grid, taper: str) -> None:
    """As an image that was padded on both sides (``acvl_utils``: the smaller half below), and cropped again."""
    grid = Grid(grid.extent, grid.patch, grid.overlap, grid.margin, Tiling((), "zero"))
    values = image(grid.extent)
    missing = [max(0, p - n) for p, n in zip(grid.patch, grid.extent, strict=True)]
    halves = [(m // 2, m // 2 + m % 2) for m in missing]
    padded = np.pad(values, [*halves, (0, 0)], constant_values=0.5)  # 0 once it is normalised
    whole = Grid(padded.shape[:-1], grid.patch, grid.overlap, grid.margin)
    reference = by_blocks(stitching(whole, crooked, taper), padded, whole.extent)
    cropped = tuple(slice(a, a + n) for (a, _), n in zip(halves, grid.extent, strict=True))
    found = by_blocks(stitching(grid, crooked, taper, 1), values, grid.extent)
    assert found.tobytes() == np.ascontiguousarray(reference[cropped]).tobytes()


def test_values_as_read_stay_as_they_are_beside_zeros() -> None:
    """A predictor of plain numbers gets a view of what was read, which nothing may be written into."""
    grid = Grid((12, 5), (6, 8), (2, 0), (0, 0), Tiling((), "zero"))
    values = image(grid.extent)
    before = values.copy()
    plain = Stitcher(grid, Taper(grid), Normaliser(), crooked, 2, 2, 1, EmptyRule(255))
    found = by_blocks(plain, values, grid.extent)
    assert np.array_equal(values, before)
    other = Stitcher(
        grid, Taper(grid), Normaliser((0.0,), (1.0,)), crooked, 2, 2, 1, EmptyRule(255)
    )
    np.testing.assert_allclose(found, by_blocks(other, values, grid.extent), rtol=1e-6)


def steps_of_nnunet(extent: int, patch: int, share: float) -> list[int]:
    """``compute_steps_for_sliding_window`` of nnU-Net 2, one axis."""
    extent = max(extent, patch)
    count = int(np.ceil((extent - patch) / (patch * share))) + 1
    step = (extent - patch) / (count - 1) if count > 1 else 0
    return [int(np.round(step * i)) for i in range(count)]


@given(st.integers(1, 400), st.integers(2, 96))
def test_even_tiles_start_where_those_of_nnunet_do(extent: int, patch: int) -> None:
    axis = Axis(extent, patch, patch // 2, patch // 4, even=True)
    assert list(axis.starts) == steps_of_nnunet(extent, patch, 0.5)
    weights = [axis.trusted(i) for i in range(len(axis.starts))]
    covered = np.zeros(extent, bool)
    for start, stop in weights:
        covered[start:stop] = True
    assert covered.all()


@given(st.integers(1, 200), st.integers(2, 40), st.data())
def test_even_tiles_cover_the_extent_with_steps_alike(
    extent: int, patch: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(0, patch - 1))
    axis = Axis(extent, patch, overlap, overlap // 2, even=True)
    steps = np.diff(axis.starts)
    assert not len(steps) or (steps.max() - steps.min() <= 1 and steps.min() > 0)
    fewest = len(Axis(extent, patch, overlap, 0).starts)
    assert len(axis.starts) == fewest or overlap == patch // 2
    assert axis.starts[-1] == max(0, extent - patch)
    total = sum(
        np.bincount(np.arange(first, first + len(row)), row, extent)
        for first, row in zip(axis.firsts, rows(axis, "hann"), strict=True)
    )
    np.testing.assert_allclose(total, 1, atol=1e-6)


@pytest.mark.parametrize("patch", [(40, 56), (9, 20), (14, 32)])
def test_the_gaussian_of_nnunet(patch: tuple[int, int]) -> None:
    """``compute_gaussian``: a delta at ``n // 2``, filtered, at most 1."""
    delta = np.zeros(patch)
    delta[tuple(n // 2 for n in patch)] = 1
    theirs = gaussian_filter(delta, [n / 8 for n in patch], 0, mode="constant")
    from seg_batch.core.taper import PROFILES

    ours = [PROFILES["nnunet"](np.arange(n) / n) for n in patch]
    np.testing.assert_allclose(np.multiply.outer(*ours), theirs / theirs.max(), rtol=1e-6)


def card(rank: int = 2, **fields: object) -> ModelCard:
    return make_card(
        **{
            "name": "any",
            "kind": "raster" if rank == 2 else "volume",
            "rank": rank,
            "channels": ["a"],
            "classes": [{"id": k, "name": f"k{k}"} for k in range(2)],
            "normalisation": {"kind": "card", "mean": [0.5], "std": [2.0]},
            "patch": [24] * rank,
            **fields,
        }
    )


def test_a_card_lays_out_its_grid() -> None:
    said = card(output={"shrink": [4, 2]}, padding="zero", tiles="even", overlap=[8, 10])
    grid, _ = make_grid((100, 90), said, AS_TRAINED)
    assert grid == Grid((100, 90), (16, 20), (8, 10), (0, 0), Tiling((4, 2), "zero", True))
    assert grid.window(Box((0, 0), (5, 5))) == Box((0, 0), (20, 22))
    with pytest.raises(PlanError, match="no stride"):
        make_grid((100, 90), said, PredictOptions(overlap=20))
    with pytest.raises(PlanError, match="smaller than its patch"):
        make_grid((100, 90), said, PredictOptions(patch=(48, 48)))
    of_slices = card(output={"shrink": [4, 2]}, kind="any")
    grid, rank = make_grid((5, 100, 90), of_slices, AS_TRAINED)
    assert (grid.patch, grid.shrink, rank) == ((1, 16, 20), (0, 4, 2), 2)
    assert make_grid((100, 90), card(), AS_TRAINED)[0].tiling == Tiling()


@pytest.mark.parametrize("finer", [1, 2, 3])
@pytest.mark.parametrize("padding", ["mirror", "zero"])
@pytest.mark.parametrize("extent", [(5, 7), (40, 31), (11, 60)])
def test_a_finer_output_has_its_margin_in_voxels_of_the_input(
    finer: int, padding: str, extent: tuple[int, int]
) -> None:
    """Each score is repeated ``finer`` times, so that a shift by less than a voxel of the input would show."""
    said = card(output={"shrink": [2, 3]}, finer=finer, padding=padding, patch=[18, 16])
    coarse = valid_convolution((2, 3))

    def predict(patches: np.ndarray) -> np.ndarray:
        return coarse(patches).repeat(finer, 1).repeat(finer, 2)

    values = image(extent)
    fine = values.repeat(finer, 0).repeat(finer, 1)
    grid, _ = make_grid(fine.shape[:-1], said, AS_TRAINED)
    found = by_blocks(stitching(grid, without_repeats(predict, finer)), fine, grid.extent)
    grid, _ = make_grid(extent, card(output={"shrink": [2, 3]}, padding=padding), AS_TRAINED)
    plain = by_blocks(stitching(grid, coarse), values, extent)
    np.testing.assert_allclose(found, plain.repeat(finer, 0).repeat(finer, 1), atol=1e-4)


@pytest.mark.parametrize("small", [-1, 1 << 40])
def test_blocks_of_a_2d_model_on_a_volume_label_all_of_it(small: int) -> None:
    grid = Grid((3, 22, 9), (1, 10, 12), (0, 4, 4), (0, 1, 0), Tiling((0, 2, 1), "zero", even=True))
    predictor = valid_convolution((2, 1))
    stitcher = Stitcher(grid, Taper(grid), NUMBERS, predictor, 2, 2, 2, EmptyRule(255))
    values, ids = image(grid.extent), np.array([4, 9], np.uint8)

    def read(window: Box, box: Box) -> Seen:
        return Seen(Pixels(values[window.slices()]), Pixels(values[box.slices()]), [])

    normal = (values[..., 0].astype(float) - 0.5) / 2
    padded = np.pad(normal, [(0, 0), (2, 2), (1, 1)])
    made = correlate(padded, kernel((2, 1))[None])[:, 2:-2, 1:-1]
    with patch.object(plain_sums, "SMALL", small):
        whole = predict_block(stitcher, read, Box.whole(grid.extent), ids)
    clear = abs(made - 0.5) > 1e-4
    assert np.array_equal(whole.labels[clear], np.where(made > 0.5, 4, 9)[clear])
    assert math.prod(whole.labels.shape) == values.size


def test_options_win_over_what_a_card_says() -> None:
    said = card(taper="nnunet", tta="flips:y")
    assert [
        as_card_says(o, said).taper for o in (PredictOptions(), PredictOptions(taper="hann"))
    ] == [
        "nnunet",
        "hann",
    ]
    assert as_card_says(PredictOptions(), said).tta == "flips:y"
    assert as_card_says(PredictOptions(tta="none"), said).tta == "none"
    plain = as_card_says(PredictOptions(), card())
    assert (plain.taper, plain.tta) == ("hann", "none")
