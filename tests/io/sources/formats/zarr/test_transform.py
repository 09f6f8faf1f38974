"""Two statements of one place in a Zarr store, against rioxarray, and OME's transformations."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import rioxarray  # noqa: F401  (the accessor ``rio``)
import xarray
import zarr
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS

from seg_batch.core.errors import InputError
from seg_batch.core.georef import RasterGeoref, georef_to_json
from seg_batch.io.sources import open_source
from tests.support.io.stores import UTM

ZONE13 = CRS.from_epsg(32613).to_wkt()
SHAPE = (4, 6)


def write_raster(
    path: Path,
    axes: dict[str, Any],
    mapping: dict[str, Any],
    shape: tuple[int, ...] = SHAPE,
    **more: Any,
) -> Path:
    """A store as xarray writes it: the image ``band``, coordinates, ``spatial_ref``."""
    group = zarr.open_group(path, mode="w", zarr_format=3)
    attributes = {"grid_mapping": "spatial_ref", **more}
    image = {"dimension_names": ("y", "x"), "attributes": attributes}
    group.create_array("band", data=np.zeros(shape, np.uint8), **image)
    for name, values in axes.items():
        group.create_array(name, data=np.asarray(values), dimension_names=(name,))
    group.create_array("spatial_ref", shape=(), dtype="int64", fill_value=0, attributes=mapping)
    return path


def centres(first: float, step: float, count: int, dtype: str = "f8") -> np.ndarray:
    return (first + step * (np.arange(count) + 0.5)).astype(dtype)


def attribute(a: float, b: float, c: float, d: float, e: float, f: float) -> dict[str, Any]:
    return {"GeoTransform": f"{c!r} {a!r} {b!r} {f!r} {d!r} {e!r}", "crs_wkt": UTM}


def by_rioxarray(path: Path) -> tuple[np.ndarray, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with xarray.open_zarr(path, decode_coords="all", consolidated=False) as data:
            return np.array(data["band"].rio.transform()[:6]), data["band"].rio.crs


numbers = st.floats(-1e6, 1e6)


@pytest.mark.full
@settings(max_examples=60)  # each opens two stores
@given(
    step=st.sampled_from([(10.0, -10.0), (10.0, 10.0), (-0.25, 30.0)]),
    first=st.tuples(numbers, numbers),
    by=st.sampled_from([0.0, 0.001, 0.006, 0.02, 1.0, 400.0]),
    turn=st.sampled_from([0.0, 0.0, 0.5]),
    dtype=st.sampled_from(["f8", "f4"]),
    present=st.sampled_from(["xy", "xy", "", "x"]),
    shape=st.sampled_from([SHAPE, SHAPE, (1, 6), (4, 1)]),
)
def test_attribute_and_coordinates(
    tmp_path_factory: pytest.TempPathFactory,
    step: tuple[float, float],
    first: tuple[float, float],
    by: float,
    turn: float,
    dtype: str,
    present: str,
    shape: tuple[int, int],
) -> None:
    """What rioxarray takes is taken, and a line says so where the two differ."""
    assume(dtype == "f8" or max(map(abs, first)) < 1e3)
    places = zip("xy", (0, 1), (shape[1], shape[0]), strict=True)
    axes = {n: centres(first[i] + by * step[i], step[i], count, dtype) for n, i, count in places}
    mapping = attribute(step[0], turn, first[0], turn, step[1], first[1])
    axes = {name: values for name, values in axes.items() if name in present}
    path = write_raster(tmp_path_factory.mktemp("z") / "a.zarr", axes, mapping, shape)
    info = open_source(path).info
    expected, _ = by_rioxarray(path)
    assert isinstance(info.georef, RasterGeoref)
    pixels = np.abs(np.array(info.georef.transform) - expected) / np.abs(
        expected[[0, 0, 0, 4, 4, 4]]
    )
    assert pixels.max() < 0.01
    told = [line for line in info.warnings if "place pixels" in line]
    assert bool(told) == (bool(present) and (by > 0.01 or turn != 0))


@pytest.mark.parametrize("taken", ["spatial_ref", "crs_wkt"])
def test_two_crs(tmp_path: Path, taken: str) -> None:
    """``spatial_ref`` before ``crs_wkt`` before what only GDAL or GeoZarr have."""
    axes = {"x": centres(5e5, 10, 6), "y": centres(4e6, -10, 4)}
    mapping = (
        {"spatial_ref": ZONE13, "crs_wkt": UTM} if taken == "spatial_ref" else {"crs_wkt": ZONE13}
    )
    more = {"_CRS": {"wkt": UTM}, "proj:code": "EPSG:32612"}
    path = write_raster(tmp_path / "a.zarr", axes, mapping, **more)
    info = open_source(path).info
    assert CRS.from_wkt(info.georef.crs_wkt) == by_rioxarray(path)[1] == CRS.from_wkt(ZONE13)  # type: ignore[union-attr]
    (line,) = (line for line in info.warnings if "different CRSs" in line)
    assert "WGS 84 / UTM zone 13N and WGS 84 / UTM zone 12N" in line
    assert line.endswith(f"{taken} is taken")


def test_one_crs_in_two_ways_needs_no_word(tmp_path: Path) -> None:
    axes = {"x": centres(5e5, 10, 6), "y": centres(4e6, -10, 4)}
    mapping = {"spatial_ref": UTM, "crs_wkt": CRS.from_wkt(UTM).to_wkt(version="WKT2_2019")}
    path = write_raster(tmp_path / "a.zarr", axes, mapping, **{"proj:code": "EPSG:32612"})
    assert open_source(path).info.warnings == ()


def test_our_attribute_is_not_believed_after_another_program_moved_the_array(
    tmp_path: Path,
) -> None:
    own = {"georef": georef_to_json(RasterGeoref(UTM, (10.0, 0.0, 5e5, 0.0, -10.0, 4e6), 1.0))}
    axes = {"x": centres(5e5, 10, 6), "y": centres(4e6, -10, 4)}
    path = write_raster(tmp_path / "same.zarr", axes, {"crs_wkt": UTM}, segbatch=own)
    assert open_source(path).info.warnings == ()
    for name, moved, wkt, extent, said in (
        ("moved", 5e5 + 60, UTM, SHAPE, "6 pixels from where"),
        ("crs", 5e5, ZONE13, SHAPE, "UTM zone 13N and was"),
        ("cropped", 5e5, UTM, (9, 9), "another extent"),
    ):
        axes["x"] = centres(moved, 10, 6)
        outdated = {**own, "extent": extent}
        path = write_raster(tmp_path / name, axes, {"crs_wkt": wkt}, segbatch=outdated)
        info = open_source(path).info
        assert said in info.warnings[0]
        assert info.georef.transform[2] == by_rioxarray(path)[0][2] == moved  # type: ignore[union-attr]
        assert info.georef.crs_wkt == wkt  # type: ignore[union-attr]


MAPPED = {
    "EPSG:32633": (10, 45),
    "EPSG:3035": (10, 45),
    "EPSG:5070": (-90, 40),
    "EPSG:3031": (10, -75),
    "EPSG:3413": (10, 75),
    "EPSG:3395": (10, 45),
    "OGC:CRS84": (10, 45),
    "+proj=lcc +lat_1=30 +lat_2=50 +lat_0=40 +lon_0=10 +R=6371229": (10, 45),
    "+proj=geos +h=35785831 +sweep=x +lon_0=-75 +ellps=GRS80": (-70, 10),
    "+proj=stere +lat_0=90 +lat_ts=60 +lon_0=10 +a=6378140 +b=6356750": (10, 75),
    "+proj=sinu +R=6371007.181": (10, 45),
    "+proj=merc +k=0.9 +lon_0=3 +ellps=bessel": (10, 45),
    "+proj=aeqd +lat_0=40 +lon_0=10": (11, 45),
}


@pytest.mark.parametrize("text", MAPPED)
def test_parameters_of_cf_give_the_places_that_pyproj_gives(tmp_path: Path, text: str) -> None:
    """Without a WKT, as climate models write them."""
    mapping = pyproj.CRS.from_user_input(text).to_cf()
    del mapping["crs_wkt"]
    asked = pyproj.CRS.from_cf(mapping)
    axes = {"x": centres(5e5, 10, 6), "y": centres(4e6, -10, 4)}
    stored = mapping | {"_ARRAY_DIMENSIONS": []}  # by xarray in stores of Zarr v2
    info = open_source(write_raster(tmp_path / "a.zarr", axes, stored)).info
    here = pyproj.CRS.from_wkt(info.georef.crs_wkt)  # type: ignore[union-attr]
    place = pyproj.Transformer.from_crs(asked.geodetic_crs, asked, always_xy=True)
    there = pyproj.Transformer.from_crs(here.geodetic_crs, here, always_xy=True)
    assert there.transform(*MAPPED[text]) == pytest.approx(place.transform(*MAPPED[text]), abs=1e-5)
    assert asked.ellipsoid.semi_major_metre == here.ellipsoid.semi_major_metre  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "mapping",
    [
        {"grid_mapping_name": "lambert_conformal_conic", "standard_parallel": 30.0},
        {"grid_mapping_name": "latitude_longitude", "geographic_crs_name": "ED50"},
        {"grid_mapping_name": "mercator", "twist": 3},
        {"grid_mapping_name": "of another kind"},
    ],
)
def test_a_mapping_that_is_not_understood_is_said(tmp_path: Path, mapping: dict[str, Any]) -> None:
    axes = {"x": centres(5e5, 10, 6), "y": centres(4e6, -10, 4)}
    info = open_source(write_raster(tmp_path / "a.zarr", axes, mapping)).info
    assert "not understood" in info.warnings[0]


def ome(path: Path, own: list[Any], further: list[Any] = (), levels: list[Any] = ()) -> Path:  # type: ignore[assignment]
    """An OME image of 8 x 8 x 8 voxels; ``levels``: the transformations of halved ones."""
    group = zarr.open_group(path, mode="w", zarr_format=3)
    datasets = []
    for level, changes in enumerate([own, *levels]):
        data = np.zeros(3 * [8 >> level], np.uint8)
        group.create_array(str(level), data=data, dimension_names=("z", "y", "x"))
        datasets.append({"path": str(level), "coordinateTransformations": changes})
    axes = [{"name": n, "type": "space", "unit": "millimeter"} for n in "zyx"]
    entry = {"axes": axes, "datasets": datasets, "coordinateTransformations": list(further)}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [entry]}
    return path


def scale(*values: Any) -> dict[str, Any]:
    return {"type": "scale", "scale": list(values)}


factors = st.tuples(*3 * [st.floats(0.01, 100)])


@settings(max_examples=50)
@given(own=factors, further=factors, shift=factors, text=st.booleans())
def test_ome_scales_of_two_levels_are_multiplied(
    tmp_path_factory: pytest.TempPathFactory, own: Any, further: Any, shift: Any, text: bool
) -> None:
    """Also as text: ``"0.5"`` is half, and not 1."""
    path = tmp_path_factory.mktemp("o") / "a.zarr"
    word = str if text else float
    moved = {"type": "translation", "translation": [word(v) for v in shift]}
    info = open_source(ome(path, [scale(*map(word, own)), moved], [scale(*further)])).info
    assert info.georef.spacing == pytest.approx(np.multiply(own, further))
    origin = np.multiply(shift, further)
    assert info.georef.matrix[:3, 3][::-1] == pytest.approx(origin)


@pytest.mark.parametrize(
    "wrong", [["one", 1, 1], [1, 1], [1, 1, None], "2", "211", [1, 1, float("nan")]]
)
def test_a_scale_that_is_no_number_per_axis_is_refused(tmp_path: Path, wrong: Any) -> None:
    path = ome(tmp_path / "a.zarr", [{"type": "scale", "scale": wrong}])
    with pytest.raises(InputError, match="one number for each") as error:
        open_source(path)
    assert "\n" not in error.value.message


def test_levels_that_cover_another_extent_are_told(tmp_path: Path) -> None:
    right = ome(tmp_path / "a.zarr", [scale(1, 1, 1)], levels=[[scale(2, 2, 2)]])
    assert not any("cover extents" in line for line in open_source(right).info.warnings)
    wrong = ome(tmp_path / "b.zarr", [scale(1, 1, 1)], levels=[[scale(1, 1, 1)]])
    assert any("differ by 4 voxels" in line for line in open_source(wrong).info.warnings)
    odd = ome(tmp_path / "c.zarr", [scale(1, 1, 1), {"type": "rotation", "rotation": [1]}])
    assert any("(rotation) is not applied" in line for line in open_source(odd).info.warnings)


@pytest.mark.parametrize(
    ("unit", "mm"), [("micrometers", 1e-3), ("metres", 1e3), ("Millimetre", 1.0), ("inch", 25.4)]
)
def test_units_in_other_spellings(tmp_path: Path, unit: str, mm: float) -> None:
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=3)
    group.create_array("ct", data=np.zeros((4, 5, 6), np.uint8), dimension_names=("z", "y", "x"))
    for name, count in zip("zyx", (4, 5, 6), strict=True):
        more = {"dimension_names": (name,), "attributes": {"units": unit}}
        group.create_array(name, data=centres(0, 2, count), **more)
    info = open_source(tmp_path / "a.zarr" / "ct").info
    assert info.georef.spacing == pytest.approx((2 * mm, 2 * mm, 2 * mm))
    assert not any("not known" in line for line in info.warnings)


@pytest.mark.parametrize(
    ("unit", "crs", "is_told"),
    [
        ("km", "EPSG:32633", True),
        ("m", "EPSG:32633", False),
        ("metre", "EPSG:32633", False),
        ("rad", "+proj=geos +h=35785831 +datum=WGS84", True),
        ("degrees_north", "EPSG:4326", False),
        ("m", "EPSG:4326", True),
        ("parsec", "EPSG:32633", False),
        ("km", "+proj=utm +zone=33 +datum=WGS84 +units=km", False),
    ],
)
def test_coordinates_in_another_unit_than_the_crs_are_told(
    tmp_path: Path, unit: str, crs: str, is_told: bool
) -> None:
    group = zarr.create_group(tmp_path / "a.zarr", zarr_format=3)
    group.create_array("img", data=np.zeros((4, 6), "u1"), dimension_names=("y", "x"))
    for name, count in (("y", 4), ("x", 6)):
        data = centres(10.0, 0.5, count)
        attributes = {"units": unit}
        group.create_array(name, data=data, dimension_names=(name,), attributes=attributes)
    mapping = {"crs_wkt": pyproj.CRS(crs).to_wkt()}
    group.create_array("spatial_ref", shape=(), dtype="i8", attributes=mapping)
    warnings_of_it = open_source(tmp_path / "a.zarr").info.warnings
    assert any(f"are in {unit} and" in line for line in warnings_of_it) == is_told
