"""COGs: every kind of place comes through, as GDAL reads it; every pixel; nothing in side files."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.crs import CRS
from rasterio.rpc import RPC

from seg_batch.core.errors import DamagedError
from seg_batch.core.geometry import Box, Shape
from seg_batch.core.georef import RasterGeoref, georef_differences
from seg_batch.io.sinks.cog.check import check_cog
from seg_batch.io.sinks.cog.overviews import majority_overview
from seg_batch.io.sinks.product import export_product, probabilities_spec
from seg_batch.io.sinks.work_store import WorkStore
from seg_batch.io.sources.formats.raster_georef import raster_georef
from tests.support.io.stores import (
    CLASSES,
    PLACED,
    UTM,
    full_store,
    labels_at,
    probabilities_at,
    product_spec,
    store_spec,
)

WGS84 = CRS.from_epsg(4326).to_wkt()
RPCS = RPC(
    height_off=300, height_scale=500, lat_off=37.5, lat_scale=0.1, long_off=-113, long_scale=0.1,
    line_off=300, line_scale=300, samp_off=350, samp_scale=350,
    line_num_coeff=[i / 100 for i in range(20)], line_den_coeff=[1.0] + [0.001] * 19,
    samp_num_coeff=[i / 90 for i in range(20)], samp_den_coeff=[1.0] + [0.002] * 19,
).to_gdal()  # fmt: skip
PROJECTED = tuple(sorted((key, str(value)) for key, value in RPCS.items()))
GCPS = ((0.0, 0.0, -113.2, 37.4, 0.0), (0.5, 600.25, -113.0, 37.41, 12.0), (700.0, 3.0, -113.19, 37.2, 3.5))  # fmt: skip

PLACES = {
    "utm": PLACED,
    "point": replace(PLACED, pixel_is_point=True),
    "south-up": RasterGeoref(UTM, (30.0, 0.0, 3e5, 0.0, 30.0, 4e6), 1.0),
    "rotated": RasterGeoref(UTM, (20.1, 5.3, 301905.7, 4.9, -20.2, 4154085.3), 1.0),
    "rotated point": RasterGeoref(UTM, (20.1, 5.3, 3e5, 4.9, -20.2, 4e6), 1.0, True),
    "degrees": RasterGeoref(WGS84, (1 / 108000, 0.0, -113.2, 0.0, -1 / 108000, 37.4)),
    "feet": RasterGeoref(CRS.from_epsg(2264).to_wkt(), (1.5, 0.0, 1e6, 0.0, -1.5, 5e5), 0.3048006096),
    "no crs": RasterGeoref(None, (2.0, 0.0, 5.0, 0.0, -3.0, 9.0)),
    "crs without a transform": RasterGeoref(UTM, metres_per_unit=1.0),
    "nowhere": RasterGeoref(),
    "gcps": RasterGeoref(gcps=GCPS, gcps_crs_wkt=WGS84),
    "gcps point": RasterGeoref(gcps=GCPS, gcps_crs_wkt=WGS84, pixel_is_point=True),
    "rpcs": RasterGeoref(rpcs=PROJECTED),
    "rpcs and transform": replace(PLACED, rpcs=PROJECTED),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _no_warnings() -> Iterator[None]:
    """Exporting a raster without a place is quiet."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def opened(path: Path, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return rasterio.open(path, driver="GTiff", **options)


def exported(
    folder: Path, extent: Shape, georef: RasterGeoref = PLACED, chunk: Shape = (256, 256), **made: Any
) -> Path:  # fmt: skip
    chunk = tuple(min(c, n) for c, n in zip(chunk, extent, strict=True))
    store = full_store(folder / "s.work.zarr", store_spec(extent, chunk, georef, **made))
    product = export_product(store, folder / "a.tif", product_spec(store))
    assert sum(product.counts.values()) == extent[0] * extent[1]
    return product.path


@pytest.mark.parametrize("georef", PLACES.values(), ids=PLACES)
def test_the_place_comes_through(tmp_path: Path, georef: RasterGeoref) -> None:
    """Compared on the closed product (check_cog has passed), once more with other words here."""
    path = exported(tmp_path, (700, 601), georef)
    with opened(path) as file:
        found = raster_georef(file)
        assert np.allclose(file.transform[:6], georef.transform, rtol=1e-14, atol=1e-9)
        assert [(g.row, g.col, g.x, g.y, g.z) for g in file.gcps[0]] == list(georef.gcps)
        assert bool(file.crs) == bool(georef.crs_wkt)
        assert bool(file.rpcs) == bool(georef.rpcs)
        assert np.array_equal(file.read(1), labels_at(Box.whole((700, 601))))
    same = {"crs_wkt": None, "rpcs": ()}
    assert georef_differences(replace(georef, **same), replace(found, **same)) == []
    assert {p.name for p in tmp_path.iterdir()} == {"s.work.zarr", "a.tif"}


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize(
    "extent",
    [
        *[(1, 1), (1, 1500), (1500, 1), (511, 513), (512, 512), (1030, 700)],
        pytest.param((2100, 1900), marks=pytest.mark.full),
    ],
)
def test_any_extent(tmp_path: Path, extent: Shape, dtype: str) -> None:
    fill = 255 if dtype == "uint8" else 65535
    path = exported(tmp_path, extent, label_dtype=dtype, fill=fill)
    with opened(path) as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert (file.dtypes[0], file.nodata, file.shape) == (dtype, fill, extent)
        assert np.array_equal(file.read(1), labels_at(Box.whole(extent), dtype))
        levels = file.overviews(1)
    below = labels_at(Box.whole(extent), dtype)
    for level in range(len(levels)):
        below = majority_overview(below)
        with opened(path, OVERVIEW_LEVEL=level) as file:
            assert np.array_equal(file.read(1), below)
    assert max(below.shape) <= 512


def test_names_colours_and_provenance(tmp_path: Path) -> None:
    with opened(exported(tmp_path, (600, 20))) as file:
        assert file.descriptions == ("class",)
        assert file.colorinterp[0].name == "palette"
        colours = file.colormap(1)
        assert [colours[c.id][:3] for c in CLASSES] == [c.colour for c in CLASSES]
        assert colours[255][3] == 0
        tags = file.tags()
        assert tags["SEGBATCH_STATUS"] == "complete"
        assert tags["CLASS_1"] == "ü"


def test_all_nodata(tmp_path: Path) -> None:
    store = WorkStore.create(tmp_path / "s", store_spec((900, 800), (256, 256)))
    product = export_product(store, tmp_path / "a.tif", product_spec(store))
    assert product.counts == {255: 720_000}
    with opened(product.path) as file:
        assert not file.dataset_mask().any()


def test_probabilities_are_bands(tmp_path: Path) -> None:
    extent = (600, 530)
    store = full_store(tmp_path / "s", store_spec(extent, (256, 256), probabilities=True))
    spec = probabilities_spec(product_spec(store))
    path = export_product(store, tmp_path / "p.tif", spec).path
    with opened(path) as file:
        assert file.descriptions == tuple(c.name for c in CLASSES)
        assert file.scales == (1 / 255,) * len(CLASSES)
        assert file.nodata is None
        assert file.overviews(1) == [2]
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert np.array_equal(file.read(), probabilities_at(Box.whole(extent)))


def test_the_same_bytes_again(tmp_path: Path) -> None:
    files = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        files.append(exported(tmp_path / name, (700, 900)).read_bytes())
    assert files[0] == files[1]


REAL = [
    "zion_landsat8_nlcd/landsat8_b2345.tif",
    "zion_landsat8_nlcd/other_grid_nlcd.tif",
    "geotiff_awkward/rasterio_RGB.byte.tif",
    "geotiff_awkward/rasterio_rotated.tif",
    "geotiff_awkward/riotiler_cog_rgb_mask.tif",
    "geotiff_awkward/riotiler_cog_scale.tif",
    "geotiff_awkward/riocogeo_image_missing_nodata.tif",
]


@pytest.mark.parametrize("name", REAL)
def test_real_files(tmp_path: Path, data: Path, name: str) -> None:
    with opened(data / name) as file:
        expected = (file.crs, file.transform, file.bounds, file.tags().get("AREA_OR_POINT"))
        georef, extent = raster_georef(file), file.shape
    with opened(exported(tmp_path, extent, georef)) as file:
        assert (file.crs, file.transform, file.bounds, file.tags().get("AREA_OR_POINT")) == expected


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"georef": replace(PLACED, transform=(30.0, 0.0, 301905.01, 0.0, -30.0, 4154085.0))}, "transform"),
        ({"georef": replace(PLACED, crs_wkt=WGS84)}, "CRS: "),
        ({"georef": replace(PLACED, pixel_is_point=True)}, "pixel_is_point"),
        ({"nodata": 254}, "nodata"),
        ({"extent": (600, 699)}, "shape"),
        ({"tags": {"SEGBATCH_STATUS": "PARTIAL"}}, "provenance"),
        ({"classes": tuple(c.model_copy(update={"colour": (9, 9, 9)}) for c in CLASSES)}, "colours"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)  # fmt: skip
def test_the_check_sees_what_is_wrong(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    store = full_store(tmp_path / "s", store_spec((600, 700), (256, 256)))
    spec = product_spec(store)
    path = export_product(store, tmp_path / "a.tif", spec).path
    check_cog(path, spec, store.read_labels)
    with pytest.raises(DamagedError, match=words):
        check_cog(path, replace(spec, **change), store.read_labels)


def test_the_check_sees_moved_pixels_and_a_torn_file(tmp_path: Path) -> None:
    store = full_store(tmp_path / "s", store_spec((600, 700), (256, 256)))
    path = export_product(store, tmp_path / "a.tif", spec := product_spec(store)).path
    with pytest.raises(DamagedError, match="pixels differ"):
        check_cog(path, spec, lambda box: np.roll(store.read_labels(box), 1, 0))
    whole = path.read_bytes()
    for size in (10, len(whole) // 2, len(whole) - 200):
        path.write_bytes(whole[:size])
        with pytest.raises(DamagedError) as caught:
            check_cog(path, spec, store.read_labels)
        assert len(str(caught.value).splitlines()) == 1
