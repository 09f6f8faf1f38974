"""A conditional random field over the probabilities: labels follow the edges of the image.

The fully connected model of Kraehenbuehl and Koltun (NIPS 2011, arXiv:1210.5644) with kernels cut
off at a radius, as in ConvCRF (Teichmann and Cipolla 2018, arXiv:1805.04777), so that a voxel depends
on a finite neighbourhood and blocks with a halo give the bytes of the whole image.

Voxels ``i, j`` at ``p_i`` (distances in units of the finest voxel side) with colours ``f_i`` of ``C``
channels, Potts compatibility::

    E(x)    = sum_i u_i(x_i) + 1/2 sum_i sum_{j != i} w(i, j) [x_i != x_j]
    u_i(l)  = -log max(P_i(l), 1/510)              1/510: half a step of stored probabilities
    w(i, j) = smooth a(i, j) / sum_k a(i, k)  +  bilateral b(i, j) / sum_k b(i, k)
    a(i, j) = exp(-|p_i - p_j|^2 / 2 sigma^2)      for |p_i - p_j| <= radius along each axis
    b(i, j) = exp(-|p_i - p_j|^2 / 2 reach^2 - |f_i - f_j|^2 / 2 C contrast^2)
                                                   for |p_i - p_j| <= radius

Mean field, all voxels at once, ``iterations`` times from ``Q = softmax(-u)``::

    Q~_i(l) = sum_{j != i} w(i, j) Q_j(l)
    Q_i     = softmax(-u_i + Q~_i)

``j`` and ``k`` run over valid voxels inside the image. The sums over ``k`` include ``i`` itself (1), so a voxel
unlike all its neighbours gets almost no message by ``b``; at a border or beside invalid voxels
fewer neighbours send messages, each with more weight. Divided on one side like this, ``w(i, j)`` and ``w(j, i)`` differ; the update takes
the first where descent on E would take their mean (what "fully connected" implementations call
normalisation after filtering). The result is the argmax of the last ``-u_i + Q~_i``, the first of equals.
A voxel that is not valid keeps the winner of its own probabilities.

Law: the result at a voxel depends on what lies within ``radius * iterations`` along each axis, and on
nothing else, to the last bit (on one kind of processor: ``exp`` and ``log`` are NumPy's).
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from seg_batch.config.postprocess import CrfStep
from seg_batch.core.geometry import Blocks, Box, Shape
from seg_batch.core.hardware import cores
from seg_batch.inference.postprocess.crf_kernels import (
    Array,
    Bilateral,
    Flat,
    Gaussian,
    PatchPart,
    crf_winners,
    half_ball,
    normalised,
)

FLOOR = 1 / 510
PART_BYTES = 256 << 20  # what one thread works in: 8 classes in parts of some 1000 x 1000 voxels
BRIGHTEST = 1e6  # normalised values beyond are taken as this: their squares would overflow


def halo(step: CrfStep) -> int:
    """Voxels around a block, on each side and axis, that its result depends on."""
    return step.radius * step.iterations


def refine(
    probabilities: npt.NDArray,
    image: npt.NDArray,
    valid: npt.NDArray[np.bool_] | None,
    step: CrfStep,
    *,
    core: Box | None = None,
    spacing: tuple[float, ...] | None = None,
    threads: int | None = None,
) -> npt.NDArray:
    """Index of the winning class in ``core`` (all of it when None): uint8, uint16 above 256 classes.

    ``probabilities`` ``(classes, *shape)``: uint8 (0..255 for 0..1) or floats; ``image`` ``(*shape,
    channels)``, normalised; a voxel with a value that is not finite counts as not valid. ``core`` in
    voxels of ``shape``: what else there is serves as its halo. ``spacing``: sides of a voxel, in any unit.
    It works in parts, one per thread at a time (``working_bytes``); threads None: one per core.
    """
    shape = probabilities.shape[1:]
    if image.shape[:-1] != shape:
        raise ValueError(f"probabilities of {shape} and an image of {image.shape[:-1]} voxels")
    if probabilities.dtype != np.uint8 and probabilities.dtype.kind != "f":
        raise ValueError(
            f"probabilities as {probabilities.dtype}: their scale is known for uint8 only"
        )
    valid = np.ones(shape, bool) if valid is None else valid
    core, spacing, threads = core or Box.whole(shape), relative(spacing, shape), threads or cores()
    result = np.empty(core.shape, np.uint8 if len(probabilities) <= 256 else np.uint16)

    def work(place: Box) -> None:
        wanted = place.shift(core.start)
        held = wanted.grown((halo(step),) * len(shape)).intersection(Box.whole(shape))
        at, inner = held.slices(), wanted.shift(tuple(-a for a in held.start))
        part, belief = prepare_crf(probabilities[:, *at], image[at], valid[at], step, spacing)
        logits = part.flat.take(part.infer(belief, step.iterations, inner))
        result[place.slices()] = crf_winners(logits[:, *inner.slices()])

    each = voxel_bytes(len(probabilities), image.shape[-1], spacing, step)
    parts = Blocks(core.shape, part_shape(core.shape, halo(step), each, threads))
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, (part.box for part in parts)))
    return result


def working_bytes(
    core: Shape,
    classes: int,
    channels: int,
    step: CrfStep,
    spacing: tuple[float, ...] | None,
    threads: int,
) -> int:
    """The most that ``refine`` holds besides its arguments and its result: ``threads`` parts with their
    halos. More than ``PART_BYTES`` for each only where the halo alone is wider than such a part."""
    each = voxel_bytes(classes, channels, relative(spacing, core), step)
    shape = part_shape(core, halo(step), each, threads)
    parts = min(threads, len(Blocks(core, shape)))
    return parts * each * math.prod(n + 2 * halo(step) for n in shape)


def relative(spacing: tuple[float, ...] | None, shape: Shape) -> tuple[float, ...]:
    """Sides of a voxel in units of the smallest, to a thousandth: the rounding of a header must not put
    a neighbour out of reach. None: all alike."""
    return tuple(round(s / min(spacing), 3) for s in spacing) if spacing else (1.0,) * len(shape)


def voxel_bytes(classes: int, channels: int, spacing: tuple[float, ...], step: CrfStep) -> int:
    """Bytes of a part per voxel: three arrays of the classes, two of the colours, the pairs, the mask
    and the scales."""
    pairs = len(half_ball(step.radius, spacing)) if step.bilateral else 0
    return 4 * (3 * classes + pairs + 2 * channels + 3)


def part_shape(core: Shape, halo: int, each: int, threads: int) -> Shape:
    """The core, its longest side halved until a part with its halo, ``each`` bytes a voxel, fits
    ``PART_BYTES`` and no thread is idle; but not below twice the halo, where the halo is most of the work."""
    shape = list(core)
    while max(shape) > 4 * halo:
        held = math.prod(n + 2 * halo for n in shape)
        if held * each <= PART_BYTES and len(Blocks(core, tuple(shape))) >= threads:
            break
        longest = shape.index(max(shape))
        shape[longest] = -(-shape[longest] // 2)
    return tuple(shape)


def prepare_crf(
    probabilities: npt.NDArray,
    image: npt.NDArray,
    valid: npt.NDArray[np.bool_],
    step: CrfStep,
    spacing: tuple[float, ...],
) -> tuple[PatchPart, Array]:
    """The random field of a part, and the belief it begins with."""
    flat = Flat(valid.shape, tuple(int(step.radius / s) for s in spacing))
    usable = valid & np.isfinite(image).all(axis=-1)
    mask = flat.put(usable[None].astype(np.float32))[0]
    stored = flat.put(probabilities)
    unary, belief = np.zeros((2, *stored.shape), np.float32)
    for chunk in flat.chunks(len(stored)):
        np.log(_floored(stored[:, chunk]), out=unary[:, chunk])
        normalised(np.exp(unary[:, chunk]), mask[chunk], belief[:, chunk])
    kernels = (_gaussian(flat, mask, step, spacing), _bilateral(flat, mask, image, step, spacing))
    return PatchPart(flat, mask, unary, kernels), belief


def _floored(probabilities: npt.NDArray) -> Array:
    """Between ``FLOOR`` and 1, as float32."""
    if probabilities.dtype == np.uint8:
        table = np.maximum(np.arange(256, dtype=np.float32) / np.float32(255), np.float32(FLOOR))
        return table[probabilities]
    floored = np.fmax(probabilities, np.float32(FLOOR), dtype=np.float32)  # NaN, too
    return np.minimum(floored, 1, out=floored)


def _gaussian(
    flat: Flat, mask: Array, step: CrfStep, spacing: tuple[float, ...]
) -> Gaussian | None:
    if not step.smooth:
        return None
    taps = tuple(
        tuple(math.exp(-((k * s) ** 2) / (2 * step.sigma**2)) for k in range(1, reach + 1))
        for s, reach in zip(spacing, flat.reach, strict=True)
    )
    return Gaussian.of(flat, mask, taps, step.smooth)


def _bilateral(
    flat: Flat, mask: Array, image: npt.NDArray, step: CrfStep, spacing: tuple[float, ...]
) -> Bilateral | None:
    if not step.bilateral:
        return None
    unit = step.contrast * math.sqrt(2 * image.shape[-1])
    colour = flat.put(np.moveaxis(image, -1, 0).astype(np.float32, copy=False))
    for chunk in flat.chunks(len(colour)):
        values = np.nan_to_num(colour[:, chunk])  # those not valid weigh nothing below
        np.multiply(
            np.clip(values, -BRIGHTEST, BRIGHTEST), np.float32(1 / unit), out=colour[:, chunk]
        )
    squares = half_ball(step.radius, spacing)
    ball = [(displacement, square / (2 * step.reach**2)) for displacement, square in squares]
    return Bilateral.of(flat, colour, mask, ball, step.bilateral)
