"""Colours of classes, told apart with any colour vision as far as there are such."""

from __future__ import annotations

import colorsys

type RGB = tuple[int, int, int]

BLACK: RGB = (0, 0, 0)
# Okabe and Ito (2008).
ORANGE, SKY, GREEN, YELLOW = (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66)
BLUE, VERMILION, PURPLE = (0, 114, 178), (213, 94, 0), (204, 121, 167)
OKABE_ITO: tuple[RGB, ...] = (ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE)
# Then the "muted" scheme of Paul Tol.
COLOURS = (
    *OKABE_ITO, (51, 34, 136), (136, 204, 238), (68, 170, 153), (17, 119, 51), (153, 153, 51),
    (221, 204, 119), (204, 102, 119), (136, 34, 85), (170, 68, 153),
)  # fmt: skip
_GOLDEN = 0.618033988749895


def colours(n: int) -> list[RGB]:
    """``n`` different colours, none black."""
    palette = list(COLOURS[:n])
    k = 0
    while len(palette) < n:
        if (colour := _further(k)) not in palette:
            palette.append(colour)
        k += 1
    return palette


def colour_of(id: int) -> RGB:
    """The colour of the class with this id, where none is named: black for 0."""
    if id == 0:
        return BLACK
    return COLOURS[id - 1] if id <= len(COLOURS) else _further(id - len(COLOURS) - 1)


def _further(k: int) -> RGB:
    hue, light = (k * _GOLDEN) % 1, 0.35 + 0.1 * (k % 5)
    red, green, blue = (round(255 * v) for v in colorsys.hls_to_rgb(hue, light, 0.9))
    return red, green, blue
