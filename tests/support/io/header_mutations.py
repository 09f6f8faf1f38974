"""Damaged headers: files of each format, each changed in a way that depends on a seed alone."""

from __future__ import annotations

import gzip
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import rasterio
import zarr
from rasterio.control import GroundControlPoint

from tests.support.files import address_raster, address_volume, write_raster, write_volume

_NUMBERS = (0, 1, 2, 3, 7, 127, 128, 255, 256, 32767, 32768, 65535, 2**31 - 1, 2**31, 2**32 - 1,
            2**40, 2**62, 2**63 - 1, 2**64 - 1)  # fmt: skip
_FLOATS = (0.0, -0.0, -1.0, 1e-40, 1e38, float("nan"), float("inf"), -float("inf"), 0.5, 1e300)
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**63, 1e308, float("nan"), "", "x", "NaN", "\x00", [], [1],
    ["y", "x"], {}, {"name": "x"}, "gzip", "<f4", "|O", ">i2", "float16", [None], [[]], [0, 0],
    "é" * 300, [{"path": "0"}], [{"path": "../../etc"}], -2.5,
)  # fmt: skip


def write_seeds(folder: Path) -> list[Path]:
    """Sound files, one of each kind of header."""
    folder.mkdir(parents=True)
    return [*_rasters(folder), *_volumes(folder), *_stores(folder)]


def _rasters(folder: Path) -> list[Path]:
    grey, rgb = address_raster((40, 50), 1, "uint8"), address_raster((40, 50), 3, "uint8")
    deep = address_raster((40, 50), 2, "float32")
    small = {"blockxsize": 16, "blockysize": 16}
    strips = {"tiled": False, "blockxsize": None, "blockysize": 4}
    placed = [GroundControlPoint(r, c, c + 5.0, 9.0 - r) for r, c in ((0, 0), (0, 9), (9, 0))]
    files = [
        write_raster(folder / "tiled.tif", grey, nodata=7, **small),
        write_raster(folder / "rgba.tif", address_raster((40, 50), 4, "uint8"), **small),
        write_raster(folder / "strips.tif", deep, compress="lzw", predictor=3, **strips),
        write_raster(folder / "planes.tif", rgb, interleave="band", compress=None, **strips),
        write_raster(folder / "big.tif", deep, BIGTIFF="YES", compress="zstd", **small),
        write_raster(folder / "ycbcr.tif", rgb, compress="jpeg", photometric="ycbcr", **small),
        write_raster(folder / "gcps.tif", grey, gcps=placed, transform=None, **small),
        write_raster(folder / "big-endian.tif", deep, ENDIANNESS="BIG", compress=None, **small),
    ]
    with rasterio.open(files[0], "r+") as file:
        file.update_tags(1, NAME="one")
        file.colorinterp = [rasterio.enums.ColorInterp.palette]
        file.write_colormap(1, {n: (n, n, 0, 255) for n in range(256)})
    for name, driver, values in (
        ("grey.png", "PNG", grey),
        ("rgba.png", "PNG", address_raster((40, 50), 4, "uint16")),
        ("grey.jpg", "JPEG", grey),
        ("rgb.jpg", "JPEG", rgb),
    ):
        shape = {"width": 50, "height": 40, "count": len(values), "dtype": values.dtype}
        extra = {"PROGRESSIVE": "YES"} if name == "rgb.jpg" else {}
        with rasterio.open(folder / name, "w", driver=driver, **shape, **extra) as file:
            file.write(values)
        (folder / f"{name}.aux.xml").unlink(missing_ok=True)
        files.append(folder / name)
    return files


def _volumes(folder: Path) -> list[Path]:
    values, affine = address_volume((9, 8, 7)), np.diag([2.0, 2, 3, 1])
    turned = nibabel.Nifti2Image(values.astype(">f4"), affine)
    turned.to_filename(folder / "second.nii")
    header = nibabel.Nifti1Header(endianness=">")
    series = nibabel.Nifti1Image(values[..., None], affine, header)
    series.set_qform(affine, 1)
    series.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"of a scanner"))
    series.to_filename(folder / "series.nii")
    return [
        write_volume(folder / "plain.nii", values, affine),
        write_volume(folder / "packed.nii.gz", values, affine),
        folder / "second.nii",
        folder / "series.nii",
    ]


def _stores(folder: Path) -> list[Path]:
    values = address_raster((20, 30), 2, "uint16")
    paths = [folder / f"{name}.zarr" for name in ("v2", "v3", "ome", "cf")]
    second = zarr.create_array(paths[0], data=values, chunks=(1, 10, 10), zarr_format=2)
    second.attrs["_ARRAY_DIMENSIONS"] = ["band", "y", "x"]
    second.attrs["_FillValue"] = 3
    third = zarr.create_array(
        paths[1], data=values, chunks=(1, 5, 5), shards=(2, 10, 10), dimension_names=["c", "y", "x"]
    )
    third.attrs["scale_factor"] = 2
    group = zarr.create_group(paths[2], zarr_format=2)
    group.create_array("0", data=np.ones((4, 6, 6), "uint8"), chunks=(2, 6, 6))
    axes = [{"name": n, "type": "space", "unit": "micrometer"} for n in "zyx"]
    scale = [{"type": "scale", "scale": [2.0, 0.5, 0.5]}]
    group.attrs["multiscales"] = [
        {
            "version": "0.4",
            "axes": axes,
            "datasets": [{"path": "0", "coordinateTransformations": scale}],
        }
    ]
    dataset = zarr.create_group(paths[3], zarr_format=3)
    dataset.create_array("map", data=values[0], chunks=(10, 10), dimension_names=["y", "x"])
    for name, count, step in (("y", 20, -10.0), ("x", 30, 10.0)):
        line = 500_000 + step * np.arange(count)
        dataset.create_array(name, data=line, chunks=(count,), dimension_names=[name])
    dataset.create_array("spatial_ref", data=np.array(0))
    dataset["spatial_ref"].attrs["crs_wkt"] = rasterio.crs.CRS.from_epsg(32612).to_wkt()
    dataset["map"].attrs["grid_mapping"] = "spatial_ref"
    return paths


def mutate(seed: Path, number: int, folder: Path) -> Path:
    """A copy of ``seed`` in ``folder``, changed as ``number`` says."""
    dice = random.Random(number)
    path = folder / f"{number}-{seed.name}"
    if seed.is_dir():
        shutil.copytree(seed, path)
        files = sorted(f for f in path.rglob("*") if f.name in _METADATA)
        target = dice.choice(files)
        target.write_bytes(_changed_json(dice, target.read_bytes()))
        return path
    data = seed.read_bytes()
    if seed.suffix == ".gz" and dice.random() < 0.7:
        path.write_bytes(gzip.compress(_changed(dice, gzip.decompress(data), 352), mtime=0))
    else:
        path.write_bytes(_changed(dice, data, _HEADER_BYTES[seed.suffix]))
    return path


_METADATA = {"zarr.json", ".zarray", ".zattrs", ".zgroup"}
# Most changes are made in so many first bytes; a TIFF of GDAL has its tags there.
_HEADER_BYTES = {".tif": 1200, ".png": 64, ".jpg": 700, ".nii": 600, ".gz": 64}


def _changed(dice: random.Random, data: bytes, header: int) -> bytes:
    bytes_of = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 2, 4, 16))):
        limit = len(bytes_of) if dice.random() < 0.15 else min(header, len(bytes_of))
        at = dice.randrange(max(1, limit))
        dice.choice(_CHANGES)(dice, bytes_of, at)
    return bytes(bytes_of) or b"\0"


def _flip(dice: random.Random, data: bytearray, at: int) -> None:
    if data:
        data[at] ^= 1 << dice.randrange(8)


def _byte(dice: random.Random, data: bytearray, at: int) -> None:
    if data:
        data[at] = dice.randrange(256)


def _number(dice: random.Random, data: bytearray, at: int) -> None:
    width, order = dice.choice((1, 2, 4, 8)), dice.choice(("little", "big"))
    value = dice.choice(_NUMBERS) % (1 << 8 * width)
    data[at : at + width] = value.to_bytes(width, order)


def _float(dice: random.Random, data: bytearray, at: int) -> None:
    value, at = dice.choice(_FLOATS), at // 4 * 4
    with np.errstate(over="ignore"):
        packed = np.array(value).astype(dice.choice(("<f4", ">f4", "<f8", ">f8"))).tobytes()
    data[at : at + len(packed)] = packed


def _cut(dice: random.Random, data: bytearray, at: int) -> None:
    del data[at:]


def _splice(dice: random.Random, data: bytearray, at: int) -> None:
    start = dice.randrange(max(1, len(data)))
    piece = data[start : start + dice.choice((1, 4, 12, 64))]
    if dice.random() < 0.5:
        data[at:at] = piece
    else:
        data[at : at + len(piece)] = piece


def _remove(dice: random.Random, data: bytearray, at: int) -> None:
    del data[at : at + dice.choice((1, 2, 12))]


def _zeros(dice: random.Random, data: bytearray, at: int) -> None:
    count = dice.choice((2, 8, 64))
    data[at : at + count] = bytes(count)


_CHANGES: tuple[Callable[[random.Random, bytearray, int], None], ...] = (
    _flip, _flip, _byte, _byte, _number, _number, _number, _float, _cut, _splice, _remove, _zeros,
)  # fmt: skip


def _changed_json(dice: random.Random, data: bytes) -> bytes:
    """One or a few values replaced, removed or renamed; sometimes bytes."""
    if dice.random() < 0.15:
        return _changed(dice, data, len(data))
    tree = json.loads(data)
    for _ in range(dice.choice((1, 1, 2, 4))):
        places = list(_places(tree))
        if not places:
            break
        node, key = dice.choice(places)
        _change_value(dice, node, key)
    return json.dumps(tree).encode()


def _change_value(dice: random.Random, node: Any, key: Any) -> None:
    match dice.randrange(4):
        case 0:
            del node[key]
        case 1 if isinstance(node, dict):
            node[dice.choice(("x", "", key.upper(), f"{key}s"))] = node.pop(key)
        case 2 if isinstance(node[key], int | float):
            node[key] = dice.choice((*_NUMBERS, *_FLOATS, -1, str(node[key])))
        case _:
            node[key] = dice.choice(_VALUES)


def _places(node: Any) -> Any:
    items = (
        node.items()
        if isinstance(node, dict)
        else enumerate(node)
        if isinstance(node, list)
        else ()
    )
    for key, value in list(items):
        yield node, key
        yield from _places(value)
