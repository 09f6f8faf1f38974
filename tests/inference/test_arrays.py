"""Arrays of Python: what comes back is the map of the same values in a file, with the place of the array."""

from __future__ import annotations

import gc
import tempfile
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import rioxarray  # noqa: F401
import xarray as xr

from seg_batch.core.errors import InputError, OutputError
from seg_batch.inference.api.predict import predict
from seg_batch.io.sources.arrays.layout import as_named
from seg_batch.io.sources.arrays.staging import stage_array
from seg_batch.io.sources.identity import tree_identity

EXTENT = (70, 90)
VALUES = np.arange(np.prod(EXTENT), dtype="f4").reshape(EXTENT)
PLACE = (10, 0, 5e5, 0, -10, 6e6)


def named(values: np.ndarray = VALUES) -> xr.DataArray:
    y, x = 6e6 - 5 - 10 * np.arange(EXTENT[0]), 5e5 + 5 + 10 * np.arange(EXTENT[1])
    coords = {"y": y, "x": x, "time": np.datetime64("2024-01-01")}
    return xr.DataArray(values, dims=("y", "x"), coords=coords).rio.write_crs(32633)


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """The names of the temporary folders that are there now."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return lambda: sorted(path.name for path in tmp_path.iterdir())


def test_a_data_array_comes_back_with_its_place(folders):
    image = named()
    labels = predict(image, model="probe")
    np.testing.assert_array_equal(labels.values, VALUES % 8)
    assert labels.rio.crs.to_epsg() == 32633
    assert tuple(labels.rio.transform())[:6] == PLACE
    assert labels.rio.nodata == 255
    for name in ("y", "x", "time"):
        assert labels[name].variable.identical(image[name].variable)
    assert labels.attrs["classes"][3] == "residue 3"


def test_the_store_lives_as_long_as_what_reads_it(folders):
    labels = predict(named(), model="probe")
    part = labels[10:20, ::-2]
    assert len(folders()) == 1
    del labels
    gc.collect()
    np.testing.assert_array_equal(part.values, (VALUES % 8)[10:20, ::-2])
    del part
    gc.collect()
    assert folders() == []


def test_dask_is_computed_block_by_block_and_once(tmp_path):
    seen: list[tuple[int, ...]] = []

    def block(values: np.ndarray) -> np.ndarray:
        seen.append(values.shape)
        return values

    lazy = da.from_array(np.stack([VALUES, VALUES + 1]), chunks=(1, 30, 40))
    lazy = lazy.map_blocks(block, dtype="f4", meta=np.empty((0, 0, 0), "f4"))
    result = predict(
        lazy, tmp_path / "m.zarr", model="probe", crs=32633, transform=PLACE, probabilities=True
    )
    assert len(seen) == 2 * 3 * 3
    assert max(map(np.prod, seen)) <= 1200
    np.testing.assert_array_equal(result.labels.values, VALUES % 8)
    assert result.labels.rio.crs.to_epsg() == 32633
    assert result.probabilities.dims == ("class", "y", "x")
    assert result.probabilities.sel({"class": "residue 5"}).values[0, 5] == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.zarr", "m.zarr.json"]


def test_the_same_values_are_the_same_input(tmp_path):
    identities = []
    for k, values in enumerate((VALUES, VALUES.copy(), VALUES + 1)):
        stage_array(as_named(values, None, None, None), tmp_path / f"{k}.zarr")
        identities.append(tree_identity(tmp_path / f"{k}.zarr"))
    assert identities[0] == identities[1] != identities[2]
    first = predict(named(), tmp_path / "m.zarr", model="probe")
    stamp = (tmp_path / "m.zarr").stat().st_mtime_ns
    again = predict(named(), tmp_path / "m.zarr", model="probe")  # finished: nothing to do
    assert first.identical(again)
    assert (tmp_path / "m.zarr").stat().st_mtime_ns == stamp


def test_fill_values_and_scales_count(tmp_path):
    image = named(VALUES.astype("u2"))
    image.attrs.update(_FillValue=5, scale_factor=2.0, add_offset=1.0)
    labels = predict(image, model="probe").values
    there = VALUES != 5
    np.testing.assert_array_equal(labels[there], ((VALUES * 2 + 1) % 8)[there])
    assert (labels[~there] == 255).all()


def test_plain_arrays_and_volumes():
    assert "y" not in predict(VALUES, model="probe").coords
    cube = xr.DataArray(VALUES[:60].reshape(4, 15, 90), dims=("z", "y", "x"))
    np.testing.assert_array_equal(predict(cube, model="probe").values, cube.values % 8)


def test_steps_of_time_are_chosen():
    series = xr.concat([named(), named(VALUES + 1)], "time").transpose("y", "time", "x")
    with pytest.raises(InputError, match="2 steps of time"):
        predict(series, model="probe")
    np.testing.assert_array_equal(predict(series, model="probe", volume=1), (VALUES + 1) % 8)


@pytest.mark.parametrize(
    ("image", "options", "error"),
    [
        (VALUES[0], {}, InputError),
        (VALUES.astype("c8"), {}, InputError),
        (np.empty((0, 5)), {}, InputError),
        (xr.DataArray(VALUES, dims=("a", "b")), {}, InputError),
        (VALUES, {"crs": "nonsense"}, InputError),
        ([1, 2], {}, InputError),
        (xr.Dataset({"a": (("y", "x"), VALUES)}), {}, InputError),
        (VALUES, {"output": "m.tif"}, OutputError),
        (VALUES, {"mosaic": True}, TypeError),
        ("a.tif", {"crs": 4326}, TypeError),
    ],
)
def test_what_is_no_image_is_refused(folders, image, options, error):
    with pytest.raises(error):
        predict(image, model="probe", **options)
    assert folders() == []


@pytest.mark.full
def test_workers_give_the_same(tmp_path):
    one = predict(named(), tmp_path / "one.zarr", model="probe")
    two = predict(named(), tmp_path / "two.zarr", model="probe", workers=2, cluster="auto")
    assert one.equals(two)
    assert Path(tmp_path / "two.zarr").is_dir()
