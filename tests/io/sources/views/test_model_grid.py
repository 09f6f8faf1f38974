"""Which grid a model works on over an image, and the image on it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from seg_batch.config.card_parts.resampling import Resampling
from seg_batch.config.image_options.grid import GridOptions
from seg_batch.core.errors import InputError, PlanError
from seg_batch.core.geometry import Box
from seg_batch.core.georef import VolumeGeoref
from seg_batch.io.sources import open_source
from seg_batch.io.sources.views.model_grid import ModelGrid
from seg_batch.io.sources.views.open_view import Axes, View
from tests.support.files import address_raster, address_volume, write_raster, write_volume

AUTO = GridOptions()
ON_MODEL = GridOptions(output_grid="model")


def scan(folder: Path, sizes: tuple[float, ...], shape: tuple[int, int, int], **how: float) -> Path:
    """A volume of ``i, j, k`` with voxels of ``sizes``; ``shear``: of the last axis along the first."""
    affine = np.diag([*sizes, 1.0])
    affine[0, 2] = how.get("shear", 0.0) * sizes[2]
    affine[:3, 3] = (-20, 11, 5)
    return write_volume(folder / "scan.nii.gz", address_volume(shape), affine)


def grid_of(path: Path, axes: Axes, options: GridOptions = AUTO) -> ModelGrid | None:
    with View(open_source(path), axes, options) as view:
        return view.grid


def test_thick_slices_come_by_the_nearest_and_the_rest_by_splines(tmp_path: Path) -> None:
    path = scan(tmp_path, (0.7, 0.7, 5), (40, 30, 6))
    grid = grid_of(path, Axes(spacing_mm=(1, 1, 1)))
    assert grid is not None
    assert (grid.source, grid.target) == ((6, 30, 40), (30, 21, 28))
    assert grid.rules == ("nearest", "area", "area")  # the model's voxels are longer in plane
    assert grid.back == ("nearest", "linear", "linear")
    assert grid.words.startswith("from 5 x 0.7 x 0.7 mm to 1 x 1 x 1 mm (nearest, area, area)")
    linear = Axes(spacing_mm=(1, 1, 1), resampling=Resampling(thick="linear", down="cubic"))
    other = grid_of(path, linear)
    assert other is not None
    assert (other.rules, other.back) == (("linear", "cubic", "cubic"), ("linear",) * 3)
    assert ModelGrid.from_json(grid.to_json()) == grid


@pytest.mark.parametrize(
    ("sizes", "options"),
    [((1.015, 0.985, 1), AUTO), ((3, 3, 3), GridOptions("never"))],
    ids=["within the tolerance", "never"],
)
def test_nothing_is_resampled(
    tmp_path: Path, sizes: tuple[float, ...], options: GridOptions
) -> None:
    path, axes = scan(tmp_path, sizes, (9, 8, 7)), Axes(spacing_mm=(1, 1, 1))
    with View(open_source(path), axes, options) as view, View(open_source(path), Axes()) as plain:
        assert view.grid is None
        assert view.model is view
        assert view.info == plain.info


def test_slices_of_a_flat_model_stay_slices(tmp_path: Path) -> None:
    path = scan(tmp_path, (0.5, 0.5, 4), (20, 24, 5))
    grid = grid_of(path, Axes(rank=2, spacing_mm=(1, 1, 1)))
    assert grid is not None
    assert grid.target == (5, 12, 10)

    within = grid_of(path, Axes(rank=2, spacing_mm=(1, 1)))
    assert within is not None
    assert (within.target, within.rules, within.wanted) == (grid.target, grid.rules, (4, 1, 1))


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ((1e-5, 1e-5, 1e-5), r"1.2e\+06 x 1e\+06 x 8e\+05 voxels, more"),
        ((1, 1, 1e-7), r"12 x 10 x 8e\+07 voxels, more"),
        ((5e-324,) * 3, "inf voxels, more"),
        ((1e300,) * 3, "a single voxel along an axis"),
        ((1, 70, 1), "a single voxel along an axis"),
    ],
)
def test_a_grid_that_is_none_is_refused_in_one_line(
    tmp_path: Path, sizes: tuple[float, ...], words: str
) -> None:
    path = scan(tmp_path, (1, 1, 1), (8, 10, 12))
    with pytest.raises(InputError, match=words) as caught:
        grid_of(path, Axes(spacing_mm=sizes))
    assert "1 x 1 x 1 mm to" in caught.value.message
    assert "\n" not in caught.value.message
    thin = scan(tmp_path, (1, 1, 1), (8, 1, 12))
    assert grid_of(thin, Axes(spacing_mm=(1, 70, 1))) is None, "one voxel stays one"
    with pytest.raises(InputError, match="a single voxel along an axis"):
        grid_of(path, Axes(), GridOptions(spacing=(100.0,)))


def test_sizes_by_hand_overrule_the_card_and_must_fit_the_axes(tmp_path: Path) -> None:
    path, axes = scan(tmp_path, (1, 1, 1), (12, 10, 8)), Axes(spacing_mm=(1, 1, 1))
    grid = grid_of(path, axes, GridOptions(spacing=(2.0,)))
    assert grid is not None
    assert grid.target == (4, 5, 6)
    with pytest.raises(InputError, match="more than a metre"):
        grid_of(path, axes, GridOptions(spacing=(2000.0,)))
    with pytest.raises(InputError, match=r"2 numbers .* 3 axes"):
        grid_of(path, axes, GridOptions(spacing=(2.0, 1.0)))


@pytest.mark.parametrize(
    "sizes", [(0.0,), (-1.0,), (float("nan"),), (1e-4,), (2e5,), (51.0, 1.0, 1.0), (1.0,) * 4]
)
def test_absurd_sizes_are_refused(sizes: tuple[float, ...]) -> None:
    with pytest.raises(PlanError, match="--spacing"):
        GridOptions(spacing=sizes)


def test_pixels_are_measured_on_the_ground(tmp_path: Path) -> None:
    values = address_raster((60, 90), 1, "uint16")
    degrees = write_raster(
        tmp_path / "degrees.tif",
        values,
        crs="EPSG:4326",
        transform=Affine(1e-4, 0, -113, 0, -1e-4, 37),
    )
    grid = grid_of(degrees, Axes(pixel_m=30))
    assert grid is not None
    assert grid.size == pytest.approx((11.1, 8.9), abs=0.05)  # not square
    assert grid.target == (22, 27)
    place = write_raster(tmp_path / "none.tif", values, crs=None, transform=Affine.identity())
    assert grid_of(place, Axes(pixel_m=30)) is None
    with pytest.raises(InputError, match="does not say how large its voxels are"):
        grid_of(place, Axes(), GridOptions(spacing=(10.0,)))


def test_what_is_to_be_known_is_told(tmp_path: Path) -> None:
    wide = write_raster(
        tmp_path / "wide.tif",
        address_raster((40, 40), 1, "uint8"),
        crs="EPSG:4326",
        transform=Affine(0.5, 0, 0, 0, -0.5, 50),
    )
    with View(open_source(wide), Axes(pixel_m=20_000), AUTO) as view:
        assert any("differ by" in line for line in view.warnings())
    with View(open_source(wide), Axes(), AUTO) as view:
        assert not any("differ by" in line for line in view.warnings())
    leaning = scan(tmp_path, (1, 1, 2), (9, 9, 9), shear=0.05)
    with View(open_source(leaning), Axes(spacing_mm=(1, 1, 1)), AUTO) as view:
        assert any("sheared" in line for line in view.warnings())
        there, here = view.file.info.georef, view.native.info.georef
        assert here == there


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(*[st.sampled_from([0.5, 0.8, 1.0, 1.7, 3.5])] * 3),
    st.sampled_from(["RAS", "LPI", "SAR", "PLS"]),
    st.data(),
)
def test_any_box_of_the_model_is_a_part_of_the_whole_and_lies_where_the_image_does(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: tuple[float, ...],
    orientation: str,
    data: st.DataObject,
) -> None:
    path = scan(tmp_path_factory.mktemp("scan"), sizes, (11, 9, 7))
    axes = Axes(orientation, spacing_mm=(1, 1, 1))
    with View(open_source(path), axes, ON_MODEL) as view, closing(open_source(path)) as file:
        whole = view.read(Box.whole(view.info.extent)).values
        start = [data.draw(st.integers(0, n - 1)) for n in view.info.extent]
        stop = [data.draw(st.integers(a + 1, n)) for a, n in zip(start, whole.shape, strict=False)]
        box = Box(tuple(start), tuple(stop))
        assert np.array_equal(view.read(box).values, whole[box.slices()])
        assert isinstance(view.info.georef, VolumeGeoref)
        matrix, outer = view.info.georef.matrix, file.info.georef.matrix
        # The corners of the volume are those of the file.
        ends = np.array(view.info.extent[::-1])
        corners = {
            tuple(np.round(matrix @ [*e, 1], 6)[:3]) for e in (-0.5 * np.ones(3), ends - 0.5)
        }
        whole_file = np.array(file.info.extent[::-1])
        places = [[a, b] for a, b in zip(-0.5 * np.ones(3), whole_file - 0.5, strict=True)]
        known = {
            tuple(np.round(outer @ [x, y, z, 1], 6)[:3])
            for x in places[0]
            for y in places[1]
            for z in places[2]
        }
        assert corners <= known
