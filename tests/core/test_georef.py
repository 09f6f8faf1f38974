"""Geometry as a value: through JSON and back unchanged, and compared finely enough."""

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_batch.core.georef import (
    RasterGeoref,
    VolumeGeoref,
    georef_differences,
    georef_from_json,
    georef_to_json,
)

numbers = st.floats(-1e7, 1e7)
texts = st.text(max_size=9)
affines6 = st.tuples(*[numbers] * 6)
affines16 = st.tuples(*[st.tuples(*[numbers] * 4)] * 4)

rasters = st.builds(
    RasterGeoref,
    crs_wkt=st.none() | texts,
    transform=affines6,
    metres_per_unit=st.none() | numbers,
    pixel_is_point=st.booleans(),
    gcps=st.lists(st.tuples(*[numbers] * 5), max_size=3).map(tuple),
    gcps_crs_wkt=st.none() | texts,
    rpcs=st.lists(st.tuples(texts, texts), max_size=3).map(tuple),
)
volumes = st.builds(
    VolumeGeoref,
    affine=affines16,
    sform=st.none() | affines16,
    sform_code=st.integers(0, 4),
    qform=st.none() | affines16,
    qform_code=st.integers(0, 4),
)


@given(rasters | volumes)
def test_json_brings_back_the_same_value(georef: RasterGeoref | VolumeGeoref) -> None:
    again = georef_from_json(json.loads(json.dumps(georef_to_json(georef))))
    assert again == georef
    assert hash(again) == hash(georef)
    assert georef_differences(georef, again) == []


@given(rasters)
def test_any_field_that_changes_is_named(georef: RasterGeoref) -> None:
    changed = dataclasses.replace(georef, pixel_is_point=not georef.pixel_is_point)
    assert [d.split(":")[0] for d in georef_differences(georef, changed)] == ["pixel_is_point"]
    more = dataclasses.replace(georef, gcps=(*georef.gcps, (0.0,) * 5), crs_wkt="another one")
    assert [d.split(":")[0] for d in georef_differences(georef, more)] == ["crs_wkt", "gcps"]


@given(st.integers(0, 5), st.sampled_from([1e-6, 0.3, 30.0, 1e5]))
def test_a_transform_may_differ_by_rounding_only(i: int, pixel: float) -> None:
    """A part in a million of a pixel, over a hundred thousand pixels, is a tenth of one."""
    transform = [pixel, 0.0, -113.0, 0.0, -pixel, 37.0]
    georef = RasterGeoref(transform=tuple(transform))
    for factor, same in ((1e-12, True), (1e-5, False)):
        moved = list(transform)
        moved[i] += factor * (max(1, abs(moved[i])) if i in (2, 5) else pixel)
        assert (georef_differences(georef, RasterGeoref(transform=tuple(moved))) == []) == same


def test_a_raster_is_no_volume() -> None:
    volume = VolumeGeoref(affine=tuple(map(tuple, np.eye(4).tolist())))
    assert georef_differences(RasterGeoref(), volume) == ["kind: raster became volume"]
    no_sform = dataclasses.replace(volume, sform=volume.affine, sform_code=1)
    assert [d.split(":")[0] for d in georef_differences(no_sform, volume)] == [
        "sform",
        "sform_code",
    ]


@given(st.floats(0.1, 100), st.floats(0.1, 100), st.floats(0, 6.3), st.floats(0.3, 2))
def test_the_area_of_a_pixel_does_not_depend_on_its_rotation(
    width: float, height: float, angle: float, unit: float
) -> None:
    c, s = math.cos(angle), math.sin(angle)
    turned = RasterGeoref("x", (c * width, -s * height, 5, s * width, c * height, 9), unit)
    assert turned.pixel_m2 == pytest.approx(width * height * unit**2)
    assert RasterGeoref("degrees", (1, 0, 0, 0, 1, 0)).pixel_m2 is None


@given(st.tuples(*[st.floats(0.1, 10)] * 3), st.floats(0, 6.3), st.permutations(range(3)))
def test_spacing_and_volume_do_not_depend_on_the_way_a_head_lies(
    spacing: tuple[float, ...], angle: float, order: list[int]
) -> None:
    c, s = math.cos(angle), math.sin(angle)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])[order]
    matrix = np.eye(4)
    matrix[:3, :3] = turn @ np.diag(spacing)
    matrix[:3, 3] = (-90, 126, 72)
    georef = VolumeGeoref(affine=tuple(map(tuple, matrix.tolist())))
    assert georef.spacing_mm == pytest.approx(spacing[::-1])
    assert georef.voxel_mm3 == pytest.approx(math.prod(spacing))
    np.testing.assert_array_equal(georef.matrix, matrix)
