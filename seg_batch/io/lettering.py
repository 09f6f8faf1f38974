"""Letters in pictures, in a typeface that comes with matplotlib and has Latin, Greek and Cyrillic."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

PAPER = (17, 19, 23)
INK, QUIET = (232, 234, 237), (150, 155, 163)
SIZE, SMALL = 15, 13  # pixels
_TYPEFACE = "mpl-data/fonts/ttf/DejaVuSans.ttf"


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    # Only the place of matplotlib's files is looked up: importing it takes half a second.
    package = find_spec("matplotlib")
    for folder in (package and package.submodule_search_locations) or ():
        if (path := Path(folder, _TYPEFACE)).is_file():
            return ImageFont.truetype(path, size)
    return ImageFont.load_default(size)


class Lettering:
    """Writes on a copy of a picture, ``(y, x, 3)`` uint8. Places are ``(x, y)`` in pixels; anchors are Pillow's."""

    def __init__(self, rgb: np.ndarray) -> None:
        self._image = Image.fromarray(rgb)
        self._draw = ImageDraw.Draw(self._image)

    @property
    def pixels(self) -> np.ndarray:
        return np.array(self._image)

    @staticmethod
    def width(text: str) -> int:
        return round(_font(SIZE).getlength(text))

    def write(
        self,
        text: str,
        place: tuple[float, float],
        *,
        anchor: str,
        edge: bool = False,
        quiet: bool = False,
    ) -> None:
        """``edge``: a dark one, to be legible on any picture; ``quiet``: smaller and grey."""
        font, ink = (_font(SMALL), QUIET) if quiet else (_font(SIZE), INK)
        around = 2 if edge else 0
        self._draw.text(place, text, ink, font, anchor, stroke_width=around, stroke_fill=(0, 0, 0))

    def swatch(self, colour: tuple[int, int, int], place: tuple[float, float], side: int) -> None:
        """A square whose left side begins at ``place``."""
        x, y = place
        box = (x, y - side / 2, x + side - 1, y + side / 2 - 1)
        self._draw.rounded_rectangle(box, 3, colour, outline=QUIET if max(colour) < 60 else None)
