"""Normalisation against float64 arithmetic, one voxel at a time, and against numpy's statistics."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_batch.core.normalise import Normaliser, Pixels
from seg_batch.core.statistics.moments import Moments

DTYPES = ("uint8", "int16", "uint16", "int32", "uint32", "int64", "float32", "float64", "bool")
CHANNELS = 2
numbers = st.floats(-1e4, 1e4, allow_subnormal=False)
positive = st.floats(1e-3, 1e3)
pairs = st.tuples


@st.composite
def arrays(draw: st.DrawFn, awkward: bool = False) -> np.ndarray:
    """``(n, 2)`` values of any dtype a file may have; NaN and infinity among them if awkward."""
    dtype, n = np.dtype(draw(st.sampled_from(DTYPES))), draw(st.integers(1, 6))
    if dtype.kind == "f":
        width = dtype.itemsize * 8
        value = st.floats(width=width) if awkward else st.floats(-(2.0**20), 2.0**20, width=width)
    elif dtype.kind == "b":
        value = st.booleans()
    else:
        value = st.integers(np.iinfo(dtype).min, np.iinfo(dtype).max)
    flat = draw(st.lists(value, min_size=n * CHANNELS, max_size=n * CHANNELS))
    return np.array(flat, dtype).reshape(n, CHANNELS)


@st.composite
def pixels(draw: st.DrawFn, awkward: bool = False) -> Pixels:
    values = draw(arrays(awkward))
    flags = st.lists(st.booleans(), min_size=values.size, max_size=values.size)
    valid = draw(st.none() | flags.map(lambda f: np.array(f).reshape(values.shape)))
    scale = draw(st.none() | pairs(positive, positive))
    return Pixels(values, valid, scale, None if scale is None else draw(pairs(numbers, numbers)))


@st.composite
def normalisers(draw: st.DrawFn) -> Normaliser:
    mean, std = draw(pairs(numbers, numbers)), draw(pairs(positive, positive))
    if draw(st.booleans()):
        return Normaliser(mean, std)
    low = draw(pairs(numbers, numbers))
    high = tuple(a + draw(positive) for a in low)
    return Normaliser(mean, std, low, high)


def slow(normaliser: Normaliser, pixels: Pixels, i: int, c: int) -> tuple[float, float]:
    """The expected value of voxel ``i``, channel ``c``, and the largest number met on the way."""
    v = float(pixels.values[i, c])
    if not math.isfinite(v) or (pixels.valid is not None and not pixels.valid[i, c]):
        return 0.0, 0.0
    scale = pixels.scale[c] if pixels.scale else 1.0
    offset = pixels.offset[c] if pixels.offset else 0.0
    met = [v * scale, offset, normaliser.mean[c]]
    v = v * scale + offset
    if normaliser.low and normaliser.high:
        v = min(max(v, normaliser.low[c]), normaliser.high[c])
    largest = max(map(abs, met)) / normaliser.std[c]
    return (v - normaliser.mean[c]) / normaliser.std[c], largest


@given(normalisers(), pixels())
def test_normalised_equals_float64_arithmetic(normaliser: Normaliser, pixels: Pixels) -> None:
    out = normaliser(pixels)
    assert out.dtype == np.float32
    # float32 keeps seven digits of the largest number on the way; large integers keep them all.
    eps = 1e-6 if np.result_type(pixels.values, np.float32) == np.float32 else 1e-9
    for (i, c), found in np.ndenumerate(out):
        expected, largest = slow(normaliser, pixels, i, c)
        assert found == pytest.approx(expected, rel=1e-6, abs=eps * largest + 1e-6)


@given(normalisers() | st.just(Normaliser()), pixels(awkward=True))
def test_nothing_that_is_not_finite_ever_leaves(normaliser: Normaliser, pixels: Pixels) -> None:
    out = normaliser(pixels)
    assert np.isfinite(out).all()
    invalid = ~np.isfinite(pixels.values)
    if pixels.valid is not None:
        invalid |= ~pixels.valid
    if not (normaliser.low and np.isinf(pixels.values).any()):
        assert not out[invalid].any()


@pytest.mark.parametrize("dtype", ["int32", "uint32", "int64", "float64"])
def test_a_large_offset_costs_no_digits(dtype: str) -> None:
    values = np.array([[2_000_000_000], [2_000_000_001]], dtype)
    assert Normaliser((2e9,), (0.5,))(Pixels(values)).tolist() == [[0], [2]]
    assert Normaliser((2e9,), (0.5,), (0.0,), (3e9,))(Pixels(values)).tolist() == [[0], [2]]


@given(arrays())
def test_the_identity_keeps_every_digit(values: np.ndarray) -> None:
    normaliser, before = Normaliser(), values.copy()
    out = normaliser(Pixels(values))
    assert out.dtype == (values.dtype if values.dtype.kind in "iub" else np.float64)
    np.testing.assert_array_equal(out, values)
    np.testing.assert_array_equal(values, before)


@given(pixels())
def test_the_identity_is_physical_where_valid_and_zero_elsewhere(pixels: Pixels) -> None:
    physical = pixels.values.astype(np.float64)
    if pixels.scale and pixels.offset:
        physical = physical * pixels.scale + pixels.offset
    expected = physical if pixels.valid is None else np.where(pixels.valid, physical, 0)
    np.testing.assert_allclose(Normaliser()(pixels).astype(np.float64), expected, rtol=1e-15)


@given(normalisers(), pixels())
def test_the_input_is_never_written_to(normaliser: Normaliser, pixels: Pixels) -> None:
    values, valid = pixels.values.copy(), None if pixels.valid is None else pixels.valid.copy()
    normaliser(pixels)
    Moments.of([pixels], CHANNELS).normaliser()
    np.testing.assert_array_equal(pixels.values, values)
    np.testing.assert_array_equal(pixels.valid, valid)


@given(st.lists(pixels(), min_size=1, max_size=4))
def test_statistics_are_those_of_all_pieces_together(pieces: list[Pixels]) -> None:
    found = Moments.of(pieces, CHANNELS).normaliser()
    for c in range(CHANNELS):
        parts = [
            piece.physical()[..., c][... if piece.valid is None else piece.valid[..., c]]
            for piece in pieces
        ]
        together = np.concatenate([np.asarray(part, np.float64).ravel() for part in parts])
        if together.size == 0:
            assert (found.mean[c], found.std[c]) == (0, 1)
            continue
        scale = np.abs(together).max() + 1e-300
        assert found.mean[c] == pytest.approx(together.mean(), rel=1e-12, abs=1e-14 * scale)
        std = together.std()
        if std > 1e-9 * scale:
            assert found.std[c] == pytest.approx(std, rel=1e-6)
        if (together == together[0]).all():
            assert found.std[c] == 1


@given(st.integers(1, 400), st.lists(st.integers(0, 400), max_size=5), st.sampled_from([0, 1e9]))
def test_the_cut_into_pieces_costs_no_digits(n: int, cuts: list[int], offset: float) -> None:
    values = np.random.default_rng(n).normal(offset, 3, (n, 1))
    edges = [0, *sorted(min(cut, n) for cut in cuts), n]
    pieces = (Pixels(values[a:b]) for a, b in itertools.pairwise(edges))
    found = Moments.of(pieces, 1).normaliser()
    assert found.mean[0] == pytest.approx(values.mean(), rel=1e-14, abs=1e-13)
    assert found.std[0] == pytest.approx(values.std() or 1, rel=1e-6)


def test_statistics_see_neither_nodata_nor_nan() -> None:
    values = np.array([[1.0], [3.0], [np.nan], [np.inf], [65535.0]])
    valid = np.array([[True], [True], [True], [True], [False]])
    found = Moments.of([Pixels(values, valid)], 1).normaliser()
    assert (found.mean, found.std) == ((2.0,), (1.0,))


@pytest.mark.parametrize("n", [1, 3, 1000])
def test_a_constant_channel_has_no_spread_however_it_is_cut(n: int) -> None:
    pieces = [Pixels(np.full((k, 1), 0.1)) for k in (n, 7, n)]
    normaliser = Moments.of(pieces, 1).normaliser()
    assert normaliser.std == (1.0,)
    assert np.abs(normaliser(pieces[0])).max() < 1e-6


@pytest.mark.parametrize(("scale", "offset"), [((0.5,), None), (None, (3.0,)), ((0.5,), (3.0,))])
def test_scale_and_offset_may_come_alone(
    scale: tuple[float] | None, offset: tuple[float] | None
) -> None:
    pixels = Pixels(np.array([[4]], np.uint8), None, scale, offset)
    expected = 4 * (scale or (1,))[0] + (offset or (0,))[0]
    assert pixels.physical().item() == expected
    assert Normaliser()(pixels).item() == expected
    assert Normaliser((0.0,), (1.0,))(pixels).item() == expected


def test_pixels_are_cut_with_their_mask() -> None:
    address = np.arange(24).reshape(4, 3, 2)
    cut = Pixels(address, address % 5 > 0, (2.0, 3.0), (0.0, 1.0))[1:3, 2:]
    np.testing.assert_array_equal(cut.values, address[1:3, 2:])
    np.testing.assert_array_equal(cut.valid, (address % 5 > 0)[1:3, 2:])
    assert (cut.scale, cut.offset) == ((2.0, 3.0), (0.0, 1.0))


def test_a_voxel_counts_where_any_channel_is_valid() -> None:
    valid = np.array([[True, False], [False, False], [True, True]])
    values = np.zeros((3, 2))
    assert Pixels(values, valid).any_valid().tolist() == [True, False, True]
    assert Pixels(values).any_valid().all()
    with pytest.raises(ValueError, match="does not match"):
        Pixels(values, valid[:2])
