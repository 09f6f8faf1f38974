"""Rasters: every voxel at its place, every way of saying nodata, every trap said aloud."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp
from rasterio.transform import Affine

from seg_batch.core.errors import InputError, ReadError
from seg_batch.core.geometry import Box
from seg_batch.io.sources import corner_warnings, open_source
from seg_batch.io.sources.valid_mask import stored_nodata, valid_mask


def whole(path, **options):
    source = open_source(path, **options)
    return source, source.read(Box.whole(source.info.extent))


def address(*shape, dtype="int32"):
    return np.arange(1, np.prod(shape) + 1).reshape(shape).astype(dtype)


@pytest.fixture(scope="module")
def addressed(tmp_path_factory):
    """The same address image tiled, in strips, and interleaved by pixel."""
    values = address(3, 150, 200)
    folder = tmp_path_factory.mktemp("addressed")
    tiles = {"tiled": True, "blockxsize": 32, "blockysize": 16}
    layouts = {
        "tiled": {**tiles, "compress": "deflate"},
        "strips": {"interleave": "band", "blockysize": 7},
        "pixels": {**tiles, "interleave": "pixel", "compress": "zstd", "BIGTIFF": "YES"},
    }
    sources = []
    for name, options in layouts.items():
        path = folder / f"{name}.tif"
        with rasterio.open(
            path, "w", driver="GTiff", width=200, height=150, count=3, dtype="int32", **options
        ) as dataset:
            dataset.write(values)
        sources.append(open_source(path))
    yield values.transpose(1, 2, 0), sources
    for source in sources:
        source.close()


@st.composite
def boxes(draw, extent):
    sides = [sorted(draw(st.tuples(st.integers(0, n - 1), st.integers(1, n)))) for n in extent]
    sides = [(a, b if b > a else a + 1) for a, b in sides]
    return Box(tuple(a for a, _ in sides), tuple(b for _, b in sides))


@given(boxes((150, 200)), st.sampled_from([0, 1, 2]))
def test_any_box_is_a_slice_of_the_whole(addressed, box, which):
    expected, sources = addressed
    pixels = sources[which].read(box)
    np.testing.assert_array_equal(pixels.values, expected[box.slices()])
    assert pixels.valid is None
    assert pixels.scale is None


def test_threads_read_together(addressed):
    expected, sources = addressed
    spots = [Box((y, x), (y + 31, x + 57)) for y in range(0, 119, 7) for x in range(0, 143, 13)]
    with ThreadPoolExecutor(4) as pool:
        for box, pixels in zip(spots, pool.map(sources[0].read, spots), strict=True):
            np.testing.assert_array_equal(pixels.values, expected[box.slices()])


def test_a_box_outside_or_empty_is_the_callers_mistake(addressed):
    for box in (Box((0, 0), (151, 5)), Box((-1, 0), (3, 3)), Box((5, 5), (5, 9)), Box((0,), (3,))):
        with pytest.raises(ValueError, match="extent"):
            addressed[1][0].read(box)


def test_reading_after_close(tiff):
    source = open_source(tiff(address(1, 5, 5)))
    source.close()
    with pytest.raises(ValueError, match="close"):
        source.read(Box((0, 0), (1, 1)))


def test_chunks_are_worth_a_read(tiff):
    tiles = {"tiled": True, "blockxsize": 128, "blockysize": 256}
    wide = np.zeros((1, 1100, 1300), "uint8")
    assert open_source(tiff(wide, **tiles)).info.chunk == (512, 512)
    assert open_source(tiff(wide, blockysize=100, tiled=False)).info.chunk == (600, 1300)
    assert open_source(tiff(wide[:, :300, :1])).info.chunk[1] == 1


def test_one_voxel_wide(tiff):
    _, pixels = whole(tiff(address(2, 40, 1)))
    np.testing.assert_array_equal(pixels.values[:, 0], address(2, 40, 1)[..., 0].T)


def test_nodata_of_each_kind(tiff):
    values = address(2, 4, 5, dtype="int16")
    _, pixels = whole(tiff(values, nodata=7))
    np.testing.assert_array_equal(pixels.valid, values.transpose(1, 2, 0) != 7)
    _, pixels = whole(tiff(values, nodata=9999))
    assert pixels.valid is None


def test_float_holes_need_no_tag(tiff):
    values = address(1, 4, 5, dtype="float32")
    values[0, 1, 2], values[0, 3, 4], values[0, 0, 0] = np.nan, np.inf, -np.inf
    _, pixels = whole(tiff(values))
    np.testing.assert_array_equal(pixels.valid[..., 0], np.isfinite(values[0]))
    _, pixels = whole(tiff(values, nodata=np.nan))
    np.testing.assert_array_equal(pixels.valid[..., 0], np.isfinite(values[0]))


def test_float_nodata_is_compared_as_stored(tiff):
    values = address(1, 4, 5, dtype="float32")
    values[0, 0, 0], values[0, 1, 1] = 0.1, np.finfo("float32").min
    _, pixels = whole(tiff(values, nodata=0.1))
    assert not pixels.valid[0, 0, 0]
    assert pixels.valid.sum() == 19
    _, pixels = whole(tiff(values, nodata=float(np.finfo("float32").min)))
    assert not pixels.valid[1, 1, 0]


@pytest.mark.parametrize(
    ("nodata", "dtype", "stored"),
    [
        (-9999, "uint8", None),
        (255.5, "uint8", None),
        (255, "uint8", 255),
        (np.nan, "float32", None),
        (1e300, "float32", None),
        (None, "int16", None),
        (2.0**64, "uint64", None),
        (-32768, "int16", -32768),
    ],
)
def test_nodata_tags_as_stored_values(nodata, dtype, stored):
    assert stored_nodata(nodata, np.dtype(dtype)) == stored


@given(st.lists(st.sampled_from([0.0, 1.0, np.nan, np.inf, 5.0]), min_size=4, max_size=4))
def test_the_fast_mask_equals_one_voxel_at_a_time(numbers):
    values = np.array(numbers, "float32").reshape(2, 1, 2)
    opaque = np.array([[[True]], [[False]]])
    slow = [np.isfinite(v) and not (i % 2 == 1 and v == 5) and i < 2 for i, v in enumerate(numbers)]
    mask = valid_mask(values, ((), ((np.float32(5), np.float32(5)),)), opaque)
    np.testing.assert_array_equal(mask.ravel(), slow)


def test_mask_band_and_nodata_tag_together(tiff):
    def mask(dataset):
        hidden = np.full((4, 5), 255, "uint8")
        hidden[:2] = 0
        dataset.write_mask(hidden)

    values = address(2, 4, 5, dtype="int16")
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        path = tiff(values, finish=mask, nodata=12)
    _, pixels = whole(path)
    expected = values.transpose(1, 2, 0) != 12
    expected[:2] = False
    np.testing.assert_array_equal(pixels.valid, expected)


def test_alpha_hides_and_is_no_channel(tiff):
    values = address(4, 8, 8, dtype="uint8")
    values[3] = 255
    values[3, 2:4] = 0
    source, pixels = whole(tiff(values), alpha="mask")  # GDAL marks the fourth 8-bit band as alpha
    assert source.info.channels == ("band1", "band2", "band3")
    np.testing.assert_array_equal(pixels.valid, (values[3] != 0)[..., None].repeat(3, -1))


@pytest.mark.parametrize("named", [False, True])
def test_infrared_marked_as_alpha_is_data(tiff, named):
    values = address(4, 8, 8, dtype="uint8")
    values[3] = 0 if named else values[3]

    def name(dataset):
        dataset.set_band_description(4, "nir" if named else "")

    source, pixels = whole(tiff(values, finish=name))
    assert len(source.info.channels) == 4
    assert any("alpha" in warning for warning in source.info.warnings)
    assert pixels.valid is None
    np.testing.assert_array_equal(pixels.values, values.transpose(1, 2, 0))


def test_palette_scale_and_names(tiff):
    def finish(dataset):
        dataset.write_colormap(1, {0: (0, 0, 0, 255), 1: (9, 8, 7, 255)})

    source = open_source(tiff(np.ones((1, 5, 5), "uint8"), finish=finish))
    assert any("palette" in warning for warning in source.info.warnings)

    def scaled(dataset):
        dataset.scales, dataset.offsets = (0.5, 2.0), (1.0, 0.0)
        dataset.descriptions = ("red", "")

    values = address(2, 4, 5, dtype="int16")
    source, pixels = whole(tiff(values, finish=scaled))
    assert source.info.channels == ("red", "band2")
    np.testing.assert_array_equal(pixels.physical()[..., 0], values[0] * 0.5 + 1)


def test_georeferences(tiff):
    ones = np.ones((1, 5, 5), "uint8")
    georef = open_source(tiff(ones)).info.georef
    assert georef.transform == (10, 0, 5e5, 0, -10, 6e6)
    assert georef.pixel_m2 == 100
    feet = open_source(tiff(ones, crs="EPSG:2263")).info.georef
    assert feet.pixel_m2 == pytest.approx(100 * 0.3048006096**2)
    degrees = open_source(tiff(ones, crs="EPSG:4326")).info
    assert degrees.georef.metres_per_unit is None
    point = open_source(tiff(ones, finish=lambda d: d.update_tags(AREA_OR_POINT="Point"))).info
    assert point.georef.pixel_is_point


def test_traps_of_place_are_said(tiff):
    ones = np.ones((1, 5, 5), "uint8")

    def warnings_of(**options):
        return " ".join(open_source(tiff(ones, **options)).info.warnings)

    assert warnings_of() == ""
    assert "not georeferenced" in warnings_of(crs=None, transform=None)
    assert "without a CRS" in warnings_of(crs=None)
    assert "rotated" in warnings_of(transform=Affine(10, 2, 5e5, 3, -10, 6e6))
    assert "south-up" in warnings_of(transform=Affine(10, 0, 5e5, 0, 10, 6e6))
    assert warnings_of(crs="EPSG:3857") == ""
    assert "no areas" in warnings_of(transform=Affine.identity())
    assert "can't occur" not in warnings_of(nodata=255)


def test_control_points_and_rpcs_are_kept(tiff):
    points = [
        GroundControlPoint(r, c, 10.0 + c, 50.0 - r, 3.0) for r, c in ((0, 0), (0, 4), (4, 1))
    ]
    path = tiff(np.ones((1, 5, 5), "uint8"), gcps=points, crs="EPSG:4326", transform=None)
    info = open_source(path).info
    assert info.georef.gcps[1] == (0, 4, 14.0, 50.0, 3.0)
    assert "4326" in info.georef.gcps_crs_wkt
    assert any("control points" in warning for warning in info.warnings)


def test_complex_data_is_refused(tiff):
    with pytest.raises(InputError, match="complex"):
        open_source(tiff(np.ones((1, 5, 5), "complex64")))


def test_absurd_claims_are_refused(tmp_path):
    path = tmp_path / "huge.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=1_500_000, height=1_500_000, count=1, dtype="float64",
        tiled=True, blockxsize=4096, blockysize=4096, SPARSE_OK=True, BIGTIFF="YES",
    ):  # fmt: skip
        pass
    with pytest.raises(InputError, match="can't be true"):
        open_source(path)


def test_a_block_too_large_to_decode_is_refused(tmp_path):
    path = tmp_path / "block.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=50_000, height=50_000, count=1, dtype="uint16",
        blockysize=25_000, compress="deflate", SPARSE_OK=True,
    ):  # fmt: skip
        pass
    with pytest.raises(InputError, match="TILED=YES"):
        open_source(path)


def test_one_strip_of_everything_is_read(tiff):
    values = address(2, 90, 70)
    for options in ({}, {"compress": "deflate"}, {"interleave": "band"}):
        _, pixels = whole(tiff(values, blockysize=90, **options))
        np.testing.assert_array_equal(pixels.values, values.transpose(1, 2, 0))


def test_huge_and_sparse_is_read_where_asked(tmp_path):
    path = tmp_path / "sparse.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=100_000, height=100_000, count=1, dtype="uint8",
        tiled=True, blockxsize=512, blockysize=512, SPARSE_OK=True, BIGTIFF="YES",
    ) as dataset:  # fmt: skip
        dataset.write(np.full((1, 10, 10), 7, "uint8"), window=((90_000, 90_010), (80_000, 80_010)))
    pixels = open_source(path).read(Box((89_999, 79_999), (90_002, 80_002)))
    np.testing.assert_array_equal(pixels.values[..., 0], [[0, 0, 0], [0, 7, 7], [0, 7, 7]])


@pytest.mark.parametrize(
    ("driver", "name"), [("GTiff", "a.tif"), ("PNG", "a.png"), ("JPEG", "a.jpg")]
)
def test_cut_short(tiff, driver, name):
    noise = np.random.default_rng(0).integers(0, 255, (3, 200, 200)).astype("uint8")
    plain = {"crs": None, "transform": None} if driver != "GTiff" else {"blockysize": 16}
    path = tiff(noise, name, driver=driver, **plain)
    source, pixels = whole(path)
    assert pixels.values.shape == (200, 200, 3)
    assert (driver == "GTiff") != any("not georef" in w for w in source.info.warnings)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match="cut short"):
        open_source(path)


def test_a_flipped_bit_in_a_png_is_seen(tiff):
    noise = np.random.default_rng(0).integers(0, 255, (1, 99, 99)).astype("uint8")
    path = tiff(noise, "a.png", driver="PNG", crs=None, transform=None)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 4
    path.write_bytes(damaged)
    with pytest.raises(InputError, match="damaged"):
        open_source(path)


def test_the_cache_of_gdal_is_small():
    from rasterio.env import get_gdal_config

    from seg_batch.io.sources.formats.raster_opening import GDAL_CACHE_BYTES

    assert get_gdal_config("GDAL_CACHEMAX") == GDAL_CACHE_BYTES


def test_a_collar_without_a_tag_is_suspected(tiff):
    values = address(1, 40, 50, dtype="int16")
    assert corner_warnings(open_source(tiff(values))) == ()
    values[0, :8] = -9999
    assert "-9999" in corner_warnings(open_source(tiff(values)))[0]
    assert corner_warnings(open_source(tiff(values, nodata=-9999))) == ()


class TestRealFiles:
    """Each awkward file against rasterio's own reading of it."""

    @pytest.fixture
    def awkward(self, data: Path) -> Path:
        return data / "geotiff_awkward"

    @pytest.mark.parametrize(
        "name", ["rasterio_RGB.byte", "riotiler_cog_rgb_mask", "riotiler_cog_scale"]
    )
    def test_values_and_masks_are_gdals(self, awkward, name):
        path = awkward / f"{name}.tif"
        _, pixels = whole(path)
        with rasterio.open(path) as dataset:
            expected = dataset.read(masked=True)
        np.testing.assert_array_equal(pixels.values, expected.data.transpose(1, 2, 0))
        hidden = np.ma.getmaskarray(expected).transpose(1, 2, 0)
        np.testing.assert_array_equal(pixels.valid, ~hidden)

    def test_scales(self, awkward):
        _, pixels = whole(awkward / "riotiler_cog_scale.tif")
        assert pixels.scale == (0.0001, 0.001)
        assert pixels.offset == (1000.0, 2000.0)

    def test_rotated(self, awkward):
        info = open_source(awkward / "rasterio_rotated.tif").info
        assert info.georef.transform[1] == pytest.approx(5)
        assert any("rotated" in warning for warning in info.warnings)

    def test_damaged_in_one_place_fails_there_only(self, awkward):
        source = open_source(awkward / "rasterio_corrupt.tif")
        assert source.read(Box((0, 0), (512, 1024))).values.shape == (512, 1024, 3)
        with pytest.raises(ReadError, match="512:1024,512:1024") as caught:
            source.read(Box((512, 512), (1024, 1024)))
        assert "rasterio_corrupt.tif" in caught.value.message
        assert "\n" not in caught.value.message

    def test_missing_nodata(self, awkward):
        source = open_source(awkward / "riocogeo_image_missing_nodata.tif")
        assert "-9999" in corner_warnings(source)[0]

    def test_scene(self, data):
        source, pixels = whole(data / "zion_landsat8_nlcd" / "landsat8_b2345.tif")
        assert source.info.extent == (1428, 564)
        assert source.info.georef.pixel_m2 == 900
        assert source.info.warnings == ()
        assert pixels.values.dtype == np.uint16
        assert corner_warnings(source) == ()

    def test_png(self, data):
        path = next((data / "isbi2012_membrane").rglob("*.png"))
        source, pixels = whole(path)
        assert pixels.values.shape == (512, 512, 1)
        assert "not georeferenced" in source.info.warnings[0]


def test_alpha_of_png_is_always_alpha(tiff):
    values = address(4, 16, 16, dtype="uint8")
    path = tiff(values, "a.png", driver="PNG", crs=None, transform=None)
    with rasterio.open(path) as dataset:
        assert dataset.colorinterp[3] == ColorInterp.alpha
    source, pixels = whole(path)
    assert len(source.info.channels) == 3
    np.testing.assert_array_equal(pixels.any_valid(), values[3] != 0)
