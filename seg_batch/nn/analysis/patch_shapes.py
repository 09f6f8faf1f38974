"""The patches that an unknown Keras model takes, and how much finer its output grid is.

Keras infers both from symbolic shapes, which takes some hundredths of a second per patch.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from seg_batch.core import hardware, units
from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Shape
from seg_batch.nn.analysis.flops import activation_bytes
from seg_batch.nn.backend import keras

SIDE = {2: 256, 3: 64}  # of a patch, by rank, if neither the model nor the user fixes one
FINEST = 8
_ROUND = 6720  # 2^6 3 5 7: a multiple of every stride that a network is likely to have
_STRIDES = [m for m in range(1, 257) if _ROUND % m == 0]
_PRIMES = (11, 13)


def finer_of(model: keras.Model, sides: Sequence[int]) -> int | None:
    """Output voxels per input voxel and axis for a patch of `sides`.

    None if that is no whole number, differs between axes, or the model can't take the patch.
    """
    shape = _output_sides(model, sides)
    if shape is None:
        return None
    times = {out / side for out, side in zip(shape, sides, strict=True)}
    factor = times.pop()
    return int(factor) if not times and factor.is_integer() and factor >= 1 else None


def _output_sides(model: keras.Model, sides: Sequence[int]) -> tuple[int, ...] | None:
    """The sides of the output for a patch, by shape inference; None if the model can't take it.

    Layers infer shapes first, which takes a millisecond. Some overlook what does not fit, such as a concatenation of
    unequal sides: so the backend traces the model too."""
    patch = keras.KerasTensor((1, *sides, model.input_shape[-1]))
    traced = keras.layers.Lambda(lambda x: model(x, training=False))
    try:
        shapes = [tuple(run(patch).shape[1:-1]) for run in (model, traced)]
    except Exception:  # layers raise errors of many types for shapes that do not fit
        return None
    shape = shapes[-1]
    return shape if all(isinstance(n, int) for n in shape) else None


def multiples(model: keras.Model) -> Shape | None:
    """The step of each side of a patch (every multiple fits); None if no step up to 256 fits."""
    steps = [
        side or next((m for m in _STRIDES if _fits(model, axis, m)), 0)
        for axis, side in enumerate(model.input_shape[1:-1])
    ]
    return tuple(steps) if all(steps) else None


def _fits(model: keras.Model, axis: int, multiple: int) -> bool:
    """Whether the model takes a side of `multiple` times each of two primes along one axis."""
    even = [side or _ROUND for side in model.input_shape[1:-1]]
    patches = ([*even[:axis], multiple * prime, *even[axis + 1 :]] for prime in _PRIMES)
    return all(finer_of(model, sides) for sides in patches)


def patch_and_factor(model: keras.Model, patch: Shape | None, path: Path) -> tuple[Shape, int]:
    """The sides of the patch and the factor of `finer_of`; raises InputError if it does not fit."""
    rank = len(model.input_shape) - 2
    if patch is not None and (len(patch) != rank or min(patch) < 1):
        raise InputError(f"--patch {comma(patch)}: the model is {rank}-D, give {rank} sides")
    fixed = model.input_shape[1:-1]
    if all(fixed):
        return _of_fixed(model, fixed, patch, path)
    step = multiples(model)
    if step is None:
        raise _no_grid(model, patch or (SIDE[rank],) * rank, path)
    sides = patch or tuple(-(-SIDE[rank] // m) * m for m in step)
    factor = finer_of(model, sides)
    if factor is None:
        near = [comma(s) for s in _nearest(model, sides, step)]
        raise InputError(
            f"a patch of {comma(sides)} does not fit {path}, whose sides are multiples of "
            f"{comma(step)}: use --patch {' or '.join(near)}"
        )
    return sides, _require_factor(factor, path)


def _of_fixed(
    model: keras.Model, fixed: Shape, patch: Shape | None, path: Path
) -> tuple[Shape, int]:
    if patch not in (None, fixed):
        raise InputError(
            f"{path} was built for patches of {comma(fixed)} alone, not {comma(patch or ())}: leave "
            "out --patch, or build it with sides of None"
        )
    factor = finer_of(model, fixed)
    if factor is None:
        raise _no_grid(model, fixed, path)
    return fixed, _require_factor(factor, path)


def require_patch_memory(model: keras.Model, sides: Shape) -> None:
    """Raises InputError if one patch needs more memory than the machine has."""
    needed, memory = activation_bytes(model, sides), hardware.memory_bytes()
    if needed > memory:
        raise InputError(
            f"a patch of {comma(sides)} needs {units.show_bytes(needed)} to run, this machine has "
            f"{units.show_bytes(memory)}: use a smaller --patch"
        )


def _require_factor(factor: int, path: Path) -> int:
    if factor > FINEST:
        raise InputError(
            f"{path} gives {factor} voxels per voxel and axis, more than {FINEST}: such a product "
            "would be mostly invented; end the model at a coarser grid"
        )
    return factor


def _no_grid(model: keras.Model, sides: Shape, path: Path) -> InputError:
    output = _output_sides(model, sides)
    gives = "nothing that could be laid out" if output is None else comma(output)
    return InputError(
        f"{path} gives {gives} for a patch of {comma(sides)}: the output's grid has to be the "
        "input's, or a whole number of times finer along all axes; pad with padding='same' and "
        "upsample to the input's sides"
    )


def _nearest(model: keras.Model, sides: Shape, step: Shape) -> Iterable[Shape]:
    """The nearest fitting patches below and above, each side a multiple of its step."""
    below = tuple(max(m, n // m * m) for n, m in zip(sides, step, strict=True))
    above = tuple(-(-n // m) * m for n, m in zip(sides, step, strict=True))
    return [s for s in dict.fromkeys((below, above)) if finer_of(model, s)]


def comma(shape: Iterable[Any]) -> str:
    """A shape as ``--patch`` takes it."""
    return ",".join(str(n) for n in shape)
