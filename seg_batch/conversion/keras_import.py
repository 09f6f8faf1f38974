"""A bundle from a foreign Keras model. Keras is imported inside functions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from seg_batch.config.card import Compute, ModelCard
from seg_batch.conversion import test_tensor
from seg_batch.conversion.bundle_folder import write_card
from seg_batch.conversion.declared import Fields, settled
from seg_batch.conversion.real_pass import COARSEST, OutputGrid, require_place
from seg_batch.core import files
from seg_batch.core.errors import InputError
from seg_batch.inference import bundles
from seg_batch.inference.sliding_window.larger_patch import larger_patch, why_not_larger

if TYPE_CHECKING:
    from seg_batch.nn.wrap_foreign import WrappedModel


def into(folder: Path, file: Path, fields: Fields) -> tuple[ModelCard, tuple[str, ...]]:
    """Write the model of ``file`` and its card into ``folder``; the card, and the choices made.

    What was written is loaded and run. Raises InputError for a model or fields that make no bundle.
    """
    from seg_batch.nn.wrap_foreign import require_same, wrapped

    said, output = _of_keras(fields)
    patch = said.get("patch")
    wrapping = wrapped(
        file,
        channels=len(said["channels"]),
        classes=len(said["classes"]),
        patch=None if patch is None else tuple(patch),
        head=output or None,
        logits=_logits(fields),
    )
    card = _measured(said, wrapping, file)
    weights = folder / bundles.WEIGHTS["keras"]
    wrapping.model.save(weights)
    card = card.model_copy(update={"weights_sha256": files.sha256(weights)})
    write_card(folder, card)
    written = bundles.require_intact(bundles.model_in(folder))
    require_same(written.weights, wrapping, written.card.weights_sha256)
    if fixed := _why_fixed(wrapping, card):
        card = card.model_copy(update={"patch_fixed": fixed})
        write_card(folder, card)
    image = test_tensor.noise(card)
    y = wrapping.run(image)
    grid, stride = OutputGrid(card.finer, None), card.multiple or (COARSEST,) * wrapping.rank
    require_place(wrapping.run, image, y, grid, stride, str(file))
    test_tensor.keep(folder, image, y)
    return card, wrapping.notes


def _of_keras(fields: Fields) -> tuple[Fields, str]:
    """The fields without what is put into the model itself, and the layer whose output is taken."""
    said = dict(fields)
    tensors, output = said.pop("tensors", {}), dict(said.pop("output", {}))
    output.pop("gives", None)
    other = [f"tensors.{key}" for key in tensors if key != "output"]
    other += [f"output.{key}" for key in output]
    if other:
        raise InputError(
            f"{other[0]} is for ONNX and PyTorch files: a Keras model has its channels last and its classes exclude one "
            "another, so leave it out"
        )
    return said, tensors.get("output", "")


def _logits(fields: Fields) -> bool:
    return bool(fields.get("output", {}).get("gives") == "logits")


def _why_fixed(wrapping: WrappedModel, card: ModelCard) -> str | None:
    """Why predictions take the card's patch alone, by a try on noise; None where they need not."""
    from seg_batch.nn.analysis.patch_shapes import require_patch_memory
    from seg_batch.nn.wrap_foreign import noise_images

    try:
        require_patch_memory(wrapping.model, larger_patch(card))
    except InputError:
        return "a larger one needs more memory than there was to try it"
    return why_not_larger(wrapping.run, card, noise_images(wrapping))


def _measured(said: Fields, wrapping: WrappedModel, file: Path) -> ModelCard:
    """The card with the entries that were read from the model or measured."""
    from seg_batch.nn.analysis.flops import activation_bytes, forward_flops
    from seg_batch.nn.analysis.global_layers import for_card
    from seg_batch.nn.analysis.patch_shapes import multiples
    from seg_batch.nn.networks.registry import architecture_of

    observed = {
        "rank": wrapping.rank,
        "patch": wrapping.patch,
        "finer": wrapping.finer,
        "format": "keras",
        "multiple": None if any(wrapping.model.input_shape[1:-1]) else multiples(wrapping.model),
    }
    measured = {
        "compute": Compute(
            activation_bytes=activation_bytes(wrapping.model, wrapping.patch),
            flops=forward_flops(wrapping.model, wrapping.patch),
            weights_bytes=4 * wrapping.model.count_params(),  # as they are computed, float32
        ),
        "architecture": {**architecture_of(wrapping.model), **for_card(wrapping.model)},
    }
    return settled({**said, **measured}, observed, str(file))
