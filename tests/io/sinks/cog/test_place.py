"""What a GeoTIFF holds of a place, told before it is written: against pyproj, and on written products."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyproj
import pytest
import rasterio
from hypothesis import assume, given
from hypothesis import strategies as st
from pyproj.database import query_crs_info
from pyproj.list import get_proj_operations_map
from rasterio.crs import CRS
from rasterio.errors import CRSError

from seg_batch.core.errors import OutputError
from seg_batch.core.georef import RasterGeoref
from seg_batch.io.sinks.cog.check import check_cog
from seg_batch.io.sinks.cog.place import _read_back, place_warnings, placed
from seg_batch.io.sinks.cog.write import write_cog
from seg_batch.io.sinks.spec import ProductSpec
from seg_batch.io.sources import open_source
from seg_batch.io.sources.crs import crs_wkt, metres_per_unit, same_crs
from tests.support.io.stores import CLASSES, PLACED, labels_at

TEN = (10.0, 0.0, 500000.0, 0.0, -10.0, 4000000.0)
PARAMETERS = (
    "+lat_0=40 +lon_0=10 +lat_1=30 +lat_2=50 +lat_ts=35 +lonc=10 +alpha=30 +gamma=20 +k_0=0.9996 +x_0=1000 "
    "+zone=33 +h=35785831 +path=1 +lsat=1 +n=0.5 +m=1 +q=1 +W=1 +azi=20 +tilt=10 +lon_1=5 +lon_2=15 "
    "+o_proj=merc +o_lat_p=40 +o_lon_p=10 +sweep=y"
)
GLOBES = (
    "+R=6371000",
    "+ellps=bessel +towgs84=1,2,3",
    "+ellps=GRS80 +units=km",
    "+datum=WGS84 +units=us-ft",
)
NAMED = {
    "crs84": "OGC:CRS84",
    "nad27 lon-lat": "OGC:CRS27",
    "east of north": "EPSG:31467",
    "compound": "EPSG:7415",
    "bound": "+proj=tmerc +lon_0=9 +k=1 +x_0=3500000 +ellps=bessel +towgs84=598.1,73.7,418.2,0.2,0,-2.4,6.7",
    "kilometres": "+proj=utm +zone=33 +datum=WGS84 +units=km",
    "links": "+proj=cass +lat_0=11 +lon_0=-61 +ellps=clrk66 +to_meter=0.201166195164",
}  # fmt: skip
BESIDE = {
    "equal earth": "+proj=eqearth +datum=WGS84",
    "rotated pole": "+proj=ob_tran +o_proj=longlat +o_lon_p=0 +o_lat_p=39.25 +lon_0=18 +ellps=WGS84",
    "grads": "IGNF:LAMBE",
    "deprecated twice": "EPSG:31267",
    "vertical": "EPSG:5703",
    "engineering": "EPSG:5817",
    "westings": "IAU_2015:19931",
    "3d": CRS.from_epsg(32612).to_wkt(version="WKT2_2019").replace(
        'CS[Cartesian,2]', 'CS[Cartesian,3]'
    ).replace('USAGE[', 'AXIS["ellipsoidal height (h)",up,ORDER[3],LENGTHUNIT["metre",1]],USAGE[', 1),
}  # fmt: skip


def spec_of(georef: RasterGeoref) -> ProductSpec:
    return ProductSpec((30, 40), "uint8", 255, CLASSES, georef)


def georef_of(crs: CRS) -> RasterGeoref:
    return RasterGeoref(crs_wkt(crs), TEN, metres_per_unit(crs))


def require_agreement(crs: CRS) -> str:
    """The verdict of ``placed``, which must be that of pyproj; ``alone`` or ``beside``."""
    georef = georef_of(crs)
    asked = pyproj.CRS.from_wkt(georef.crs_wkt)
    held = placed(spec_of(georef))
    actual = _read_back(georef, held.side_file)
    assert isinstance(actual, RasterGeoref)
    written = pyproj.CRS.from_wkt(actual.crs_wkt)
    if not asked.equals(written, ignore_axis_order=True):  # north before east in one of them
        assert not held.side_file
        assert farthest(asked, written) < 1e-3
    if held.side_file and isinstance(alone := _read_back(georef, ""), RasterGeoref):
        lost = not alone.crs_wkt or not asked.equals(
            pyproj.CRS.from_wkt(alone.crs_wkt), ignore_axis_order=True
        )
        assert lost, "it needs no side file"
    return "beside" if held.side_file else "alone"


def farthest(a: pyproj.CRS, b: pyproj.CRS) -> float:
    """The largest distance between coordinates in ``a`` and the same in ``b``, in units of both."""
    to_b = pyproj.Transformer.from_crs(a, b, always_xy=True)
    x, y = (grid.ravel() for grid in np.meshgrid([100000.0, 500000.0], [100000.0, 6000000.0]))
    u, v = to_b.transform(x, y)
    return float(np.hypot(np.subtract(u, x), np.subtract(v, y)).max())


def known_crs(texts: list[str]) -> Iterator[CRS]:
    """Those of which GDAL makes a CRS that has a WKT."""
    for text in texts:
        try:
            with rasterio.Env():
                crs = CRS.from_user_input(text)
                CRS.from_wkt(crs_wkt(crs))
        except CRSError:
            continue
        yield crs


@pytest.mark.full
@pytest.mark.parametrize("count", [60, pytest.param(500, marks=pytest.mark.slow)])
def test_codes_of_epsg_are_held_where_pyproj_says_so(count: int) -> None:
    codes = [f"EPSG:{info.code}" for info in query_crs_info("EPSG", allow_deprecated=True)]
    verdicts = [*map(require_agreement, known_crs(random.Random(13).sample(codes, count)))]
    assert len(verdicts) > 0.9 * count
    assert verdicts.count("alone") > 0.8 * count


@pytest.mark.full
@pytest.mark.parametrize(("first", "every"), [(3, 19), pytest.param(0, 1, marks=pytest.mark.slow)])
def test_methods_of_proj_are_held_where_pyproj_says_so(first: int, every: int) -> None:
    names = sorted(get_proj_operations_map())
    texts = [f"+proj={name} {PARAMETERS} {globe} +type=crs" for name in names for globe in GLOBES]
    verdicts = {*map(require_agreement, known_crs(texts[first::every]))}
    assert verdicts == {"alone", "beside"}


@pytest.mark.parametrize("point", [False, True])
@pytest.mark.parametrize("name", [*NAMED, *BESIDE])
def test_a_product_is_read_with_the_crs_of_its_input(
    tmp_path: Path, name: str, point: bool
) -> None:
    with rasterio.Env():
        crs = CRS.from_user_input({**NAMED, **BESIDE}[name])
    georef = replace(georef_of(crs), pixel_is_point=point)
    spec = placed(spec_of(georef))
    assert bool(spec.side_file) == (name in BESIDE)
    path = tmp_path / "a.tif"
    write_cog(path, spec, labels_at)
    check_cog(path, spec, labels_at)
    assert path.with_name("a.tif.aux.xml").exists() == (name in BESIDE)
    read = open_source(path).info.georef
    assert same_crs(read.crs_wkt, georef.crs_wkt)
    assert pyproj.CRS.from_wkt(read.crs_wkt).equals(
        pyproj.CRS.from_wkt(georef.crs_wkt), ignore_axis_order=True
    )
    with rasterio.open(path) as file:
        assert (file.transform[:6], bool(file.crs)) == (TEN, True)
        assert (file.tags().get("AREA_OR_POINT") == "Point") == point


@pytest.mark.parametrize("code", [5849, 5959, 7415, 2193])
def test_a_code_is_kept(tmp_path: Path, code: int) -> None:
    path = tmp_path / "a.tif"
    write_cog(path, placed(spec_of(georef_of(CRS.from_epsg(code)))), labels_at)
    with rasterio.open(path) as file:
        assert file.crs == CRS.from_epsg(code)


def test_the_side_file_is_said(tmp_path: Path) -> None:
    earth = georef_of(CRS.from_user_input(BESIDE["equal earth"]))
    (line,) = place_warnings(spec_of(earth), "map.tif")
    assert "unknown (Equal Earth)" in line
    assert "map.tif.aux.xml" in line
    assert place_warnings(spec_of(PLACED), "map.tif") == []


def test_what_no_geotiff_holds_is_refused_in_one_line() -> None:
    both = replace(PLACED, gcps=((0.0, 0.0, 1.0, 2.0, 0.0),), gcps_crs_wkt=PLACED.crs_wkt)
    with pytest.raises(OutputError, match=r"can't hold .*\.zarr") as error:
        placed(spec_of(both))
    assert "\n" not in error.value.message
    assert len(error.value.message) < 400


steps = st.floats(1e-5, 1e5) | st.floats(-1e5, -1e-5)
turns = st.just(0.0) | st.floats(-0.5, 0.5)
origins = st.floats(-2e7, 2e7)


@given(a=steps, e=steps, b=turns, d=turns, c=origins, f=origins, point=st.booleans())
def test_any_transform_is_held_alone(
    a: float, e: float, b: float, d: float, c: float, f: float, point: bool
) -> None:
    """Read by rasterio: no corner of a large scene moves by a thousandth of a pixel."""
    transform = (a, b * a, c, d * e, e, f)
    assume(abs(a * e - b * a * d * e) > 1e-12)
    spec = replace(
        spec_of(replace(PLACED, transform=transform, pixel_is_point=point)), extent=(20000, 30000)
    )
    assert placed(spec).side_file == ""
    read = _read_back(spec.georef, "")
    assert isinstance(read, RasterGeoref)
    corners = np.array([(x, y, 1.0) for x in (0, 30000) for y in (0, 20000)]).T
    moved = np.linalg.solve(spec.georef.matrix, read.matrix @ corners) - corners
    rounding = 8 * np.spacing(max(abs(c), abs(f))) / min(abs(a), abs(e))
    assert np.abs(moved).max() < 1e-3 + 100 * rounding
    assert math.isclose(read.pixel_m2 or 0, spec.georef.pixel_m2 or 0, rel_tol=1e-9)
