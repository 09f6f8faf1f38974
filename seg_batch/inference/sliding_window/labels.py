"""The labels of a block, and probabilities where they are kept, of sums or of patches that need none."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from seg_batch.core.geometry import Box, Shape
from seg_batch.inference.sliding_window.band import (
    as_lines,
    in_lines,
    loops,
    of_lines,
    place_of,
    require_finite,
)
from seg_batch.inference.sliding_window.empty import DECIDED, LOW, Emptiness
from seg_batch.inference.sliding_window.scores import PROBABILITIES, Scores

_NO_STATES = np.empty((0, 0, 0), np.uint8)
_NOT_KEPT = np.empty((0, 0, 0, 0), np.uint8)


def without_model(
    empty: Emptiness, box: Box, ids: np.ndarray, probabilities: np.ndarray | None
) -> np.ndarray:
    """The labels of a block of which the model decides no voxel; a view of one value where all are the same."""
    if probabilities is not None:
        Labels(box, ids, empty, probabilities).undecided(box)
    others = np.array(empty.rule.others, ids.dtype)
    return np.broadcast_to(others[empty.once(box)], box.shape)


class Labels:
    """``labels``: of ``box``, in the dtype of the ids. ``probabilities``: uint8 ``(classes, *box.shape)``; None: not kept.

    Voxels that the model does not decide get what the rule of ``empty`` says; of a block on another grid than the model's
    too, whose emptiness is its own. ``scores``: what sums are.
    """

    def __init__(
        self,
        box: Box,
        ids: np.ndarray,
        empty: Emptiness,
        probabilities: np.ndarray | None,
        scores: Scores = PROBABILITIES,
    ) -> None:
        self._scores = scores
        self.box, self.labels = box, np.empty(box.shape, ids.dtype)
        self._ids, self._rule, self._states = ids, empty.rule, empty.of(box)
        self._others = np.array(empty.rule.others, ids.dtype)
        self._sure = (ids == empty.rule.below_label) * np.uint8(255)
        self._probabilities = probabilities
        self._loops = loops(box.size * len(ids))

    def decided(self, rows: slice) -> np.ndarray | None:
        """bool, True where the model decides rows of the block; None: everywhere."""
        return None if self._states is None else self._states[rows] == DECIDED

    def of_rows(self, sums: np.ndarray, rows: Box, parts: Iterable[Box]) -> None:
        """Label parts of rows with these sums ``(rows, *width, classes)``."""
        lines = in_lines(sums)
        classes, height, width = lines.shape[1:]
        steps = height * width, classes * height * width, width, 1
        for part in parts:
            self.of_values(part, lines.reshape(-1), rows, steps)

    def of_values(self, box: Box, values: np.ndarray, origin: Box, steps: Shape) -> None:
        """Label a box by flat values, whose first voxel is that of ``origin``; ``steps``: how far apart classes, rows, lines
        and columns are."""
        kept = self._probabilities
        corner = [a - b for a, b in zip(box.start, self.box.start, strict=True)]
        lost = self._loops.label(
            values,
            place_of(box, origin, steps),
            steps,
            of_lines(corner, 0),
            of_lines(box.shape, 1),
            self._ids,
            self._others,
            _NO_STATES if self._states is None else as_lines(self._states),
            as_lines(self.labels),
            self._sure,
            _NOT_KEPT if kept is None else as_lines(kept, 1),
            *self._scores.how,
        )
        require_finite(not lost)

    def undecided(self, box: Box) -> None:
        """Label a box of which the model decides no voxel."""
        where = box.slices(self.box.start)
        self.labels[where] = self._rule.label
        kept = None if self._probabilities is None else self._probabilities[:, *where]
        if kept is not None:
            kept[...] = 0
        if self._states is not None and (self._rule.below is not None or self._rule.within):
            low = self._states[where] == LOW
            np.copyto(self.labels[where], self._others[LOW], where=low)
            if kept is not None:
                kept[:, low] = self._sure[:, None]
