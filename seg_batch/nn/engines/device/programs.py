"""What becomes of stored values up to labels, as programs on the device that computes the network.

Five programs of fixed shapes follow one another, and nothing but stored values goes up and labels come
back::

    slab (stored values) --fill--> batch of patches --compute--> probabilities --add--> band --finish--> labels

``fill`` cuts and normalises, ``add`` weighs and sums, ``finish`` is the argmax and moves the band on. They
are separate, so that the network is compiled once for one shape, whatever the slab: the bits of a patch
depend on the patch, and not on the block it was cut from. Written in ``keras.ops``; what TensorFlow and
JAX say in other words is in ``backends``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seg_batch.core.geometry import Shape
from seg_batch.nn.engines.batched import LoadedNetwork


@dataclass(frozen=True)
class Slab:
    """Stored values ``(rows, *width, C)`` on the device, and which are valid (None: all). ``affine``: float32
    ``(C,)`` gain and shift, after scale, offset, low and high where there is a clip; empty: values are normalised."""

    values: Any
    valid: Any | None
    affine: tuple[Any, ...]


@dataclass(frozen=True)
class Finished:
    """Rows on their way back, all of the band: winners ``(rows, *width)``, probabilities ``(K, rows, *width)``
    uint8 where asked, for each axis how far probabilities jump at its planes, and whether all were finite."""

    winners: Any
    probabilities: Any | None
    jumps: tuple[Any, ...]
    finite: Any


class DevicePrograms:
    """The programs of a network for ``batch`` patches at a time.

    ``patch``: of the grid, which may have an axis more than the network: patches of one slice. ``precision``:
    "float32" or "mixed", as the network was loaded.
    """

    def __init__(self, network: LoadedNetwork, patch: Shape, batch: int, precision: str) -> None:
        from seg_batch.nn.backend import keras
        from seg_batch.nn.engines.device.backends import backend_of

        self.patch, self.batch, self.rank = patch, batch, network.rank
        self.channels, self.classes = network.channels, max(network.outputs, 2)
        self._ops, self._backend = keras.ops, backend_of(keras.backend.backend())
        shape = (batch, *patch[-network.rank :], network.channels)
        self._forward = self._backend.network(network.keras_model, shape, precision)
        self._fills: dict[tuple[bool, int], Any] = {}
        self._finishes: dict[bool, Any] = {}
        self._add = self._backend.compiled(self._added, donated=(0,))
        self.wait, self.fetch = self._backend.wait, self._backend.fetch

    def upload(
        self, values: np.ndarray, valid: np.ndarray | None, affine: Sequence[np.ndarray]
    ) -> Slab:
        """Rows of stored values, on their way to the device."""
        put = self._backend.put
        return Slab(put(values), None if valid is None else put(valid), tuple(map(put, affine)))

    def empty_batch(self) -> Any:
        return self._ops.zeros((self.batch, *self.patch, self.channels), "float32")

    def empty_band(self, width: Shape) -> tuple[Any, Any, Any]:
        """The sums of ``patch[0]`` rows, those of the row above, and whether all is finite."""
        shape = (self.patch[0], *width, self.classes)
        return (
            self._ops.zeros(shape, "float32"),
            self._ops.zeros((1, *shape[1:]), "float32"),
            self._ops.ones((), "bool"),
        )

    def fill(self, batch: Any, slab: Slab, starts: np.ndarray, mine: np.ndarray) -> Any:
        """``batch`` with the patches at ``starts`` (int32 ``(batch, axes)``, in the slab) in the places that are
        ``mine`` (bool)."""
        key = slab.valid is not None, len(slab.affine)
        if key not in self._fills:
            self._fills[key] = self._backend.compiled(self._filled)
        put = self._backend.put
        return self._fills[key](batch, slab.values, slab.valid, slab.affine, put(starts), put(mine))

    def compute(self, batch: Any) -> Any:
        """Probabilities ``(batch, *patch, K)`` of a batch."""
        flat = (self.batch, *self.patch[-self.rank :], self.channels)
        y = self._forward(self._ops.reshape(batch, flat))
        return self._ops.reshape(y, (self.batch, *self.patch, self.classes))

    def add(
        self,
        band: tuple[Any, Any, Any],
        probabilities: Any,
        starts: np.ndarray,
        rows: Sequence[np.ndarray],
        mine: np.ndarray,
    ) -> tuple[Any, Any, Any]:
        """The band with the patches that are ``mine`` added at ``starts``, in the order of their places;
        ``rows``: the taper along each axis, float32 ``(batch, patch side)``."""
        put = self._backend.put
        sums, above, finite = band
        tapers = tuple(map(put, rows))
        sums, finite = self._add(sums, finite, probabilities, put(starts), tapers, put(mine))
        return sums, above, finite

    def finish(
        self,
        band: tuple[Any, Any, Any],
        rows: int,
        planes: Sequence[np.ndarray],
        probabilities: bool,
    ) -> tuple[tuple[Any, Any, Any], Finished]:
        """The band moved on by ``rows``, and what its rows have become. ``planes``: int32, for each axis the planes
        whose jumps come back; plane ``p`` lies between voxels ``p - 1`` and ``p`` of the band."""
        if probabilities not in self._finishes:
            self._finishes[probabilities] = self._backend.compiled(
                self._with_probabilities if probabilities else self._labels_alone
            )
        put = self._backend.put
        sums, above, finite = band
        indices = tuple(map(put, planes))
        sums, above, winners, shares, jumps = self._finishes[probabilities](
            sums, above, put(np.array(rows, np.int32)), indices
        )
        self._backend.start_fetch([winners, *jumps, finite, *([] if shares is None else [shares])])
        return (sums, above, finite), Finished(winners, shares, tuple(jumps), finite)

    def _filled(
        self, batch: Any, values: Any, valid: Any, affine: tuple[Any, ...], starts: Any, mine: Any
    ) -> Any:
        ops, parts = self._ops, []
        values = ops.cast(values, "float32")
        for i in range(self.batch):
            start = [*(starts[i, k] for k in range(len(self.patch))), 0]
            sides = (*self.patch, self.channels)
            part = _normalised(ops, ops.slice(values, start, sides), affine)
            if valid is not None:
                seen = ops.slice(ops.cast(valid, "float32"), start, sides)
                part = ops.where(seen > 0, part, ops.zeros_like(part))
            parts.append(ops.where(mine[i], part, batch[i]))
        return ops.stack(parts)

    def _added(
        self, sums: Any, finite: Any, probabilities: Any, starts: Any, tapers: Any, mine: Any
    ) -> tuple[Any, Any]:
        ops = self._ops
        for i in range(self.batch):
            start = [*(starts[i, k] for k in range(len(self.patch))), 0]
            before = ops.slice(sums, start, (*self.patch, self.classes))
            weights = tapers[0][i]
            for taper in tapers[1:]:
                weights = weights[..., None] * taper[i]
            each = probabilities[i]
            after = ops.where(mine[i], before + each * weights[..., None], before)
            sums = self._backend.written(sums, start, after)
            fine = ops.all(ops.isfinite(each))
            finite = ops.logical_and(finite, ops.logical_or(fine, ops.logical_not(mine[i])))
        return sums, finite

    def _labels_alone(self, sums: Any, above: Any, rows: Any, planes: Any) -> Any:
        ops = self._ops
        dtype = "uint8" if self.classes <= 256 else "uint16"
        winners = ops.cast(self._first_of_largest(sums), dtype)
        joined = ops.concatenate([above, sums])
        jumps = [self._jumps(joined, planes[0] + 1, 0)]
        jumps += [self._jumps(sums, each, axis) for axis, each in enumerate(planes[1:], 1)]
        places = ops.arange(self.patch[0], dtype="int32") + rows
        moved = ops.take(sums, ops.minimum(places, self.patch[0] - 1), axis=0)
        there = ops.reshape(places < self.patch[0], (-1, *(1,) * len(self.patch)))
        moved = ops.where(there, moved, ops.zeros_like(moved))
        last = ops.take(joined, ops.reshape(rows, (1,)), axis=0)
        return moved, last, winners, None, jumps

    def _first_of_largest(self, sums: Any) -> Any:
        """The argmax, of equals the first: libraries do not say which theirs is on a GPU."""
        ops = self._ops
        classes = ops.arange(self.classes, dtype="int32")
        largest = ops.max(sums, axis=-1, keepdims=True)
        return ops.min(ops.where(sums >= largest, classes, self.classes - 1), axis=-1)

    def _with_probabilities(self, sums: Any, above: Any, rows: Any, planes: Any) -> Any:
        ops = self._ops
        moved, last, winners, _, jumps = self._labels_alone(sums, above, rows, planes)
        shares = ops.cast(ops.round(ops.clip(sums, 0.0, 1.0) * 255.0), "uint8")
        return moved, last, winners, ops.moveaxis(shares, -1, 0), jumps

    def _jumps(self, sums: Any, planes: Any, axis: int) -> Any:
        ops = self._ops
        beside = ops.take(sums, planes - 1, axis=axis), ops.take(sums, planes, axis=axis)
        return ops.sum(ops.abs(beside[0] - beside[1]), axis=-1)


def _normalised(ops: Any, values: Any, affine: tuple[Any, ...]) -> Any:
    """``Normaliser`` on the device: the same steps in the same order, in float32."""
    if not affine:
        return values
    *clip, gain, shift = affine
    if clip:
        scale, offset, low, high = clip
        values = ops.clip(values * scale + offset, low, high)
    values = values * gain + shift
    return ops.where(ops.isfinite(values), values, ops.zeros_like(values))
