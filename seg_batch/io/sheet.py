"""One picture of an image and its labels: the planes side by side, on one scale, with letters at their edges."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seg_batch.io.quicklook import Plane

HEIGHT = 384  # pixels of the tallest plane
LEAST, MOST = 16, 1536  # pixels per side of a plane, whatever its proportions
GAP, MARGIN = 8, 4
OPACITY = 0.5

# Letters of 5 x 7 pixels, a row of bits each, the leftmost pixel first.
_LETTERS = {
    "R": (0b11110, 0b10001, 0b10001, 0b11110, 0b10100, 0b10010, 0b10001),
    "L": (0b10000, 0b10000, 0b10000, 0b10000, 0b10000, 0b10000, 0b11111),
    "A": (0b01110, 0b10001, 0b10001, 0b11111, 0b10001, 0b10001, 0b10001),
    "P": (0b11110, 0b10001, 0b10001, 0b11110, 0b10000, 0b10000, 0b10000),
    "S": (0b01111, 0b10000, 0b10000, 0b01110, 0b00001, 0b00001, 0b11110),
    "I": (0b01110, 0b00100, 0b00100, 0b00100, 0b00100, 0b00100, 0b01110),
}
_TIMES = 2  # pixels per bit


def sheet(planes: Sequence[Plane], *, height: int = HEIGHT, opacity: float = OPACITY) -> np.ndarray:
    """``(y, x, 3)`` uint8. ``height``: pixels of the tallest plane; ``opacity``: of the labels over the image, which are
    opaque where there is none. ``ValueError`` where there is no plane."""
    if not planes:
        raise ValueError("there is no plane to draw")
    scale = height / max(plane.width / plane.aspect for plane in planes)
    panels = [_panel(plane, scale, opacity) for plane in planes]
    out = np.zeros((max(len(p) for p in panels), _width(panels), 3), np.uint8)
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
        out[:] = _nearest(plane.image, shape)
    if plane.labels is not None:
        rgba = _nearest(plane.labels, shape).astype(np.float32)
        share = rgba[..., 3:] / 255 * (1.0 if plane.image is None else opacity)
        out = np.rint(out * (1 - share) + rgba[..., :3] * share).astype(np.uint8)
    for letter, place in zip(plane.letters, _places(shape), strict=False):
        _write(out, letter, *place)
    return out


def _nearest(picture: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    rows, columns = (
        ((np.arange(n) + 0.5) * m / n).astype(int)
        for n, m in zip(shape, picture.shape[:2], strict=True)
    )
    return picture[rows[:, None], columns]


def _places(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Top left corners of the letters at the left, right, top and bottom."""
    height, width = shape[0] - 7 * _TIMES, shape[1] - 5 * _TIMES
    return [
        (height // 2, MARGIN),
        (height // 2, width - MARGIN),
        (MARGIN, width // 2),
        (height - MARGIN, width // 2),
    ]


def _write(out: np.ndarray, letter: str, top: int, left: int) -> None:
    """White on a dark edge; nothing where the panel is too small for it."""
    bits = np.array([[row >> k & 1 for k in range(4, -1, -1)] for row in _LETTERS[letter]], bool)
    bits = np.pad(bits.repeat(_TIMES, 0).repeat(_TIMES, 1), 1)
    edge = np.zeros_like(bits)
    for y in (-1, 0, 1):
        for x in (-1, 0, 1):
            edge |= np.roll(bits, (y, x), (0, 1))
    part = out[top - 1 : top - 1 + len(bits), left - 1 : left - 1 + bits.shape[1]]
    if top > 0 and left > 0 and part.shape[:2] == bits.shape:
        part[edge] = 0
        part[bits] = 255
