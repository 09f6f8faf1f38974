"""Schemes of normalisation against numpy on whole arrays, however these are cut into pieces."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_batch.core.errors import InputError
from seg_batch.core.normalise import MaskedNormaliser, Normaliser, Pixels
from seg_batch.core.statistics import PerImage
from seg_batch.core.statistics.histogram import EXACT, Histogram, most_of
from seg_batch.core.statistics.moments import Moments
from seg_batch.core.statistics.schemes import (
    SCHEMES,
    count_values,
    measured,
    of_foreground,
)

RANKS = (0, 0.5, 2, 37.3, 50, 98, 99.5, 100)
INTEGERS = ("uint8", "int8", "uint16", "int16")
NAMES = ("T1", "T2")

values_of = {
    "integers": lambda rng, n: rng.integers(-1024, 3071, n).astype(np.int16),
    "all of 16 bits": lambda rng, n: rng.integers(0, 65536, n).astype(np.uint16),
    "beyond 16 bits": lambda rng, n: rng.integers(-(2**31), 2**31 - 1, n).astype(np.int32),
    "both signs": lambda rng, n: rng.normal(0, 1, n).astype(np.float32),
    "far from 0": lambda rng, n: rng.normal(1e6, 1, n),
    "over all powers of two": lambda rng, n: (
        rng.choice([-1, 1], n) * 2.0 ** rng.uniform(-40, 40, n)
    ),
}


def cut(pixels: Pixels, cuts: list[int]) -> list[Pixels]:
    n = len(pixels.values)
    edges = [0, *sorted(c % (n + 1) for c in cuts), n]
    return [pixels[a:b] for a, b in itertools.pairwise(edges)]


def histogram(values: np.ndarray, most: int = EXACT) -> Histogram:
    made = Histogram(most)
    made.add(values)
    return made


@given(st.sampled_from(INTEGERS), st.lists(st.integers(-128, 255), min_size=1, max_size=40))
def test_percentiles_of_integers_of_16_bits_are_exact(dtype: str, numbers: list[int]) -> None:
    values = np.array(numbers).astype(dtype)
    found = histogram(values).percentiles(RANKS)
    np.testing.assert_allclose(
        found, np.percentile(values.astype(float), RANKS), rtol=1e-14, atol=1e-12
    )


@pytest.mark.parametrize("name", values_of)
def test_percentiles_of_many_values_are_near(name: str) -> None:
    values = values_of[name](np.random.default_rng(1), 300_000)
    found, expected = histogram(values).percentiles(RANKS), np.percentile(values, RANKS)
    exact = values.dtype.itemsize == 2
    # 2**16 values over 80 powers of two and both signs: 2**8 for each, the middle is half of one off.
    np.testing.assert_allclose(found, expected, rtol=1e-7 if exact else 2**-9)
    if name in ("both signs", "beyond 16 bits"):
        np.testing.assert_allclose(found, expected, rtol=2**-11)


@given(
    st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=60),
    st.lists(st.integers(0, 60), max_size=4),
    st.integers(1, 20),
    st.randoms(use_true_random=False),
)
def test_what_is_counted_depends_on_no_cut_and_no_order(
    numbers: list[float], cuts: list[int], most: int, random: object
) -> None:
    """Also where the last bits are dropped on the way, and where parts were dropped of more than the whole needs."""
    values = np.array(numbers, np.float32)
    whole = histogram(values, most)
    parts = [p.values for p in cut(Pixels(values[:, None]), cuts)]
    random.shuffle(parts)  # type: ignore[attr-defined]
    added, merged = Histogram(most), Histogram(most)
    for part in parts:
        added.add(part[..., 0])
        merged.merge(Histogram.from_json(json.loads(json.dumps(histogram(part, most).to_json()))))
    for other in (added, merged):
        assert (other.shift, other.keys.tolist()) == (whole.shift, whole.keys.tolist())
        assert other.counts.tolist() == whole.counts.tolist()
    assert len(whole.keys) <= most
    assert whole.counts.sum() == len(values)


def test_memory_of_a_histogram_is_bounded_for_any_number_of_channels() -> None:
    assert all(most_of(n) >= EXACT for n in (1, 64, 2000))
    assert max(most_of(n) * n for n in range(1, 64)) <= 1 << 22


def test_each_name_has_a_scheme() -> None:
    assert list(SCHEMES) == list(get_args(PerImage))


def two_channels(rng: np.random.Generator, dtype: str = "int16") -> Pixels:
    """40 x 50, half of it 0 in both channels, some of the rest in one; some not valid."""
    values = rng.normal(300, 80, (2000, 2)).astype(dtype)
    values[:1000] = 0
    values[1000:1100, 0] = 0
    return Pixels(values, rng.random((2000, 2)) < 0.9)


def slow(kind: str, pixels: Pixels) -> np.ndarray:
    """What each scheme makes of an image, with numpy on all of it."""
    out = np.zeros(pixels.values.shape)
    physical = pixels.values * np.array(pixels.scale or 1.0) + np.array(pixels.offset or 0.0)
    valid = np.isfinite(physical)
    valid = valid if pixels.valid is None else valid & pixels.valid
    head = (valid & (physical != 0)).any(-1)
    for c in range(out.shape[-1]):
        here = valid[..., c] & (head if kind == "nonzero" else True)
        v = physical[here, c]
        if kind in ("source", "nonzero"):
            out[here, c] = (v - v.mean()) / (v.std() or 1)
        else:
            low, high = np.percentile(v, (0, 100) if kind == "range" else (2, 98))
            out[here, c] = (np.clip(v, low, high) - low) / (high - low or 1)
    return out


@pytest.mark.parametrize("dtype", ["int16", "float32", "float64", "uint16"])
@pytest.mark.parametrize("kind", SCHEMES)
def test_each_scheme_is_that_of_numpy_on_the_whole_image(kind: str, dtype: str) -> None:
    pixels = two_channels(np.random.default_rng(3), dtype)
    if dtype.startswith("float"):
        pixels.values[1500], pixels.values[1600, 0] = np.nan, np.inf
        pixels = Pixels(
            pixels.values, pixels.valid & np.isfinite(pixels.values)
        )  # as sources give it
    if dtype == "uint16":
        pixels = Pixels(pixels.values, pixels.valid, (-0.5, 2.0), (7.0, 0.0))
    found = [
        measured(kind, cut(pixels, cuts), NAMES, "a.nii")
        for cuts in ([], [1, 77, 1050, 1999], [1500])
    ]
    for numbers in found:
        out = numbers(pixels)
        np.testing.assert_allclose(out, slow(kind, pixels), atol=2e-5)
        assert kind in ("source", "nonzero") or (out.min() > -1e-6 and out.max() < 1 + 1e-6)
    if kind in ("range", "percentiles"):
        assert found[0] == found[1] == found[2]


@given(st.lists(st.sampled_from([0, 0, 1, -3, 7]), min_size=6, max_size=6), st.integers(0, 63))
def test_what_is_0_in_all_channels_stays_0(numbers: list[int], flags: int) -> None:
    values = np.array(numbers, np.int16).reshape(3, 2)
    valid = np.array([bool(flags >> k & 1) for k in range(6)]).reshape(3, 2)
    out = MaskedNormaliser((5.0, 2.0), (2.0, 1.0))(Pixels(values, valid))
    for v in range(3):
        head = any(values[v, c] != 0 and valid[v, c] for c in range(2))
        for c in range(2):
            expected = (values[v, c] - (5, 2)[c]) / (2, 1)[c] if head and valid[v, c] else 0
            assert out[v, c] == expected


@given(
    st.integers(-40_000, 40_000),
    st.floats(1e-6, 1e3) | st.floats(-1e3, -1e-6),
    st.sampled_from(["uint16", "int16", "int32", "float64"]),
)
def test_the_stored_zero_is_0_whatever_the_offset_is_in_binary(
    zero: int, scale: float, dtype: str
) -> None:
    if dtype != "float64":
        zero = int(np.clip(zero, np.iinfo(dtype).min, np.iinfo(dtype).max))
    values = np.array([[zero], [zero ^ 1], [zero ^ 2]]).astype(dtype)
    pixels = Pixels(values, None, (scale,), (-zero * scale,))
    assert pixels.nonzero().tolist() == [False, True, True]
    numbers = measured("nonzero", [pixels], ("T1",), "a.nii")
    expected = (values[1:].astype(float) - zero) * scale
    np.testing.assert_allclose(numbers.mean, expected.mean(), rtol=1e-6, atol=1e-9 * abs(scale))
    assert numbers(pixels)[0] == 0


def test_small_numbers_without_an_offset_are_not_0() -> None:
    values = np.array([[1e-9], [0]], np.float32)
    for pixels in (
        Pixels(values),
        Pixels(values, None, (1e-3,)),
        Pixels(values, None, (2.0,), (0.0,)),
    ):
        assert pixels.nonzero().tolist() == [True, False]
    assert Pixels(np.array([[3]], np.uint16), None, (0.1,), (-0.3,)).nonzero().tolist() == [False]


def test_zero_is_a_physical_value() -> None:
    pixels = Pixels(np.array([[1000], [1024], [0]], np.uint16), None, (1.0,), (-1024.0,))
    assert pixels.nonzero().tolist() == [True, False, True]
    assert MaskedNormaliser((-10.0,), (1.0,))(pixels).ravel().tolist() == [-14, 0, -1014]


@pytest.mark.parametrize("kind", SCHEMES)
def test_images_without_spread_or_values_become_0(kind: str) -> None:
    empty = np.full((50, 2), np.nan, np.float32)
    half = np.stack([np.zeros(50), np.arange(50.0)], -1).astype(np.float32)
    for values in (empty, np.zeros((50, 2)), np.full((50, 2), 7, np.int32), half):
        numbers = measured(kind, [Pixels(values)], NAMES, "a.nii")
        out = numbers(Pixels(values))
        assert np.isfinite(out).all()
        assert not out[:, 0].any()
        assert out[:, 1].any() == (values is half)


def test_percentiles_that_are_one_value_are_refused() -> None:
    values = np.zeros((1000, 1), np.int16)
    values[:10] = 500
    with pytest.raises(InputError, match=r"a\.nii: T1 is 0 from percentile 2 to 98"):
        measured("percentiles", [Pixels(values)], ("T1",), "a.nii")
    assert measured("range", [Pixels(values)], ("T1",), "a.nii").high == (500.0,)


@pytest.mark.parametrize("centre", [1e9, 1e9 + 32])
def test_percentiles_of_values_that_float32_can_t_tell_apart_are_refused(centre: float) -> None:
    values = np.random.default_rng(7).normal(centre, 1, (5000, 1))
    with pytest.raises(InputError, match=r"a\.nii: T1 goes from 9?9?.*, where float32 has hardly"):
        measured("percentiles", cut(Pixels(values), [40]), ("T1",), "a.nii")
    np.testing.assert_allclose(
        measured("percentiles", [Pixels(values, None, None, (-centre,))], ("T1",), "a.nii").mean,
        np.percentile(values - centre, 2),
        rtol=1e-4,
    )
    # What is exact in float32 is counted so, however few steps it spans; rounding is no spread.
    for few in (np.array([[1e9], [1e9 + 64]]), np.array([[0.1], [0.1 + 1e-16]])):
        measured("percentiles", [Pixels(few)], ("T1",), "a.nii")


def test_ct_is_the_foreground_s_mean_and_deviation_after_a_clip_to_its_percentiles() -> None:
    values = np.random.default_rng(5).integers(-1024, 3000, (9000, 2)).astype(np.int16)
    moments, each = Moments.of((), 2), [Histogram(), Histogram()]
    for piece in cut(Pixels(values), [100, 4000]):
        moments.add(piece)
        count_values(each, piece)
    numbers = of_foreground(moments, each, NAMES)
    np.testing.assert_allclose(numbers.mean, values.mean(0))
    np.testing.assert_allclose(numbers.std, values.std(0))
    assert np.array_equal([numbers.low, numbers.high], np.percentile(values, (0.5, 99.5), axis=0))
    flat = Histogram()
    flat.add(np.full(9, 40.0))
    with pytest.raises(
        InputError, match=r"T2 is 40 from percentile 0\.5 to 99\.5 of the foreground"
    ):
        of_foreground(moments, [each[0], flat], NAMES)
    with pytest.raises(InputError, match="no voxel that training may see"):
        of_foreground(moments, [Histogram(), each[1]], NAMES)


def test_numbers_of_before_are_written_as_before() -> None:
    plain = {"mean": (1.0,), "std": (2.0,), "low": None, "high": None}
    assert asdict(Normaliser((1.0,), (2.0,))) == plain
    for numbers in (
        MaskedNormaliser((1.0,), (2.0,)),
        Normaliser((1.0,), (2.0,), (0.0,), (3.0,)),
    ):
        assert Normaliser.from_json(json.loads(json.dumps(asdict(numbers)))) == numbers
