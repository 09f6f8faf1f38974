"""Datasets of xarray with a variable per band, against what xarray reads of the same store."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rioxarray  # noqa: F401
import xarray as xr

from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box
from seg_batch.inference.api.predict import predict
from seg_batch.io.sources import open_source

EXTENT = (40, 50)


def written(path: Path, steps: int = 0, version: int = 2, consolidated: bool = True) -> xr.Dataset:
    """Three bands, one of them packed with a fill value."""
    shape = (steps, *EXTENT) if steps else EXTENT
    dims = ("time", "y", "x")[-len(shape) :]
    places = np.arange(np.prod(shape)).reshape(shape)
    bands = {name: (dims, (places + 7 * k).astype("u2")) for k, name in enumerate(("nir", "B02"))}
    red = places * 1e-4
    red[..., 2, 3] = np.nan
    y, x = 6e6 - 5 - 10 * np.arange(EXTENT[0]), 5e5 + 5 + 10 * np.arange(EXTENT[1])
    dataset = xr.Dataset({**bands, "red": (dims, red)}, {"y": y, "x": x})
    if steps:
        dataset = dataset.assign_coords(time=pd.date_range("2024-01-01", periods=steps))
    packed = {"scale_factor": 1e-4, "add_offset": -0.01, "_FillValue": 0, "dtype": "u2"}
    dataset.rio.write_crs(32633).to_zarr(
        path, zarr_format=version, consolidated=consolidated, encoding={"red": packed}
    )
    return xr.open_zarr(path)


@pytest.mark.filterwarnings("ignore:Consolidated metadata")
@pytest.mark.parametrize(
    ("version", "steps", "consolidated"),
    [(2, 0, True), (3, 0, False), (2, 1, False), (3, 1, True), (2, 3, True), (3, 3, False)],
)
def test_each_variable_is_a_channel(tmp_path, version, steps, consolidated):
    path, box = tmp_path / "a.zarr", Box((3, 4), (20, 30))
    dataset = written(path, steps, version, consolidated)
    source = open_source(path, volume=2 if steps > 1 else None)
    info, pixels = source.info, source.read(box)
    assert info.channels == ("B02", "nir", "red")
    assert info.georef.transform == (10, 0, 5e5, 0, -10, 6e6)
    assert "32633" in info.georef.crs_wkt
    values = pixels.values * np.array(pixels.scale) + np.array(pixels.offset)
    values = np.where(True if pixels.valid is None else pixels.valid, values, np.nan)
    seen = dataset.isel(time=-1) if steps else dataset
    for c, name in enumerate(info.channels):
        np.testing.assert_allclose(values[..., c], seen[name].values[box.slices()], rtol=1e-9)


def test_steps_are_chosen(tmp_path):
    written(tmp_path / "a.zarr", 3)
    with pytest.raises(InputError, match="3 time steps; choose one with --volume"):
        open_source(tmp_path / "a.zarr")


def test_some_variables_alone(tmp_path):
    dataset = written(tmp_path / "a.zarr")
    source = open_source(tmp_path / "a.zarr").only([1])
    np.testing.assert_array_equal(
        source.read(Box((0, 0), EXTENT)).values[..., 0], dataset.nir.values
    )
    assert source.info.channels == ("nir",)


def test_variables_off_one_grid_are_listed(tmp_path):
    written(tmp_path / "a.zarr")
    coarse = xr.Dataset({"b11": (("y2", "x"), np.ones((20, 50)))}).rename(y2="row")
    coarse.to_zarr(tmp_path / "a.zarr", mode="a", zarr_format=2)
    with pytest.raises(InputError, match=r"holds 4 images \(B02, b11, nir, red\)"):
        open_source(tmp_path / "a.zarr")


def test_a_change_of_any_variable_is_noticed(tmp_path):
    path = tmp_path / "a.zarr"
    written(path)
    before = open_source(path).info.identity
    shutil.copytree(path, tmp_path / "b.zarr")
    chunk = next(p for p in sorted((path / "red").rglob("*")) if p.name[0] not in ".z")
    chunk.write_bytes(chunk.read_bytes() + b"\0")
    assert open_source(path).info.identity != before


def test_a_dataset_is_segmented(tmp_path):
    dataset = written(tmp_path / "a.zarr", steps=2)
    predict(tmp_path / "a.zarr", tmp_path / "m.zarr", model="probe", volume=1, bands=("nir",))
    labels = open_source(tmp_path / "m.zarr").read(Box((0, 0), EXTENT)).values[..., 0]
    np.testing.assert_array_equal(labels, dataset.nir.values[1] % 8)
