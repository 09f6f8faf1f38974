"""What other programs see of a store: GDAL a placed raster, OME-NGFF readers a volume."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import zarr
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning

from seg_batch.core.geometry import Box
from seg_batch.core.georef import RasterGeoref, VolumeGeoref
from seg_batch.io.sources import open_source
from tests.support.io.stores import CLASSES, OBLIQUE, PLACED, full_store, labels_at, store_spec

WGS84 = CRS.from_epsg(4326).to_wkt()


def by_gdal(path: Path, array: str = "labels") -> Any:
    return rasterio.open(f'ZARR:"{path}":/{array}')


@pytest.mark.parametrize(
    "georef",
    [
        PLACED,
        RasterGeoref(WGS84, (1 / 3600, 0.0, -113.2, 0.0, -1 / 3600, 37.4)),
        RasterGeoref(PLACED.crs_wkt, (30.0, 0.0, 301905.0, 0.0, 30.0, 4100000.0), 1.0),
        RasterGeoref(None, (2.0, 0.0, 5.0, 0.0, -3.0, 9.0)),
    ],
    ids=["utm", "degrees", "south-up", "no crs"],
)
def test_gdal_sees_place_and_labels(tmp_path: Path, georef: RasterGeoref) -> None:
    spec = store_spec((60, 70), (32, 32), georef, probabilities=True)
    full_store(tmp_path / "s.zarr", spec)
    for array in ("labels", "probabilities"):
        with by_gdal(tmp_path / "s.zarr", array) as file:
            assert np.allclose(file.transform[:6], georef.transform, rtol=1e-12, atol=1e-12)
            assert file.crs == (CRS.from_wkt(georef.crs_wkt) if georef.crs_wkt else None)
    with by_gdal(tmp_path / "s.zarr") as file:
        assert file.nodata == 255
        assert np.array_equal(file.read(1), labels_at(Box.whole((60, 70))))


@pytest.mark.parametrize(
    "georef",
    [
        RasterGeoref(PLACED.crs_wkt, (20.0, 5.0, 1.0, 4.0, -20.0, 2.0), 1.0),
        RasterGeoref(gcps=((0.0, 0.0, 1.0, 2.0, 0.0),), gcps_crs_wkt=WGS84),
        RasterGeoref(),
    ],
    ids=["rotated", "gcps", "nowhere"],
)
def test_what_coordinates_can_not_hold_stays_whole(tmp_path: Path, georef: RasterGeoref) -> None:
    full_store(tmp_path / "s.zarr", store_spec((60, 70), (32, 32), georef))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with by_gdal(tmp_path / "s.zarr") as file:
            assert file.transform.is_identity
    source = open_source(tmp_path / "s.zarr")
    assert source.info.georef == georef


@pytest.mark.parametrize("extent", [(1, 1), (1, 40), (40, 1)])
def test_one_pixel_wide(tmp_path: Path, extent: tuple[int, int]) -> None:
    full_store(tmp_path / "s.zarr", store_spec(extent, extent))
    source = open_source(tmp_path / "s.zarr")
    assert source.info.georef == PLACED
    assert np.array_equal(
        source.read(Box.whole(extent)).values[..., 0], labels_at(Box.whole(extent))
    )


def test_classes_in_cf_words(tmp_path: Path) -> None:
    full_store(tmp_path / "s.zarr", store_spec((8, 8), (8, 8)))
    found = dict(zarr.open_array(tmp_path / "s.zarr" / "labels").attrs)
    assert found["flag_values"] == [c.id for c in CLASSES]
    assert found["flag_meanings"].split() == [c.name.replace(" ", "_") for c in CLASSES]
    assert found["flag_colors"].split()[1] == "#14eb01"


def ome(path: Path) -> dict[str, Any]:
    return zarr.open_group(path, mode="r").attrs["ome"]  # type: ignore[return-value]


def steps(path: Path) -> list[dict[str, Any]]:
    return ome(path)["multiscales"][0]["datasets"][0]["coordinateTransformations"]


def test_ome_says_no_more_than_it_can(tmp_path: Path) -> None:
    """An oblique volume has voxel sizes in OME-NGFF, and no place it does not have."""
    full_store(tmp_path / "s.zarr", store_spec((5, 6, 7), (4, 4, 4), OBLIQUE))
    (scale,) = steps(tmp_path / "s.zarr")
    assert scale["type"] == "scale"
    assert np.allclose(scale["scale"], OBLIQUE.spacing_mm)
    assert open_source(tmp_path / "s.zarr").info.georef == OBLIQUE


def test_ome_of_an_upright_volume(tmp_path: Path) -> None:
    affine = ((2.0, 0.0, 0.0, -4.0), (0.0, 3.0, 0.0, -5.0), (0.0, 0.0, 4.0, -6.0), (0.0, 0, 0, 1.0))
    spec = store_spec((5, 6, 7), (4, 4, 4), VolumeGeoref(affine))
    full_store(tmp_path / "s.zarr", spec)
    scale, translation = steps(tmp_path / "s.zarr")
    assert scale["scale"] == [4.0, 3.0, 2.0]
    assert translation["translation"] == [-6.0, -5.0, -4.0]
    entry = ome(tmp_path / "s.zarr")
    assert entry["version"] == "0.5"
    assert [a["name"] for a in entry["multiscales"][0]["axes"]] == ["z", "y", "x"]
    assert {a["unit"] for a in entry["multiscales"][0]["axes"]} == {"millimeter"}
    colours = entry["image-label"]["colors"]
    assert colours[2] == {"label-value": 2, "rgba": [40, 215, 2, 255]}


def test_listing_a_store_warns_of_nothing(tmp_path: Path) -> None:
    store = full_store(tmp_path / "s.zarr", store_spec((60, 70), (32, 32)))
    with warnings.catch_warnings(), store.lock():
        warnings.simplefilter("error")
        names = set(zarr.open_group(store.path, mode="r"))
    assert names == {"labels", "done", "x", "y", "spatial_ref", "class", "class_name"}


@pytest.mark.parametrize(("units", "word"), [("meter", "meter"), ("micron", "micrometer")])
def test_ome_states_sizes_in_the_unit_that_it_names(tmp_path: Path, units: str, word: str) -> None:
    affine = ((2.0, 0.0, 0.0, -4.0), (0.0, 3.0, 0.0, -5.0), (0.0, 0.0, 4.0, -6.0), (0.0, 0, 0, 1.0))
    path = tmp_path / "s.zarr"
    full_store(path, store_spec((5, 6, 7), (4, 4, 4), VolumeGeoref(affine, units=units)))
    scale, translation = steps(path)
    assert scale["scale"] == [4.0, 3.0, 2.0]
    assert translation["translation"] == [-6.0, -5.0, -4.0]
    assert {a["unit"] for a in ome(path)["multiscales"][0]["axes"]} == {word}
    assert open_source(path).info.georef.units == units
    del zarr.open_group(path, mode="r+").attrs["segbatch"]
    mm = np.array(affine)[:3] * {"meter": 1000, "micron": 0.001}[units]
    assert np.allclose(open_source(path).info.georef.matrix[:3], mm)


def test_our_place_is_not_believed_where_ome_states_other_sizes(tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    full_store(path, store_spec((5, 6, 7), (4, 4, 4), OBLIQUE))
    changed = ome(path)
    changed["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"] = [1, 2, 3]
    zarr.open_group(path, mode="r+").attrs["ome"] = changed
    info = open_source(path).info
    assert info.georef.spacing == (1, 2, 3)
    assert "voxel sizes are" in info.warnings[0]
