"""The random field as its equations say it: every pair of voxels, in double precision."""

import itertools
import math

import numpy as np
import numpy.typing as npt

from seg_batch.config.postprocess import CrfStep

Pairs = dict[tuple[tuple[int, ...], tuple[int, ...]], float]


def softmax(x: npt.NDArray) -> npt.NDArray:
    e = np.exp(x - x.max())
    return e / e.sum()


def pairs(
    image: npt.NDArray, usable: npt.NDArray, step: CrfStep, spacing: tuple[float, ...]
) -> tuple[Pairs, Pairs]:
    """``a(i, j)`` and ``b(i, j)`` of all pairs of usable voxels that have one."""
    places = [i for i in itertools.product(*map(range, usable.shape)) if usable[i]]
    near: Pairs = {}
    alike: Pairs = {}
    for i, j in itertools.permutations(places, 2):
        apart = [abs(a - b) * s / min(spacing) for a, b, s in zip(i, j, spacing, strict=True)]
        square = sum(d * d for d in apart)
        if max(apart) <= step.radius:
            near[i, j] = math.exp(-square / (2 * step.sigma**2))
        if square <= step.radius**2:
            colour = float(np.mean((image[i].astype(float) - image[j]) ** 2))
            alike[i, j] = math.exp(-square / (2 * step.reach**2) - colour / (2 * step.contrast**2))
    return near, alike


def marginals(
    probabilities: npt.NDArray,
    image: npt.NDArray,
    valid: npt.NDArray,
    step: CrfStep,
    spacing: tuple[float, ...],
) -> npt.NDArray:
    """``Q`` after the iterations, ``(classes, *shape)``; a voxel that is not valid: ``softmax(-u)``."""
    scale = 255 if probabilities.dtype == np.uint8 else 1
    minus_u = np.log(np.maximum(probabilities / scale, 1 / 510))
    usable = valid & np.isfinite(image).all(axis=-1)
    kernels = pairs(image, usable, step, spacing)
    places = [i for i in itertools.product(*map(range, usable.shape)) if usable[i]]
    belief = np.apply_along_axis(softmax, 0, minus_u)
    for _ in range(step.iterations):
        fresh = belief.copy()
        for i in places:
            x = minus_u[(slice(None), *i)].copy()
            for kernel, weight in zip(kernels, (step.smooth, step.bilateral), strict=True):
                weights = {j: kernel[i, j] for j in places if (i, j) in kernel}
                heard = sum(k * belief[(slice(None), *j)] for j, k in weights.items())
                x += weight * heard / (1 + sum(weights.values()))
            fresh[(slice(None), *i)] = softmax(x)
        belief = fresh
    return belief
