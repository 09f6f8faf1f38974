"""Files of polygons, read by other programs, against the labels that they are of."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.crs import CRS
from rasterio.features import rasterize

from seg_batch.config.card import ClassInfo
from seg_batch.config.image_options.scene import FurtherOptions
from seg_batch.core.errors import DamagedError, InputError, OutputError, ReadError
from seg_batch.core.geometry import Box
from seg_batch.core.georef import RasterGeoref
from seg_batch.inference.api.predict import predict
from seg_batch.inference.verify import verify_product
from seg_batch.io.sinks.polygons import strips, vector_file
from seg_batch.io.sinks.polygons.vector_file import Driver
from seg_batch.io.sinks.polygons.write import write_polygons
from seg_batch.io.sinks.spec import ProductSpec
from seg_batch.io.sources.areas.pixel_areas import PixelAreas

pytestmark = pytest.mark.full  # the kernels take half a minute to compile

UTM = CRS.from_epsg(32633).to_wkt()
DEGREES = CRS.from_epsg(4326).to_wkt()
NODATA, HEIGHT, WIDTH = 255, 83, 61
CLASSES = tuple(
    ClassInfo(id=k, name=name) for k, name in enumerate(("land", "water", "élan <&>", "ice"))
)
DRIVERS: dict[Driver, str] = {"GPKG": "gpkg", "FlatGeobuf": "fgb", "Parquet": "parquet"}
NORTH_UP = (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_649_776.5)


def field() -> np.ndarray:
    """Labels without symmetry: stripes, holes, single pixels and a corner without data."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    labels = ((x * x // 90 + y // 7 + (x * y) // 131) % 4).astype(np.uint8)
    labels[(x * 7 + y * 13) % 41 == 0] = 3
    labels[:9, 50:] = NODATA
    return labels


LABELS = field()


def read(box: Box) -> np.ndarray:
    return LABELS[box.slices()].copy()


def spec_of(wkt: str | None = UTM, transform: Any = NORTH_UP, **further: Any) -> ProductSpec:
    georef = RasterGeoref(wkt, transform, 1.0 if wkt == UTM else None)
    return ProductSpec(
        LABELS.shape,
        "uint8",
        NODATA,
        CLASSES,
        georef,
        chunk=(16, 16),
        further=FurtherOptions(**further),
    )


def written(tmp_path: Path, driver: Driver, spec: ProductSpec) -> Path:
    path = tmp_path / f"map.{DRIVERS[driver]}"
    path.unlink(missing_ok=True)
    write_polygons(path, driver, spec, read, read)
    assert not [f.name for f in tmp_path.iterdir() if f.suffix[1:] not in DRIVERS.values()]
    return path


def table(path: Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Columns and geometries, in the order of the file."""
    if path.suffix == ".parquet":
        found, geometry = pq.read_table(path), "geometry"
    else:
        meta, found = pyogrio.read_arrow(path)
        geometry = meta["geometry_name"] or "wkb_geometry"
    columns = {name: found.column(name).to_numpy() for name in found.column_names}
    return columns, np.asarray(shapely.from_wkb(columns.pop(geometry)))


def burnt(columns: dict[str, np.ndarray], geometries: np.ndarray, transform: Any) -> np.ndarray:
    shapes = zip(geometries, columns["class_id"].tolist(), strict=True)
    return rasterize(
        shapes, LABELS.shape, fill=NODATA, transform=Affine(*transform), dtype=np.uint8
    )


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize(
    ("wkt", "transform"),
    [
        (UTM, NORTH_UP),
        (UTM, (7.0, 2.5, 500_000.25, 3.0, -9.0, 4_649_776.5)),  # rotated
        (UTM, (10.0, 0.0, 500_000.0, 0.0, 10.0, 4_649_776.5)),  # rows go north
        (DEGREES, (1e-4, 0.0, 13.1, 0.0, -1e-4, 52.3)),
        (None, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)),
    ],
)  # fmt: skip
def test_burnt_back_they_are_the_labels(
    driver: Driver, wkt: str | None, transform: Any, tmp_path: Path
) -> None:
    spec = spec_of(wkt, transform, polygons=tuple(c.name for c in CLASSES))
    path = written(tmp_path, driver, spec)
    columns, geometries = table(path)
    assert np.array_equal(burnt(columns, geometries, transform), LABELS)
    assert columns["pixels"].sum() == (LABELS != NODATA).sum()
    assert shapely.is_valid(geometries).all()
    assert shapely.is_ccw(shapely.get_exterior_ring(geometries)).all()
    assert set(columns["class"]) == {c.name for c in CLASSES}
    areas = PixelAreas.of(spec.georef, spec.extent)
    if areas is None:
        assert np.isnan(columns["area_m2"].astype(float)).all()
        return
    pixels = areas.of_pixels(Box.whole(spec.extent))
    for c in CLASSES:
        here = columns["area_m2"][columns["class_id"] == c.id].sum()
        expected = areas.hectares(int(pixels[c.id == LABELS].sum())) * 10_000
        assert here == pytest.approx(expected, rel=1e-12)
    crs = json.loads(pq.read_metadata(path).metadata[b"geo"])["columns"]["geometry"]["crs"] if driver == "Parquet" else pyogrio.read_info(path)["crs"]  # fmt: skip
    assert CRS.from_user_input(crs if isinstance(crs, str) else json.dumps(crs)) == CRS.from_wkt(
        wkt or ""
    )


@pytest.mark.parametrize("driver", DRIVERS)
def test_bytes_are_the_same_whatever_the_strips(
    driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def digest() -> str:
        return hashlib.sha256(written(tmp_path, driver, spec_of()).read_bytes()).hexdigest()

    once = digest()
    for rows in (1, 5, 32):
        monkeypatch.setattr(strips, "STRIP_BYTES", rows * WIDTH)
        assert digest() == once


def test_background_is_left_out_and_small_polygons_on_demand(tmp_path: Path) -> None:
    columns, geometries = table(written(tmp_path, "GPKG", spec_of()))
    assert set(columns["class_id"]) == {1, 2, 3}
    large, _ = table(written(tmp_path, "GPKG", spec_of(min_area=500.0)))
    assert large["pixels"].tolist() == [n for n in columns["pixels"].tolist() if n >= 5]
    rim = np.array([geometry.bounds for geometry in geometries])
    a, _, c, _, e, f = NORTH_UP
    at = (
        (rim[:, 0] == c)
        | (rim[:, 2] == c + a * WIDTH)
        | (rim[:, 3] == f)
        | (rim[:, 1] == f + e * HEIGHT)
    )
    assert np.array_equal(columns["touches_border"].astype(bool), at)
    few, _ = table(written(tmp_path, "FlatGeobuf", spec_of(polygons=("ice", "water"))))
    assert set(few["class"]) == {"ice", "water"}


def test_simplified_by_metres(tmp_path: Path) -> None:
    every = tuple(c.name for c in CLASSES)
    exact = table(written(tmp_path, "GPKG", spec_of(polygons=every, simplify=0.0)))
    columns, geometries = table(written(tmp_path, "GPKG", spec_of(polygons=every, simplify=15.0)))
    assert columns["pixels"].tolist() == exact[0]["pixels"].tolist()
    assert (
        shapely.get_num_coordinates(geometries).sum() < shapely.get_num_coordinates(exact[1]).sum()
    )
    assert shapely.coverage_is_valid(geometries)
    distances = shapely.hausdorff_distance(shapely.boundary(geometries), shapely.boundary(exact[1]))
    assert 5 < distances.max() <= 15 + 1e-6
    degrees = (1e-4, 0.0, 13.1, 0.0, -1e-4, 52.3)
    spec = spec_of(DEGREES, degrees, polygons=every, simplify=15.0)
    bent = table(written(tmp_path, "GPKG", spec))[1]
    straight = table(written(tmp_path, "GPKG", spec_of(DEGREES, degrees, polygons=every)))[1]
    off = shapely.hausdorff_distance(shapely.boundary(bent), shapely.boundary(straight)).max()
    assert 5 / 111_300 < off < 15 / 68_000  # metres of a degree of latitude, of longitude


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_map_without_polygons_makes_a_file_without_any(driver: Driver, tmp_path: Path) -> None:
    path = tmp_path / f"map.{DRIVERS[driver]}"
    nothing = np.full(LABELS.shape, NODATA, np.uint8)
    write_polygons(
        path, driver, spec_of(), lambda b: nothing[b.slices()], lambda b: nothing[b.slices()]
    )
    columns, geometries = table(path)
    assert len(geometries) == 0
    assert {"class_id", "class", "area_m2", "pixels", "touches_border"} <= set(columns)


@pytest.mark.parametrize("driver", DRIVERS)
def test_what_reads_back_otherwise_is_refused(driver: Driver, tmp_path: Path) -> None:
    other = LABELS.copy()
    other[0, 0] = (other[0, 0] + 1) % 4
    path = tmp_path / f"map.{DRIVERS[driver]}"
    every = spec_of(polygons=tuple(c.name for c in CLASSES))
    with pytest.raises(DamagedError, match="polygons are not the labels"):
        write_polygons(path, driver, every, read, lambda box: other[box.slices()])


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_fault_of_reading_is_told_as_it_is(driver: Driver, tmp_path: Path) -> None:
    def faulty(box: Box) -> np.ndarray:
        raise ReadError("the map can't be read")

    with pytest.raises(ReadError, match="the map can't be read"):
        write_polygons(tmp_path / f"m.{DRIVERS[driver]}", driver, spec_of(), faulty, faulty)


def test_what_can_not_be_made_is_refused(tmp_path: Path) -> None:
    nowhere = spec_of(None, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0))
    for spec, words in (
        (spec_of(polygons=("watr",)), "did you mean water"),
        (replace(nowhere, further=FurtherOptions(simplify=1.0)), "leave out --simplify"),
        (replace(nowhere, further=FurtherOptions(min_area=1.0)), "leave out --min-area"),
        (
            replace(nowhere, georef=RasterGeoref(gcps=((0, 0, 1, 1, 0),), gcps_crs_wkt=UTM)),
            "gdalwarp",
        ),
    ):
        with pytest.raises(OutputError, match=words):
            write_polygons(tmp_path / "x.gpkg", "GPKG", spec, read, read)


def test_geometries_of_parquet_are_in_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_file, "_ROW_GROUP_BYTES", 1)
    monkeypatch.setattr(strips, "STRIP_BYTES", 16 * WIDTH)
    path = written(tmp_path, "Parquet", spec_of())
    geo = json.loads(pq.read_metadata(path).metadata[b"geo"])
    _, geometries = table(path)
    assert geo["version"] == "1.1.0"
    assert geo["columns"]["geometry"]["bbox"] == list(shapely.total_bounds(geometries))


def scene(path: Path, side: int = 96) -> np.ndarray:
    y, x = np.mgrid[:side, :side]
    values = ((x // 5 + y // 3 + x * y // 400) % 8).astype(np.float32)
    profile = {"driver": "GTiff", "width": side, "height": side, "count": 1, "dtype": "float32"}
    with rasterio.open(
        path, "w", **profile, crs=CRS.from_wkt(UTM), transform=Affine(*NORTH_UP)
    ) as file:
        file.write(values, 1)
    return values


@pytest.mark.parametrize("product", ["map.tif", "map.zarr"])
def test_with_a_run_and_its_probabilities(product: str, tmp_path: Path) -> None:
    values = scene(tmp_path / "scene.tif")
    also = (str(tmp_path / "map.gpkg"),)
    options: dict[str, Any] = {"model": "probe", "also": also}
    predict(tmp_path / "scene.tif", tmp_path / product, **options, probabilities=True)
    columns, _ = table(tmp_path / "map.gpkg")
    kept = [np.bincount(columns["class_id"], columns["pixels"], 8).astype(int)]
    expected = np.bincount(values.astype(int).ravel(), minlength=8)
    expected[~np.isin(range(8), columns["class_id"])] = 0
    assert kept[0].tolist() == expected.tolist()
    assert ((columns["mean_probability"] > 0) & (columns["mean_probability"] <= 1)).all()
    assert verify_product(tmp_path / product)["ok"]
    before = (tmp_path / "map.gpkg").stat().st_mtime_ns
    predict(tmp_path / "scene.tif", tmp_path / product, **options, probabilities=True)
    assert (tmp_path / "map.gpkg").stat().st_mtime_ns == before
    predict(
        tmp_path / "scene.tif", tmp_path / product, **options, probabilities=True, min_area=3000.0
    )
    assert len(table(tmp_path / "map.gpkg")[1]) < len(columns["class_id"])


def test_a_class_that_is_not_there_is_refused_before_any_work(tmp_path: Path) -> None:
    scene(tmp_path / "scene.tif", 32)
    also = (str(tmp_path / "map.gpkg"),)
    with pytest.raises((OutputError, InputError), match="has no class"):
        predict(
            tmp_path / "scene.tif", tmp_path / "m.tif", model="probe", also=also, polygons=("x",)
        )
    assert not (tmp_path / "m.tif").exists()
