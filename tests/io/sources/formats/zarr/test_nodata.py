"""Nodata of Zarr arrays, against xarray's and GDAL's own reading of the same stores."""

import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from seg_batch.core.geometry import Box
from seg_batch.io.sources import open_source

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::xarray.SerializationWarning"
)
DTYPES = ("uint8", "int8", "uint16", "int16", "int32", "float32", "float64")


def read(path: Path) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Physical values, what is valid, and the warnings but the one about the place."""
    source = open_source(path)
    pixels = source.read(Box.whole(source.info.extent))
    valid = np.ones(pixels.values.shape, bool) if pixels.valid is None else pixels.valid
    lines = tuple(w for w in source.info.warnings if "georeferenced" not in w)
    return pixels.physical(np.float64)[..., 0], valid[..., 0], lines


def same_as_xarray(path: Path) -> None:
    values, valid, _ = read(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with xarray.open_zarr(path, consolidated=False, mask_and_scale=True) as dataset:
            expected = dataset["a"].values.astype(np.float64)
    np.testing.assert_array_equal(valid, np.isfinite(expected))
    np.testing.assert_allclose(values[valid], expected[valid], rtol=1e-6)


@st.composite
def arrays(draw, dtypes=DTYPES):
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    few = [0, 1, 2, 3, 7, 100] + ([-9] if dtype.kind != "u" else [])
    more = [np.nan, 0.5] if dtype.kind == "f" else []
    return draw(hnp.arrays(dtype, (2, 4), elements=st.sampled_from([*few, *more])))


def store(path: Path, values: np.ndarray, version: int, fill, **attributes) -> Path:
    """What zarr-python writes, which sets 0 where it is told no fill value."""
    group = zarr.open_group(path, mode="w", zarr_format=version)
    names = {"dimension_names": ("y", "x")} if version == 3 else {}
    fills = {} if fill is ... else {"fill_value": fill}
    array = group.create_array("a", shape=values.shape, dtype=values.dtype, **names, **fills)
    array.attrs.update(attributes)
    if version == 2:
        array.attrs["_ARRAY_DIMENSIONS"] = ["y", "x"]
    array[...] = values
    return path


@pytest.mark.full
@settings(max_examples=40)
@given(
    arrays(),
    st.sampled_from([2, 3]),
    st.sampled_from([{}, {"_FillValue": None}, {"_FillValue": 0}, {"_FillValue": 7}]),
    st.sampled_from([{}, {"missing_value": 3}, {"scale_factor": 0.5, "add_offset": 10.0}]),
)
def test_what_xarray_writes_is_read_as_xarray_reads_it(values, version, fill, more):
    encoding = {**fill, **more}
    if "_FillValue" in fill and "missing_value" in more:
        encoding["missing_value"] = fill["_FillValue"]  # xarray writes no two that differ
        encoding = {k: v for k, v in encoding.items() if v is not None}
    if "scale_factor" in more:
        encoding["dtype"], values = values.dtype.name, np.nan_to_num(values) * 0.5 + 10.0
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "a.zarr"
        image = xarray.Dataset({"a": (("y", "x"), values)})
        image.to_zarr(path, zarr_format=version, encoding={"a": encoding}, consolidated=False)
        same_as_xarray(path)


@pytest.mark.full
@settings(max_examples=60)
@given(
    arrays(),
    st.sampled_from([2, 3]),
    st.sampled_from([..., None, 0, 7, 100]),
    st.sampled_from([{}, {"missing_value": 3}, {"missing_value": [3, 7]}, {"_FillValue": 1}]),
    st.sampled_from([{}, {"_Unsigned": "true"}, {"scale_factor": 2.0}]),
)
def test_arrays_of_others_are_read_as_xarray_reads_them(values, version, fill, nodata, more):
    if version == 3 and values.dtype.kind == "f":
        nodata = {k: v for k, v in nodata.items() if k != "_FillValue"}  # in v3 only as base64
    with tempfile.TemporaryDirectory() as name:
        same_as_xarray(store(Path(name) / "a.zarr", values, version, fill, **nodata, **more))


@pytest.mark.full
@settings(max_examples=40)
@given(
    arrays(("uint8", "uint16", "int16", "int32", "float32", "float64")),
    st.sampled_from(["ZARR_V2", "ZARR_V3"]),
    st.sampled_from([0, 3, 7, 100]),
)
def test_what_gdal_writes_is_read_as_gdal_masks_it(values, version, nodata):
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "g.zarr"
        with rasterio.open(
            path, "w", driver="Zarr", width=4, height=2, count=1, dtype=values.dtype.name,
            format=version, nodata=nodata, crs="EPSG:32633",
            transform=rasterio.Affine(10, 0, 5e5, 0, -10, 6e6),
        ) as dataset:  # fmt: skip
            dataset.write(values, 1)
        with rasterio.open(path) as dataset:
            expected = (dataset.read_masks(1) != 0) & np.isfinite(values)
        np.testing.assert_array_equal(read(path / "g")[1], expected)


ZEROS = np.array([[0, 1], [2, 3]], "uint8")


def test_zeros_are_nodata_in_v2_only_and_that_is_said(tmp_path):
    _, valid, lines = read(store(tmp_path / "a.zarr", ZEROS, 2, ...))
    np.testing.assert_array_equal(valid, ZEROS != 0)
    assert lines == ("0, the array's fill value, counts as nodata, as in xarray and GDAL",)
    for fill, version in ((None, 2), (..., 3)):
        _, valid, lines = read(store(tmp_path / "a.zarr", ZEROS, version, fill))
        assert valid.all()
        assert lines == ()


def test_a_fill_value_that_counts_as_data_in_v3_is_said(tmp_path):
    _, valid, lines = read(store(tmp_path / "a.zarr", ZEROS, 3, 3))
    assert valid.all()
    assert "_FillValue" in lines[0]
    assert read(store(tmp_path / "a.zarr", ZEROS, 3, 3, _FillValue=3))[2] == ()


@pytest.mark.parametrize("version", [2, 3])
def test_the_fill_value_of_an_ome_image_is_data(tmp_path, version):
    path = store(tmp_path / "a.zarr", ZEROS, version, 0)
    axes = [{"name": "y", "type": "space"}, {"name": "x", "type": "space"}]
    levels = [{"path": "a", "coordinateTransformations": [{"type": "scale", "scale": [1, 1]}]}]
    multiscales = [{"version": "0.4", "axes": axes, "datasets": levels}]
    attributes = {"ome": {"version": "0.5", "multiscales": multiscales}} if version == 3 else {}
    group = zarr.open_group(path, mode="a")
    group.attrs.update(attributes or {"multiscales": multiscales})
    for named in (path, path / "a"):
        assert read(named)[1].all()


def test_attributes_of_the_group_are_of_no_array(tmp_path):
    path = store(tmp_path / "a.zarr", ZEROS, 3, 0)
    zarr.open_group(path, mode="a").attrs.update(_FillValue=1, scale_factor=9.0, add_offset=5.0)
    values, valid, _ = read(path)
    assert valid.all()
    np.testing.assert_array_equal(values, ZEROS)


@pytest.mark.parametrize("spelling", [3, 3.0, [3], "3", "3.0", "0x00000003", "0x40400000"])
def test_spellings_of_a_fill_value(tmp_path, spelling):
    kind = "float32" if spelling == "0x40400000" else "int32"
    path = store(tmp_path / "a.zarr", ZEROS.astype(kind), 3, 0, _FillValue=spelling)
    np.testing.assert_array_equal(read(path)[1], ZEROS != 3)


@pytest.mark.parametrize("nonsense", ["none", "", {}, [None], True, 10**30, "1e999", "0xZZ", [[3]]])
def test_what_is_no_number_is_no_nodata(tmp_path, nonsense):
    path = store(tmp_path / "a.zarr", ZEROS + 4, 3, 0, missing_value=nonsense)
    assert read(path)[1].all()


@pytest.mark.parametrize("number", [2**53 + 1, 2**63 - 1, -(2**63)])
def test_no_digit_of_64_bits_is_lost(tmp_path, number):
    values = np.array([[number, number + (1 if number < 0 else -1)]], "int64")
    for version, fill, attributes in ((2, number, {}), (3, 0, {"_FillValue": number})):
        path = store(tmp_path / "a.zarr", values, version, fill, **attributes)
        np.testing.assert_array_equal(read(path)[1], [[False, True]])


def test_signed_bytes_that_are_unsigned(tmp_path):
    values = np.array([[-1, -2, 5]], "int8")
    path = store(tmp_path / "a.zarr", values, 2, -1, _Unsigned="true")
    shown, valid, _ = read(path)
    np.testing.assert_array_equal(shown, [[255, 254, 5]])
    np.testing.assert_array_equal(valid, [[False, True, True]])
    assert open_source(path).info.dtype == "uint8"


@pytest.mark.filterwarnings("ignore")
def test_a_tag_that_rioxarray_copies_makes_no_array_gdals(tmp_path):
    path = tmp_path / "a.zarr"
    array = xarray.DataArray(ZEROS, dims=("y", "x"), attrs={"AREA_OR_POINT": "Area"})
    xarray.Dataset({"a": array}).to_zarr(path, zarr_format=3, consolidated=False)
    same_as_xarray(path)
    assert read(path)[1].all()
