"""A picture of a map over its image, with a legend: a raster whole, a volume by three slices through its labels.

Nothing is written into it that the image says of itself: no name, no date, no text of a header.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seg_batch.config.card import ClassInfo
from seg_batch.core.geometry import Box
from seg_batch.core.normalise import Pixels
from seg_batch.io.pictures import write_png
from seg_batch.io.quicklook import Palette, Plane, draw_planes, open_seen, seen
from seg_batch.io.sheet import Entry, sheet, with_legend
from seg_batch.io.sinks.spec import ProductSpec, Read, damaged
from seg_batch.io.sources import open_source
from seg_batch.io.sources.protocol import SourceInfo

LONGEST = {2: 1600, 3: 640}  # voxels per side of a plane, by rank
HEIGHT = 640  # pixels of the tallest plane
MOST = 60  # entries of a legend


@dataclass
class _Map:
    """The labels of a product as a source; ``info``: of a grid alone."""

    info: SourceInfo
    labels: Read
    nodata: int | None

    @classmethod
    def of(cls, spec: ProductSpec, read: Read) -> _Map:
        rank = len(spec.extent)
        info = SourceInfo(
            path="",
            format="",
            kind="raster" if rank == 2 else "volume",
            extent=spec.extent,
            channels=("labels",),
            dtype=spec.dtype,
            georef=spec.georef,
            chunk=spec.chunk or spec.extent,
        )
        return cls(info, read, spec.nodata)

    def read(self, box: Box) -> Pixels:
        labels = self.labels(box)[..., None]
        return Pixels(labels, None if self.nodata is None else labels != self.nodata)

    def close(self) -> None:
        """Nothing is held."""


def write_picture(part: Path, spec: ProductSpec, read: Read) -> None:
    """Write a PNG; DamagedError unless it reads back, pixel by pixel."""
    palette = _palette(spec)
    with ExitStack() as opened:
        assert spec.image is not None
        image = open_seen(spec.image, opened, any_size=True)
        labels = opened.enter_context(seen(_Map.of(spec, read)))
        channels = spec.card.channel_names if spec.card is not None else None
        rank = len(spec.extent)
        planes = draw_planes(image, labels, palette, channels or (), longest=LONGEST[rank])
    height = HEIGHT if len(spec.extent) == 3 else min(1000, spec.extent[0] * 4)
    drawn = with_legend(sheet(planes, height=height), _legend(spec, planes), _captions(planes))
    write_png(part, drawn)
    source = open_source(part)
    written = source.read(Box.whole(drawn.shape[:2])).values
    source.close()
    if not np.array_equal(written, drawn):
        raise damaged(part, ["pixels differ"])


def _palette(spec: ProductSpec) -> Palette:
    """Opaque colours of the classes other than background."""
    return {c.id: (*c.colour, 255) for c in _drawn(spec)}


def _drawn(spec: ProductSpec) -> list[ClassInfo]:
    return [c for c in spec.classes if c.id != spec.background]


def _legend(spec: ProductSpec, planes: tuple[Plane, ...]) -> list[Entry]:
    """The classes that are to be seen; all where none is."""
    there = {
        tuple(colour[:3])
        for plane in planes
        if plane.labels is not None
        for colour in np.unique(plane.labels.reshape(-1, 4), axis=0).tolist()
        if colour[3]
    }
    shown = [c for c in _drawn(spec) if c.colour in there] or _drawn(spec)
    entries = [Entry(c.name or f"class {c.id}", c.colour) for c in shown[:MOST]]
    left_out = len(shown) - len(entries)
    return [*entries, Entry(f"and {left_out} more", None)] if left_out else entries


def _captions(planes: tuple[Plane, ...]) -> list[str]:
    """What is shown, below the planes: which slices, and the values of the image."""
    titles = ["  ·  ".join(plane.title for plane in planes if plane.title)]
    return [line for line in (*titles, planes[0].window) if line]
