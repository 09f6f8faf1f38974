"""The main job on the packaged samples: a land-cover map and a labelled MR volume."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from seg_batch.errors import InputError
from seg_batch.verbs.predict import Listener, predict_one
from seg_batch.verbs.preview import write_preview
from seg_batch.verbs.real_patches import SAMPLES
from seg_batch.verbs.request import Request
from seg_batch.verbs.show import summary


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
