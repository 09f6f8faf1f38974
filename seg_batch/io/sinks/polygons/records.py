"""Polygons as batches of records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from seg_batch.config.card import ClassInfo
from seg_batch.core.errors import OutputError
from seg_batch.io.sinks.polygons.strips import Part, joined

GEOMETRY = "geometry"
_POLYGONS, _BYTES = 1 << 13, 8 << 20  # of a batch at most, unless one polygon has more bytes
_MOST_BYTES = (1 << 30) - (1 << 20)  # of one geometry: what SQLite takes


def schema(with_probabilities: bool) -> Any:
    import pyarrow as pa

    kept = [("mean_probability", pa.float64())] if with_probabilities else []
    return pa.schema(
        [
            ("class_id", pa.int32()),
            ("class", pa.string()),
            ("area_m2", pa.float64()),
            ("pixels", pa.int64()),
            *kept,
            ("touches_border", pa.bool_()),
            (GEOMETRY, pa.binary()),
        ]
    )


def of_same_size(parts: Iterator[Part]) -> Iterator[Part]:
    """The same polygons in the same order, cut by their number and bytes alone: what libraries make of a batch does not depend
    on the strips."""
    held: list[Part] = []
    for part in parts:
        held.append(part)
        if sum(map(len, held)) < _POLYGONS and sum(len(each.wkb) for each in held) < _BYTES:
            continue
        whole, start = joined(held), 0
        while (stop := _cut(whole, start)) < len(whole):
            yield whole[start:stop]
            start = stop
        held = [whole[start:]]
    if held:
        yield joined(held)


def _cut(part: Part, start: int) -> int:
    """Where a batch ends that begins with polygon ``start``: the number of all where more may be added."""
    fits = int(np.searchsorted(part.ends, part.ends[start] + _BYTES, "right")) - 1
    return min(start + _POLYGONS, max(fits, start + 1))


class Records:
    """Batches of polygons as they come. ``count`` and ``pixels``: of each label, of those that were given so far;
    ``error``: what stopped them, which libraries between do not carry."""

    def __init__(
        self, parts: Iterator[Part], classes: tuple[ClassInfo, ...], with_probabilities: bool
    ) -> None:
        self._parts, self._names = parts, {c.id: c.name for c in classes}
        self.schema = schema(with_probabilities)
        self.count, self.pixels = np.zeros((2, 1 << 16), np.int64)
        self.error: BaseException | None = None

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from map(self._record, of_same_size(self._parts))
        except (Exception, KeyboardInterrupt) as error:
            self.error = error
            raise

    def _record(self, part: Part) -> Any:
        import pyarrow as pa

        n = len(part.labels)
        largest = int(np.diff(part.ends).max())
        if largest > _MOST_BYTES:
            raise OutputError(
                f"one polygon of class {self._names[int(part.labels[np.diff(part.ends).argmax()])]} takes "
                f"{largest / 2**30:.1f} GiB, more than files of polygons hold: choose other classes with --polygons"
            )
        np.add.at(self.count, part.labels, 1)
        np.add.at(self.pixels, part.labels, part.pixels)
        ends = pa.py_buffer(part.ends.astype(np.int32))
        geometry = pa.Array.from_buffers(pa.binary(), n, [None, ends, pa.py_buffer(part.wkb)])
        columns = {
            "class_id": pa.array(part.labels, pa.int32()),
            "class": pa.array([self._names[k] for k in part.labels.tolist()], pa.string()),
            "area_m2": pa.nulls(n, pa.float64()) if part.areas is None else pa.array(part.areas),
            "pixels": pa.array(part.pixels),
            "mean_probability": None
            if part.probabilities is None
            else pa.array(part.probabilities),
            "touches_border": pa.array(part.border),
            GEOMETRY: geometry,
        }
        return pa.record_batch([columns[name] for name in self.schema.names], schema=self.schema)
