"""Labels that are drawn from features: where they are, in any box, and in one part of a split."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import shapely
from rasterio.crs import CRS

from seg_batch.config.card import ClassInfo
from seg_batch.config.recipe.vector_labels import VectorLabels
from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box
from seg_batch.core.georef import RasterGeoref
from seg_batch.io.sources.protocol import SourceInfo
from seg_batch.io.vectors.labels import LabelRules, VectorLabelSource

EXTENT, SIDE = (40, 60), 10.0
CLASSES = [
    ClassInfo(id=k, name=n, colour=(k, k, k)) for k, n in ((0, "rest"), (3, "forest"), (4, "lake"))
]


def info() -> SourceInfo:
    georef = RasterGeoref(CRS.from_epsg(32633).to_wkt(), (SIDE, 0, 500_000, 0, -SIDE, 5_800_000))
    return SourceInfo("in.tif", "geotiff", "raster", EXTENT, ("a",), "uint8", georef, (16, 16))


def place(shape: shapely.Geometry) -> shapely.Geometry:
    """From pixels to the CRS."""
    return shapely.transform(
        shape, lambda xy: np.c_[500_000 + SIDE * xy[:, 0], 5_800_000 - SIDE * xy[:, 1]]
    )


def write(path: Path, shapes: list[shapely.Geometry], **fields: list[Any]) -> Path:
    import pyarrow as pa

    kinds = {shape.geom_type for shape in shapes}
    wkb = shapely.to_wkb(np.array([place(shape) for shape in shapes], object))
    pyogrio.raw.write_arrow(
        pa.table({**fields, "geometry": wkb}),
        path,
        geometry_name="geometry",
        geometry_type=kinds.pop() if len(kinds) == 1 else "Unknown",
        crs="EPSG:32633",
        **({"SPATIAL_INDEX": "NO"} if path.suffix == ".fgb" else {}),  # which reorders features
    )
    return path


def drawn(path: Path, **said: Any) -> VectorLabelSource:
    return VectorLabelSource(path, info(), LabelRules.of(VectorLabels(**said), CLASSES, (255,)))


def ids(source: VectorLabelSource, box: Box | None = None) -> np.ndarray:
    """-1 where there is no label."""
    pixels = source.read(box or Box.whole(EXTENT))
    values = pixels.values[..., 0].astype(int)
    return values if pixels.valid is None else np.where(pixels.valid[..., 0], values, -1)


FIRST, SECOND = shapely.Point(20.3, 17.8).buffer(13), shapely.box(25.2, 10.1, 50.7, 30.6)


@pytest.mark.parametrize("name", ["a.gpkg", "a.geojson", "a.fgb"])
def test_each_pixel_has_the_last_feature_over_its_centre(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "a.geojson":
        path.write_text(geojson([FIRST, SECOND], ["forest", "lake"]))
    else:
        write(path, [FIRST, SECOND], **{"class": ["forest", "lake"]})
    source = drawn(path)
    y, x = np.mgrid[: EXTENT[0], : EXTENT[1]] + 0.5
    expected = np.full(EXTENT, -1)
    expected[shapely.contains_xy(FIRST, x, y)] = 3
    expected[shapely.contains_xy(SECOND, x, y)] = 4
    assert np.array_equal(ids(source), expected)
    for box in (Box((3, 5), (21, 40)), Box((19, 19), (20, 60))):
        assert np.array_equal(ids(source, box), expected[box.slices()])
    assert any("overlap" in line for line in source.info.warnings)


def geojson(shapes: list[shapely.Geometry], names: list[str]) -> str:
    import json

    features = [
        {
            "type": "Feature",
            "properties": {"class": name},
            "geometry": shapely.geometry.mapping(place(shape)),
        }
        for shape, name in zip(shapes, names, strict=True)
    ]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    return json.dumps({"type": "FeatureCollection", "crs": crs, "features": features})


def test_scribbles_have_the_pixels_they_touch_or_their_width(tmp_path: Path) -> None:
    line = shapely.LineString([(3.2, 4.1), (40.6, 22.3)])
    path = write(tmp_path / "a.gpkg", [line, shapely.Point(50.5, 5.5)], label=["3", "4"])
    y, x = np.mgrid[: EXTENT[0], : EXTENT[1]]
    crossed = shapely.intersects(line, shapely.box(x, y, x + 1, y + 1))
    thin = ids(drawn(path))
    assert np.array_equal(thin == 3, crossed)
    assert np.argwhere(thin == 4).tolist() == [[5, 50]]
    wide = ids(drawn(path, line_width_m=40))
    near = shapely.distance(shapely.points(x + 0.5, y + 0.5), line)
    assert (wide[near < 1.99] == 3).all()
    assert not (wide[near > 2.01] == 3).any()
    assert ((wide == 4).sum(), thin[0, 59]) == (9, -1)
    assert ids(drawn(path, outside=0))[0, 59] == 0


def test_polygons_may_hold_all_that_they_touch(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gpkg", [SECOND], class_id=[4])
    assert (ids(drawn(path)) == 4).sum() == 26 * 21
    assert (ids(drawn(path, all_touched=True)) == 4).sum() == 26 * 21
    path = write(tmp_path / "b.gpkg", [shapely.box(2.6, 3.6, 5.4, 6.4)], class_id=[4])
    assert (ids(drawn(path)) == 4).sum() == 4
    assert (ids(drawn(path, all_touched=True)) == 4).sum() == 16


def test_values_are_ids_or_names_or_mapped_and_others_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gpkg", [FIRST, SECOND], cover=["Wald", "4"])
    assert set(np.unique(ids(drawn(path, field="cover", classes={"Wald": 3})))) == {-1, 3, 4}
    with pytest.raises(InputError, match=r"'Wald' is no class.*vector_labels.classes"):
        drawn(path, field="cover")
    with pytest.raises(InputError, match=r"vector_labels\.field"):
        drawn(path)
    far = write(tmp_path / "b.gpkg", [shapely.box(900, 0, 901, 1)], class_id=[3])
    with pytest.raises(InputError, match="none of its features lies on the image"):
        drawn(far)


def test_a_feature_counts_in_one_part_of_a_split(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gpkg", [FIRST, SECOND], class_id=[3, 4])
    rules = LabelRules.of(VectorLabels(), CLASSES)
    box = Box((0, 0), (40, 30))
    split = VectorLabelSource(path, info(), replace(rules, held=(("test", box),)))
    whole, kept = ids(VectorLabelSource(path, info(), rules)), ids(split)
    inside = np.zeros(EXTENT, bool)
    inside[box.slices()] = True
    assert (kept == 3).any()
    assert (kept == 4).any()
    assert not ((kept == 3) & ~inside).any()  # it lies in the test part
    assert not ((kept == 4) & inside).any()  # most of it is learnt from
    assert np.array_equal(kept == 4, (whole == 4) & ~inside)
    gone = VectorLabelSource(path, info(), replace(rules, left_out=(1,)))
    assert set(np.unique(ids(gone))) == {-1, 3}


def test_a_feature_of_another_image_is_ignored_and_never_what_lies_outside(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gpkg", [FIRST, SECOND], class_id=[3, 4])
    whole = ids(drawn(path))
    rules = LabelRules.of(VectorLabels(outside=0), CLASSES)
    rest = ids(VectorLabelSource(path, info(), replace(rules, left_out=(1,))))
    assert np.array_equal(rest, np.select([whole == 4, whole == 3], [-1, 3], 0))


def test_ids_that_no_label_holds_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gpkg", [FIRST], label=["70000"])
    with pytest.raises(InputError, match="is no class"):
        VectorLabelSource(path, info(), LabelRules.of())
    for said in ({"classes": {"a": 70_000}}, {"classes": {"a": -1}}, {"outside": -1}):
        with pytest.raises(ValueError, match=r"65536|or equal to 0"):
            VectorLabels(**said)
