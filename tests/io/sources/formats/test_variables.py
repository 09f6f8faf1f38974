"""Variables of netCDF, HDF5 and GRIB, against what xarray and h5py read of the same files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import rasterio
import xarray as xr
from rasterio.shutil import copy
from rasterio.transform import from_origin

from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box
from seg_batch.core.georef import crs_name
from seg_batch.core.normalise import Pixels
from seg_batch.inference.api.predict import predict
from seg_batch.inference.verify import verify_product
from seg_batch.io.sources import open_source
from seg_batch.io.sources.protocol import SeveralVolumesError, SourceInfo

STEPS, ROWS, COLUMNS = 2, 11, 21
VALUES = np.arange(STEPS * ROWS * COLUMNS, dtype="i2").reshape(STEPS, ROWS, COLUMNS)
LAT, LON = np.linspace(50, 40, ROWS), np.linspace(10, 20, COLUMNS)
PACKED = {"scale_factor": 0.5, "add_offset": 3.0, "_FillValue": np.int16(7)}


def read(path: str | Path, **options: Any) -> tuple[SourceInfo, Pixels]:
    source = open_source(path, **options)
    try:
        return source.info, source.read(Box.whole(source.info.extent))
    finally:
        source.close()


def physical(pixels: Pixels) -> np.ndarray:
    """The first channel in its unit, NaN where it is missing."""
    values = pixels.values.astype(np.float64)
    if pixels.scale is not None and pixels.offset is not None:
        values = values * pixels.scale + pixels.offset
    return np.where(True if pixels.valid is None else pixels.valid, values, np.nan)[..., 0]


def refusal(path: str | Path, **options: Any) -> str:
    with pytest.raises(InputError) as error:
        open_source(path, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def write_classic(path: Path, kind: str = "NETCDF3_64BIT", south_up: bool = True) -> xr.Dataset:
    lat = LAT[::-1] if south_up else LAT
    cube = xr.Variable(("time", "lat", "lon"), VALUES, {**PACKED, "units": "K"})
    flat = xr.Variable(("lat", "lon"), VALUES[0].astype("f4"))
    axes = {
        "time": [0, 1],
        "lat": ("lat", lat, {"units": "degrees_north"}),
        "lon": ("lon", LON, {"units": "degrees_east"}),
    }
    xr.Dataset({"t2m": cube, "one": flat}, coords=axes).to_netcdf(path, engine="scipy", format=kind)
    return xr.open_dataset(path, engine="scipy", decode_times=False)


def write_netcdf4(path: Path, group: str = "/", **attributes: Any) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["Conventions"] = "CF-1.8"
        at = file.require_group(group)
        for name, values in (("lat", LAT), ("lon", LON), ("time", np.arange(2.0))):
            at[name] = values
            at[name].make_scale(name)
        at["lat"].attrs["units"], at["lon"].attrs["units"] = "degrees_north", "degrees_east"
        cube = at.create_dataset("t2m", data=VALUES, chunks=(1, 5, 7), compression="gzip")
        for axis, name in enumerate(("time", "lat", "lon")):
            cube.dims[axis].attach_scale(at[name])
        for key, value in {**PACKED, **attributes}.items():
            cube.attrs[key] = value


@pytest.mark.parametrize("kind", ["NETCDF3_CLASSIC", "NETCDF3_64BIT"])
@pytest.mark.parametrize("south_up", [True, False])
@pytest.mark.parametrize("step", [0, 1])
def test_a_step_of_classic_netcdf_is_as_xarray_has_it(tmp_path, kind, south_up, step):
    path = tmp_path / "a.nc"
    reference = write_classic(path, kind, south_up)
    info, pixels = read(f"{path}:t2m", volume=step)
    expected = reference.t2m[step].sortby("lat", ascending=False)
    np.testing.assert_allclose(physical(pixels), expected.values)
    assert info.path == f"{path}:t2m"
    assert info.channels == ("t2m",)
    assert info.facts["units"] == "K"
    assert info.georef.transform == pytest.approx((0.5, 0, 9.75, 0, -1, 50.5))
    assert crs_name(info.georef.crs_wkt) == "WGS 84"
    assert any("WGS 84" in line for line in info.warnings)


@pytest.mark.parametrize("group", ["/", "/deep/er"])
def test_netcdf4_is_as_h5py_has_it(tmp_path, group):
    path = tmp_path / "a.nc"
    write_netcdf4(path, group)
    name = "t2m" if group == "/" else f"{group}/t2m"
    for text in {name, name.lstrip("/")}:
        info, pixels = read(f"{path}:{text}", volume=1)
        np.testing.assert_array_equal(pixels.values[..., 0], VALUES[1])
        assert info.facts["block"] == [5, 7]
        assert info.facts["driver"] == "netCDF"


def test_steps_are_chosen_or_refused(tmp_path):
    path = tmp_path / "a.nc"
    write_netcdf4(path)
    with pytest.raises(SeveralVolumesError, match=r"2 steps along time.*--volume K"):
        open_source(path)
    assert "no volume 2" in refusal(path, volume=2)
    assert read(path, volume=1)[1].values[0, 0, 0] == VALUES[1, 0, 0]


def test_several_are_listed_and_bounds_are_none(tmp_path):
    path = tmp_path / "a.nc"
    write_classic(path)
    assert "holds 2 images (one, t2m)" in refusal(path)
    flat = xr.Dataset({"lat_bnds": (("y", "v"), np.zeros((9, 2))), "v": (("y", "x"), np.eye(9))})
    flat.to_netcdf(tmp_path / "b.nc", engine="scipy")
    assert read(tmp_path / "b.nc")[0].facts["variable"] == "v"


def test_rows_without_coordinates_are_in_the_order_of_the_file(tmp_path):
    path = tmp_path / "a.nc"
    xr.Dataset({"v": (("y", "x"), VALUES[0])}).to_netcdf(path, engine="scipy")
    np.testing.assert_array_equal(read(path)[1].values[..., 0], VALUES[0])


@pytest.mark.parametrize(
    ("attributes", "missing"),
    [
        ({"missing_value": np.int16(9)}, lambda v: v == 9),
        ({"valid_min": np.int16(20)}, lambda v: v < 20),
        ({"valid_max": np.int16(100)}, lambda v: v > 100),
        ({"valid_range": np.array([20, 100], "i2")}, lambda v: (v < 20) | (v > 100)),
        ({}, lambda v: v != v),
    ],
)
def test_what_cf_calls_missing_is_missing(tmp_path, attributes, missing):
    path = tmp_path / "a.nc"
    write_netcdf4(path, **attributes)
    np.testing.assert_array_equal(
        np.isnan(physical(read(path, volume=0)[1])), missing(VALUES[0]) | (VALUES[0] == 7)
    )


def test_floats_are_missing_though_gdal_rounds_the_text(tmp_path):
    fill = np.float32(-3.0517578e-05 * 1.2345678)
    values = VALUES[0].astype("f4")
    values[2, 3] = fill
    attributes = {"missing_value": fill, "valid_max": np.float32(200.00002)}
    values[4, 5], values[5, 6] = np.float32(200.00002), np.float32(200.001)
    ds = xr.Dataset({"v": xr.Variable(("y", "x"), values, attributes)})
    ds.to_netcdf(tmp_path / "a.nc", engine="scipy")
    held = np.isnan(physical(read(tmp_path / "a.nc")[1]))
    assert held[2, 3]
    assert held[5, 6]
    assert not held[4, 5]


def test_plain_hdf5_by_path_in_the_file(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["sci/band"] = VALUES[0]
        file["sci/band"].attrs.update(_FillValue=np.int16(7), scale_factor=0.5)
        file["cube"], file["line"] = VALUES, np.arange(5)
    assert "holds 2 images (cube, sci/band)" in refusal(path)
    for text in ("/sci/band", "sci/band", "//sci/band"):
        info, pixels = read(f"{path}:{text}")
        np.testing.assert_array_equal(pixels.values[..., 0], VALUES[0])
        assert info.scale == (0.5,)
        assert np.isnan(physical(pixels)).sum() == 1
    info, pixels = read(f"{path}:/cube")
    np.testing.assert_array_equal(pixels.values, VALUES.transpose(1, 2, 0))
    assert info.channels == ("band1", "band2")
    assert "not two axes" in refusal(f"{path}:line")


def test_four_axes_of_plain_hdf5_are_no_zeros(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["q"], file["n"] = np.ones((2, 3, 5, 7), "f4"), np.ones((4, 5), "f4")
    assert "not two axes or three" in refusal(f"{path}:q")


def test_hdf5_reads_no_other_file(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"keep me " * 100)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["v"] = np.ones((10, 20), "u1")
    for name in ("plain.h5", "cf.nc"):
        with h5py.File(tmp_path / name, "w") as file:
            file.create_dataset("x", shape=(10, 20), dtype="u1", external=[(str(secret), 0, 200)])
            file["mine"] = np.ones((10, 20), "u1")
        assert "values in other files" in refusal(f"{tmp_path / name}:x")
    for name in ("linked.h5", "linked.nc"):
        with h5py.File(tmp_path / name, "w") as file:
            file["link"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/v")
            file["mine"] = np.ones((10, 20), "u1")
        assert "no image link" in refusal(f"{tmp_path / name}:link")


def test_a_file_that_is_cut_short_is_refused(tmp_path):
    write_classic(tmp_path / "a.nc")
    write_netcdf4(tmp_path / "b.nc")
    write_grib(tmp_path / "c.grib2")
    for name in ("a.nc", "b.nc", "c.grib2"):
        path = tmp_path / name
        for less in (40, path.stat().st_size // 3):
            cut = tmp_path / f"cut{less}{name}"
            cut.write_bytes(path.read_bytes()[:-less])
            assert "cut short" in refusal(cut)


def write_grib(path: Path) -> np.ndarray:
    tif = path.with_suffix(".tif")
    shape = {"width": COLUMNS, "height": ROWS, "count": STEPS, "dtype": "float32"}
    place = {"crs": "EPSG:4326", "transform": from_origin(10, 50, 0.5, 1)}
    with rasterio.open(tif, "w", driver="GTiff", **shape, **place) as file:
        file.write(VALUES.astype("f4"))
    copy(tif, path, driver="GRIB", DATA_ENCODING="SIMPLE_PACKING", IDS="CENTER=98(ECMWF)")
    return VALUES.astype("f8")


def test_messages_of_grib_by_number(tmp_path):
    path = tmp_path / "a.grib2"
    expected = write_grib(path)
    for k in range(STEPS):
        info, pixels = read(f"{path}:{k + 1}")
        np.testing.assert_allclose(pixels.values[..., 0], expected[k], atol=1e-3)
        assert info.georef.transform == pytest.approx((0.5, 0, 10, 0, -1, 50))
    assert "holds 2 messages" in refusal(path)
    assert "no message is 3" in refusal(f"{path}:3")
    assert "no volume" in refusal(path, volume=1)


def test_what_is_no_part_of_a_file_is_refused(tmp_path):
    path = tmp_path / "a.nc"
    write_classic(path)
    assert "no such file" in refusal(tmp_path / "b.nc:t2m")
    assert refusal(f"{path}:nothing")
    assert "quote" in refusal(f'{path}:t2m":x')
    write_grib(tmp_path / "a.grib2")
    assert "holds no variables" in refusal(f"{tmp_path / 'a.tif'}:band")


def test_a_path_with_a_colon_is_a_path(tmp_path):
    path = tmp_path / "12:30.nc"
    write_classic(path)
    assert read(f"{path}:one")[0].path == f"{path}:one"


def test_a_variable_is_segmented_and_resumed(tmp_path):
    path = tmp_path / "a.nc"
    reference = write_classic(path)
    expected = reference.t2m[1].sortby("lat", ascending=False).values
    report = predict(f"{path}:t2m", tmp_path / "m.tif", model="probe", volume=1)
    with rasterio.open(tmp_path / "m.tif") as file:
        labels = file.read(1)
        assert file.crs.to_epsg() == 4326
        assert file.nodata is not None
        there = ~np.isnan(expected)
        np.testing.assert_array_equal(labels[there], np.floor(expected[there]) % 8)
        assert (labels[~there] == file.nodata).all()
    assert report["status"] == "complete"
    assert verify_product(tmp_path / "m.tif")["ok"]
