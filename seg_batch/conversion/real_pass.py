"""What a real pass over noise says of a network: whether its output is what people say, and where it lies.

Everything here takes raw outputs, channels last; the reasons come in one line with the option that mends it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np

from seg_batch.config.card_parts.network import Network, Output
from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Shape
from seg_batch.nn.engines.output import classes_of

SUM = 0.01  # tolerance of sums and limits of probabilities: bfloat16 has 8 bits
FINEST = 8
LOUD = 8  # deviations: raw scores of a louder image reach further
LOUDEST = 4096  # by which small raw scores, too, leave 0..1
SPOTS = (0.1, 0.25, 0.4)  # of a side from the middle, another along each axis
MOVED, ALIKE = (
    0.2,
    0.05,
)  # a change that moves less, or about as well this way as that, tells nothing of places
COARSEST = 32  # stride
OFF = 2.0  # voxels: weights are seldom the same on both sides

type Raw = Callable[[np.ndarray], np.ndarray]  # (1, *sides, channels) -> (1, *sides, outputs)


@dataclass(frozen=True)
class OutputGrid:
    """Where the output lies: ``finer`` voxels per voxel and axis, less ``shrink`` voxels of the input per side."""

    finer: int
    shrink: Shape | None


def require_meaning(
    run: Raw, image: np.ndarray, y: np.ndarray, network: Network, where: str
) -> None:
    """InputError unless ``y``, the output for ``image``, is finite, of as many outputs as the classes need, and what
    ``network.output`` says: probabilities that sum to 1, or each alone, or raw scores."""
    if not np.isfinite(y).all():
        raise InputError(
            f"{where} gives values that are not finite for plain noise: its weights are damaged, or it divides by a "
            "deviation of 0; export it again"
        )
    require_classes(y.shape[-1], network, where)
    if network.output.gives == "logits":
        louder = [run(np.float32(times) * image) for times in (LOUD, LOUDEST)]
        _require_raw(np.concatenate([y, *louder]), network.output, where)
    else:
        _require_probabilities(y, network.output, where)


def require_classes(outputs: int, network: Network, where: str) -> None:
    """InputError unless so many outputs are the classes of the card."""
    classes, count = network.classes, classes_of(outputs, network)
    output = network.output
    if output.classes == "independent" and output.threshold != 0.5 and network.background is None:
        raise InputError(
            f"a threshold of {output.threshold:g} leaves voxels without a class, and none of {where} is the background: call it "
            "background, or give its id as background in a --card; without, the largest of them is taken: leave out --threshold"
        )
    if network.output.classes == "exclusive":
        if count == classes:
            return
        single = " (a single output is two classes)" if outputs == 1 else ""
        hint = " or --activation sigmoid where they do not exclude one another, and one of them is the background"
        raise InputError(
            f"{where} gives {count} classes{single} and {classes} are named: give --classes one name for each, in the "
            f"model's order{hint if outputs + 1 == classes else ''}"
        )
    if outputs + 1 == classes and network.background is None:
        raise InputError(
            f"{where} gives {outputs} outputs for {classes} classes, so one of them is the background, and which is not "
            "said: call it background, or give its id as background in a --card"
        )
    if count != classes:
        raise InputError(
            f"{where} gives {outputs} outputs, and {classes} classes are named: name each of them, and the background "
            "where there is one, in the model's order"
        )


def _require_raw(y: np.ndarray, output: Output, where: str) -> None:
    """InputError for probabilities, which a second softmax would make all alike."""
    done = _are_inside(y)
    if output.classes == "exclusive" and y.shape[-1] > 1:
        done = done and _sum_to_one(y)
    if done:
        raise InputError(
            f"{where} gives {y.min():.3g} to {y.max():.3g} however loud its input is, probabilities already: leave out --logits, "
            "or output.gives of a card"
        )


def _require_probabilities(y: np.ndarray, output: Output, where: str) -> None:
    if not _are_inside(y):
        raise InputError(
            f"{where} gives {y.min():.3g} to {y.max():.3g}, no probabilities but raw scores: use --logits, after which a "
            "softmax follows (a sigmoid for one output, or with --activation sigmoid)"
        )
    if y.shape[-1] == 1:
        return
    if output.classes == "exclusive" and not _sum_to_one(y):
        sums = y.sum(-1)
        raise InputError(
            f"{where} gives values in 0..1 that sum to {sums.min():.3g} to {sums.max():.3g} over the classes, which "
            "exclude one another here: use --activation sigmoid if they do not, or end the model with a softmax"
        )
    if output.classes == "independent" and _sum_to_one(y):
        raise InputError(
            f"{where} gives probabilities that sum to 1, those of classes that exclude one another: leave out "
            "--activation sigmoid"
        )


def _are_inside(y: np.ndarray) -> bool:
    return bool(y.min() >= -SUM and y.max() <= 1 + SUM)


def _sum_to_one(y: np.ndarray) -> bool:
    return bool(np.abs(y.sum(-1) - 1).max() <= SUM)


def output_grid(run: Raw, image: np.ndarray, y: np.ndarray, where: str) -> OutputGrid:
    """The grid of ``y``, the output for ``image``; InputError for one that is none of the input's, finer or smaller by a margin."""
    sides, out = image.shape[1:-1], y.shape[1:-1]
    pairs = list(zip(sides, out, strict=True)) if len(out) == len(sides) else []
    finer = {o // n for n, o in pairs if o % n == 0}
    if len(finer) == 1 and all(o % n == 0 for n, o in pairs):
        if (factor := finer.pop()) > FINEST:
            raise InputError(
                f"{where} gives {factor} voxels per voxel and axis, more than {FINEST}: such a product would be mostly "
                "invented; end the model at a coarser grid"
            )
        return OutputGrid(factor, None)
    if not pairs or any(o > n or (n - o) % 2 for n, o in pairs) or _is_coarser(run, image, y):
        raise InputError(
            f"{where} gives {_comma(out)} for a patch of {_comma(sides)}: the output's grid has to be the input's, less a "
            "margin that is the same on both sides, or a whole number of times finer along all axes; upsample to the "
            "input's sides"
        )
    return OutputGrid(1, tuple((n - o) // 2 for n, o in pairs))


def _is_coarser(run: Raw, image: np.ndarray, y: np.ndarray) -> bool:
    """Whether the output is a coarser grid over the whole patch, and not the middle of it: by where a spot shows."""
    sides, out = image.shape[1:-1], y.shape[1:-1]
    if any(n % o for n, o in zip(sides, out, strict=True)):
        return False
    spot = [(n - o) // 2 + o // 4 for n, o in zip(sides, out, strict=True)]
    other = image.copy()
    box = tuple(
        slice(max(0, p - n // 32), p + n // 32 + 1) for p, n in zip(spot, sides, strict=True)
    )
    other[0][box] += LOUD
    change = np.abs(run(other) - y)[0].sum(-1) ** 2
    if not change.any():
        return False
    seen = [np.average(axis, weights=change) for axis in np.indices(change.shape)]
    middle = [p - (n - o) // 2 for p, n, o in zip(spot, sides, out, strict=True)]
    coarse = [p * o / n for p, n, o in zip(spot, sides, out, strict=True)]
    far, near = (
        sum(((a - b) / o) ** 2 for a, b, o in zip(seen, place, out, strict=True))
        for place in (middle, coarse)
    )
    return bool(near < far)


def require_place(
    run: Raw, image: np.ndarray, y: np.ndarray, grid: OutputGrid, stride: Shape, where: str
) -> None:
    """InputError for an output that is mirrored or transposed within the patch, or lies beside its place.

    Two spots, opposite one another about the middle, are set into ``image``, whose output is ``y``. Where the change goes is compared with
    where they are: what a global layer changes everywhere is the same for both. Wide networks blur, so only what lies
    clearly elsewhere is refused. ``stride``: of the coarsest layers, within which places are not known.
    """
    sides, out = image.shape[1:-1], y.shape[1:-1]
    away = np.array([f * o for f, o in zip(SPOTS, out, strict=False)]) / grid.finer // 1
    seen = [_seen(run(_with_spot(image, away * sign)), y) for sign in (-1, 1)]
    if not all(seen):
        return
    (low, spread), (high, other) = filter(None, seen)
    right, moved = 2 * away * grid.finer, high - low
    if np.linalg.norm(moved / out) > MOVED * np.linalg.norm(right / out):
        _require_direction(moved / out, right / out, sides, where)
    if (np.abs(moved - right) > OFF * grid.finer).any():
        return
    shift = ((low + high) / 2 - (np.array(out) - 1) / 2) / grid.finer
    blur = np.maximum(spread, other) / grid.finer
    if (np.abs(shift) > OFF + np.minimum(stride, COARSEST) / 2 + blur).any():
        raise InputError(
            f"{where} gives an output that lies {', '.join(f'{n:.3g}' for n in shift)} voxels beside its input (along "
            f"{_axes(len(out))}): the map would be shifted; pad or crop the same on both sides and export it again"
        )


def _require_direction(moved: np.ndarray, right: np.ndarray, sides: Shape, where: str) -> None:
    """InputError where ``moved`` is clearly more like ``right`` with axes mirrored or exchanged than as it is."""
    axes = range(len(sides))
    best, alike = (tuple(axes), (1,) * len(sides)), _alike(moved, right)
    least = alike + ALIKE
    for order in permutations(axes):
        if any(sides[a] != sides[b] for a, b in zip(axes, order, strict=True)):
            continue
        for signs in product((1, -1), repeat=len(sides)):
            if (other := _alike(moved, right[list(order)] * signs)) > least:
                best, least = (order, signs), other
    order, signs = best
    names = _axes(len(sides)).split(",")
    faults = [f"mirrored along {n}" for n, sign in zip(names, signs, strict=True) if sign < 0]
    if list(order) != list(axes):
        faults.append(f"with its axes {','.join(names)} as {','.join(names[k] for k in order)}")
    if faults:
        raise InputError(
            f"{where} gives an output that is not placed as its input, but {' and '.join(faults)}: every patch of the map "
            "would be; leave the flip or transpose out and export it again"
        )


def _with_spot(image: np.ndarray, away: np.ndarray) -> np.ndarray:
    """``image`` louder in a small box, ``away`` voxels from its middle, the same about it for ``-away``."""
    other = image.copy()
    box = []
    for n, a in zip(image.shape[1:-1], away, strict=True):
        half = (n - 1) / 2
        box.append(np.abs(np.arange(n) - half - a) <= max(1, n // 64))
    other[0][np.ix_(*box)] += LOUD
    return other


def _seen(y: np.ndarray, before: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The middle of the strongest change and its deviation, along each axis; None where nothing changes."""
    change = np.abs(y - before)[0].sum(-1).astype(np.float64)
    if not (largest := change.max()) > 0:
        return None
    weights, places = (change / largest) ** 4, np.indices(change.shape)
    middle = np.array([np.average(axis, weights=weights) for axis in places])
    about = [(axis - n) ** 2 for axis, n in zip(places, middle, strict=True)]
    return middle, np.sqrt([np.average(axis, weights=weights) for axis in about])


def _alike(a: np.ndarray, b: np.ndarray) -> float:
    """The cosine of the angle between them."""
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / lengths) if lengths else 0.0


def _axes(rank: int) -> str:
    return ",".join("zyx"[3 - rank :])


def _comma(shape: Shape) -> str:
    return ",".join(map(str, shape))
