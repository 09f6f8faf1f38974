"""The main job on the packaged samples: a land-cover map and a labelled MR volume, with pictures.

A picture shows the image on the left, the labels in their colours on the right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from seg_batch.cli.display.lines import summary
from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box
from seg_batch.core.resources import SAMPLES
from seg_batch.inference.predict import Listener, predict_one
from seg_batch.inference.report import ClassRow, Report
from seg_batch.inference.request import Request
from seg_batch.io.pictures import write_png
from seg_batch.io.sources import open_source
from seg_batch.io.sources.protocol import Source
from seg_batch.io.sources.views.oriented import Oriented

SMALLEST_SIDE = 384
LARGEST_VOXELS = 1 << 26


def run_demo(
    folder: Path, listening: Callable[[], AbstractContextManager[Listener]]
) -> Iterator[str]:
    """Segment every packaged sample into ``folder``; yields what to print as it comes."""
    samples = [p for p in sorted(SAMPLES.iterdir()) if p.name.endswith((".tif", ".nii.gz"))]
    if not samples:
        raise InputError(f"no samples in {SAMPLES}: the installation is incomplete, install again")
    folder.mkdir(parents=True, exist_ok=True)
    for sample in samples:
        with listening() as listener:
            report = predict_one(Request(str(sample), f"{folder}/"), listener)
        preview = write_preview(report, folder)
        yield f"{summary(report)}\n  picture  {preview}\n"
    yield f"Results are in {folder}/: open the .tif in QGIS, the .nii.gz in any volume viewer."


def write_preview(report: Report, folder: Path) -> Path | None:
    """A PNG of the result in ``report``; None where it is too large to be drawn in memory."""
    if math.prod(report["plan"]["extent"]) > LARGEST_VOXELS:
        return None
    image, labels = _slices(report)
    pair = np.concatenate([_grey_or_colour(image), _coloured(labels, report["classes"])], 1)
    factor = max(1, -(-SMALLEST_SIDE // min(labels.shape)))
    path = folder / (Path(report["output"]).name.split(".")[0] + ".png")
    write_png(path, pair.repeat(factor, 0).repeat(factor, 1))
    return path


def _slices(report: Report) -> tuple[np.ndarray, np.ndarray]:
    """Image ``(y, x, channels)`` and labels ``(y, x)``: of a volume, the slice with most to see."""
    volume = report["plan"]["fingerprint"].get("volume")
    image = _whole(Oriented(open_source(report["input"], volume=volume), "RAS"))
    labels = _whole(Oriented(open_source(report["output"]), "RAS"))[..., 0]
    if labels.ndim == 2:
        return image, labels
    fullest = int((labels > 0).sum((1, 2)).argmax())
    return image[fullest, ::-1], labels[fullest, ::-1]


def _whole(source: Source) -> np.ndarray:
    try:
        return source.read(Box.whole(source.info.extent)).physical(np.float32)
    finally:
        source.close()


def _grey_or_colour(image: np.ndarray) -> np.ndarray:
    """Bands 3, 2, 1 as red, green, blue (Landsat's order), or one band as grey; 2 % stretched."""
    bands = [2, 1, 0] if image.shape[-1] >= 3 else [0, 0, 0]
    picked = image[..., bands]
    low, high = np.percentile(picked, (2, 98), axis=(0, 1))
    scaled = (picked - low) / np.maximum(high - low, 1e-6)
    return (np.clip(scaled, 0, 1) * 255).astype(np.uint8)


def _coloured(labels: np.ndarray, classes: list[ClassRow]) -> np.ndarray:
    table = np.full((65536, 3), 255, np.uint8)
    for row in classes:
        table[row["id"]] = row["colour"]
    return table[labels.astype(np.uint16)]
