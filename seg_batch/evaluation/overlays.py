"""Pictures of a case: image, truth, prediction, and where they differ. Bounded in size.

A raster is shown whole, every n-th voxel of it; a volume by three slices through the middle of
what is not background. It is read block by block, so that no whole scene is in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from seg_batch.config.colours import BLUE, ORANGE, PURPLE, YELLOW
from seg_batch.core.geometry import Box
from seg_batch.core.normalise import Pixels
from seg_batch.datasets.label_classes import Classes
from seg_batch.evaluation.score_case import SIDE, LabelledCase
from seg_batch.io.pictures import (
    PLANES,
    UPRIGHT,
    Composite,
    coloured,
    middle,
    planes,
    png_bytes,
    stretch,
)
from seg_batch.io.sources.thumbnail import downsample

LONGEST = 512  # voxels per side of a picture

# Of the difference. Colours that also differ in how light they are.
MARKS = {"hit": BLUE, "missed": ORANGE, "false": YELLOW, "mixed": PURPLE}
MEANING = {
    "hit": "right",
    "missed": "missed: background was predicted where there is a class",
    "false": "false: a class was predicted where there is background",
    "mixed": "mixed up: another class was predicted",
}


@dataclass(frozen=True)
class OverlayView:
    """One place of a case, as PNGs of ``width`` x ``height`` voxels; ``aspect`` = width / height as
    it is in the world. ``shares``: of the scored voxels shown, how many have each mark."""

    title: str
    panels: dict[str, bytes]
    aspect: float
    shares: dict[str, float]


def draw_overlays(case: LabelledCase, classes: Classes) -> list[OverlayView]:
    """The views of a case; an image is among the panels where one is known."""

    places = _centre(case, classes) if len(case.box.shape) == 3 else ()
    parts = planes(case.box, places)
    images: list[np.ndarray | None] = [None] * len(parts)
    if case.image is not None:
        sampled = [_sampled(case.image, *part) for part in parts]
        names = [(name,) for name in case.channels]
        composite = Composite.of(sampled[0].values.shape[-1], names)
        images = [*stretch(sampled, composite)[0]]
    return [_view(case, classes, *part, rgb) for part, rgb in zip(parts, images, strict=True)]


def _view(
    case: LabelledCase, classes: Classes, axis: int | None, box: Box, image: np.ndarray | None
) -> OverlayView:
    """One picture; of a volume, the plane across ``axis``."""
    palette = {k: c.colour for k, c in enumerate(classes.table)}
    truth, valid = _labels(case.truth, axis, box)
    predicted, has = _labels(case.prediction, axis, box)
    marks = _marks(truth, predicted, classes.background)
    marks[~(valid & has)] = -1
    panels = {} if image is None else {"image": image}
    panels["truth"] = coloured(truth, valid, palette)
    panels["prediction"] = coloured(predicted, has, palette)
    panels["difference"] = _difference(marks, image)
    pngs = {name: png_bytes(rgb) for name, rgb in panels.items()}
    spacing = case.spacing or (1.0,) * len(box.shape)
    sides = [n * s for k, (n, s) in enumerate(zip(box.shape, spacing, strict=True)) if k != axis]
    title = "" if axis is None else f"{PLANES[axis]} slice {box.start[axis]}"
    counts = np.bincount(marks[marks >= 0].ravel(), minlength=len(MARKS))
    shares = dict(zip(MARKS, (counts / max(1, int(counts.sum()))).tolist(), strict=True))
    return OverlayView(title, pngs, sides[1] / sides[0], shares)


def _labels(
    read: Callable[[Box], tuple[np.ndarray, np.ndarray]], axis: int | None, box: Box
) -> tuple[np.ndarray, np.ndarray]:
    """Class indices of a picture and where they count, ``(y, x)`` each."""

    def pixels(part: Box) -> Pixels:
        labels, valid = read(part)
        return Pixels(labels[..., None], valid[..., None])

    small = _sampled(pixels, axis, box)
    return small.values[..., 0], small.any_valid()


def _sampled(read: Callable[[Box], Pixels], axis: int | None, box: Box) -> Pixels:
    """Every n-th voxel of a plane, upright, read block by block."""
    step = max(1, -(-max(box.shape) // LONGEST))
    places = [np.arange(a, b, step) for a, b in zip(box.start, box.stop, strict=True)]
    side = (SIDE[len(box.shape)],) * len(box.shape)
    return downsample(read, box, places, side)[UPRIGHT[axis]]


def _marks(truth: np.ndarray, predicted: np.ndarray, background: int | None) -> np.ndarray:
    """Indices into ``MARKS`` per voxel, -1 where both are background."""
    order = list(MARKS)
    marks = np.full(truth.shape, order.index("mixed"), np.int8)
    marks[truth == predicted] = order.index("hit")
    if background is not None:
        marks[(predicted == background) & (truth != background)] = order.index("missed")
        marks[(truth == background) & (predicted != background)] = order.index("false")
        marks[(truth == background) & (predicted == background)] = -1
    return marks


def _difference(marks: np.ndarray, image: np.ndarray | None) -> np.ndarray:
    """The marks over the image, which is dimmed to grey; errors are drawn stronger than hits."""
    grey = np.full(marks.shape, 70.0) if image is None else 30 + 0.45 * image.mean(-1)
    out = np.repeat(grey[..., None], 3, -1)
    for k, (name, colour) in enumerate(MARKS.items()):
        where, strength = marks == k, 0.55 if name == "hit" else 0.85
        out[where] = strength * np.array(colour) + (1 - strength) * out[where]
    return out.astype(np.uint8)


def _centre(case: LabelledCase, classes: Classes) -> tuple[int, ...]:
    """Per axis the median place of what truth or prediction call foreground; else the middle."""
    background = -1 if classes.background is None else classes.background

    def foreground(part: Box) -> np.ndarray:
        (truth, valid), (predicted, has) = case.truth(part), case.prediction(part)
        return valid & (truth != background) | has & (predicted != background)

    return middle(foreground, case.box, (SIDE[3],) * 3)


class OverlayWriter:
    """The pictures of the worst and the best cases, ``limit`` in all; the others are dropped."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: list[tuple[float, str, list[OverlayView]]] = []

    def offer(self, score: float, name: str, views: Callable[[], list[OverlayView]]) -> None:
        """Draw and keep the case, if it is among the worst or the best so far."""
        place = math.inf if math.isnan(score) else score
        if self._limit < 1:
            return
        if len(self._kept) == self._limit:
            best = self._kept[self._worst :]
            if best and self._kept[self._worst - 1][0] <= place <= best[0][0]:
                return
        self._kept.append((place, name, views()))
        self._kept.sort(key=lambda kept: kept[:2])
        if len(self._kept) > self._limit:
            del self._kept[self._worst]

    @property
    def _worst(self) -> int:
        """How many of the kept are the worst; the others are the best."""
        return -(-self._limit // 2)

    def cases(self) -> list[tuple[str, list[OverlayView]]]:
        """Worst first."""
        return [(name, views) for _, name, views in self._kept]


def legend(pairs: list[tuple[str, list[OverlayView]]]) -> list[dict[str, Any]]:
    """The marks that occur in some picture, for the page."""
    used = {m for _, views in pairs for view in views for m, s in view.shares.items() if s > 0}
    return [
        {"name": name, "colour": colour, "means": MEANING[name]}
        for name, colour in MARKS.items()
        if name in used
    ]
