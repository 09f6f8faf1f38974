"""Pictures of a case: image, truth, prediction, and where they differ. Bounded in size.

A raster is shown whole, every n-th voxel of it; a volume by three slices through the middle of
what is not background. Reading goes in strips, so that no scene is in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from seg_batch.core.geometry import Blocks, Box
from seg_batch.core.normalise import Pixels
from seg_batch.datasets.label_classes import Classes
from seg_batch.evaluation.score_case import SIDE, LabelledCase
from seg_batch.io.pictures import png_bytes

LONGEST = 512  # voxels per side of a picture
PLANES = {0: "axial", 1: "coronal", 2: "sagittal"}
NO_DATA = (128, 128, 128)

# Of the difference. Okabe and Ito's colours, which also differ in how light they are.
MARKS: dict[str, tuple[int, int, int]] = {
    "hit": (0, 114, 178),
    "missed": (230, 159, 0),
    "false": (240, 228, 66),
    "mixed": (204, 121, 167),
}
MEANING = {
    "hit": "right",
    "missed": "missed: background was predicted where there is a class",
    "false": "false: a class was predicted where there is background",
    "mixed": "mixed up: another class was predicted",
}
STRENGTH = {"hit": 0.55}  # of a mark over the dimmed image; what is wrong has the one below
STRONG = 0.85


@dataclass(frozen=True)
class View:
    """One place of a case, as PNGs of ``width`` x ``height`` voxels; ``aspect`` = width / height as
    it is in the world. ``shares``: of the scored voxels shown, how many have each mark."""

    title: str
    panels: dict[str, bytes]
    aspect: float
    shares: dict[str, float]


def draw(case: LabelledCase, classes: Classes) -> list[View]:
    """The views of a case; an image is among the panels where one is known."""
    box = case.box
    if len(box.shape) == 2:
        return [_view(case, classes, box, "", None)]
    views = []
    for (axis, name), at in zip(PLANES.items(), _centre(case, classes), strict=True):
        start, stop = list(box.start), list(box.stop)
        start[axis], stop[axis] = at, at + 1
        plane = Box(tuple(start), tuple(stop))
        views.append(_view(case, classes, plane, f"{name} slice {at}", axis))
    return views


def _view(case: LabelledCase, classes: Classes, box: Box, title: str, axis: int | None) -> View:
    """One picture; of a volume, the plane across ``axis``."""
    step = (max(1, -(-max(box.shape) // LONGEST)),) * len(box.shape)
    truth, valid = _sampled(case.truth, box, step)
    found, has = _sampled(case.found, box, step)
    image = _image(case, box, step)
    marks = _marks(truth, found, classes.background)
    marks[~(valid & has)] = -1
    colours = np.array([*(c.colour for c in classes.table), NO_DATA], np.uint8)
    panels = {} if image is None else {"image": image}
    panels["truth"] = colours[np.where(valid, truth, len(classes))]
    panels["prediction"] = colours[np.where(has, found, len(classes))]
    panels["difference"] = _difference(marks, image)
    pngs = {name: png_bytes(_upright(rgb, axis)) for name, rgb in panels.items()}
    spacing = case.spacing or (1.0,) * len(box.shape)
    sides = [n * s for k, (n, s) in enumerate(zip(box.shape, spacing, strict=True)) if k != axis]
    return View(title, pngs, sides[1] / sides[0], _shares(marks))


def _upright(rgb: np.ndarray, axis: int | None) -> np.ndarray:
    """``(y, x, 3)``; in a volume superior or anterior is at the top."""
    return rgb if axis is None else rgb.squeeze(axis)[::-1]


def _sampled(
    read: Callable[[Box], tuple[np.ndarray, np.ndarray]], box: Box, step: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Every ``step``-th voxel of both arrays, read block by block."""
    firsts: dict[tuple[int, ...], tuple[np.ndarray, np.ndarray]] = {}
    side = tuple(s * max(1, SIDE[len(step)] // s) for s in step)
    shape = tuple(-(-n // s) for n, s in zip(box.shape, step, strict=True))
    for block in Blocks(box.shape, side):
        part = read(block.box.shift(box.start))
        thin = tuple(slice(None, None, s) for s in step)
        firsts[block.box.start] = (part[0][thin], part[1][thin])
    one = next(iter(firsts.values()))
    out = tuple(np.empty((*shape, *a.shape[len(shape) :]), a.dtype) for a in one)
    for start, arrays in firsts.items():
        at = tuple(a // s for a, s in zip(start, step, strict=True))
        for target, array in zip(out, arrays, strict=True):
            stop = tuple(a + n for a, n in zip(at, array.shape, strict=False))
            target[Box(at, stop).slices()] = array
    return out[0], out[1]


def _image(case: LabelledCase, box: Box, step: tuple[int, ...]) -> np.ndarray | None:
    """The image as RGB uint8, windowed from the 1st to the 99th percentile of what is shown."""
    corner = Box(box.start, tuple(a + 1 for a in box.start))
    if case.image(corner) is None:
        return None

    def read(part: Box) -> tuple[np.ndarray, np.ndarray]:
        pixels = case.image(part)
        assert pixels is not None
        picked = _bands(pixels)
        return picked.physical(np.float32), picked.any_valid()

    values, valid = _sampled(read, box, step)
    valid = valid & np.isfinite(values).all(-1)
    if not valid.any():
        return np.broadcast_to(np.array(NO_DATA, np.uint8), (*valid.shape, 3)).copy()
    ends: np.ndarray = np.percentile(values[valid], (1, 99), axis=0)
    spread = (ends[1] - ends[0]).clip(1e-6)
    scaled = (np.where(valid[..., None], values, ends[0]) - ends[0]) / spread
    rgb = (np.clip(scaled, 0, 1) * 255).astype(np.uint8)
    rgb = np.broadcast_to(rgb, (*valid.shape, 3)).copy()
    rgb[~valid] = NO_DATA
    return rgb


def _bands(pixels: Pixels) -> Pixels:
    """Bands 1, 2, 3 as red, green, blue of a picture (three bands, bytes), 3, 2, 1 of satellites
    with more, else the first as grey."""
    count = pixels.values.shape[-1]
    if count < 3:
        return pixels[..., :1]
    if pixels.scale is not None or pixels.offset is not None:
        picked = Pixels(pixels.physical(np.float32), pixels.valid)
    else:
        picked = pixels
    return picked[..., :3] if count == 3 else picked[..., 2::-1]


def _marks(truth: np.ndarray, found: np.ndarray, background: int | None) -> np.ndarray:
    """Indices into ``MARKS`` per voxel, -1 where both are background."""
    order = list(MARKS)
    marks = np.full(truth.shape, order.index("mixed"), np.int8)
    marks[truth == found] = order.index("hit")
    if background is not None:
        marks[(found == background) & (truth != background)] = order.index("missed")
        marks[(truth == background) & (found != background)] = order.index("false")
        marks[(truth == background) & (found == background)] = -1
    return marks


def _difference(marks: np.ndarray, image: np.ndarray | None) -> np.ndarray:
    """The marks over the image, dimmed to grey."""
    grey = np.full(marks.shape, 70.0) if image is None else 30 + 0.45 * image.mean(-1)
    out = np.repeat(grey[..., None], 3, -1)
    for k, (name, colour) in enumerate(MARKS.items()):
        where, strength = marks == k, STRENGTH.get(name, STRONG)
        out[where] = strength * np.array(colour) + (1 - strength) * out[where]
    return out.astype(np.uint8)


def _shares(marks: np.ndarray) -> dict[str, float]:
    """Each mark's share of the voxels that are marked at all."""
    counts = np.bincount(marks[marks >= 0].ravel(), minlength=len(MARKS))
    return dict(zip(MARKS, (counts / max(1, int(counts.sum()))).tolist(), strict=True))


def _centre(case: LabelledCase, classes: Classes) -> tuple[int, ...]:
    """Per axis the median place of what truth or prediction call foreground; else the middle."""
    box = case.box
    counts = [np.zeros(n, np.int64) for n in box.shape]
    for block in Blocks(box.shape, (SIDE[len(box.shape)],) * len(box.shape)):
        part = block.box.shift(box.start)
        there = np.zeros(part.shape, bool)
        for labels, valid in (case.truth(part), case.found(part)):
            there |= valid & (labels != (-1 if classes.background is None else classes.background))
        for axis, count in enumerate(counts):
            others = tuple(n for n in range(there.ndim) if n != axis)
            count[block.box.slices()[axis]] += there.sum(others)
    return tuple(
        a + (int(np.searchsorted(c.cumsum(), c.sum() / 2)) if c.any() else len(c) // 2)
        for a, c in zip(box.start, counts, strict=True)
    )


class Gallery:
    """The pictures of the worst and the best cases, ``limit`` in all; the others are dropped."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: list[tuple[float, str, list[View]]] = []

    def offer(self, score: float, name: str, views: Callable[[], list[View]]) -> None:
        """Draw and keep the case, if it is among the worst or the best so far."""
        place = math.inf if math.isnan(score) else score
        if self._limit < 1:
            return
        if len(self._kept) == self._limit:
            middle = self._kept[self._worst - 1][0], self._kept[self._worst :]
            if middle[1] and middle[0] <= place <= middle[1][0][0]:
                return
        self._kept.append((place, name, views()))
        self._kept.sort(key=lambda kept: kept[:2])
        if len(self._kept) > self._limit:
            del self._kept[self._worst]

    @property
    def _worst(self) -> int:
        return -(-self._limit // 2)

    def cases(self) -> list[tuple[str, list[View]]]:
        """Worst first."""
        return [(name, views) for _, name, views in self._kept]


def legend(pairs: list[tuple[str, list[View]]]) -> list[dict[str, Any]]:
    """The marks that occur in some picture, for the page."""
    used = {m for _, views in pairs for view in views for m, s in view.shares.items() if s > 0}
    return [
        {"name": name, "colour": colour, "means": MEANING[name]}
        for name, colour in MARKS.items()
        if name in used
    ]
