"""A chain on a map held in arrays (in memory or mapped from disk), in this thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from seg_batch.config.postprocess import AnyStep
from seg_batch.core.geometry import Block, Blocks, Box, Shape
from seg_batch.inference.postprocess.label_context import LabelContext
from seg_batch.inference.postprocess.run import StepChange, run_step

Image = Callable[[Box], tuple[np.ndarray, np.ndarray | None]]


@dataclass(frozen=True, eq=False)
class ArrayLabels:
    """A ``block_passes.LabelStore`` of arrays: labels ``read`` and ``written``, probabilities ``stored``
    as ``(classes, *shape)``."""

    read: np.ndarray
    written: np.ndarray
    spacing: tuple[float, ...]
    stored: np.ndarray | None = None
    pixels: Image | None = None

    @property
    def extent(self) -> Shape:
        return self.read.shape

    def labels(self, box: Box) -> np.ndarray:
        return self.read[box.slices()]

    def probabilities(self, box: Box) -> np.ndarray:
        assert self.stored is not None, "the step needs probabilities"
        return self.stored[(slice(None), *box.slices())]

    def image(self, box: Box) -> tuple[np.ndarray, np.ndarray | None]:
        assert self.pixels is not None, "the step needs the image"
        return self.pixels(box)

    def write(self, block: Block, labels: np.ndarray) -> None:
        self.written[block.box.slices()] = labels


def run_chain(
    chain: Sequence[AnyStep],
    labels: np.ndarray,
    context: LabelContext,
    *,
    block: Shape | None = None,
    probabilities: np.ndarray | None = None,
    image: Image | None = None,
    spacing: tuple[float, ...] | None = None,
) -> list[StepChange]:
    """Change ``labels`` in place by every step in turn; one block, or blocks of a shape."""
    blocks = Blocks(labels.shape, block or labels.shape)
    changes = []
    for step in chain:
        after = np.empty_like(labels)
        store = ArrayLabels(labels, after, spacing or (1.0,) * labels.ndim, probabilities, image)
        changes.append(run_step(step, store, context, blocks, map))
        labels[...] = after
    return changes
