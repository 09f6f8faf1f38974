"""How far the border effect of a patch reaches, measured on a finished model.

The same voxels are predicted twice: near the border of one patch, and nearer to the middle of a
second patch, shifted by about half a patch along one axis::

    first    |---------------------|
                          .........  <- the outer voxels of the first, well inside the second
    second              |---------------------|
                         .........   <- and the other way round

The image is the same, so differences come from the position in the patch. In the other axes only the
middle half is compared, so that each axis is measured alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seg_batch.config.card import Border
from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box, Shape
from seg_batch.core.normalise import Pixels
from seg_batch.inference.sliding_window.stitch import Predictor, cut

LEAST = 0.01  # of the foreground voxels: less is not visible
SHARE = 0.1  # of the disagreement at the border: removing the last tenth costs more than it gains
PAIRS, FEWEST = 24, 4  # pairs of patches per axis
CHANCE = 2.0  # standard deviations by which few voxels may lie above the threshold
_ROWS = 3  # distances compared together, since a single one may hold few voxels
_UNIT = 16  # a network with four poolings sees the same phase of the image after a shift of 16
_BLEND = 16  # a sixteenth of the patch beyond the margins lets neighbours fade into each other


@dataclass
class _Tally:
    """Counts by distance to the border of the patch: 0 is the outermost voxel."""

    agreed: np.ndarray  # (distances, classes): both predictions chose this class
    voxels: np.ndarray  # (distances,)
    difference: np.ndarray  # (distances,): sum of sum_k |p_k - q_k| / 2, the total variation

    def add(self, d: int, p: np.ndarray, q: np.ndarray) -> None:
        """Voxels at distance ``d``: probabilities ``(..., classes)`` near a border and inside."""
        a, b = p.argmax(axis=-1).ravel(), q.argmax(axis=-1).ravel()
        self.agreed[d] += np.bincount(a[a == b], minlength=p.shape[-1])
        self.voxels[d] += a.size
        self.difference[d] += np.abs(p - q).sum(dtype=np.float64) / 2

    @property
    def apart(self) -> np.ndarray:
        """Voxels at each distance whose two labels differ."""
        return self.voxels - self.agreed.sum(axis=1)

    @property
    def foreground(self) -> np.ndarray:
        """Voxels at each distance that either prediction puts outside the commonest class.

        Disagreement is a share of these: a volume of little but background agrees on nearly all of
        its voxels whatever the model does.
        """
        common = int(self.agreed.sum(axis=0).argmax())
        return self.voxels - self.agreed[:, common]

    def curves(self, threshold: float, reached: int) -> dict[str, Any]:
        """The curves of one axis as JSON, outermost voxel first."""
        difference = self.difference / np.maximum(self.voxels, 1)
        return {
            "disagreement": [round(float(v), 5) for v in _rate(self.apart, self.foreground)],
            "difference": [round(float(v), 5) for v in difference],
            "voxels": self.foreground.tolist(),
            "threshold": round(threshold, 5),
            "reaches_further": reached == len(self.voxels),
        }


def pairs_within(seconds: float, patch: Shape, patch_s: float) -> int:
    """The pairs per axis that can be predicted in the time, where a patch takes ``patch_s``; all of ``PAIRS`` at
    most, and ``FEWEST`` in any case."""
    return max(FEWEST, int(min(PAIRS, seconds / (2 * len(patch) * max(patch_s, 1e-9)))))


def _place(rng: np.random.Generator, extent: Shape, patch: Shape, axis: int, shift: int) -> Shape:
    """A random start: both patches inside the image, or mirrored around it along axes where it is
    too small for them."""
    room = (
        n - p - (shift if k == axis else 0)
        for k, (n, p) in enumerate(zip(extent, patch, strict=True))
    )
    return tuple(int(rng.integers(min(0, r), max(0, r) + 1)) for r in room)


def _compare(tally: _Tally, first: np.ndarray, second: np.ndarray, axis: int, shift: int) -> None:
    """Both borders that lie inside the other patch: ``first``'s far one, ``second``'s near one."""
    middle = [slice(n // 4, n - n // 4) for n in first.shape[:-1]]
    middle[axis] = slice(None)
    a = np.moveaxis(first[tuple(middle)], axis, 0)
    b = np.moveaxis(second[tuple(middle)], axis, 0)
    side = len(a)
    for d in range(len(tally.voxels)):
        tally.add(d, a[side - 1 - d], b[side - 1 - d - shift])
        tally.add(d, b[d], a[d + shift])


def _measure(
    predictor: Predictor,
    patch: Shape,
    images: Sequence[np.ndarray],
    axis: int,
    pairs: int,
    seed: int,
) -> _Tally | None:
    """None along an axis of fewer than four voxels: there is no inside."""
    n, unit, rng = (
        patch[axis] // 4,
        math.gcd(_UNIT, patch[axis]),
        np.random.default_rng((seed, axis)),
    )
    # About half a patch, in whole units where the patch is, so that pooling windows coincide.
    shift = max(1, patch[axis] // 2 // unit * unit)
    tally: _Tally | None = None
    seen: set[tuple[int, Shape]] = set()  # the same pair twice would count as twice the evidence
    for i in range(pairs if n else 0):
        image = images[i % len(images)]
        extent = image.shape[:-1]
        start = _place(rng, extent, patch, axis, shift)
        if (i % len(images), start) in seen:
            continue
        seen.add((i % len(images), start))
        moved = tuple(s + (shift if k == axis else 0) for k, s in enumerate(start))
        first, second = (
            predictor(
                cut(Pixels(image), Box.whole(extent), Box.at(at, patch), extent).values[None]
            )[0]
            for at in (start, moved)
        )
        if tally is None:
            agreed = np.zeros((n, first.shape[-1]), np.int64)
            tally = _Tally(agreed, np.zeros(n, np.int64), np.zeros(n))
        _compare(tally, first, second, axis, shift)
    return tally


def _rate(apart: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    return np.divide(apart, foreground, out=np.zeros(len(foreground)), where=foreground > 0)


def _ahead(counts: np.ndarray) -> np.ndarray:
    """``sum counts[d : d + _ROWS]`` for every d."""
    return np.convolve(counts, np.ones(_ROWS, counts.dtype))[_ROWS - 1 :]


def reach(apart: np.ndarray, foreground: np.ndarray, threshold: float) -> int:
    """The smallest distance from which on the disagreement ``apart / foreground`` stays at or below
    the threshold ``t``, except for chance: ``apart <= t foreground + CHANCE sqrt(t foreground)``, each
    summed over three distances, itself and the next two."""
    apart, allowed = _ahead(apart), threshold * _ahead(foreground)
    above = np.flatnonzero(apart > allowed + CHANCE * np.sqrt(allowed))
    return int(above[-1]) + 1 if len(above) else 0


def recommended(patch: int, reached: int) -> tuple[int, int]:
    """``(overlap, margin)`` of one axis: the margin is the reach, the overlap both margins and a
    sixteenth of the patch to fade in; never more than half a patch, which costs 2^rank tiles."""
    fade = -(-patch // _BLEND)
    overlap = min(2 * reached + fade, patch // 2)
    return overlap, min(reached, max(0, overlap - fade) // 2)


def measure_border(
    predictor: Predictor,
    patch: Shape,
    images: Sequence[np.ndarray],
    *,
    pairs: int = PAIRS,
    least: float = LEAST,
    share: float = SHARE,
    seed: int = 0,
) -> Border:
    """How far the border effect reaches into a patch, and the overlap and margin that follow.

    ``predictor``: ``(1, *patch, channels) -> (1, *patch, classes)``, probabilities. ``images``:
    normalised ``(*spatial, channels)``, mirrored where smaller than a patch and a half. The reach
    of an axis is the smallest distance (voxels) from which on the label disagreement (of the
    foreground voxels) stays at or below ``max(least, share * the worst)``: a floor, because a network
    never agrees with itself to the last voxel, and a share, because a far reach is costly to leave
    out. At most a quarter of a patch can be measured; ``how`` holds the curves and says where the
    effect reaches further. InputError without images.
    """
    if not images or any(image.ndim != len(patch) + 1 for image in images):
        raise InputError(
            f"the border of a {len(patch)}-D patch is measured on images of (*spatial, channels): "
            "give at least one of that rank"
        )
    axes: list[tuple[int, int, int]] = []
    curves: list[dict[str, Any]] = []
    for axis in range(len(patch)):
        tally = _measure(predictor, patch, images, axis, pairs, seed)
        if tally is None:
            axes.append((0, 0, 0))
            curves.append({"disagreement": [], "difference": [], "voxels": []})
            continue
        worst = float(_rate(_ahead(tally.apart), _ahead(tally.foreground)).max())
        threshold = max(least, share * worst)
        reached = reach(tally.apart, tally.foreground, threshold)
        axes.append((reached, *recommended(patch[axis], reached)))
        curves.append(tally.curves(threshold, reached))
    reaches, overlap, margin = zip(*axes, strict=True)
    how = {"patch": list(patch), "pairs": pairs, "least": least, "share": share, "axes": curves}
    return Border(reach=reaches, overlap=overlap, margin=margin, how=how)
