"""What sums of scores are, and so which label and which probabilities are made of them.

Tiles, views and members may be blended as logits, which have no bounds; and classes may be independent, so that the
probabilities of a voxel do not sum to one. Labels are made of the sums as they are, probabilities only where they are kept
or compared: in ``core.kernels.sums``, in ``plain_sums``, and here of whole arrays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seg_batch.config.card import ModelCard
from seg_batch.core.kernels.exponential import AS_THEY_ARE, EACH, SIGMOID, SOFTMAX


@dataclass(frozen=True)
class Scores:
    """``kind``: how probabilities are made of sums. ``background``: its index, -1: none. ``last``: a voxel gets the last class
    whose sum is above the background's, instead of the largest."""

    kind: int = AS_THEY_ARE
    background: int = -1
    last: bool = False

    @property
    def how(self) -> tuple[int, int, bool]:
        """As the kernels take it."""
        return self.kind, self.background, self.last

    def probabilities(self, sums: np.ndarray) -> np.ndarray:
        """Float32 ``(..., classes)`` in 0..1, of sums of this shape."""
        from seg_batch.inference.sliding_window.plain_sums import probabilities

        return np.moveaxis(
            probabilities(np.moveaxis(sums, -1, 0), self.kind, self.background), 0, -1
        )

    def labels_of(self, sums: np.ndarray) -> np.ndarray:
        """The index of the class that each voxel of ``sums`` ``(..., classes)`` gets."""
        from seg_batch.inference.sliding_window.plain_sums import chosen

        return chosen(np.moveaxis(sums, -1, 0), self.background, self.last)

    def of_labels(self, sums: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The probability of the class that each voxel got, whose indices ``labels`` are; ``sums`` ``(..., classes)``."""
        if self.kind == AS_THEY_ARE:
            return np.clip(sums.max(-1), 0, 1)
        index = labels[..., None].astype(np.intp)
        return np.take_along_axis(self.probabilities(sums), index, -1)[..., 0]


PROBABILITIES = Scores()


def scores_of(card: ModelCard) -> Scores:
    """What a model's card says of its scores."""
    output, background = card.output, card.background_index
    if output.classes == "exclusive":
        return Scores(SOFTMAX if output.blend == "logits" else AS_THEY_ARE)
    kind = SIGMOID if output.blend == "logits" else EACH
    return Scores(kind, -1 if background is None else background, output.rule == "last")
