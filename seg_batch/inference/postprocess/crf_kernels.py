"""Mean-field steps of the random field on one part of a block, laid out flat (see crf.py).

The voxels of a part lie in one flat array with zeros between the rows, so that the neighbour at a
fixed displacement lies a fixed number of elements away, in 2-D and 3-D alike::

    0 0 0 0 0 0 0     two rows of four voxels, reach 1: the end of one row is the beginning of
    a b c d 0         the next, and a kernel that reaches past it reads a zero, which weighs nothing
    e f g h 0

Every operation works on single elements in a fixed order (no sum that NumPy might take in another
order for another shape), so the result at a voxel does not depend on where the part begins.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from seg_batch.core.geometry import Box, Shape

Array = npt.NDArray[np.float32]

CHUNK_ELEMENTS = 1 << 16  # classes x voxels in hand at once: the arrays in use stay in the cache
FAR = 30.0  # exponents stop here: exp(-30) adds nothing, and smaller numbers become denormal: slow


@dataclass(frozen=True)
class Flat:
    """Places of the voxels of ``extent`` in flat memory, padded so that neighbours within ``reach`` of
    any of them lie in it too."""

    extent: Shape
    reach: Shape

    @cached_property
    def padded(self) -> Shape:
        first = self.extent[0] + 2 * (self.reach[0] + 1)
        rest = zip(self.extent[1:], self.reach[1:], strict=True)
        return (first, *(n + r for n, r in rest))

    @cached_property
    def strides(self) -> Shape:
        return tuple(math.prod(self.padded[axis + 1 :]) for axis in range(len(self.padded)))

    @property
    def size(self) -> int:
        return math.prod(self.padded)

    def shift(self, displacement: Shape) -> int:
        """How many elements away the voxel at ``displacement`` lies."""
        return sum(d * s for d, s in zip(displacement, self.strides, strict=True))

    def chunks(self, classes: int, start: int = 0, stop: int | None = None) -> Iterator[slice]:
        """The elements of the slices ``start <= v < stop`` along the first axis, some at a time."""
        stop = self.extent[0] if stop is None else stop
        begin, end = ((self.reach[0] + 1 + v) * self.strides[0] for v in (start, stop))
        step = max(1, CHUNK_ELEMENTS // classes)
        return (slice(at, min(at + step, end)) for at in range(begin, end, step))

    def _inside(self) -> tuple[slice, ...]:
        first = self.reach[0] + 1
        return (slice(first, first + self.extent[0]), *(slice(0, n) for n in self.extent[1:]))

    def put(self, values: npt.NDArray) -> npt.NDArray:
        """``(n, *extent)`` as ``(n, size)``, zeros around."""
        flat = np.zeros((len(values), *self.padded), values.dtype)
        flat[:, *self._inside()] = values
        return flat.reshape(len(values), -1)

    def take(self, flat: npt.NDArray) -> npt.NDArray:
        """``(..., size)`` as ``(..., *extent)``: a view."""
        inside: tuple[Any, ...] = (..., *self._inside())
        return flat.reshape(*flat.shape[:-1], *self.padded)[inside]


def moved(chunk: slice, by: int) -> slice:
    return slice(chunk.start + by, chunk.stop + by)


def half_ball(radius: float, spacing: tuple[float, ...]) -> list[tuple[Shape, float]]:
    """One of each two opposite displacements ``0 < |d| <= radius``, with ``|d|**2``."""
    reach = [int(radius / s) for s in spacing]
    half = []
    for displacement in itertools.product(*(range(-r, r + 1) for r in reach)):
        square = sum((d * s) ** 2 for d, s in zip(displacement, spacing, strict=True))
        if displacement > (0,) * len(reach) and square <= radius**2:
            half.append((displacement, square))
    return half


@dataclass(frozen=True)
class Bilateral:
    """Pair weights ``k(i, i + shift)`` of half the neighbours; the others are their mirror images.

    ``scale``: weight of the kernel over its sum at each voxel, 0 where a voxel is not valid.
    """

    shifts: tuple[int, ...]
    pairs: Array  # (shifts, size)
    scale: Array  # (size,)

    @classmethod
    def of(
        cls, flat: Flat, colour: Array, valid: Array, ball: list[tuple[Shape, float]], weight: float
    ) -> Bilateral:
        """``colour`` and the squares of ``ball`` are divided by their sigmas: what the exponent takes."""
        shifts = tuple(flat.shift(displacement) for displacement, _ in ball)
        pairs = np.zeros((len(ball), flat.size), np.float32)
        for chunk in flat.chunks(1):
            for pair, shift, (_, square) in zip(pairs, shifts, ball, strict=True):
                _pair_weights(pair[chunk], colour, chunk, shift, square)
                pair[chunk] *= valid[chunk]
                pair[chunk] *= valid[moved(chunk, shift)]
        total = np.ones(flat.size, np.float32)
        for chunk in flat.chunks(1):
            for pair, shift in zip(pairs, shifts, strict=True):
                total[chunk] += pair[chunk]
                total[chunk] += pair[moved(chunk, -shift)]
        return cls(shifts, pairs, np.float32(weight) * valid / total)

    def message(self, belief: Array, chunk: slice, out: Array, spare: Array) -> None:
        """``out[l, i] = scale[i] sum_j k(i, j) belief[l, j]`` for ``i`` of the chunk."""
        out.fill(0)
        for pair, shift in zip(self.pairs, self.shifts, strict=True):
            np.multiply(belief[:, moved(chunk, shift)], pair[chunk], out=spare)
            np.add(out, spare, out=out)
            back = moved(chunk, -shift)
            np.multiply(belief[:, back], pair[back], out=spare)
            np.add(out, spare, out=out)
        np.multiply(out, self.scale[chunk], out=out)


def _pair_weights(out: Array, colour: Array, chunk: slice, shift: int, square: float) -> None:
    """``exp(-min(|c_i - c_j|**2 + square, FAR))`` with ``j = i + shift``."""
    out.fill(square)
    spare = np.empty_like(out)
    for band in colour:
        np.subtract(band[moved(chunk, shift)], band[chunk], out=spare)
        np.multiply(spare, spare, out=spare)
        np.add(out, spare, out=out)
    np.minimum(out, FAR, out=out)
    np.negative(out, out=out)
    np.exp(out, out=out)


@dataclass(frozen=True)
class Gaussian:
    """The kernel of space alone: one axis after the other, ``taps[axis][k - 1]`` at distance ``k``."""

    strides: Shape
    taps: tuple[tuple[float, ...], ...]
    scale: Array  # (size,)

    @classmethod
    def of(
        cls, flat: Flat, valid: Array, taps: tuple[tuple[float, ...], ...], weight: float
    ) -> Gaussian:
        kernel = cls(flat.strides, taps, valid)
        total = np.ones(flat.size, np.float32)
        for chunk in flat.chunks(1):
            np.maximum(kernel._sum(valid[None], chunk)[0], 1, out=total[chunk])
        return cls(flat.strides, taps, np.float32(weight) * valid / total)

    def _sum(self, belief: Array, chunk: slice) -> Array:
        """``sum_j k(i, j) belief[:, j]``, ``j = i`` included."""
        ahead = [len(taps) * stride for taps, stride in zip(self.taps, self.strides, strict=True)]
        start, source = 0, belief  # element `start` of the whole is the first of `source`
        for axis, (taps, stride) in enumerate(zip(self.taps, self.strides, strict=True)):
            rest = sum(ahead[axis + 1 :])  # what later axes look at, before and after the chunk
            here = slice(chunk.start - rest - start, chunk.stop + rest - start)
            result = source[:, here].copy()
            spare = np.empty_like(result)
            for k, tap in enumerate(taps, 1):
                before, after = moved(here, -k * stride), moved(here, k * stride)
                np.add(source[:, before], source[:, after], out=spare)
                np.multiply(spare, np.float32(tap), out=spare)
                np.add(result, spare, out=result)
            start, source = chunk.start - rest, result
        return source

    def message(self, belief: Array, chunk: slice) -> Array:
        """``scale[i] sum_{j != i} k(i, j) belief[l, j]`` for ``i`` of the chunk."""
        result = self._sum(belief, chunk)
        np.subtract(result, belief[:, chunk], out=result)
        np.multiply(result, self.scale[chunk], out=result)
        return result


def normalised(values: Array, valid: Array, out: Array) -> None:
    """``values`` over their sum over the classes, 0 where not valid; summed in order of the classes."""
    total = values[0].copy()
    for value in values[1:]:
        np.add(total, value, out=total)
    np.divide(valid, total, out=total)
    np.multiply(values, total, out=out)


def crf_winners(values: Array) -> npt.NDArray[np.uint16]:
    """Index of the largest along the first axis, the first of equals: a faster ``argmax``."""
    best, index = values[0].copy(), np.zeros(values.shape[1:], np.uint16)
    for at, value in enumerate(values[1:], 1):
        np.copyto(index, np.uint16(at), where=value > best)
        np.maximum(best, value, out=best)
    return index


@dataclass(frozen=True)
class PatchPart:
    """The random field over one part. All arrays ``(..., flat.size)``."""

    flat: Flat
    valid: Array
    unary: Array  # (classes, size): log p
    kernels: tuple[Gaussian | None, Bilateral | None]

    def logits(self, belief: Array, chunk: slice, out: Array, spare: Array) -> None:
        """``out = log p + messages``: the update before its softmax."""
        gaussian, bilateral = self.kernels
        if bilateral:
            bilateral.message(belief, chunk, out, spare)
            np.add(out, self.unary[:, chunk], out=out)
        else:
            np.copyto(out, self.unary[:, chunk])
        if gaussian:
            np.add(out, gaussian.message(belief, chunk), out=out)

    def infer(self, belief: Array, iterations: int, core: Box) -> Array:
        """Logits after so many updates, right in ``core`` (``(classes, size)``).

        ``belief``: the softmax of the unary term; it is used up. An update needs its neighbours of
        the update before, so the slices computed shrink towards the core along the first axis.
        """
        classes = len(belief)
        fresh = np.zeros_like(belief)
        width = max(1, CHUNK_ELEMENTS // classes)
        buffers = np.empty((2, classes * width), np.float32)
        for left in reversed(range(iterations)):
            start = max(0, core.start[0] - left * self.flat.reach[0])
            stop = min(self.flat.extent[0], core.stop[0] + left * self.flat.reach[0])
            for chunk in self.flat.chunks(classes, start, stop):
                n = classes * (chunk.stop - chunk.start)
                out, spare = (buffer[:n].reshape(classes, -1) for buffer in buffers)
                self.logits(belief, chunk, out, spare)
                if left:
                    np.exp(out, out=out)
                    normalised(out, self.valid[chunk], fresh[:, chunk])
                else:
                    fresh[:, chunk] = out
            belief, fresh = fresh, belief
        return belief
