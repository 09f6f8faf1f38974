"""A foreign Keras model, checked and wrapped for a bundle.

A bundle's model has one input, one output, channels last, and gives probabilities on the grid of
the input or on one a whole number of times finer. ``analysis.patch_shapes`` infers the patches that
the model takes; one forward pass over noise shows that its values are probabilities.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.config.card_parts.network import OURS
from seg_batch.core.errors import BundleError, InputError
from seg_batch.core.geometry import Shape
from seg_batch.nn.analysis.graph import maker
from seg_batch.nn.analysis.patch_shapes import comma, patch_and_factor, require_patch_memory
from seg_batch.nn.backend import keras, tf
from seg_batch.nn.engines import load_predictor
from seg_batch.nn.engines.output import finished
from seg_batch.nn.networks.blocks import probability
from seg_batch.nn.noise import fields, noise
from seg_batch.nn.safe_loading import read_model

_SUM = 0.01  # tolerance of the sum of probabilities: bfloat16 has 8 bits


@dataclass(frozen=True)
class WrappedModel:
    """``model``: functional, ``(B, *s, channels)`` to ``(B, *(finer * s), classes)``, or one
    sigmoid channel. ``patch``: the sides of the tested patch. ``notes``: the choices made, a
    sentence each."""

    model: keras.Model
    patch: Shape
    finer: int
    notes: tuple[str, ...] = ()

    @property
    def rank(self) -> int:
        return len(self.patch)

    def run(self, patches: np.ndarray) -> np.ndarray:
        """Probabilities of two classes or more, for patches of any sides that fit."""
        return finished(_run(self.model, patches), OURS)


def wrapped(
    path: Path,
    *,
    channels: int,
    classes: int,
    patch: Shape | None = None,
    head: str | None = None,
    logits: bool = False,
) -> WrappedModel:
    """The model in the ``.keras`` file `path`, checked by one forward pass over one patch.

    `head`: the layer whose output is taken of several; None: the last. `logits`: add the softmax
    (or sigmoid) that the model lacks. Raises InputError (one line) for a file that is no model of
    so many `channels` and `classes`.
    """
    model = read_model(path)
    _require_input(model, channels, path)
    model, notes = _one_output(model, head, path)
    _require_classes(model, classes, path)
    sides, finer = patch_and_factor(model, patch, path)
    require_patch_memory(model, sides)
    if logits:
        _require_scores(model, sides, path)
        kind = probability(model.output_shape[-1])
        final = keras.layers.Activation(kind, name="probabilities", dtype="float32")
        model = keras.Model(model.input, final(model.output), name=model.name)
    _require_probabilities(model, sides, finer, path)
    model, closed = _runnable(model, sides)
    return WrappedModel(model, sides, finer, (*notes, *closed))


def require_same(path: Path, wrapping: WrappedModel, sha256: str) -> None:
    """Raises BundleError unless the file, run as in ``predict``, gives the model's probabilities."""
    patch = noise((1, *wrapping.patch, wrapping.model.input_shape[-1]))
    expected = wrapping.run(patch)
    engine = "tensorflow" if keras.backend.backend() == "tensorflow" else "keras"
    actual = load_predictor(path, engine=engine, sha256=sha256)(patch)
    if actual.shape != expected.shape or np.abs(actual - expected).max() > _SUM:
        raise BundleError(
            f"{path} does not give the probabilities of the model it was made of, so nothing was "
            "kept: save the model again, built of plain Keras layers"
        )


def noise_images(wrapping: WrappedModel) -> list[np.ndarray]:
    """Images of noise alone, and of fields with some: ``(*sides, channels)``, twice as long as a patch."""
    channels, sides = int(wrapping.model.input_shape[-1]), tuple(2 * n for n in wrapping.patch)
    return [noise((*sides, channels)), fields(sides, channels)]


def _require_input(model: keras.Model, channels: int, path: Path) -> None:
    names = ", ".join(f"{maker(t)} {_by(t.shape[1:])}" for t in model.inputs)
    if len(model.inputs) != 1:
        raise InputError(
            f"{path} has {len(model.inputs)} inputs ({names}), a segmentation model has one: join "
            "them into the channels of one image, and save it again"
        )
    shape = model.inputs[0].shape
    if len(shape) not in (4, 5):
        raise InputError(
            f"{path} takes {names}, which is no image: the input of a segmentation model is "
            "(batch, y, x, channels) or (batch, z, y, x, channels)"
        )
    if shape[-1] != channels:
        raise InputError(
            f"{path} takes {shape[-1]} channels and {channels} are named: give --channels one name "
            "for each, in the model's order"
        )


def _one_output(
    model: keras.Model, head: str | None, path: Path
) -> tuple[keras.Model, tuple[str, ...]]:
    """The model up to one of its outputs, and a note if `head` names none of several."""
    names = [maker(tensor) for tensor in model.outputs]
    if head is not None and head not in names:
        raise InputError(f"{path} has no output {head!r}: it has {', '.join(names)}")
    place = len(names) - 1 if head is None else names.index(head)
    chosen = keras.Model(model.inputs[0], model.outputs[place], name=model.name)
    if head is not None or len(names) == 1:
        return chosen, ()
    others = ", ".join(names[:-1])
    return chosen, (f"of {len(names)} outputs the last, {names[-1]}, is taken, not {others}",)


def _require_classes(model: keras.Model, classes: int, path: Path) -> None:
    shape = model.outputs[0].shape
    if len(shape) != len(model.inputs[0].shape):
        raise InputError(
            f"{path} gives {_by(shape[1:])} for {_by(model.inputs[0].shape[1:])}, no class for each "
            "voxel: a segmentation model gives (batch, *spatial, classes)"
        )
    count = 2 if shape[-1] == 1 else shape[-1]
    if count != classes:
        sigmoid = " (one sigmoid channel is two classes)" if shape[-1] == 1 else ""
        raise InputError(
            f"{path} gives {count} classes{sigmoid} and {classes} are named: give --classes one name for "
            "each, in the model's order"
        )


def _runnable(model: keras.Model, sides: Shape) -> tuple[keras.Model, tuple[str, ...]]:
    """The model, restricted to `sides` if it can't be compiled with open sides; a note about that.

    Keras' bilinear up-sampling, for one, has to know the sides.
    """
    if tf is None or all(model.input_shape[1:-1]):
        return model, ()
    try:
        signature = [tf.TensorSpec(model.input_shape, tf.float32)]
        tf.function(
            lambda x: model(x, training=False), input_signature=signature, autograph=False
        ).get_concrete_function()
    except Exception:  # Keras and TensorFlow raise errors of many types
        image = keras.Input(batch_shape=(None, *sides, model.input_shape[-1]))
        closed = keras.models.clone_model(model, input_tensors=image)
        closed.set_weights(model.get_weights())
        return closed, (f"kept for patches of {_by(sides)} alone: a layer has to know the sides",)
    return model, ()


def _require_probabilities(model: keras.Model, sides: Shape, finer: int, path: Path) -> None:
    """Raises InputError unless noise gives the right shape, values in 0..1 and sums of 1."""
    values = _run(model, noise((1, *sides, model.input_shape[-1])))
    expected = (1, *(n * finer for n in sides), model.output_shape[-1])
    if values.shape != expected:
        raise InputError(
            f"{path} gave {_by(values.shape)} in a forward pass, not the {_by(expected)} that its "
            "layers say: save it again, built of plain Keras layers"
        )
    if not np.isfinite(values).all():
        raise InputError(
            f"{path} gives values that are not finite for plain noise: its weights are damaged, or "
            "it divides by a deviation of 0; train or save it again"
        )
    if not _is_inside(values):
        raise InputError(
            f"{path} gives {values.min():.3g} to {values.max():.3g}, no probabilities but raw scores: "
            "wrap it with --logits, which adds a softmax (a sigmoid for one channel)"
        )
    if not _sum_to_one(values):
        sums = values.sum(-1)
        raise InputError(
            f"{path} gives values in 0..1 that sum to {sums.min():.3g} to {sums.max():.3g} over the "
            "classes, which exclude one another here: end the model with a softmax over them"
        )


def _require_scores(model: keras.Model, sides: Shape, path: Path) -> None:
    """Raises InputError for probabilities, which a second softmax would make all alike."""
    values = _run(model, noise((1, *sides, model.input_shape[-1])))
    if np.isfinite(values).all() and _is_inside(values) and _sum_to_one(values):
        raise InputError(f"{path} gives probabilities already: leave out --logits")


def _is_inside(values: np.ndarray) -> bool:
    return bool(values.min() >= -_SUM and values.max() <= 1 + _SUM)


def _sum_to_one(values: np.ndarray) -> bool:
    """A single channel is the probability of the second of two classes."""
    return values.shape[-1] == 1 or bool(np.abs(values.sum(-1) - 1).max() <= _SUM)


def _run(model: keras.Model, patch: np.ndarray) -> np.ndarray:
    try:
        output = keras.ops.cast(model(patch, training=False), "float32")
    except Exception as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise InputError(
            f"the model can't run a patch of {comma(patch.shape[1:-1])} ({reason}): try another "
            "--patch, or save it again with sides of None"
        ) from error
    return np.asarray(keras.ops.convert_to_numpy(output))


def _by(shape: Iterable[Any]) -> str:
    return " x ".join("any" if n is None else str(n) for n in shape)
