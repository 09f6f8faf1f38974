"""The inputs of the recorded products: one of every kind, small, the same on every machine.

Values are whole numbers computed from the place of a voxel, without any symmetry and without a
random generator. Files are written uncompressed, so that no version of a compressor shows in them.
"""

from __future__ import annotations

import gzip
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import rasterio
import zarr
from rasterio.transform import Affine

TIME_NS = 1_700_000_000 * 10**9  # of every input: resuming goes by size, time and content
NORTH_UP = Affine(30, 0, 301905, 0, -30, 4154085)
SOUTH_UP = Affine(30, 0, 301905, 0, 30, 4150000)
OBLIQUE = np.array(
    [[0.96, -0.2, 0.1, -12.5], [0.21, 0.97, -0.1, 8.0], [-0.06, 0.1, 1.98, 4.25], [0, 0, 0, 1]]
)
IDS = np.array([0, 2, 7], np.uint8)
RECIPE = """
card:
  name: recorded
  kind: raster
  rank: 2
  channels: [red, nir]
  classes:
    - {id: 0, name: ground, colour: [40, 90, 20]}
    - {id: 2, name: water, colour: [20, 60, 220]}
    - {id: 7, name: roof, colour: [220, 60, 40]}
  patch: [32, 32]
  overlap: [16, 16]
  normalisation: card
cut: {patch: [40, 40], overlap: [8, 8]}
network: {filters: [4, 8]}
fit: {batch: 2, steps: 3, validate_every: 3, checkpoint_every: 1}
"""
MANIFEST = """
cases:
  - {id: north, image: [red.tif, nir.tif], label: north_truth.tif}
  - {id: west, image: nodata.tif, label: two_truth.tif, split: validation}
  - {id: south, image: south.tif, label: south_truth.tif, split: test}
"""
NIGHT = """
inputs: {paths: [grey.tif, body.nii.gz, strip.tif, gone.tif]}
model: probe
options: {probabilities: true, block: [1024, 1024]}
outputs: {folder: FOLDER/maps, pattern: "{index:02}-{stem}", formats: {volume: nii}}
limits: {memory: 2GiB}
cluster: inline
"""
STEPS = """
outputs: FOLDER/steps
limits: {memory: 2GiB}
steps:
  - {do: patches, data: cases.yaml, recipe: recipe.yaml, output: FOLDER/patches.zarr}
  - do: evaluate
    data: "${steps.patches.output}"
    model: BUNDLES/exact-scene
    options: {engine: tensorflow, precision: float32}
    output: FOLDER/scores
  - do: predict
    inputs: two.tif
    model: BUNDLES/exact-scene
    options: {engine: tensorflow, precision: float32}
    outputs: FOLDER/labels
"""


def places(*shape: int, most: int = 40, seed: int = 1) -> np.ndarray:
    """Smooth hills and fine grain, ``0 <= v < most``, by integer arithmetic alone."""
    total = np.full(shape, 7 * seed, np.int64)
    for axis, index in enumerate(np.indices(shape, np.int64)):
        total += (index // 5 + seed * axis) ** 2 + (3 + 2 * axis) * index
    grain = total * 2654435761 % 2**32 >> 29
    return (total // 3 + grain) % most


def write_tiff(path: Path, bands: list[np.ndarray], dtype: str, **profile: Any) -> None:
    height, width = bands[0].shape
    given = {"crs": "EPSG:32612", "transform": NORTH_UP, "driver": "GTiff", **profile}
    shape = {"height": height, "width": width, "count": len(bands), "dtype": dtype}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path, "w", **shape, **given) as file:
            for number, band in enumerate(bands, start=1):
                file.write(band.astype(dtype), number)


def rasters(folder: Path) -> None:
    red, nir = places(100, 84), places(100, 84, most=32, seed=2)
    write_tiff(folder / "two.tif", [red, nir], "uint8")
    write_tiff(folder / "red.tif", [red[:96, :80]], "uint8")
    write_tiff(folder / "nir.tif", [nir[:96, :80]], "uint8")
    hole = np.where(places(100, 84, seed=5) < 6, 65535, red)
    hole[20:60, :40] = 65535
    write_tiff(
        folder / "nodata.tif", [hole, np.where(hole > 100, hole, nir)], "uint16", nodata=65535
    )
    south = {"transform": SOUTH_UP, "tiled": True, "blockxsize": 64, "blockysize": 64}
    write_tiff(folder / "south.tif", [red, nir], "int16", **south)
    write_tiff(folder / "grey.tif", [places(60, 75, seed=3)], "uint8")
    write_tiff(folder / "strip.tif", [places(20, 2100, seed=4)], "uint8")
    strip = [places(20, 2100, seed=6), places(20, 2100, most=32, seed=7)]
    write_tiff(folder / "strip2.tif", strip, "uint8")
    gaps = np.where(places(50, 64) < 4, np.nan, places(50, 64) * 0.5)
    write_tiff(folder / "float.tif", [gaps], "float32")
    write_tiff(
        folder / "plain.png", [places(40, 50)], "uint8", driver="PNG", crs=None, transform=None
    )


def truths(folder: Path) -> None:
    """Labels of the rasters and of the volume; 255 is nodata."""
    labels = IDS[places(100, 84, most=3, seed=8)]
    labels[:9, :30] = 255
    write_tiff(folder / "two_truth.tif", [labels], "uint8", nodata=255)
    write_tiff(folder / "south_truth.tif", [labels], "uint8", nodata=255, transform=SOUTH_UP)
    write_tiff(folder / "north_truth.tif", [labels[:96, :80]], "uint8", nodata=255)
    body = IDS[places(26, 22, 18, most=3, seed=9)]
    write_volume(folder / "body_truth.nii.gz", body, OBLIQUE)


def write_volume(path: Path, values: np.ndarray, affine: np.ndarray) -> None:
    """A NIfTI file in millimetres; ``.nii.gz`` is a gzip frame that compresses nothing."""
    image = nibabel.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=2)
    data = image.to_bytes()
    packed = gzip.compress(data, compresslevel=0, mtime=0) if path.suffix == ".gz" else data
    path.write_bytes(packed)


def volumes(folder: Path) -> None:
    write_volume(folder / "body.nii.gz", places(26, 22, 18, seed=3).astype(np.int16), OBLIQUE)
    series = np.stack([places(12, 14, 9, seed=k) for k in (4, 5)], -1).astype(np.uint8)
    write_volume(folder / "series.nii", series, np.diag([-2.0, 2.0, 3.0, 1.0]))


def arrays(folder: Path) -> None:
    """A Zarr v3 volume and a Zarr v2 raster of two channels."""
    group = zarr.open_group(folder / "body.zarr", mode="w", zarr_format=3)
    values = places(18, 22, 26, seed=3).astype(np.int16)
    names = {"dimension_names": ["z", "y", "x"], "compressors": None}
    array = group.create_array("image", shape=values.shape, chunks=(8, 8, 8), dtype="i2", **names)
    array[...] = values
    two = np.stack([places(70, 60), places(70, 60, most=32, seed=2)]).astype(np.uint8)
    group = zarr.open_group(folder / "two.zarr", mode="w", zarr_format=2)
    array = group.create_array(
        "image", shape=two.shape, chunks=(1, 32, 32), dtype="u1", compressors=None
    )
    array.attrs["_ARRAY_DIMENSIONS"] = ["band", "y", "x"]
    array[...] = two


def texts(folder: Path, bundles: Path) -> None:
    (folder / "recipe.yaml").write_text(RECIPE)
    (folder / "cases.yaml").write_text(MANIFEST)
    for name, text in (("night.yaml", NIGHT), ("steps.yaml", STEPS)):
        made = str(folder.parent / "products" / name.removesuffix(".yaml"))
        (folder / name).write_text(text.replace("FOLDER", made).replace("BUNDLES", str(bundles)))


def write_inputs(folder: Path, bundles: Path) -> None:
    """All of them, with one modification time."""
    folder.mkdir(parents=True)
    makers: tuple[Callable[[Path], None], ...] = (rasters, truths, volumes, arrays)
    for make in makers:
        make(folder)
    texts(folder, bundles)
    for path in folder.rglob("*"):
        os.utime(path, ns=(TIME_NS, TIME_NS))
