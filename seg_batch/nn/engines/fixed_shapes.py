"""Networks whose files fix the sides or the batch of what they take."""

from collections.abc import Callable, Sequence

import numpy as np

from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Shape
from seg_batch.nn.engines.batched import Forward
from seg_batch.nn.noise import noise

NEAR = 1e-3  # of the spread of scores: where rounding alone changes more, the batch is filled, which is right too


def require_sides(shape: Shape, fixed: Sequence[int | None]) -> None:
    """InputError unless patches of ``(batch, *sides, C)`` have the sides that a file fixes; None: an open one."""
    sides = shape[1:-1]
    if any(n not in (None, side) for n, side in zip(fixed, sides, strict=True)):
        words = ",".join("any" if n is None else str(n) for n in fixed)
        raise InputError(
            f"the model can't take patches of {','.join(map(str, sides))}: its file fixes {words}; use --patch {words}, "
            "or export it with open sides"
        )


def filled(forward: Forward, batch: int) -> Forward:
    """One patch through a network that takes exactly `batch`: as often as that."""

    def run(x: np.ndarray) -> np.ndarray:
        return forward(np.repeat(x, batch, axis=0))[:1]

    return run


def alone_or_filled(alone: Callable[[], Forward], whole: Forward, shape: Shape) -> Forward:
    """A network with its fixed batch made 1, where it takes that and computes the same; else `whole`.

    A batch that is written into the graph, in the shape of a group normalisation, may mix what it should not.
    """
    image = noise(shape)
    try:
        one = alone()
        a, b = one(image), whole(image)
    except InputError:
        return whole
    same = a.shape == b.shape and np.abs(a - b).max() <= NEAR * max(float(b.std()), 1e-6)
    return one if same else whole
