"""Which patches a Keras model of unknown make can take, and how much finer its output is.

Found out by laying the model out on shapes alone, which takes a millisecond.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from seg_batch.core import hardware, units
from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Shape
from seg_batch.nn.analysis.flops import activation_bytes
from seg_batch.nn.backend import keras

SIDE = {2: 256, 3: 64}  # of a patch, where neither the model nor the user says one
FINEST = 8
_ROUND = 6720  # 2^6 3 5 7: every stride that a network is likely to have divides it
_STRIDES = [m for m in range(1, 257) if _ROUND % m == 0]
_PRIMES = (11, 13)


def finer_of(model: keras.Model, sides: Sequence[int]) -> int | None:
    """Output voxels per input voxel and axis for a patch of `sides`; None: no whole number of them, or
    the model can't take such a patch."""
    shape = _laid(model, sides)
    if shape is None:
        return None
    times = {out / side for out, side in zip(shape, sides, strict=True)}
    factor = times.pop()
    return int(factor) if not times and factor.is_integer() and factor >= 1 else None


def _laid(model: keras.Model, sides: Sequence[int]) -> tuple[int, ...] | None:
    """The sides of what the model makes of a patch, from shapes alone; None: it can't take it."""
    try:
        found = model(keras.KerasTensor((1, *sides, model.input_shape[-1])))
    except Exception:  # whatever a layer says of shapes that do not fit
        return None
    shape = tuple(found.shape[1:-1])
    return shape if all(isinstance(n, int) for n in shape) else None


def multiples(model: keras.Model) -> Shape | None:
    """What each side of a patch has to be a multiple of; None where nothing tried will do."""
    fixed = model.input_shape[1:-1]
    found = [
        side or next((m for m in _STRIDES if _fits(model, axis, m)), 0)
        for axis, side in enumerate(fixed)
    ]
    return tuple(found) if all(found) else None


def _fits(model: keras.Model, axis: int, multiple: int) -> bool:
    """Whether sides that are multiples of it, and of nothing else in common, go along one axis."""
    even = [side or _ROUND for side in model.input_shape[1:-1]]
    tried = ([*even[:axis], multiple * prime, *even[axis + 1 :]] for prime in _PRIMES)
    return all(finer_of(model, sides) for sides in tried)


def sides_of(model: keras.Model, asked: Shape | None, path: Path) -> tuple[Shape, int]:
    """The patch, and how much finer the output is; InputError where it does not fit."""
    rank = len(model.input_shape) - 2
    if asked is not None and (len(asked) != rank or min(asked) < 1):
        raise InputError(f"--patch {comma(asked)}: the model is {rank}-D, give {rank} sides")
    fixed = model.input_shape[1:-1]
    if all(fixed):
        return _of_fixed(model, fixed, asked, path)
    step = multiples(model)
    if step is None:
        raise _unlike(model, asked or (SIDE[rank],) * rank, path)
    sides = asked or tuple(-(-SIDE[rank] // m) * m for m in step)
    factor = finer_of(model, sides)
    if factor is None:
        near = [comma(s) for s in _nearest(model, sides, step)]
        raise InputError(
            f"a patch of {comma(sides)} does not fit {path}, whose sides are multiples of "
            f"{comma(step)}: use --patch {' or '.join(near)}"
        )
    return sides, _require_factor(factor, path)


def _of_fixed(
    model: keras.Model, fixed: Shape, asked: Shape | None, path: Path
) -> tuple[Shape, int]:
    if asked not in (None, fixed):
        raise InputError(
            f"{path} was built for patches of {comma(fixed)} alone, not {comma(asked or ())}: leave "
            "out --patch, or build it with sides of None"
        )
    factor = finer_of(model, fixed)
    if factor is None:
        raise _unlike(model, fixed, path)
    return fixed, _require_factor(factor, path)


def require_patch_memory(model: keras.Model, sides: Shape) -> None:
    needed, there = activation_bytes(model, sides), hardware.memory_bytes()
    if needed > there:
        raise InputError(
            f"a patch of {comma(sides)} needs {units.show_bytes(needed)} to run, this machine has "
            f"{units.show_bytes(there)}: use a smaller --patch"
        )


def _require_factor(factor: int, path: Path) -> int:
    if factor > FINEST:
        raise InputError(
            f"{path} gives {factor} voxels per voxel and axis, more than {FINEST}: such a product "
            "would be mostly invented; end the model at a coarser grid"
        )
    return factor


def _unlike(model: keras.Model, sides: Shape, path: Path) -> InputError:
    found = _laid(model, sides)
    gives = "nothing that could be laid out" if found is None else comma(found)
    return InputError(
        f"{path} gives {gives} for a patch of {comma(sides)}: the output's grid has to be the "
        "input's, or a whole number of times finer along all axes; pad with padding='same' and "
        "upsample to the input's sides"
    )


def _nearest(model: keras.Model, sides: Shape, step: Shape) -> Iterable[Shape]:
    """The nearest patches below and above that fit, each side a multiple of its step."""
    below = tuple(max(m, n // m * m) for n, m in zip(sides, step, strict=True))
    above = tuple(-(-n // m) * m for n, m in zip(sides, step, strict=True))
    return [s for s in dict.fromkeys((below, above)) if finer_of(model, s)]


def comma(shape: Iterable[Any]) -> str:
    """As ``--patch`` takes it."""
    return ",".join(str(n) for n in shape)
