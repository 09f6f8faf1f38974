"""Stacks of files with unequal pixels: values by plain sums, the same in any box, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine, from_origin

from seg_batch.config.image_options.scene import SceneOptions
from seg_batch.core.errors import InputError, PlanError
from seg_batch.core.geometry import Box
from seg_batch.io.sources.protocol import Source
from seg_batch.io.sources.views.image_spec import ImageSpec
from seg_batch.io.sources.views.joined.lattice import OneGrid
from tests.support.io.satellites import addressed

WEST, NORTH = 600_000.0, 5_800_020.0


def _write(
    path: Path, values: np.ndarray, pixel: float, at: tuple[float, float] = (0, 0), **more: object
) -> str:
    """A GeoTIFF; ``at``: metres south and east of the corner."""
    profile = {
        "driver": "GTiff", "height": values.shape[0], "width": values.shape[1], "count": 1, "dtype": values.dtype,
        "crs": 32633, "nodata": 0, "transform": from_origin(WEST + at[1], NORTH - at[0], pixel, pixel), **more,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.write(values, 1)
    return str(path)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, np.ndarray]]:
    folder, made = tmp_path_factory.mktemp("stack"), {}
    for k, (name, pixel) in enumerate({"B02": 10, "B11": 20, "B01": 60}.items()):
        values = addressed((720 // pixel, 480 // pixel), k)
        values[1:3, 2:4] = 0
        made[name] = _write(folder / f"x_{name}.tif", values, pixel), values
    return made


def _open(*paths: str, **options: object) -> Source:
    return ImageSpec(paths, **options).open()  # type: ignore[arg-type]


def _whole(source: Source) -> tuple[np.ndarray, np.ndarray]:
    pixels = source.read(Box.whole(source.info.extent))
    valid = np.ones(pixels.values.shape, bool) if pixels.valid is None else pixels.valid
    return pixels.values, valid


def _paths(files: dict[str, tuple[str, np.ndarray]]) -> list[str]:
    return [path for path, _ in files.values()]


def test_the_finest_grid_counts_where_no_model_says_another(files: dict) -> None:
    source = _open(*_paths(files), one_grid=OneGrid(None, "linear", "area"))
    values, valid = _whole(source)
    assert source.info.extent == (72, 48)
    assert source.info.channels == ("B02", "B11", "B01")
    np.testing.assert_array_equal(values[..., 0], files["B02"][1])
    # In the middle between four pixels of 20 m: a quarter of the way from the centre of each to the next.
    stored = files["B11"][1].astype(np.float64)
    expected = (9 * stored[10, 10] + 3 * stored[10, 11] + 3 * stored[11, 10] + stored[11, 11]) / 16
    assert values[21, 21, 1] == pytest.approx(expected, rel=1e-6)
    assert not valid[2:6, 4:8, 1].any()
    assert any(
        "of pixels of 20 m, come to the grid of 10 m" in line for line in source.info.warnings
    )


@pytest.mark.parametrize(
    ("pixel_m", "extent"), [(10, (72, 48)), (19, (36, 24)), (25, (36, 24)), (90, (12, 8))]
)
def test_the_grid_nearest_to_that_of_the_model_counts(
    files: dict, pixel_m: float, extent: tuple
) -> None:
    assert _open(*_paths(files), one_grid=OneGrid(pixel_m)).info.extent == extent


def test_coarser_grids_have_the_mean_of_what_they_cover(files: dict) -> None:
    values, valid = _whole(_open(*_paths(files), one_grid=OneGrid(20)))
    stored = np.where(files["B02"][1], files["B02"][1], np.nan).astype(np.float64)
    four = stored.reshape(36, 2, 24, 2)
    known = np.isfinite(four).mean((1, 3)) >= 0.5
    np.testing.assert_array_equal(valid[..., 0], known)
    mean = np.nanmean(np.where(known[:, None, :, None], four, 0), (1, 3))
    np.testing.assert_allclose(values[..., 0], np.where(known, mean, 0), rtol=1e-6)


@pytest.mark.parametrize("pixel_m", [10, 20, 60])
def test_boxes_have_the_bytes_of_the_whole(files: dict, pixel_m: float) -> None:
    source, rng = _open(*_paths(files), one_grid=OneGrid(pixel_m)), np.random.default_rng(1)
    values, valid = _whole(source)
    for _ in range(25):
        start = [int(rng.integers(0, n)) for n in source.info.extent]
        stop = [
            int(rng.integers(a + 1, n + 1)) for a, n in zip(start, source.info.extent, strict=True)
        ]
        box = Box(tuple(start), tuple(stop))
        pixels = source.read(box)
        np.testing.assert_array_equal(pixels.values, values[box.slices((0, 0))])
        there = np.ones(pixels.values.shape, bool) if pixels.valid is None else pixels.valid
        np.testing.assert_array_equal(there, valid[box.slices((0, 0))])


def test_bands_of_one_size_alone_stay_on_their_grid(files: dict) -> None:
    source = _open(*_paths(files), bands=("B11",))
    assert (source.info.extent, source.info.dtype) == ((36, 24), "uint16")
    assert source.info.composed == {}
    np.testing.assert_array_equal(_whole(source)[0][..., 0], files["B11"][1])


def test_one_file_may_hold_the_other(files: dict, tmp_path: Path) -> None:
    small = addressed((10, 8), 7)
    path = _write(tmp_path / "small.tif", small, 20, (40, 60))
    values, valid = _whole(_open(files["B02"][0], path, one_grid=OneGrid(None, "nearest", "area")))
    inside = np.zeros((72, 48), bool)
    inside[4:24, 6:22] = True
    np.testing.assert_array_equal(valid[..., 1], inside)
    np.testing.assert_array_equal(values[4:24, 6:22, 1], small.repeat(2, 0).repeat(2, 1))
    large = addressed((40, 30), 8)
    path = _write(tmp_path / "large.tif", large, 20, (-40, -20))
    values, valid = _whole(_open(files["B02"][0], path, one_grid=OneGrid(None, "nearest", "area")))
    assert valid[..., 1].all()
    np.testing.assert_array_equal(values[..., 1], large[2:38, 1:25].repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize(
    ("at", "more", "words"),
    [
        ((5, 0), {}, "lie off each other's grid"),
        ((0, 1), {}, "lie off each other's grid"),
        ((-20, 20), {}, "neither holds the other"),
        ((0, 0), {"crs": 32634}, "crs: "),
        ((0, 0), {"transform": Affine(20, 2, WEST, -2, -20, NORTH)}, "other directions"),
    ],
)
def test_what_shows_another_place_is_refused(
    files: dict, tmp_path: Path, at: tuple[float, float], more: dict, words: str
) -> None:
    path = _write(tmp_path / "other.tif", addressed((36, 24), 4), 20, at, **more)
    with pytest.raises(InputError, match=r"other\.tif") as raised:
        _open(files["B02"][0], path)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_files_of_one_size_are_stacked_as_ever(files: dict, tmp_path: Path) -> None:
    path = _write(tmp_path / "x_B03.tif", addressed((72, 48), 5), 10)
    info = _open(files["B02"][0], path).info
    assert (info.dtype, info.composed) == ("uint16", {})
    shifted = _write(tmp_path / "x_B04.tif", addressed((72, 48), 5), 10, (10, 0))
    with pytest.raises(InputError, match="corners up to 1 voxels apart"):
        _open(files["B02"][0], shifted)


def test_a_band_says_where_there_is_no_data(files: dict, tmp_path: Path) -> None:
    scl = np.random.default_rng(2).integers(0, 12, (36, 24)).astype(np.uint8)
    path = _write(tmp_path / "x_SCL.tif", scl, 20, nodata=None)
    rules = SceneOptions(mask_from=("SCL:3,8,9,10",))
    source = _open(*_paths(files), path, scene=rules)
    assert source.info.channels == ("B02", "B11", "B01")
    assert source.info.taken == (0, 1, 2)
    assert source.info.composed["mask_from"] == ["SCL:3,8,9,10"]
    values, valid = _whole(source)
    plain, before = _whole(_open(*_paths(files)))
    cloud = np.isin(scl, (3, 8, 9, 10)).repeat(2, 0).repeat(2, 1)[..., None]
    np.testing.assert_array_equal(valid, before & ~cloud)
    np.testing.assert_array_equal(values[valid], plain[valid])
    asked = _open(*_paths(files), path, scene=rules, bands=("SCL", "B02"))
    assert asked.info.channels == ("SCL", "B02")
    box = Box((7, 9), (31, 30))
    np.testing.assert_array_equal(source.read(box).valid, valid[box.slices((0, 0))])


def test_bits_of_a_band_say_it_too(tmp_path: Path) -> None:
    qa = np.random.default_rng(2).integers(0, 1 << 16, (72, 48)).astype(np.uint16)
    paths = [
        _write(tmp_path / "x_B02.tif", addressed((72, 48), 1), 10),
        _write(tmp_path / "x_QA.tif", qa, 10),
    ]
    _, valid = _whole(_open(*paths, scene=SceneOptions(mask_from=("QA:bit3,bit4", "QA:77"))))
    np.testing.assert_array_equal(valid[..., 0], ((qa >> 3) & 3 == 0) & (qa != 77))


def test_a_band_that_is_not_there_is_refused_with_those_that_are(files: dict) -> None:
    with pytest.raises(InputError, match="has no band 'SCL'; it has 1 B02, 2 B11, 3 B01"):
        _open(*_paths(files), scene=SceneOptions(mask_from=("SCL:3",)))


@pytest.mark.parametrize(
    "text", ["SCL", "SCL:", "SCL:x", ":3", "SCL:3,,4", "SCL:bit", "SCL:bit99", "SCL:3.5"]
)
def test_what_names_no_values_is_refused_before_any_work(text: str) -> None:
    from seg_batch.config.options import as_checked

    with pytest.raises(PlanError, match="write it like SCL:3,8,9,10"):
        as_checked(SceneOptions(mask_from=(text,)))
