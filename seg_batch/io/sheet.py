"""One picture of an image and its labels: the planes side by side, on one scale, with letters at their edges and a legend.

Labels are drawn as a light area with a full outline, so that what they lie on is seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from seg_batch.core.text import visible
from seg_batch.io.lettering import PAPER, Lettering
from seg_batch.io.quicklook import Plane

HEIGHT = 384  # pixels of the tallest plane
LEAST, MOST = 16, 1536  # pixels per side of a plane, whatever its proportions
GAP, MARGIN = 8, 4
OPACITY, OUTLINE = 0.35, 0.95


def sheet(planes: Sequence[Plane], *, height: int = HEIGHT, opacity: float = OPACITY) -> np.ndarray:
    """``(y, x, 3)`` uint8. ``height``: pixels of the tallest plane; ``opacity``: of the labels over the image, which are
    opaque where there is none. ``ValueError`` where there is no plane."""
    if not planes:
        raise ValueError("there is no plane to draw")
    scale = height / max(plane.width / plane.aspect for plane in planes)
    panels = [_panel(plane, scale, opacity) for plane in planes]
    out = np.full((max(len(p) for p in panels), _width(panels), 3), PAPER, np.uint8)
    left = 0
    for panel in panels:
        top = (len(out) - len(panel)) // 2
        out[top : top + panel.shape[0], left : left + panel.shape[1]] = panel
        left += panel.shape[1] + GAP
    return out


def _width(panels: Sequence[np.ndarray]) -> int:
    return sum(panel.shape[1] for panel in panels) + GAP * (len(panels) - 1)


def _panel(plane: Plane, scale: float, opacity: float) -> np.ndarray:
    """One plane in the proportions of the world. ``scale``: pixels per mm."""
    sides = plane.width / plane.aspect * scale, plane.width * scale
    shape = tuple(min(MOST, max(LEAST, round(side))) for side in sides)
    out = np.zeros((*shape, 3), np.uint8)
    if plane.image is not None:
        resized = Image.fromarray(plane.image).resize(
            (shape[1], shape[0]), Image.Resampling.BICUBIC
        )
        out = np.asarray(resized)
    if plane.labels is not None:
        out = _labelled(out, _nearest(plane.labels, shape), 1.0 if plane.image is None else opacity)
    return _lettered(out, plane.letters) if plane.letters else out


def _labelled(rgb: np.ndarray, rgba: np.ndarray, opacity: float) -> np.ndarray:
    """The labels over a picture of the same shape."""
    share = np.where(_outline(rgba), max(opacity, OUTLINE), opacity)[..., None]
    share = (share * rgba[..., 3:] / 255).astype(np.float32)
    return np.rint(rgb * (1 - share) + rgba[..., :3] * share).astype(np.uint8)


def _outline(rgba: np.ndarray) -> np.ndarray:
    """Where a pixel has another label than one of its four neighbours."""
    out = np.zeros(rgba.shape[:2], bool)
    down = (rgba[1:] != rgba[:-1]).any(-1)
    right = (rgba[:, 1:] != rgba[:, :-1]).any(-1)
    out[1:] |= down
    out[:-1] |= down
    out[:, 1:] |= right
    out[:, :-1] |= right
    return out


def _nearest(picture: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    rows, columns = (
        ((np.arange(n) + 0.5) * m / n).astype(int)
        for n, m in zip(shape, picture.shape[:2], strict=True)
    )
    return picture[rows[:, None], columns]


def _lettered(rgb: np.ndarray, letters: str) -> np.ndarray:
    """With the letters at the left, right, top and bottom."""
    height, width = rgb.shape[:2]
    places = [
        (MARGIN, height / 2, "lm"),
        (width - MARGIN, height / 2, "rm"),
        (width / 2, MARGIN, "ma"),
        (width / 2, height - MARGIN, "md"),
    ]
    lettering = Lettering(rgb)
    for letter, (x, y, anchor) in zip(letters, places, strict=False):
        lettering.write(letter, (x, y), anchor=anchor, edge=True)
    return lettering.pixels


@dataclass(frozen=True)
class Entry:
    """A line of a legend; ``colour``: None for words alone."""

    name: str
    colour: tuple[int, int, int] | None


PADDING, LINE, SWATCH = 20, 24, 14  # pixels
LEAST_WIDTH = 480
LONGEST_NAME = 40  # characters


def with_legend(rgb: np.ndarray, entries: Sequence[Entry], captions: Sequence[str]) -> np.ndarray:
    """The picture in a frame, with ``captions`` and a legend in columns below."""
    width = max(LEAST_WIDTH, rgb.shape[1])
    names = [_short(entry.name) for entry in entries]
    column = max((Lettering.width(name) for name in names), default=0) + SWATCH + 28
    columns = max(1, min(len(entries), (width + 20) // column))
    rows = -(-len(entries) // columns)
    below = PADDING // 2 + LINE * (len(captions) + rows) + (10 if rows else 0)
    out = np.full((rgb.shape[0] + below + 2 * PADDING, width + 2 * PADDING, 3), PAPER, np.uint8)
    left = PADDING + (width - rgb.shape[1]) // 2
    out[PADDING : PADDING + rgb.shape[0], left : left + rgb.shape[1]] = rgb
    lettering, y = Lettering(out), PADDING + rgb.shape[0] + PADDING // 2 + LINE // 2
    for caption in captions:
        lettering.write(caption, (PADDING, y), anchor="lm", quiet=True)
        y += LINE
    for k, (entry, name) in enumerate(zip(entries, names, strict=True)):
        at = PADDING + k // rows * column, y + 10 + k % rows * LINE
        if entry.colour is not None:
            lettering.swatch(entry.colour, at, SWATCH)
        lettering.write(name, (at[0] + SWATCH + 8, at[1]), anchor="lm")
    return lettering.pixels


def _short(name: str) -> str:
    name = visible(name)
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
