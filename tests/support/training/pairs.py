"""Pairs of image and label for training: the image is its own address, the label follows from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rasterio.transform import Affine

from seg_batch.config.recipe import Recipe
from seg_batch.core.errors import SegbatchError
from tests.support.files import write_raster, write_volume

SCENE = (150, 130)
CASE = (18, 22, 20)
IDS = np.array([2, 7, 5])
BRIGHT, TEST = (192, 160), ((96, 32), (160, 160))


def addresses(shape: tuple[int, ...]) -> np.ndarray:
    """Another number for every voxel, float32, so that a patch tells which voxels it holds."""
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def class_of(address: np.ndarray) -> np.ndarray:
    """Class index 0, 1 or 2 of each address; no symmetry, and all classes near everywhere."""
    whole = np.asarray(address).astype(np.int64)
    return (whole // 5 + whole // 77) % 3


def moved() -> Affine:
    """The transform of a raster half a pixel beside the others."""
    return Affine(30, 0, 301920, 0, -30, 4154085)


def scene_pair(folder: Path, **profile: Any) -> str:
    """``image=label``, 150 x 130 pixels; ``profile`` changes how the label is written."""
    address = addresses(SCENE)
    image = write_raster(folder / "image.tif", address[None])
    labels = IDS[class_of(address)].astype(np.uint8)
    return f"{image}={write_raster(folder / 'label.tif', labels[None], **profile)}"


def scene_recipe(**parts: Any) -> Recipe:
    """A recipe for the scene; ``parts`` replace cut, hold_out or fit."""
    card = {
        "name": "made-scene",
        "kind": "raster",
        "rank": 2,
        "channels": ["address"],
        "classes": _classes(IDS.tolist()),
        "patch": [32, 32],
        "overlap": [16, 16],
        "normalisation": "identity",
    }
    cut = {"patch": [40, 40], "overlap": [10, 10]}
    return Recipe.model_validate({"card": card, "cut": cut, **parts})


def volumes(folder: Path, n: int) -> Path:
    """A folder of ``n`` cases of 18 x 22 x 20 voxels, stored LAS: a bright ball, each elsewhere."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    rng, affine = np.random.default_rng(7), np.diag([-1.0, 1.0, 1.0, 1.0])
    for case in range(n):
        centre = rng.uniform(6, 11, 3)
        places = np.moveaxis(np.indices(CASE), 0, -1)
        ball = np.linalg.norm(places - centre, axis=-1) < 5
        image = 100 * ball + rng.normal(40, 10, CASE)
        write_volume(folder / f"images/case_{case}.nii.gz", image.astype(np.float32), affine)
        write_volume(folder / f"labels/case_{case}.nii.gz", ball.astype(np.uint8), affine)
    return folder


def volume_recipe(**fit: Any) -> Recipe:
    """A recipe for the cases: the second validates, the third tests."""
    card = {
        "name": "made-volume",
        "kind": "volume",
        "rank": 3,
        "channels": ["T1"],
        "classes": _classes([0, 1]),
        "patch": [24, 24, 24],
        "overlap": [8, 8, 8],
        "normalisation": "source",
    }
    hold_out = {"validation": {"cases": ["case_1"]}, "test": {"cases": ["case_2"]}}
    small = {
        "network": {"filters": [4, 8]},
        "optimiser": {"learning_rate": 0.01, "ema": 0.8},
    }
    cut = {"patch": [24, 24, 24], "overlap": [8, 8, 8]}
    parts = {"card": card, "cut": cut, "hold_out": hold_out, **small, "fit": {"batch": 2, **fit}}
    return Recipe.model_validate(parts)


def bright_scene(folder: Path) -> tuple[str, np.ndarray]:
    """``image=label``, 192 x 160 pixels, and the truth: class 7 is bright, class 1 dark, with noise
    and a gradient. Learnt in some thirty steps."""
    rng, (y, x) = np.random.default_rng(11), np.indices(BRIGHT)
    truth = np.where((np.sin(y / 9) + np.cos(x / 13 + y / 40)) > 0.2, 7, 1).astype("uint8")
    image = np.where(truth == 7, 9000, 4000) + 3 * y + 5 * x + rng.normal(0, 500, BRIGHT)
    folder.mkdir(parents=True, exist_ok=True)
    written = write_raster(folder / "scene.tif", image[None].astype("uint16"))
    return f"{written}={write_raster(folder / 'label.tif', truth[None])}", truth


def bright_recipe(**changes: Any) -> Recipe:
    """A recipe for the bright scene: 4 steps, 2 boxes held out; ``changes`` as ``Recipe.changed``."""
    held = {"validation": {"boxes": [[[0, 0], [48, 64]]]}, "test": {"boxes": [TEST]}, "gap": 0}
    classes = [{"id": k, "name": n, "colour": [k, 0, 0]} for k, n in ((1, "dark"), (7, "bright"))]
    plain = {
        "card": {
            "name": "bright",
            "kind": "raster",
            "rank": 2,
            "channels": ["light"],
            "classes": classes,
            "patch": [32, 32],
            "overlap": [16, 16],
            "normalisation": "card",
        },
        "cut": {"patch": [40, 40], "overlap": [20, 20]},
        "hold_out": held,
        "network": {"filters": [4, 8]},
        "optimiser": {"learning_rate": 0.02, "ema": 0.5},
        "fit": {"batch": 4, "steps": 4, "validate_every": 2, "checkpoint_every": 1},
    }
    return Recipe.model_validate(plain).changed(**changes)


def command(*arguments: object) -> None:
    """The command in this process: it raises what ``main`` turns into a line and an exit status."""
    from seg_batch.cli.main import app

    app([str(one) for one in arguments], standalone_mode=False)


def refused(*arguments: object) -> str:
    """The one line that the command refuses with, status 2."""
    with pytest.raises(SegbatchError) as caught:
        command(*arguments)
    assert caught.value.status == 2
    assert "\n" not in caught.value.message
    return caught.value.message


def _classes(ids: list[int]) -> list[dict[str, Any]]:
    return [{"id": k, "name": f"class {k}", "colour": [k, 9 * k, 200 - k]} for k in ids]
