"""The command ``demo``: predictions of the packaged samples, with pictures.

A picture shows the image on the left and the labels in their colours on the right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from seg_batch.cli.display.lines import summary_lines
from seg_batch.core.callbacks import Callback
from seg_batch.core.errors import InputError
from seg_batch.core.files import require_local_output, translate_os_errors
from seg_batch.core.geometry import Box
from seg_batch.core.normalise import Pixels
from seg_batch.core.registry.formats import split
from seg_batch.core.resources import SAMPLES
from seg_batch.inference.predict import predict_one
from seg_batch.inference.report import Report
from seg_batch.inference.request import Request
from seg_batch.io.pictures import Composite, coloured, stretch, write_png
from seg_batch.io.sources.views.image_spec import ImageSpec
from seg_batch.io.sources.views.open_view import Axes, open_view

SMALLEST_SIDE = 384
LARGEST_VOXELS = 1 << 26


def run_demo(
    folder: Path, drawing: Callable[[], AbstractContextManager[Callback]]
) -> Iterator[str]:
    """Segment every packaged sample into ``folder``; yields the text to print for each."""
    samples = [p for p in sorted(SAMPLES.iterdir()) if split(p.name)[1]]
    if not samples:
        raise InputError(f"no samples in {SAMPLES}: the installation is incomplete, install again")
    require_local_output(folder)
    with translate_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for sample in samples:
        with drawing() as bar:
            report = predict_one(Request(str(sample), f"{folder}/"), bar)
        preview = write_preview(report, folder)
        yield f"{summary_lines(report)}\n  picture  {preview}\n"
    yield f"Results are in {folder}/: open the .tif in QGIS, the .nii.gz in any volume viewer."


def write_preview(report: Report, folder: Path) -> Path | None:
    """Write a PNG of the product in ``report``; None where it is too large to be drawn in memory."""
    if math.prod(report["plan"]["extent"]) > LARGEST_VOXELS:
        return None
    image, labels = _slices(report)
    palette = {row["id"]: row["colour"] for row in report["classes"]}
    drawn = coloured(labels.values[..., 0], labels.any_valid(), palette)
    names = [(name,) for name in report.get("model", {}).get("channels", ())]
    composite = Composite.of(image.values.shape[-1], names)
    pair = np.concatenate([*stretch([image], composite)[0], drawn], 1)
    factor = max(1, -(-SMALLEST_SIDE // min(drawn.shape[:2])))
    path = folder / (Path(report["output"]).name.split(".")[0] + ".png")
    write_png(path, pair.repeat(factor, 0).repeat(factor, 1))
    return path


def _slices(report: Report) -> tuple[Pixels, Pixels]:
    """Image and labels ``(y, x, channels)`` each; of a volume, the slice with the most labels."""
    volume = report["plan"]["fingerprint"].get("volume")
    image = _whole(ImageSpec((report["input"],), volume))
    labels = _whole(ImageSpec((report["output"],)))
    if labels.values.ndim == 3:
        return image, labels
    fullest = int((labels.values > 0).sum((1, 2, 3)).argmax())
    return image[fullest, ::-1], labels[fullest, ::-1]


def _whole(image: ImageSpec) -> Pixels:
    with open_view(image, Axes()) as view:
        return view.read(Box.whole(view.info.extent))
