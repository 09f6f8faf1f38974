"""The grid of the model is chosen from the data as nnU-Net does; what varies with it follows."""

from __future__ import annotations

import numpy as np
import pytest

from seg_batch.config.card_parts.resampling import Resampling
from seg_batch.training.autoconfig.grid import GivenGrid, Header, choose_grid
from tests.support.training.facts import case, reasons, recipe_of, scene, volume


def headers(
    *spacings: tuple[float, ...], extent: tuple[int, ...] = (100, 200, 200)
) -> list[Header]:
    return [Header(f"c{k}", extent, spacing) for k, spacing in enumerate(spacings)]


def nnunet(spacings: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """``determine_fullres_target_spacing`` of nnU-Net 2.5, in its own words."""
    target = np.percentile(spacings, 50, 0)
    target_size = np.percentile(sizes, 50, 0)
    worst = np.argmax(target)
    others = [i for i in range(len(target)) if i != worst]
    other_spacings, other_sizes = [target[i] for i in others], [target_size[i] for i in others]
    if target[worst] > 3 * max(other_spacings) and target_size[worst] * 3 < min(other_sizes):
        tenth = np.percentile(spacings[:, worst], 10)
        if tenth < max(other_spacings):
            tenth = max(max(other_spacings), tenth) + 1e-5
        target[worst] = tenth
    return target


@pytest.mark.parametrize("seed", range(40))
def test_it_is_the_spacing_of_nnunet(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 30))
    spacings = rng.uniform(0.5, 2, (n, 3))
    spacings[:, rng.integers(3)] *= rng.uniform(1, 8, n)
    sizes = rng.integers(8, 400, (n, 3))
    files = [
        Header(f"{k}", tuple(e), tuple(s))
        for k, (e, s) in enumerate(zip(sizes.tolist(), spacings.tolist(), strict=True))
    ]
    found = choose_grid("volume", files).spacing
    np.testing.assert_allclose(found, nnunet(spacings, sizes), atol=2e-5)


def test_thick_slices_take_the_tenth_percentile_and_say_so() -> None:
    files = [
        Header(f"{k}", (20, 300, 300), (z, 1.0, 1.0)) for k, z in enumerate([4, 5, 5, 6, 2.5, 5])
    ]
    grid = choose_grid("volume", files)
    assert grid.spacing == (3.25, 1.0, 1.0)
    why = {r.key: r.why for r in grid.reasons}
    assert "tenth percentile (their median is 5 mm)" in why["card.spacing_mm"]
    assert grid.rank == 2
    assert [grid.extent_of(f) for f in files] == [(20, 300, 300)] * 6, "slices stay slices"


def test_images_of_other_voxels_are_counted_and_brought_to_one_grid() -> None:
    grid = choose_grid("volume", headers((1, 1, 1), (1, 1, 1), (2, 1, 0.5), (1.01, 1, 1)))
    assert grid.spacing == (1.005, 1, 1)
    extents = [grid.extent_of(h) for h in headers((1, 1, 1), (2, 1, 0.5), (1.1, 1, 1), None)]
    assert extents == [(100, 200, 200), (199, 200, 100), (109, 200, 200), (100, 200, 200)]
    assert "1 case of other voxels" in {r.key: r.why for r in grid.reasons}["card.spacing_mm"]
    assert "of other" not in reasons(volume())["card.spacing_mm"].why


def test_a_file_without_voxel_size_is_named() -> None:
    text = [str(r) for r in choose_grid("volume", headers((1, 1, 1), None)).reasons if r.warning]
    assert "c1" in text[0]
    assert not [r for r in choose_grid("volume", headers(None, None)).reasons if r.warning]
    known = choose_grid("volume", headers((1, 1, 1), None, (1, 1, 1))).reasons
    assert any("the median of 2 cases" in r.why for r in known)


def test_a_given_grid_wins_in_the_orientation_of_the_recipe() -> None:
    files = headers((1, 1, 1), (1, 1, 1))
    grid = choose_grid("volume", files, GivenGrid((1.0, 2.0, 4.0)))
    assert (grid.spacing, grid.extent_of(files[0])) == ((1, 2, 4), (100, 100, 50))
    turned = choose_grid("volume", files, GivenGrid((1.0, 2.0, 4.0), "SAR"))
    assert turned.spacing == (4, 2, 1)
    assert choose_grid("volume", files, GivenGrid((1.0, 2.0))).spacing == (1, 1, 1), "refused later"
    raster = [Header("a", (50, 60), (10.0, 10.0))]
    assert choose_grid("raster", raster, GivenGrid((20.0,))).extent_of(raster[0]) == (25, 30)


def test_rank_and_tolerance_of_a_recipe_are_those_reasoned_with() -> None:
    thick = headers((5, 1, 1), (5, 1.1, 1), (5, 1, 1))
    assert choose_grid("volume", thick).rank == 2
    whole = choose_grid("volume", thick, GivenGrid(rank=3))
    assert (whole.rank, whole.order, whole.spacing) == (3, (0, 1, 2), (5, 1, 1))
    assert str(whole.reasons[0]) == "card.rank = 3: given"
    assert whole.extent_of(thick[1]) == (100, 220, 200)
    loose = choose_grid("volume", thick, GivenGrid(rank=3, resampling=Resampling(tolerance=0.2)))
    assert loose.extent_of(thick[1]) == (100, 200, 200)
    assert not any("of other voxels" in r.why for r in loose.reasons)
    slices = choose_grid("volume", headers((1, 1, 1), (2, 1, 1), (1, 1, 1)), GivenGrid(rank=2))
    assert (slices.rank, slices.order) == (2, (0, 1, 2))
    assert slices.spacing_of((2, 0.5, 1)) == (2, 1, 1), "slices stay slices"
    turned = choose_grid("volume", thick, GivenGrid(orientation="SAR", rank=2))
    assert {r.key: r.value for r in turned.reasons}["card.spacing_mm"] == [1, 1, 5]
    assert turned.spacing_of((4, 2, 3)) == (5, 1, 3)


@pytest.mark.parametrize("side", [3e-8, 4.0000001e-7, 1.23456789e-3, 0.46875, 11.71875, 1500])
def test_small_sides_keep_their_digits(side: float) -> None:
    assert choose_grid("volume", headers((side, side, side))).spacing == pytest.approx(
        (side,) * 3, rel=5e-6
    )
    raster = choose_grid("raster", [Header("a", (50, 60), (side, side))]).spacing
    assert raster == pytest.approx((side, side), rel=5e-6)


def test_resolution_varies_where_voxels_are_long_along_one_axis() -> None:
    assert recipe_of(volume()).augment.thick_slices == recipe_of(scene()).augment.thick_slices == 1
    slabs = volume(spacing=(2.5, 1.0, 1.0))
    assert recipe_of(slabs).augment.thick_slices == 2
    assert "2.5 : 1" in reasons(slabs)["augment.thick_slices"].why
    few = [case(f"thick_{k}", spacing=(4.0, 1.0, 1.0)) for k in range(3)]
    mixed = volume(5, cases=(*volume(5).cases, *few))
    assert recipe_of(mixed).augment.thick_slices == 4
    seen_alone = recipe_of(volume(spacing=(5.0, 1.0, 1.0))).augment
    assert (seen_alone.thick_slices, seen_alone.low_resolution) == (1, 2)
