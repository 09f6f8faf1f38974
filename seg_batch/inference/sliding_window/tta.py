"""Test-time augmentation: a patch is predicted in several views, and the results are averaged.

A view is the patch turned or mirrored: an exact permutation of its voxels, undone exactly on the
result. With ``p`` the predictor and ``G`` the symmetries of a name::

    averaged(p)(x) = 1/|G|  sum over g in G of  g^-1( p( g(x) ) )

``flips``: mirrored along each set of axes, 4 views in 2-D and 8 in 3-D; ``flips:y,x``: of these axes. ``d4``: the 8 symmetries of
the square in the last two axes. ``d4z``: those times a flip of z, 16 views. Every set is a group, and
so the average of any predictor commutes with all of its symmetries.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seg_batch.config.predict_options import TTA
from seg_batch.core.errors import PlanError
from seg_batch.core.geometry import Shape
from seg_batch.core.text import nearest
from seg_batch.inference.sliding_window.stitch import Predictor


@dataclass(frozen=True)
class Symmetry:
    """Swap the last two spatial axes (or not), then mirror along ``flipped`` (spatial axes from 0)."""

    swapped: bool = False
    flipped: tuple[int, ...] = ()

    def of(self, patches: np.ndarray) -> np.ndarray:
        """``(n, *patch, k)`` to its view, in C order; the array itself where nothing changes."""
        turned = patches.swapaxes(-3, -2) if self.swapped else patches
        return np.ascontiguousarray(self._mirrored(turned))

    def back(self, view: np.ndarray) -> np.ndarray:
        """The inverse: ``s.back(s.of(x)) == x``. Shares memory with ``view``."""
        turned = self._mirrored(view)
        return turned.swapaxes(-3, -2) if self.swapped else turned

    def _mirrored(self, patches: np.ndarray) -> np.ndarray:
        return np.flip(patches, tuple(axis + 1 for axis in self.flipped))


def symmetries(tta: str, patch: Shape) -> tuple[Symmetry, ...]:
    """What ``tta`` does to patches of this shape (the model's axes), the identity first.

    PlanError for an unknown name, and for a patch without these symmetries.
    """
    _require_known(tta)
    rank = len(patch)
    if tta == "none":
        return (Symmetry(),)
    name, _, along = tta.partition(":")
    if name == "flips":
        axes = _axes(along, rank) if along else range(rank)
        return tuple(Symmetry(False, flipped) for flipped in _subsets(axes))
    if patch[-1] != patch[-2]:
        sides = " x ".join(map(str, patch))
        raise PlanError(
            f"--tta {tta} turns the last two axes into each other, and the model's patch is {sides}: "
            "use --tta flips, which any patch has"
        )
    if tta == "d4z" and rank != 3:
        raise PlanError(f"--tta d4z mirrors z, and the model is {rank}-D: use --tta d4")
    mirrored = range(0 if tta == "d4z" else rank - 2, rank)
    return tuple(Symmetry(s, axes) for s in (False, True) for axes in _subsets(mirrored))


def average_views(predictor: Predictor, tta: str) -> Predictor:
    """The mean of ``predictor`` over the views of each patch, float32; itself for ``none``.

    Every view is a call of its own with all patches, in a fixed order. The sum is taken in pairs of
    pairs: equal results average to exactly themselves, and log2(views) + 1 of them are held.
    """
    _require_known(tta)
    if tta == "none":
        return predictor

    def mean(patches: np.ndarray) -> np.ndarray:
        views = symmetries(tta, patches.shape[1:-1])
        return _sum(predictor, patches, views) / np.float32(len(views))

    return mean


def _sum(predictor: Predictor, patches: np.ndarray, views: Sequence[Symmetry]) -> np.ndarray:
    if len(views) == 1:
        return views[0].back(predictor(views[0].of(patches)))
    half = len(views) // 2
    return _sum(predictor, patches, views[:half]) + _sum(predictor, patches, views[half:])


def _subsets(axes: Sequence[int]) -> list[tuple[int, ...]]:
    """All subsets of ``axes``, the empty one first."""
    return [c for n in range(len(axes) + 1) for c in itertools.combinations(axes, n)]


def _axes(along: str, rank: int) -> list[int]:
    """Those of ``y,x``; PlanError for ``z`` of a 2-D model."""
    names = "zyx"[3 - rank :]
    if along.startswith("z") and rank != 3:
        raise PlanError(
            f"--tta flips:{along} mirrors z, and the model is {rank}-D: use --tta flips"
        )
    return [names.index(name) for name in along.split(",")]


def _require_known(tta: str) -> None:
    if tta not in TTA:
        raise PlanError(f"there is no --tta {tta[:40]!r}; {nearest(tta, TTA)}")
