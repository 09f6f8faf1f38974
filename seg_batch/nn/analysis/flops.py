"""The costs of one forward pass of one patch, from the shapes of the layers alone.

Nothing is run: the model is rebuilt for the patch, and its steps are counted. These are estimates
for planning; the report of a run has the measured values.
"""

from collections import Counter, deque
from collections.abc import Iterator
from math import prod
from typing import Any

from seg_batch.nn.analysis.batchnorm_folding import fold_batchnorm
from seg_batch.nn.analysis.graph import Step, steps
from seg_batch.nn.backend import keras

FLOAT_BYTES = 4
# Beside the tensors that are alive at the same time, memory holds oneDNN's copies in its own layout
# and the allocator's gaps. Measured on 2-D and 3-D models from 40 to 800 MiB: 1.45 to 2.05 times
# the tensors (without oneDNN: 1.04).
SLACK = 2.1
_KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel")  # of a layer, or of a separable one


def forward_flops(model: keras.Model, patch: tuple[int, ...]) -> float:
    """Multiply-adds x 2 of all convolutions for one patch of sides `patch`.

    Normalisation, ReLU and pooling would add a few percent.
    """
    return 2.0 * sum(_multiply_adds(step) for step in steps(_sized(model, patch)))


def activation_bytes(model: keras.Model, patch: tuple[int, ...]) -> int:
    """Upper estimate of the memory per patch of a batch while the model runs, in bytes of float32.

    It includes input and output but no weights; "mixed" precision needs about half.
    """
    laid = _sized(fold_batchnorm(model), patch)  # as it runs
    # How often each tensor is still going to be read; outputs are held to the end.
    waiting = Counter(id(tensor) for step in steps(laid) for tensor in step.inputs)
    waiting.update(map(id, laid.outputs))
    alive, most = 0, 0
    for step in _in_order_of_readiness(laid):
        alive += sum(_bytes(t) for t in step.outputs)
        most = max(most, alive)
        for tensor in step.inputs:
            waiting[id(tensor)] -= 1
            if waiting[id(tensor)] == 0:
                alive -= _bytes(tensor)
    return int(SLACK * most)


def _sized(model: keras.Model, patch: tuple[int, ...]) -> keras.Model:
    """A model of the same layers for one patch, with every shape known."""
    image = keras.Input(batch_shape=(1, *patch, model.input_shape[-1]))
    inputs = keras.tree.map_structure(lambda _: image, model.input)
    return keras.models.clone_model(model, input_tensors=inputs)


def _in_order_of_readiness(model: keras.Model) -> Iterator[Step]:
    """Steps in the order of TensorFlow's executor, which needs the most memory: first ready first."""
    todo = list(steps(model))
    missing = {id(step): len({id(t) for t in step.inputs}) for step in todo}
    needed_by: dict[int, list[Step]] = {}
    for step in todo:
        for key in {id(t) for t in step.inputs}:
            needed_by.setdefault(key, []).append(step)
    ready = deque(step for step in todo if not step.inputs)
    while ready:
        step = ready.popleft()
        yield step
        for tensor in step.outputs:
            for reader in needed_by.get(id(tensor), []):
                missing[id(reader)] -= 1
                if missing[id(reader)] == 0:
                    ready.append(reader)


def _multiply_adds(step: Step) -> int:
    """Each kernel weight is used once per voxel: of the output or, if transposed, of the input."""
    if not step.inputs:
        return 0
    side = step.inputs if "Transpose" in type(step.layer).__name__ else step.outputs
    kernels = (getattr(step.layer, name, None) for name in _KERNELS)
    weights = sum(prod(kernel.shape) for kernel in kernels if kernel is not None)
    return int(prod(side[0].shape[1:-1]) * weights)


def _bytes(tensor: Any) -> int:
    return FLOAT_BYTES * int(prod(tensor.shape[1:]))
