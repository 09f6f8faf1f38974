"""What is valid in a raster, against GDAL's own masks of the same pixels."""

import itertools
import tempfile
from functools import reduce
from operator import and_
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rasterio.enums import ColorInterp
from rasterio.shutil import copy

from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box
from seg_batch.io.sources import open_source
from tests.support.io.tiny_tiffs import PREMULTIPLIED, UNASSOCIATED, UNSAID, write_tiff

pytestmark = pytest.mark.filterwarnings(
    "ignore::rasterio.errors.NotGeoreferencedWarning",
    "ignore::rasterio.errors.NodataShadowWarning",
    "ignore:overflow encountered in cast",
)
DTYPES = (
    *("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"),
    *("float16", "float32", "float64"),
)
TEXTS = (
    *("0", "12", "12.0", " 12 ", "1.2e1", "12.5", "-3", "255", "256", "-9999", "65535", "nan", "-nan", "inf"),
    *("0.1", "1e-40", "-3.4e38", "-3.4028234663852886e+38", "1.7976931348623157e308", "abc", ""),
    *("18446744073709551615", "-9223372036854775808", "9007199254740993", "4294967295"),
)  # fmt: skip


def number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def pixels_near(dtype: np.dtype, text: str) -> st.SearchStrategy[int | float]:
    """Values at and around the number of a tag, as the type can hold them."""
    value = number(text)
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            near = [dtype.type(value)]
            for end in (np.inf, -np.inf):
                step = near[0]
                for _ in range(6):
                    step = np.nextafter(step, dtype.type(end))
                    near.append(step)
        more = [0.0, -0.0, 1.0, np.nan, np.inf, -np.inf, float(np.finfo(dtype).min)]
        return st.sampled_from([*map(float, near), *more])
    limits = np.iinfo(dtype)
    exact = (
        int(text) if text.strip().lstrip("-").isdigit() else int(value) if np.isfinite(value) else 0
    )
    near = [min(max(exact + d, limits.min), limits.max) for d in (-1, 0, 1)]
    return st.sampled_from([*near, 0, 1, limits.min, limits.max])


@st.composite
def rasters(draw, dtypes=DTYPES, texts=TEXTS, counts=(1, 2, 3)):
    """Bands ``(C, y, x)`` and the text of a nodata tag."""
    dtype, text = np.dtype(draw(st.sampled_from(dtypes))), draw(st.sampled_from(texts))
    shape = (draw(st.sampled_from(counts)), 2, 5)
    return draw(hnp.arrays(dtype, shape, elements=pixels_near(dtype, text))), text


def masks_of(path: Path, bands: int) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return dataset.read_masks(list(range(1, bands + 1))).transpose(1, 2, 0) != 0


def valid_of(path: Path, **options) -> np.ndarray:
    source = open_source(path, **options)
    pixels = source.read(Box.whole(source.info.extent))
    source.close()
    return np.ones(pixels.values.shape, bool) if pixels.valid is None else pixels.valid


def finite(values: np.ndarray) -> np.ndarray:
    return np.isfinite(values).transpose(1, 2, 0)


@pytest.fixture
def folder():
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@given(rasters())
def test_any_tag_in_any_type_hides_what_gdal_hides(raster):
    values, text = raster
    with tempfile.TemporaryDirectory() as name:
        path = write_tiff(Path(name) / "a.tif", values, nodata=text)
        np.testing.assert_array_equal(valid_of(path), masks_of(path, len(values)) & finite(values))


def internal_mask(path: Path, hidden: np.ndarray) -> None:
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(hidden)


def external_mask(path: Path, hidden: np.ndarray) -> None:
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(hidden)


def mask_per_band(path: Path, hidden: np.ndarray) -> None:
    with rasterio.open(path) as dataset:
        count = dataset.count
    part = path.with_name("part.tif")
    with rasterio.open(
        part,
        "w",
        driver="GTiff",
        width=5,
        height=2,
        count=count,
        dtype="uint8",
        photometric="MINISBLACK",
    ) as dataset:
        for band in range(1, count + 1):
            dataset.write(np.roll(hidden, band, 1), band)
        dataset.update_tags(**{f"INTERNAL_MASK_FLAGS_{band}": 0 for band in range(1, count + 1)})
    part.rename(f"{path}.msk")


def values_together(path: Path, hidden: np.ndarray) -> None:
    with rasterio.open(path, "r+") as dataset:
        pixel = dataset.read()[:, 1, 2]
        dataset.update_tags(NODATA_VALUES=" ".join(str(v) for v in pixel.tolist()))


def different_per_band(path: Path, hidden: np.ndarray) -> None:
    """Nodata in a side file, for the first band only."""
    band = '<PAMRasterBand band="1"><NoDataValue>1</NoDataValue></PAMRasterBand>'
    Path(f"{path}.aux.xml").write_text(f"<PAMDataset>{band}</PAMDataset>")


MASKS = (internal_mask, external_mask, mask_per_band)
SOURCES = (*MASKS, values_together, different_per_band)
SMALL = ("uint8", "int8", "uint16", "int16", "int32", "float32", "float64")


@given(
    rasters(SMALL, ("0", "12", "1"), (2, 3)),
    st.booleans(),
    st.sampled_from([None, *MASKS]),
    st.sampled_from([None, values_together]),
    hnp.arrays("uint8", (2, 5), elements=st.sampled_from([0, 255])),
)
def test_a_pixel_must_pass_every_source_of_validity(raster, tagged, mask, together, hidden):
    """Each source alone in a file of its own, where GDAL's mask is of that source."""
    values, text = raster
    values = np.nan_to_num(values, posinf=1, neginf=1).astype(values.dtype)
    tagged = tagged and together is None  # which replaces the tag, as in GDAL
    with tempfile.TemporaryDirectory() as name:
        alone = []
        for k, source in enumerate(filter(None, (mask, together))):
            path = write_tiff(Path(name) / f"{k}.tif", values)
            source(path, hidden)
            alone.append(masks_of(path, len(values)))
        if tagged:
            path = write_tiff(Path(name) / "tag.tif", values, nodata=text)
            alone.append(masks_of(path, len(values)))
        path = write_tiff(Path(name) / "all.tif", values, nodata=text if tagged else None)
        for source in filter(None, (mask, together)):
            source(path, hidden)
        expected = reduce(and_, alone, np.ones((2, 5, len(values)), bool))
        np.testing.assert_array_equal(valid_of(path, alpha="data"), expected)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("dtype", SMALL)
def test_one_source_is_gdals_mask(folder, source, dtype):
    values = (np.arange(30) % 4).reshape(3, 2, 5).astype(dtype)
    path = write_tiff(folder / "a.tif", values)
    source(path, np.array([[0, 255, 255, 0, 255], [255] * 5], "uint8"))
    valid = valid_of(path)
    np.testing.assert_array_equal(valid, masks_of(path, 3))
    assert not valid.all()


@given(
    hnp.arrays("uint16", (2, 5), elements=st.sampled_from([0, 1, 254, 255, 256, 65535])),
    st.sampled_from(["uint8", "uint16"]),
    st.sampled_from([(2, False, UNASSOCIATED), (4, False, UNASSOCIATED), (4, True, PREMULTIPLIED)]),
    st.sampled_from([None, *MASKS]),
    st.booleans(),
)
def test_alpha_hides_where_it_is_0_and_other_sources_too(alpha, dtype, layout, mask, tagged):
    count, rgb, kind = layout
    extra = [UNSAID] * (count - (4 if rgb else 2)) + [kind]
    values = np.full((count, 2, 5), 7, dtype)
    values[0, 0, 1], values[-1] = 3, alpha.astype(dtype)
    hidden = np.array([[0, 255, 255, 0, 255], [255] * 5], "uint8")
    with tempfile.TemporaryDirectory() as name:
        path = write_tiff(Path(name) / "alpha.tif", values, rgb=rgb, extra=extra)
        expected = masks_of(path, count - 1)
        if tagged:
            path = write_tiff(Path(name) / "tag.tif", values, nodata="3", rgb=rgb, extra=extra)
            expected &= masks_of(path, count - 1)
        path = write_tiff(
            Path(name) / "all.tif", values, nodata="3" if tagged else None, rgb=rgb, extra=extra
        )
        if mask is not None:
            mask(path, hidden)
            expected &= masks_of(path, count - 1)
        np.testing.assert_array_equal(valid_of(path), expected)


@pytest.mark.parametrize(("count", "mode"), [*itertools.product((1, 2, 3, 4), ("nodata", "alpha"))])
def test_png_is_as_gdal_masks_it(folder, count, mode):
    values = (np.arange(count * 60) % 5).reshape(count, 6, 10).astype("uint8")
    path = folder / "a.png"
    options = {"nodata": 2} if mode == "nodata" and count in (1, 3) else {}
    with rasterio.open(
        path, "w", driver="PNG", width=10, height=6, count=count, dtype="uint8", **options
    ) as dataset:
        dataset.write(values)
    data = {1: 1, 2: 1, 3: 3, 4: 3}[count]
    valid = valid_of(path)
    assert valid.shape[-1] == data
    np.testing.assert_array_equal(valid, masks_of(path, data))


def test_a_lossy_cog_with_a_mask_and_its_overviews(folder):
    rng = np.random.default_rng(0)
    values = rng.integers(1, 200, (3, 600, 700)).astype("uint8")
    hidden = np.full((600, 700), 255, "uint8")
    hidden[100:300, 200:500] = 0
    flat, path = folder / "flat.tif", folder / "cog.tif"
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            flat, "w", driver="GTiff", width=700, height=600, count=3, dtype="uint8", tiled=True
        ) as dataset,
    ):
        dataset.write(values)
        dataset.write_mask(hidden)
    with rasterio.open(flat) as dataset:
        copy(dataset, path, driver="COG", compress="JPEG", blocksize=128)
    np.testing.assert_array_equal(valid_of(path), masks_of(path, 3))
    source = open_source(path)
    reduced = source.reduced((60, 70))
    source.close()
    with rasterio.open(path) as dataset:
        assert dataset.overviews(1)
        expected = dataset.read_masks(1, out_shape=(60, 70)) != 0
    np.testing.assert_array_equal(reduced.any_valid(), expected)


@pytest.mark.parametrize(
    ("dtype", "number"), [("int64", 2**53 + 1), ("int64", -(2**63)), ("uint64", 2**64 - 1)]
)
def test_no_digit_of_64_bits_is_lost_beside_a_mask(folder, dtype, number):
    near = number + (1 if number < 0 else -1)
    values = np.array([[[number, near, 0, number, near]] * 2], dtype)
    path = write_tiff(folder / "a.tif", values, nodata=str(number))
    internal_mask(path, np.array([[255, 255, 0, 255, 0], [255] * 5], "uint8"))
    expected = values[0] != number
    expected[0, [2, 4]] = False
    np.testing.assert_array_equal(valid_of(path)[..., 0], expected)


def test_scale_does_not_change_nodata(folder):
    path = write_tiff(folder / "a.tif", np.array([[[3, 30]]], "int16"), nodata="3")
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = (10.0,), (0.0,)
    np.testing.assert_array_equal(valid_of(path).ravel(), [False, True])


def test_bands_of_several_types_keep_their_own_nodata(folder):
    """In a promoted array 0.1 as float32 is not 0.1 as float64."""
    path = write_tiff(folder / "a.tif", np.full((1, 1, 2), 0.1, "float32"), nodata="0.1")
    with rasterio.open(path) as dataset:
        assert dataset.read_masks(1).max() == 0
    assert not valid_of(path).any()


def test_every_band_marked_as_alpha_is_data(folder):
    path = write_tiff(folder / "a.tif", np.ones((2, 2, 5), "uint8"))
    with rasterio.open(path, "r+") as dataset:
        dataset.colorinterp = [ColorInterp.alpha, ColorInterp.alpha]
    with rasterio.open(path) as dataset:
        assert set(dataset.colorinterp) == {ColorInterp.alpha}
    assert valid_of(path).shape == (2, 5, 2)


@pytest.mark.parametrize("content", [b"", b"II*\0", b"no mask"])
def test_a_mask_beside_the_image_that_is_not_read_is_told(tmp_path, content):
    path = tmp_path / "a.tif"
    size = {"height": 2, "width": 2, "count": 1, "dtype": "uint8"}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False),
        rasterio.open(path, "w", driver="GTiff", **size) as dataset,
    ):
        dataset.write(np.ones((1, 2, 2), "uint8"))
        dataset.write_mask(np.eye(2, dtype=bool))
    assert not any(".msk" in line for line in open_source(path).info.warnings)
    (tmp_path / "a.tif.msk").write_bytes(content)
    try:
        lines = open_source(path).info.warnings
    except InputError as error:  # GDAL has it as an error of its own at times
        lines = (error.message,)
    assert any("a.tif.msk" in line for line in lines)
