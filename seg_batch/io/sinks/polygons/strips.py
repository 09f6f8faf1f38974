"""A finished map is read in strips of whole rows, of bounded size, and its polygons come out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.core.geometry import Box
from seg_batch.core.georef import RasterGeoref
from seg_batch.core.registry.formats import holds_probabilities
from seg_batch.io.sinks.polygons.choice import Choice
from seg_batch.io.sinks.product import count_into
from seg_batch.io.sinks.spec import ProductSpec, Read, read_ahead
from seg_batch.io.sources import open_source

STRIP_BYTES = 32 << 20  # of all that is read for a strip; two are held
_QUANTISED = 255


@dataclass(frozen=True)
class Part:
    """Polygons of a map. ``areas``: in square metres, None where pixels have none; ``probabilities``: means, None where they were not kept; ``ends``: where each
    geometry begins in ``wkb``, and where the last ends."""

    labels: np.ndarray
    pixels: np.ndarray
    areas: np.ndarray | None
    probabilities: np.ndarray | None
    border: np.ndarray
    ends: np.ndarray
    wkb: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, those: slice) -> Part:
        first, last, _ = those.indices(len(self))
        own: dict[str, Any] = {name: getattr(self, name) for name in _COLUMNS}
        ends = self.ends[first : last + 1]
        own = {name: None if c is None else c[first:last] for name, c in own.items()}
        return Part(
            **own,
            ends=ends - ends[0],
            wkb=self.wkb[ends[0] : ends[-1]],
        )


_COLUMNS = ("labels", "pixels", "areas", "probabilities", "border")


def joined(parts: list[Part]) -> Part:
    """Several, one or more, as one."""
    own: dict[str, Any] = {n: [getattr(part, n) for part in parts] for n in _COLUMNS}
    starts = np.cumsum([0, *(len(part.wkb) for part in parts)])
    ends = [part.ends[1:] + start for part, start in zip(parts, starts[:-1], strict=True)]
    columns: dict[str, Any] = {
        name: None if c[0] is None else np.concatenate(c) for name, c in own.items()
    }
    return Part(
        **columns,
        ends=np.concatenate([[0], *ends]).astype(np.int64),
        wkb=np.concatenate([part.wkb for part in parts]),
    )


class Strips:
    """The polygons of a map. ``counts``: the pixels of each label, once all is read."""

    def __init__(self, spec: ProductSpec, choice: Choice, read: Read, scores: Read | None) -> None:
        self._spec, self._choice, self._read, self._scores = spec, choice, read, scores
        self._bins = np.zeros(1 << 16, np.int64)

    @property
    def counts(self) -> np.ndarray:
        return self._bins

    def parts(self) -> Iterator[Part]:
        from seg_batch.core.outlines.polygoniser import NO_AREAS, NO_SCORES, Polygoniser, Simplify

        spec, choice = self._spec, self._choice
        assert isinstance(spec.georef, RasterGeoref)
        flat = choice.areas is None or choice.areas.flat
        polygoniser = Polygoniser(
            spec.extent[1],
            [c.id for c in choice.classes],
            spec.georef.transform,
            None if choice.tolerance is None else Simplify(choice.tolerance, choice.metric),
            least_units=0 if flat else choice.least_units,
            least_pixels=choice.least_units if flat else 0,
        )
        index = np.full(1 << 16, -1, np.int64)
        index[[c.id for c in spec.classes]] = range(len(spec.classes))
        for box, labels in read_ahead(self._read, self.boxes()):
            count_into(self._bins, labels)
            areas, area_of = NO_AREAS, None
            if choice.areas is not None and not flat:
                areas, area_of = choice.areas.row_sums(box.start[0], box.stop[0])
            scores = NO_SCORES if self._scores is None else _own(self._scores(box), index[labels])
            for polygons in polygoniser.add(labels, areas, area_of, scores):
                yield self._part(polygons, flat)
        for polygons in polygoniser.end():
            yield self._part(polygons, flat)

    def _part(self, polygons: object, flat: bool) -> Part:
        from seg_batch.core.outlines.polygoniser import Polygons

        assert isinstance(polygons, Polygons)
        areas, pixels = self._choice.areas, polygons.pixels
        return Part(
            polygons.labels,
            pixels,
            None if areas is None else areas.m2(pixels if flat else polygons.units),
            None if self._scores is None else polygons.scores / (_QUANTISED * pixels),
            polygons.border,
            polygons.ends,
            polygons.wkb,
        )

    def boxes(self) -> list[Box]:
        """Strips over the whole width, of whole rows of chunks where these fit."""
        height, width = self._spec.extent
        areas = self._choice.areas
        per_pixel = np.dtype(self._spec.dtype).itemsize
        per_pixel += 8 if areas is not None and not areas.flat else 0
        per_pixel += 0 if self._scores is None else 9 + len(self._spec.classes)
        rows = max(1, STRIP_BYTES // (per_pixel * width))
        chunk = self._spec.chunk[0] if self._spec.chunk else 1
        rows -= rows % chunk if rows > chunk else 0
        starts = range(0, height, rows)
        return [Box((y, 0), (min(y + rows, height), width)) for y in starts]


def _own(probabilities: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Of each pixel that of its own class; 0 where it has none."""
    own = np.take_along_axis(probabilities, np.maximum(index, 0)[None], 0)[0]
    return np.where(index >= 0, own, 0).astype(np.uint8)


@contextmanager
def kept_probabilities(path: Path | None) -> Iterator[Read | None]:
    """Those of a finished product, which ``path`` holds."""
    if path is None:
        yield None
        return
    with ExitStack() as opened:
        if holds_probabilities(path.name):
            import zarr

            array = zarr.open_group(path, mode="r")["probabilities"]
            yield lambda box: np.asarray(array[(slice(None), *box.slices())])  # type: ignore[index]
        else:
            source = opened.enter_context(closing(open_source(path, alpha="data")))
            yield lambda box: np.moveaxis(source.read(box).values, -1, 0)
