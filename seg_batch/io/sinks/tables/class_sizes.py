"""The sizes of classes in one map, what the image is inside them, and where they lie: a table as CSV.

One pass over the labels and the image, in pieces of bounded size. Values are physical, in float64. The moments of
pieces are combined (Chan, Golub and LeVeque 1979), so a large offset costs no digits.
"""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.config.card import ClassInfo
from seg_batch.core.georef import MM3_PER_ML, VolumeGeoref
from seg_batch.core.normalise import Pixels
from seg_batch.io.sinks.product import Counter
from seg_batch.io.sinks.spec import ProductSpec, Read
from seg_batch.io.sinks.tables.text import write_checked
from seg_batch.io.sources.areas.pixel_areas import PixelAreas
from seg_batch.io.sources.iterate import PIECE_BYTES, piece_boxes
from seg_batch.io.sources.views.open_view import open_view

HEAD = ("class_id", "name", "code", "voxels", "share")
SLICES = ("first_slice", "last_slice", "first_mm", "last_mm")


def write_class_sizes(part: Path, spec: ProductSpec, read: Read) -> None:
    """A row per class of the card, also for classes without a voxel, whose other cells are empty."""
    counter = Counter(read, PixelAreas.of(spec.georef, spec.extent))
    inside, slices = measure(spec, counter)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    channels = _channels(spec, inside.count.shape[1])
    writer.writerow(_head(spec, channels))
    for k, c in enumerate(spec.classes):
        row = [c.id, c.name, code_of(c), *_size(spec, counter, c.id)]
        writer.writerow([*row, *inside.cells(k), *(() if slices is None else slices.cells(k))])
    write_checked(part, text.getvalue())


def code_of(c: ClassInfo) -> str:
    """What a class is in a terminology (``SCT 10200004 Liver``), with its modifier; empty where its card says nothing."""
    if c.code is None:
        return ""
    return ", ".join(filter(None, (c.code.type, c.code.modifier)))


def _channels(spec: ProductSpec, count: int) -> list[str]:
    """What stands behind ``mean`` and ``deviation``: nothing for one channel; the names of the model, or numbers."""
    names = spec.card.channel_names if spec.card is not None else None
    if count == 1:
        return [""]
    return [f"_{name}" for name in names or range(1, count + 1)]


def _head(spec: ProductSpec, channels: list[str]) -> list[str]:
    size = "mL" if isinstance(spec.georef, VolumeGeoref) else "ha"
    statistics = [f"{what}{name}" for name in channels for what in ("mean", "deviation")]
    place = SLICES if isinstance(spec.georef, VolumeGeoref) else ()
    return [*HEAD, size, *statistics, *place]


def _size(spec: ProductSpec, counter: Counter, label: int) -> list[Any]:
    """Voxels, their share of all classified ones, and their size; empty where pixels have no area."""
    counts = counter.counts
    count = counts.get(label, 0)
    classified = sum(counts.get(c.id, 0) for c in spec.classes)
    share = count / classified if classified else 0.0
    if isinstance(spec.georef, VolumeGeoref):
        return [count, _number(share), _number(count * spec.georef.voxel_mm3 / MM3_PER_ML)]
    hectares = counter.hectares
    return [count, _number(share), "" if hectares is None else _number(hectares.get(label, 0.0))]


def _number(value: float) -> str:
    return f"{value:.10g}"


@dataclass
class Inside:
    """Of each class and channel, ``(classes, channels)`` float64: valid and finite values, their mean, their squared deviations."""

    count: np.ndarray
    mean: np.ndarray
    squares: np.ndarray

    @classmethod
    def none(cls, classes: int, channels: int) -> Inside:
        return cls(*(np.zeros((classes, channels)) for _ in range(3)))

    def add(self, pixels: Pixels, which: np.ndarray) -> None:
        """Add pixels; ``which``: the index of the class of each voxel, their number where it has none."""
        physical, n = pixels.physical(np.float64), len(self.count)
        for c in range(self.count.shape[1]):
            values = physical[..., c]
            there = np.isfinite(values) & (which < n)
            there &= True if pixels.valid is None else pixels.valid[..., c]
            if there.any():
                self._combine(c, values[there], which[there])

    def _combine(self, c: int, values: np.ndarray, which: np.ndarray) -> None:
        n, middle = len(self.count), values.mean()
        count = np.bincount(which, minlength=n)
        some = np.maximum(count, 1)
        mean = middle + np.bincount(which, values - middle, n) / some
        off = values - mean[which]
        squares = np.bincount(which, off * off, n) - np.bincount(which, off, n) ** 2 / some
        delta, total = mean - self.mean[:, c], self.count[:, c] + count
        share = count / np.maximum(total, 1)
        self.squares[:, c] += squares + delta**2 * self.count[:, c] * share
        self.mean[:, c] += delta * share
        self.count[:, c] = total

    def cells(self, k: int) -> list[str]:
        """Mean and standard deviation (of the population) of each channel; empty where there is no value."""
        cells = []
        for count, mean, squares in zip(self.count[k], self.mean[k], self.squares[k], strict=True):
            both = (mean, math.sqrt(max(squares, 0.0) / count)) if count else ()
            cells += [_number(value) for value in both] or ["", ""]
        return cells


@dataclass
class Slices:
    """In which slices of a volume each class is, bool ``(classes, z)``."""

    there: np.ndarray
    georef: VolumeGeoref

    def add(self, which: np.ndarray, start: int) -> None:
        """``which``: as in ``Inside.add``; ``start``: its first slice."""
        n, depth = len(self.there), len(which)
        of_slice = which.reshape(depth, -1) + (n + 1) * np.arange(depth)[:, None]
        counts = np.bincount(of_slice.reshape(-1), minlength=depth * (n + 1)).reshape(depth, n + 1)
        self.there[:, start : start + depth] |= counts[:, :n].T > 0

    def cells(self, k: int) -> list[Any]:
        """The first and the last slice of the file, from 1, and where these lie."""
        places = np.flatnonzero(self.there[k]).tolist()
        if not places:
            return [""] * len(SLICES)
        ends = places[0], places[-1]
        return [*(at + 1 for at in ends), *(_number(slice_mm(self.georef, at)) for at in ends)]


def slice_mm(georef: VolumeGeoref, at: int) -> float:
    """Where the middle of a slice lies along the normal of the slices, in mm of the world (RAS): for axial slices how
    far towards the head."""
    matrix = georef.matrix
    normal = np.cross(matrix[:3, 0], matrix[:3, 1])
    normal /= np.linalg.norm(normal) * np.sign(normal[np.abs(normal).argmax()])
    return float(normal @ (matrix @ (0, 0, at, 1))[:3] * georef.unit_mm)


def measure(spec: ProductSpec, read: Read) -> tuple[Inside, Slices | None]:
    """One pass over labels and image."""
    assert spec.image is not None
    assert spec.card is not None
    index = np.full(1 << 16, len(spec.classes), np.int64)
    index[[c.id for c in spec.classes]] = range(len(spec.classes))
    with open_view(spec.image, spec.card) as view:
        image = view.native
        inside = Inside.none(len(spec.classes), len(image.info.channels))
        slices = None
        if isinstance(spec.georef, VolumeGeoref):
            there = np.zeros((len(spec.classes), spec.extent[0]), bool)
            slices = Slices(there, spec.georef)
        for box in piece_boxes(image.info, PIECE_BYTES):
            which = index[read(box)]
            inside.add(image.read(box), which)
            if slices is not None:
                slices.add(which, box.start[0])
    return inside, slices
