"""When two grids count as one: no corner further off than a hundredth of a voxel."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from rasterio.crs import CRS

from seg_batch.core.georef import Georef, RasterGeoref, VolumeGeoref
from seg_batch.io.sources.protocol import SourceInfo
from seg_batch.io.sources.views.same_grid import grid_differences
from tests.support.io.stores import PLACED, UTM

EXTENTS = {"raster": (300, 400), "volume": (30, 40, 50)}


def info(georef: Georef, **changes: Any) -> SourceInfo:
    extent = EXTENTS[georef.kind]
    shown = SourceInfo("a", "x", georef.kind, extent, ("c",), "uint8", georef, extent)
    return replace(shown, **changes)


def volume(matrix: np.ndarray, **changes: Any) -> VolumeGeoref:
    return VolumeGeoref(tuple(map(tuple, matrix.tolist())), **changes)


@given(
    size=st.floats(1e-6, 1e6),
    at=st.floats(-1e7, 1e7),
    by=st.tuples(st.floats(-0.05, 0.05), st.floats(-0.05, 0.05)),
    grown=st.floats(-1e-4, 1e-4),
)
def test_rasters(size: float, at: float, by: tuple[float, float], grown: float) -> None:
    """Moved by ``by`` pixels, and with pixels larger by a share of ``grown``."""
    assume(abs(at) < 1e9 * size)
    a = replace(PLACED, transform=(size, 0.0, at, 0.0, -size, at))
    larger = size * (1 + grown)
    there = (larger, 0.0, at + by[0] * size, 0.0, -larger, at + by[1] * size)
    differences = grid_differences(info(a), info(replace(a, transform=there)))
    corners = [np.hypot(by[0] + x * grown, by[1] - y * grown) for x in (0, 400) for y in (0, 300)]
    assume(abs(max(corners) - 0.01) > 1e-4)
    assert bool(differences) == (max(corners) > 0.01)
    if differences:
        (said,) = differences
        apart = float(said.removeprefix("corners up to ").removesuffix(" voxels apart"))
        assert apart == pytest.approx(max(corners), rel=0.02, abs=1e-4)


@given(
    sizes=st.tuples(*3 * [st.floats(0.01, 100)]),
    by=st.tuples(*3 * [st.floats(-0.02, 0.02)]),
    angles=st.tuples(*3 * [st.floats(-3, 3)]),
)
def test_volumes(
    sizes: tuple[float, ...], by: tuple[float, ...], angles: tuple[float, float, float]
) -> None:
    """Against nibabel: the voxel of one image at which a voxel of the other lies."""
    turned = nibabel.eulerangles.euler2mat(*angles) @ np.diag(sizes)
    here = nibabel.affines.from_matvec(turned, (10, -20, 30))
    there = here @ nibabel.affines.from_matvec(np.eye(3), by)
    apart = np.linalg.norm(nibabel.affines.apply_affine(np.linalg.inv(here) @ there, (0, 0, 0)))
    assume(abs(apart - 0.01) > 1e-6)
    assert bool(grid_differences(info(volume(here)), info(volume(there)))) == (apart > 0.01)


def test_other_words_for_one_crs_do_not_count() -> None:
    utm = CRS.from_epsg(32612)
    for wkt in (utm.to_wkt(version="WKT2_2019"), UTM.replace("WGS 84 / UTM zone 12N", "mine")):
        assert grid_differences(info(PLACED), info(replace(PLACED, crs_wkt=wkt))) == []
    degrees = RasterGeoref(CRS.from_epsg(4326).to_wkt(), (0.1, 0.0, 5.0, 0.0, -0.1, 50.0))
    crs84 = replace(degrees, crs_wkt=CRS.from_user_input("OGC:CRS84").to_wkt())
    assert grid_differences(info(degrees), info(crs84)) == []


def test_what_is_another_place_is_named() -> None:
    other = replace(PLACED, crs_wkt=CRS.from_epsg(32613).to_wkt())
    assert (
        "zone 12N against WGS 84 / UTM zone 13N" in grid_differences(info(PLACED), info(other))[0]
    )
    points = ((0.0, 0.0, 1.0, 2.0, 0.0),)
    a = RasterGeoref(gcps=points, gcps_crs_wkt=UTM)
    moved = replace(a, gcps=((0.0, 0.0, 1.5, 2.0, 0.0),))
    assert grid_differences(info(a), info(a)) == []
    assert "control points" in grid_differences(info(a), info(moved))[0]
    assert "kind" in grid_differences(info(PLACED), info(volume(np.eye(4))))[0]


def test_units_of_volumes_count() -> None:
    microns = volume(np.diag([500.0, 500.0, 500.0, 1.0]), units="micron")
    half = volume(np.diag([0.5, 0.5, 0.5, 1.0]))
    assert grid_differences(info(microns), info(half)) == []
    assert "voxels apart" in grid_differences(info(half), info(replace(microns, units="mm")))[0]
