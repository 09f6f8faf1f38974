"""The place of a raster where its own keys and the files beside it state it, as rasterio reads it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS

from seg_batch.core.errors import InputError
from seg_batch.core.georef import RasterGeoref
from seg_batch.io.sources import open_source
from tests.support.io.stores import UTM

TEN = Affine(10, 0, 500000, 0, -10, 4000000)


def write(path: Path, **place: Any) -> Path:
    shape = {"width": 40, "height": 30, "count": 1, "dtype": "uint8"}
    with rasterio.open(path, "w", driver="GTiff", **shape, **place) as file:
        file.write(np.ones((1, 30, 40), np.uint8))
    return path


def aux(transform: Affine | None = None, wkt: str = "") -> str:
    parts = [f'<SRS dataAxisToSRSAxisMapping="1,2">{wkt}</SRS>' if wkt else ""]
    if transform is not None:
        numbers = ", ".join(map(repr, transform.to_gdal()))
        parts.append(f"<GeoTransform>{numbers}</GeoTransform>")
    return f"<PAMDataset>{''.join(parts)}</PAMDataset>"


@given(
    own=st.booleans(),
    beside=st.sampled_from(["aux", "world"]),
    by=st.sampled_from([0.0, 0.004, 0.02, 0.5, 30.0]),
    point=st.booleans(),
)
def test_keys_and_side_files(
    tmp_path_factory: pytest.TempPathFactory, own: bool, beside: str, by: float, point: bool
) -> None:
    folder = tmp_path_factory.mktemp("t")
    path = write(folder / "a.tif", **({"crs": UTM, "transform": TEN} if own else {}))
    if point and own:
        with rasterio.open(path, "r+") as file:
            file.update_tags(AREA_OR_POINT="Point")
    moved = TEN @ Affine.translation(by, 0)
    if beside == "aux":
        (folder / "a.tif.aux.xml").write_text(aux(moved))
    else:
        x, y = moved @ (0.5, 0.5)
        (folder / "a.tfw").write_text(f"10\n0\n0\n-10\n{x!r}\n{y!r}\n")
    info = open_source(path).info
    assert isinstance(info.georef, RasterGeoref)
    with rasterio.open(path) as file:
        assert info.georef.transform == file.transform[:6]
    told = [line for line in info.warnings if "taken" in line]
    assert bool(told) == (own and by > 0.01)
    assert all(("a.tfw" if beside == "world" else "a.tif.aux.xml") in line for line in told)


def test_another_crs_beside_the_file_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", crs=UTM, transform=TEN)
    beside = tmp_path / "a.tif.aux.xml"
    beside.write_text(aux(wkt=CRS.from_wkt(UTM).to_wkt(version="WKT2_2019")))
    assert open_source(path).info.warnings == ()
    beside.write_text(aux(wkt=CRS.from_epsg(32613).to_wkt()))
    info = open_source(path).info
    with rasterio.open(path) as file:
        assert CRS.from_wkt(info.georef.crs_wkt) == file.crs == CRS.from_epsg(32613)  # type: ignore[union-attr]
    (line,) = info.warnings
    assert "UTM zone 13N, not the file's own, WGS 84 / UTM zone 12N" in line


def test_a_transform_that_is_no_number_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", crs=UTM, transform=Affine(10, 0, float("nan"), 0, -10, 5))
    with pytest.raises(InputError, match="no numbers"):
        open_source(path)


def test_kilometres_print_nothing(tmp_path: Path) -> None:
    crs = "+proj=utm +zone=33 +datum=WGS84 +units=km"
    path = write(tmp_path / "a.tif", crs=crs, transform=Affine(0.01, 0, 500, 0, -0.01, 5000))
    said = f"from seg_batch.io.sources import open_source; print(open_source({str(path)!r}).info.georef.pixel_m2)"
    result = subprocess.run(
        [sys.executable, "-c", said], capture_output=True, text=True, check=True
    )
    assert (result.stdout.strip(), result.stderr) == ("100.0", "")
