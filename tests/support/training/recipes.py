"""Recipes and small pairs of image and label whose every value tells its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.config.recipe import Recipe
from tests.support.files import write_raster, write_volume

CLASSES = [
    {"id": 1, "name": "one", "colour": [255, 0, 0]},
    {"id": 7, "name": "seven", "colour": [0, 255, 0]},
    {"id": 3, "name": "three", "colour": [0, 0, 255]},
]
IDS = np.array([c["id"] for c in CLASSES])


def plain_recipe(rank: int = 2, **changes: Any) -> dict[str, Any]:
    """A recipe as JSON would hold it; ``changes`` replace keys inside its parts."""
    parts: dict[str, Any] = {
        "card": {
            "name": "made",
            "kind": {2: "raster", 3: "volume"}[rank],
            "rank": rank,
            "channels": ["address"],
            "classes": CLASSES,
            "patch": [16] * rank,
            "overlap": [8] * rank,
            "normalisation": "identity",
        },
        "cut": {"patch": [16] * rank, "overlap": [4] * rank},
        "hold_out": {},
        "network": {"filters": [4, 8]},
        "fit": {"batch": 2},
    }
    parts |= {name: {} for name in changes if name not in parts}
    return {name: {**part, **changes.get(name, {})} for name, part in parts.items()}


def recipe(rank: int = 2, **changes: Any) -> Recipe:
    return Recipe.model_validate_json(json.dumps(plain_recipe(rank, **changes)))


def addresses(shape: tuple[int, ...], first: int = 0) -> np.ndarray:
    """Another number for every voxel, so that a patch tells which voxels it holds."""
    return first + np.arange(np.prod(shape)).reshape(shape)


def class_indices(shape: tuple[int, ...]) -> np.ndarray:
    """0, 1 or 2 by place, without symmetry."""
    places = np.indices(shape)
    weights = np.array([5, 3, 7])[: len(shape)]
    return ((np.tensordot(weights, places, 1) + places[0] * places[-1] // 3) // 4 % 3).astype(int)


def raster_pair(folder: Path, shape: tuple[int, int], **profile: Any) -> str:
    """``image=label`` of one band; at most 65535 pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    image = write_raster(folder / "scene.tif", addresses(shape)[None].astype("uint16"), **profile)
    truth = IDS[class_indices(shape)][None].astype("uint8")
    return f"{image}={write_raster(folder / 'label.tif', truth)}"


def volume_pairs(folder: Path, shapes: list[tuple[int, int, int]], affine: np.ndarray) -> str:
    """A folder of ``images/`` and ``labels/`` called case_0, case_1, ..., no address twice."""
    first = 0
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for n, shape in enumerate(shapes):
        image, truth = addresses(shape, first), IDS[class_indices(shape)]
        write_volume(folder / f"images/case_{n}.nii.gz", image.astype(np.int32), affine)
        write_volume(folder / f"labels/case_{n}.nii.gz", truth.astype(np.uint8), affine)
        first += image.size
    return str(folder)
