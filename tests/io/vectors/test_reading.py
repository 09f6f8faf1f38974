"""Features of vector files come to the CRS of a raster, whatever format they are in."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import shapely

from seg_batch.core.errors import InputError
from seg_batch.io.vectors.reading import field_names, read_features

BOX = shapely.box(13.0, 52.0, 13.2, 52.1)


def written(path: Path, crs: str | None = "EPSG:4326", shape: shapely.Geometry = BOX) -> Path:
    import pyarrow as pa

    table = pa.table({"name": ["north"], "geometry": [shapely.to_wkb(shape)]})
    pyogrio.raw.write_arrow(
        table, path, geometry_name="geometry", geometry_type=shape.geom_type, crs=crs
    )
    return path


@pytest.mark.parametrize("name", ["a.geojson", "a.gpkg", "a.fgb"])
def test_they_are_read_in_the_crs_that_is_asked_for(tmp_path: Path, name: str) -> None:
    from rasterio.crs import CRS
    from rasterio.warp import transform

    features = read_features(
        written(tmp_path / name), CRS.from_epsg(32633).to_wkt(), fields=("name",)
    )
    assert list(features.values["name"]) == ["north"]
    x, y = transform("EPSG:4326", "EPSG:32633", [13.1], [52.0])
    middle = shapely.Point(x[0], y[0])
    assert shapely.distance(shapely.boundary(features.geometries[0]), middle) < 0.1  # bent, too


def test_a_file_without_a_crs_or_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no CRS"):
        read_features(written(tmp_path / "a.gpkg", None), "EPSG:32633")
    with pytest.raises(InputError, match="Point"):
        read_features(written(tmp_path / "b.gpkg", shape=shapely.Point(1, 2)), None)
    (tmp_path / "c.geojson").write_text("<OGRVRTDataSource/>")
    with pytest.raises(InputError, match="first bytes"):
        read_features(tmp_path / "c.geojson", None)


def test_a_ring_that_crosses_itself_is_made_valid_and_told(tmp_path: Path) -> None:
    bow = {"type": "Polygon", "coordinates": [[[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]]]}
    feature = {"type": "Feature", "properties": {}, "geometry": bow}
    path = tmp_path / "bow.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    features = read_features(path, None)
    assert np.isclose(shapely.area(features.geometries[0]), 2)
    assert "made valid" in features.warnings[0]


def test_places_that_are_none_are_refused(tmp_path: Path) -> None:
    from rasterio.crs import CRS

    utm = CRS.from_epsg(32633).to_wkt()
    metres = shapely.box(500_000, 5_199_000, 501_000, 5_200_000)
    with pytest.raises(InputError, match="degrees"):
        read_features(written(tmp_path / "metres.geojson", shape=metres), utm)
    endless = shapely.Polygon([(13, 52), (14, np.inf), (14, 52)])
    with pytest.raises(InputError, match="finite"):
        read_features(written(tmp_path / "endless.gpkg", shape=endless), utm)


@pytest.mark.filterwarnings("error")
def test_which_of_several_layers_is_read_is_told(tmp_path: Path) -> None:
    import pyarrow as pa

    path = tmp_path / "a.gpkg"
    for layer in ("north", "south"):
        pyogrio.raw.write_arrow(
            pa.table({"name": [layer], "geometry": [shapely.to_wkb(BOX)]}),
            path,
            layer=layer,
            geometry_name="geometry",
            geometry_type="Polygon",
            crs="EPSG:4326",
        )
    features = read_features(path, None, fields=("name",))
    assert list(features.values["name"]) == ["north"]
    assert field_names(path) == ["name"]
    assert "north, is read; 1 more are not (south)" in features.warnings[0]
