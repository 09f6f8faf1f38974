"""Label images whose scores can be worked out slowly, and a model that needs no network."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seg_batch.config.card import ClassInfo, ModelCard, Normalisation
from tests.support.files import write_raster, write_volume

IDS = np.array([0, 3, 7])
CARD = ModelCard(
    name="thirds",
    kind="raster",
    rank=2,
    channels=("value",),
    classes=tuple(
        ClassInfo(id=i, name=n, colour=(40 * k, 90, 200 - 70 * k))
        for k, (i, n) in enumerate(zip(IDS.tolist(), ("ground", "forest", "water"), strict=True))
    ),
    patch=(32, 32),
    overlap=(8, 8),
    normalisation=Normalisation(kind="identity"),
)

CLASSES = "0=ground,3=forest,7=water"


def labels(shape: tuple[int, ...], seed: int, noise: float = 0.15) -> tuple[np.ndarray, np.ndarray]:
    """Truth and prediction: smooth patches of all classes, some of them predicted wrong."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 3, tuple(-(-n // 9) for n in shape))
    truth = coarse
    for axis in range(len(shape)):
        truth = truth.repeat(9, axis)
    truth = truth[tuple(slice(n) for n in shape)]
    wrong = rng.random(shape) < noise
    found = np.where(wrong, rng.integers(0, 3, shape), truth)
    return IDS[truth].astype(np.uint8), IDS[found].astype(np.uint8)


def raster_pair(
    folder: Path, name: str = "scene", seed: int = 1, shape: tuple[int, int] = (90, 130)
) -> tuple[Path, Path]:
    """``(prediction, truth)`` files; the truth has nodata 255 in a corner."""
    truth, found = labels(shape, seed)
    truth[:20, :30] = 255
    for part in ("found", "truth"):
        (folder / part).mkdir(exist_ok=True)
    a = write_raster(folder / f"found/{name}_labels.tif", found[None], nodata=255)
    return a, write_raster(folder / f"truth/{name}.tif", truth[None], nodata=255)


def volume_pair(folder: Path, name: str = "head") -> tuple[Path, Path]:
    """``(prediction, truth)``, 24 x 20 x 9 voxels of 1 x 1.5 x 3 mm, stored LAS."""
    truth, found = labels((24, 20, 9), 5)
    affine = np.diag([-1, 1.5, 3, 1])
    a = write_volume(folder / f"{name}_found.nii.gz", found, affine)
    return a, write_volume(folder / f"{name}.nii.gz", truth, affine)


def thirds(patches: np.ndarray) -> np.ndarray:
    """Class ``value // 10``, fairly sure of it: probability 0.8, the others 0.1 each."""
    classes = np.clip(patches[..., 0] // 10, 0, 2).astype(int)
    return (0.1 + 0.7 * np.eye(3, dtype=np.float32))[classes].astype(np.float32)


def scene(
    folder: Path, name: str, seed: int, shape: tuple[int, int] = (90, 130)
) -> tuple[Path, Path]:
    """``(image, label)`` of which ``thirds`` gets what ``labels`` says it finds."""
    truth, found = labels(shape, seed)
    image = np.searchsorted(IDS, found) * 10 + 4
    a = write_raster(folder / f"{name}_image.tif", image[None].astype(np.uint8))
    return a, write_raster(folder / f"{name}_label.tif", truth[None])
