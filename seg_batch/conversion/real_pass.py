"""What a real pass over noise says of a network: whether its output is what people say, and where it lies.

Everything here takes raw outputs, channels last; the reasons come in one line with the option that mends it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from seg_batch.config.card_parts.network import Network, Output
from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Shape
from seg_batch.nn.engines.output import classes_of

SUM = 0.01  # tolerance of sums and limits of probabilities: bfloat16 has 8 bits
FINEST = 8
LOUD = 8  # deviations: raw scores of a louder image reach further
LOUDEST = 4096  # by which small raw scores, too, leave 0..1
SPOT = 0.3  # of a side from the middle
MOVED, CLEAR = (
    0.5,
    2.0,
)  # of its way, and times as far as along any other axis: less tells nothing of places
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

    Along each axis two spots, opposite one another about the middle, are set into ``image``, whose output is ``y``. Where
    the change goes is compared with where they are: what a global layer changes everywhere is the same for both. Wide
    networks blur, and trained ones answer to noise as they please: only what all axes say clearly is refused.
    ``stride``: of the coarsest layers, within which places are not known.
    """
    out = np.array(y.shape[1:-1])
    moves, middles, blurs = [], [], []
    for axis, side in enumerate(out):
        away = np.zeros(len(out))
        away[axis] = SPOT * side / grid.finer // 1
        low, high = (_seen(run(_with_spot(image, away * sign)), y) for sign in (-1, 1))
        if low is None or high is None or not away[axis]:
            return
        moves.append((high[0] - low[0]) / (2 * away[axis] * grid.finer) * side / out)
        middles.append((high[0] + low[0]) / 2)
        blurs.append(np.maximum(high[1], low[1]))
    _require_direction(np.array(moves), image.shape[1:-1], where)
    if (np.abs(np.array(moves) - np.eye(len(out))) * SPOT * out > OFF).any():
        return
    shift = (np.mean(middles, axis=0) - (out - 1) / 2) / grid.finer
    blur = np.max(blurs, axis=0) / grid.finer
    if (np.abs(shift) > OFF + np.minimum(stride, COARSEST) / 2 + blur).any():
        raise InputError(
            f"{where} gives an output that lies {', '.join(f'{n:.3g}' for n in shift)} voxels beside its input (along "
            f"{_axes(len(out))}): the map would be shifted; pad or crop the same on both sides and export it again"
        )


def _require_direction(moves: np.ndarray, sides: Shape, where: str) -> None:
    """InputError where a spot that moves along an axis (a row of ``moves``) moves the output clearly along another, or the
    other way, and so does one along each other axis."""
    axes = list(range(len(sides)))
    size = np.abs(moves)
    order = [int(row.argmax()) for row in size]
    strong = [
        row[k] >= MOVED and row[k] >= CLEAR * np.delete(row, k).max()
        for row, k in zip(size, order, strict=True)
    ]
    possible = sorted(order) == axes and all(sides[a] == sides[b] for a, b in enumerate(order))
    if not (all(strong) and possible):
        return
    names = _axes(len(sides)).split(",")
    faults = [f"mirrored along {names[k]}" for a, k in enumerate(order) if moves[a, k] < 0]
    if order != axes:
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


def _axes(rank: int) -> str:
    return ",".join("zyx"[3 - rank :])


def _comma(shape: Shape) -> str:
    return ",".join(map(str, shape))
