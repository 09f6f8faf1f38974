"""The map of a run: the outlines of its rasters in longitude and latitude, over a graticule."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from seg_batch.batch.report.rows import InputRow

WIDTH, MOST_HEIGHT = 1000.0, 560.0  # of the drawing
MARGIN = 0.08  # of the longer side, around all outlines
LEAST = 0.002  # degrees: what one small scene is shown in
SMALL = 7.0  # an outline of less is drawn as a dot
STEPS = (30, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0002)
MOST_LINES = 7  # of the graticule, per direction
MOST = 2000  # outlines
KM_PER_DEGREE = 111.2


@dataclass(frozen=True)
class Outline:
    """``points``: of a polygon in units of the drawing, as SVG has them; empty for a dot at ``x, y``."""

    input: str
    status: str
    points: str
    x: float
    y: float


def footprint_map(inputs: list[InputRow]) -> dict[str, Any] | None:
    """The drawing, for the template; None where no raster has a place.

    ``width``, ``height``; ``outlines``, and their ``statuses``; ``meridians`` and ``parallels``: place and label; ``bar``: length and
    label; ``left_out``: number of rasters beyond ``MOST``.
    """
    placed = [row for row in inputs if row["footprint"]]
    if not placed:
        return None
    shown = placed[:MOST]
    frame = _Frame.around([point for row in shown for point in row["footprint"] or ()])
    outlines = [_outline(row, frame) for row in shown]
    # What went wrong lies on top, and small ones over large ones.
    outlines.sort(key=lambda o: (o.status != "complete", o.points == ""))
    return {
        "width": WIDTH,
        "height": round(frame.height, 1),
        "outlines": outlines,
        "statuses": list(dict.fromkeys(o.status for o in reversed(outlines))),
        "meridians": [(frame.x(v), _label(v, "E", "W")) for v in frame.lines(0)],
        "parallels": [(frame.y(v), _label(v, "N", "S")) for v in frame.lines(1)],
        "bar": frame.bar(),
        "left_out": len(placed) - len(shown),
    }


@dataclass(frozen=True)
class _Frame:
    """What the drawing shows: least and greatest longitude and latitude. Degrees of longitude are shortened by
    the cosine of the middle latitude."""

    west: float
    south: float
    east: float
    north: float

    @classmethod
    def around(cls, points: list[tuple[float, float]]) -> _Frame:
        lon, lat = zip(*points, strict=True)
        middle = math.radians((min(lat) + max(lat)) / 2)
        shorter = max(0.2, math.cos(middle))
        half_x = max((max(lon) - min(lon)) / 2, LEAST / shorter)
        half_y = max((max(lat) - min(lat)) / 2, LEAST)
        pad = MARGIN * max(half_x * shorter, half_y) * 2
        half_x, half_y = half_x + pad / shorter, half_y + pad
        # Not narrower than twice as high, nor flatter than a fifth.
        half_x = max(half_x, half_y * WIDTH / MOST_HEIGHT / shorter)
        half_y = max(half_y, half_x * shorter / 5)
        x, y = (min(lon) + max(lon)) / 2, (min(lat) + max(lat)) / 2
        return cls(x - half_x, y - half_y, x + half_x, y + half_y)

    @property
    def shorter(self) -> float:
        return max(0.2, math.cos(math.radians((self.south + self.north) / 2)))

    @property
    def scale(self) -> float:
        """Units of the drawing per degree of latitude."""
        return WIDTH / ((self.east - self.west) * self.shorter)

    @property
    def height(self) -> float:
        return (self.north - self.south) * self.scale

    def x(self, lon: float) -> float:
        return round((lon - self.west) * self.scale * self.shorter, 1)

    def y(self, lat: float) -> float:
        return round((self.north - lat) * self.scale, 1)

    def lines(self, axis: int) -> list[float]:
        """Round longitudes or latitudes within the frame."""
        low, high = ((self.west, self.east), (self.south, self.north))[axis]
        fitting = (step for step in reversed(STEPS) if (high - low) / step <= MOST_LINES)
        step = next(fitting, 60)
        first, last = math.ceil(low / step), math.floor(high / step)
        lines = [k * step for k in range(first, last + 1)]
        return [v for v in lines if axis == 0 or abs(v) <= 90]

    def bar(self) -> tuple[float, str]:
        """A round length of at most a fifth of the width."""
        most = (self.east - self.west) * self.shorter * KM_PER_DEGREE / 5
        exact = 10 ** math.floor(math.log10(most))
        km = next(k * exact for k in (5, 2, 1) if k * exact <= most)
        label = f"{km:g} km" if km >= 1 else f"{km * 1000:g} m"
        return round(km / KM_PER_DEGREE * self.scale, 1), label


def _outline(row: InputRow, frame: _Frame) -> Outline:
    points = [(frame.x(lon), frame.y(lat)) for lon, lat in row["footprint"] or ()]
    xs, ys = zip(*points, strict=True)
    x, y = (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2
    large = max(max(xs) - min(xs), max(ys) - min(ys)) >= SMALL
    text = " ".join(f"{a:g},{b:g}" for a, b in points) if large else ""
    return Outline(row["input"], row["status"], text, round(x, 1), round(y, 1))


def _label(value: float, positive: str, negative: str) -> str:
    """``112.5° W``; longitudes beyond 180 count from the other side."""
    if positive == "E":
        value = (value + 180) % 360 - 180
    letter = "" if value in (0, -180) else positive if value > 0 else negative
    return f"{abs(round(value, 6)):g}°{letter}"
