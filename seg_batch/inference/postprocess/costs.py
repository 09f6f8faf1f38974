"""What steps after prediction cost, and the blocks that they work in; known before any work."""

from __future__ import annotations

import math
from collections.abc import Iterable

from seg_batch.config.postprocess import (
    AnyStep,
    CrfStep,
    MajorityStep,
    MinSizeStep,
    ThresholdStep,
    parse_size,
)
from seg_batch.core import hardware
from seg_batch.core.geometry import Blocks, Shape
from seg_batch.executors import IN_FLIGHT
from seg_batch.inference.postprocess import crf

BLOCK_VOXELS = 1 << 21
# Working memory per voxel, measured on maps of pure noise, where every voxel is an object.
OBJECT_BYTES = 160
MAJORITY_BYTES = 20
THRESHOLD_BYTES = 24
AREA_BYTES = 24  # further ones, where objects are measured in hectares


def blocks_of(extent: Shape, chunk: Shape) -> Blocks:
    """The blocks of every step: whole chunks, some two million voxels, longest on the first axis.

    They follow from the extent alone; memory, workers and the blocks of the prediction do not matter.
    """
    shape = list(chunk)
    for axis in range(len(shape)):
        while shape[axis] < extent[axis] and 2 * math.prod(shape) <= BLOCK_VOXELS:
            shape[axis] *= 2
    return Blocks(extent, tuple(shape))


def postprocess_block_bytes(
    chain: Iterable[AnyStep],
    block: Shape,
    classes: int,
    input_bytes: int,
    channels: int,
    threads: int,
) -> int:
    """Bytes that one block needs at most over the steps of a chain; ``input_bytes``: of one voxel."""

    def of_step(step: AnyStep) -> int:
        halo = crf.halo(step) if isinstance(step, CrfStep) else 16
        voxels = math.prod(n + 2 * halo for n in block)
        if isinstance(step, CrfStep):
            each = 2 * classes + input_bytes + 8 * channels + 16
            return voxels * each + crf.working_bytes(block, classes, channels, step, None, threads)
        if isinstance(step, MajorityStep):
            return voxels * MAJORITY_BYTES
        if isinstance(step, ThresholdStep):
            return math.prod(block) * (classes + THRESHOLD_BYTES)
        return math.prod(block) * (OBJECT_BYTES + AREA_BYTES * measures_hectares(step))

    return max(map(of_step, chain), default=0)


def measures_hectares(step: AnyStep) -> bool:
    sizes = (step.size, *step.classes.values()) if isinstance(step, MinSizeStep) else ()
    return any(size and parse_size(size)[1] == "ha" for size in sizes)


def threads_for(workers: int) -> int:
    """Threads that one block of a step may use, where every process works at ``IN_FLIGHT`` blocks."""
    return max(1, hardware.cores() // (workers * IN_FLIGHT))
