"""JPEG 2000, against the GeoTIFF that it was made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.shutil import copy
from rasterio.transform import from_origin

from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box
from seg_batch.inference.api.predict import predict
from seg_batch.io.sources import open_source

EXTENT = (200, 300)


def written(folder: Path, name: str, **options: str) -> tuple[Path, np.ndarray]:
    """Three bands of 16 bits, without loss."""
    values = np.random.default_rng(3).integers(0, 4000, (3, *EXTENT)).astype("u2")
    shape = {"width": EXTENT[1], "height": EXTENT[0], "count": 3, "dtype": "uint16"}
    place = {"crs": "EPSG:32633", "transform": from_origin(5e5, 6e6, 10, 10)}
    with rasterio.open(folder / "a.tif", "w", driver="GTiff", **shape, **place) as file:
        file.write(values)
    path = folder / name
    copy(folder / "a.tif", path, driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES", **options)
    return path, values.transpose(1, 2, 0)


@pytest.mark.parametrize("name", ["a.jp2", "a.j2k", "called_so.tif"])
@pytest.mark.parametrize("tile", ["128", "512"])
def test_boxes_are_as_written_and_placed(tmp_path, name, tile):
    path, values = written(tmp_path, name, BLOCKXSIZE=tile, BLOCKYSIZE=tile)
    source, tif = open_source(path), open_source(tmp_path / "a.tif")
    for box in (Box((0, 0), EXTENT), Box((90, 120), (170, 299)), Box((199, 299), EXTENT)):
        np.testing.assert_array_equal(source.read(box).values, values[box.slices()])
    assert source.info.format == "jp2"
    assert source.info.georef == tif.info.georef
    for each in (source, tif):
        each.close()


def test_a_product_is_that_of_the_geotiff(tmp_path):
    path, _ = written(tmp_path, "a.jp2", BLOCKXSIZE="128", BLOCKYSIZE="128")
    maps = []
    for name in (path, tmp_path / "a.tif"):
        predict(name, tmp_path / f"{name.suffix[1:]}_map.tif", model="probe")
        with rasterio.open(tmp_path / f"{name.suffix[1:]}_map.tif") as file:
            maps.append((file.read(), file.crs, file.transform))
    np.testing.assert_array_equal(maps[0][0], maps[1][0])
    assert maps[0][1:] == maps[1][1:]


@pytest.mark.parametrize("name", ["a.jp2", "a.j2k"])
def test_what_is_cut_short_is_refused(tmp_path, name):
    path, _ = written(tmp_path, name, BLOCKXSIZE="128", BLOCKYSIZE="128")
    content = path.read_bytes()
    for less in (1, 100, len(content) // 2):
        path.write_bytes(content[:-less])
        with pytest.raises(InputError, match="cut short"):
            open_source(path)


def test_a_bomb_is_refused(tmp_path):
    """A header of 2^31 x 2^31 pixels before the same few tiles."""
    path, _ = written(tmp_path, "a.j2k")
    content = bytearray(path.read_bytes())
    at = content.index(b"\xff\x51")
    content[at + 6 : at + 14] = (2**31 - 1).to_bytes(4, "big") * 2
    path.write_bytes(content)
    with pytest.raises(InputError):
        open_source(path)
