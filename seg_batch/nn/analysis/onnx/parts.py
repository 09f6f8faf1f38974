"""Axes of tensors as products of parts, so that what a voxel depends on outlives reshapes and transposes.

A graph of standard operators merges sides into tokens, cuts them into windows and brings channels to where sides were.
Each axis is a row of parts, the slowest first; a part that runs along a side of the image holds its line. Where a side is
cut into windows, the outer part holds the union of each window, and the inner part nothing: an upper bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from seg_batch.nn.analysis.lines import Line, Unknown, merged


@dataclass(frozen=True)
class Part:
    """A factor of an axis. ``side``: the axis of the image that it runs along, with the ``line`` of its places;
    None: channels, patches, places within a window."""

    size: int
    side: int | None = None
    line: Line | None = None

    @property
    def plain(self) -> bool:
        return self.side is None


type Axis = tuple[Part, ...]


def plain(size: int) -> Axis:
    return (Part(size),) if size > 1 else ()


def size_of(axis: Axis) -> int:
    return prod(part.size for part in axis)


def sides_of(axis: Axis) -> set[int]:
    """The axes of the image that places of this axis differ in."""
    return {part.side for part in axis if part.side is not None}


def whole(axis: Axis) -> Part:
    """The axis as one part; Unknown where places of two sides share it."""
    if len(axis) == 1:
        return axis[0]
    spatial = [k for k, part in enumerate(axis) if not part.plain]
    if not spatial:
        return Part(size_of(axis))
    if len(spatial) > 1:
        raise Unknown
    (k,) = spatial
    before, after = size_of(axis[:k]), size_of(axis[k + 1 :])
    part = axis[k]
    assert part.line is not None
    places = np.tile(np.repeat(np.arange(part.size), after), before)
    return Part(len(places), part.side, part.line.taken(places))


def taken(axis: Axis, places: np.ndarray) -> Axis:
    """The places of an axis, in this order; those outside depend on nothing."""
    if not sides_of(axis):
        return plain(len(places))
    part = whole(axis)
    assert part.line is not None
    return (Part(len(places), part.side, part.line.taken(places)),)


def joined(axes: Sequence[Axis]) -> Axis:
    """What places depend on that are computed from several tensors, place by place."""
    spatial = [axis for axis in axes if sides_of(axis)]
    if not spatial:
        return plain(max(map(size_of, axes)))
    first = spatial[0]
    if any([(p.size, p.side) for p in a] != [(p.size, p.side) for p in first] for a in spatial):
        spatial = [(whole(axis),) for axis in spatial]
        first = spatial[0]
        if len({(part.size, part.side) for (part,) in spatial}) != 1:
            raise Unknown
    return tuple(_widest([axis[k] for axis in spatial]) for k in range(len(first)))


def _widest(parts: Sequence[Part]) -> Part:
    """Parts of one size and side as one that depends on what any depends on."""
    lines = [part.line for part in parts if part.line is not None]
    return replace(parts[0], line=merged(lines)) if lines else parts[0]


def concatenated(axes: Sequence[Axis]) -> Axis:
    """Tensors one after the other along this axis; what comes from none of the image depends on nothing."""
    sides = set().union(*map(sides_of, axes))
    if not sides:
        return plain(sum(map(size_of, axes)))
    if len(sides) > 1:
        raise Unknown
    lines = []
    for axis in axes:
        part = whole(axis) if axis else Part(1)
        empty = np.zeros(part.size, np.int64)
        lines.append(part.line or Line(empty, empty).taken(empty - 1))
    first = np.concatenate([line.first for line in lines])
    return (Part(len(first), sides.pop(), Line(first, np.concatenate([n.last for n in lines]))),)


def reshaped(axes: Sequence[Axis], shape: Sequence[int]) -> list[Axis]:
    """The same places in another shape; Unknown where a part is cut where it can't be."""
    todo = [part for axis in axes for part in axis if part.size > 1]
    result: list[Axis] = []
    for size in shape:
        parts: list[Part] = []
        while size > 1:
            if not todo:
                raise Unknown
            part = todo.pop(0)
            if part.size > size:
                part, rest = _cut(part, size)
                todo.insert(0, rest)
            if size % part.size:
                raise Unknown
            parts.append(part)
            size //= part.size
        result.append(tuple(parts))
    return result


def _cut(part: Part, outer: int) -> tuple[Part, Part]:
    """A part as `outer` windows, each with the union of its places, and the places within."""
    if part.size % outer:
        raise Unknown
    inner = part.size // outer
    if part.line is None:
        return Part(outer), Part(inner)
    first = part.line.first.reshape(outer, inner).min(axis=1)
    last = part.line.last.reshape(outer, inner).max(axis=1)
    return Part(outer, part.side, Line(first, last)), Part(inner)
