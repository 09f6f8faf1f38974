"""The disk that a prediction takes, beside what an earlier try left there, and what is free."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from seg_batch.config.card import ModelCard
from seg_batch.core.errors import PlanError
from seg_batch.core.files import files_in
from seg_batch.core.hardware import disk_free_bytes, existing
from seg_batch.core.registry.formats import FORMATS
from seg_batch.core.units import show_bytes
from seg_batch.inference.outputs import Outputs, is_intact
from seg_batch.inference.plan import Decisions
from seg_batch.inference.report import Report
from seg_batch.inference.request import Prepared
from seg_batch.io.sources.protocol import SourceInfo


def disk_at_most(plan: Decisions, info: SourceInfo, card: ModelCard) -> int:
    """Bytes of all that a prediction writes, with the uncompressed copy of its input."""
    return plan.disk_bytes + _staged_bytes(info, card)


def _staged_bytes(info: SourceInfo, card: ModelCard) -> int:
    if FORMATS[info.format].stage is None or info.facts.get("compressed") is not True:
        return 0
    voxels = math.prod(info.resampled_from or info.extent) // card.finer ** len(info.extent)
    volumes = info.facts.get("volumes")
    return voxels * np.dtype(info.dtype).itemsize * (volumes if isinstance(volumes, int) else 1)


def left_bytes(at_most: int, outputs: Outputs) -> int:
    """Bytes still to be written where an earlier try left its store and copy beside the product."""
    return max(0, at_most - sum(map(_size, (outputs.store, outputs.staging))))


def _size(path: Path) -> int:
    """Bytes of a file or folder; 0 where there is none, or it is going."""
    total = 0
    for file in files_in(path):
        try:
            total += file.stat().st_blocks * 512
        except OSError:
            continue
    return total


def require_disk(prepared: Prepared[Decisions], report: Report | None = None) -> None:
    """PlanError where less is free beside the product than may be needed, unless the options say ``force``.
    ``report``: of an earlier product, for which nothing is needed while it is whole."""
    outputs, overwrite = prepared.outputs, prepared.request.overwrite
    at_most = disk_at_most(prepared.plan, prepared.info, prepared.model.card)
    needed, free = left_bytes(at_most, outputs), free_bytes(outputs.product)
    if needed <= free or prepared.request.options.force:
        return
    if report and not overwrite and report["status"] == "complete" and is_intact(outputs, report):
        return
    raise PlanError(too_little(prepared.info.path, needed, outputs.product, free))


def free_bytes(product: Path) -> int:
    """What is free on the disk where the product is going to be."""
    return disk_free_bytes(existing(product.parent))


def too_little(name: str, needed: int, product: str | Path, free: int) -> str:
    """The line for an input that may need more than is free."""
    return (
        f"{name} may need {show_bytes(needed)} of disk at {product}, where {show_bytes(free)} are free: "
        "free some space, choose another output, or go on with --force"
    )
