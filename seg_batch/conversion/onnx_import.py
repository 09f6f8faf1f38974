"""A bundle from ONNX files: one network, or the folds of one.

The file is kept as it came; only numbers that lie in other files are put into it. What the card says is held
against the file and a real pass over noise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seg_batch.config.card import WHOLE_PATCH, Compute, ModelCard
from seg_batch.config.card_parts.network import Network, Output, Tensors
from seg_batch.conversion import real_pass, test_tensor
from seg_batch.conversion.bundle_folder import write_card
from seg_batch.conversion.declared import Fields, settled
from seg_batch.core import files, hardware, units
from seg_batch.core.errors import InputError, SegbatchError
from seg_batch.core.geometry import Shape
from seg_batch.core.text import without_colours
from seg_batch.inference import bundles
from seg_batch.inference.sliding_window.larger_patch import why_not_larger
from seg_batch.inference.sliding_window.stitch import Predictor
from seg_batch.nn.noise import fields as noise_fields

if TYPE_CHECKING:
    from seg_batch.nn.analysis.onnx.describe import OnnxDescription
    from seg_batch.nn.analysis.onnx.network import PatchNetwork

SIDE = {2: 256, 3: 64}  # of a patch, by rank, if neither the file nor a person fixes one
FORM = "onnx"


@dataclass(frozen=True)
class _File:
    """A file with the one input and the one output of it that are used."""

    path: Path
    tensors: Tensors
    fixed: tuple[int | None, ...]  # sides of its input; None: open
    held: OnnxDescription

    @property
    def rank(self) -> int:
        return len(self.fixed)

    @property
    def other_layout(self) -> str:
        """The advice to say the other layout, where the shape of the input leaves it open."""
        shape = self.held.input(self.tensors.input or "").shape or ()
        open_ = None in (shape[1], shape[-1]) or shape[1] == shape[-1]
        layout = self.tensors.layout.replace("_", " ")
        return f" with {layout}, say the other --layout or" if open_ else ","


def into(
    folder: Path, sources: Sequence[Path], fields: Fields
) -> tuple[ModelCard, tuple[str, ...]]:
    """Write the networks of ``sources`` and their card into ``folder``; the card, and the choices made.

    ``fields`` of the card are said (`declared`), the rest is found. What was written is loaded and run, and its test
    tensor is kept. Raises InputError for files or fields that make no bundle.
    """
    chosen = [_chosen(path, fields) for path in sources]
    first = chosen[0]
    for other in chosen[1:]:
        if (other.tensors, other.fixed) != (first.tensors, first.fixed):
            raise InputError(
                f"{other.path} takes or gives other tensors than {first.path}: folds of one network are alike"
            )
    notes, hashes = [], []
    for fold, file in enumerate(chosen):
        place = folder / Path(bundles.WEIGHTS[FORM]).with_stem(f"model_{fold}" if fold else "model")
        notes += _copied(file, place)
        hashes.append(files.sha256(place))
    if (said := fields.get("weights_sha256")) and said != files.sha256(sources[0]):
        raise InputError(
            f"{sources[0]} has not the weights_sha256 of the card: it is another file, or damaged"
        )
    kept = {"weights_sha256": hashes[0], "folds_sha256": tuple(hashes[1:]), "format": FORM}
    card = _measured(folder, first, {**fields, **kept})
    write_card(folder, card)
    card = _run(folder, card)
    write_card(folder, card)
    return card, tuple(notes)


def _chosen(path: Path, fields: Fields) -> _File:
    """The file with its input, its output and their layout; InputError where none fits the card."""
    from seg_batch.nn.analysis.onnx.describe import describe

    held, said = describe(path), fields.get("tensors", {})
    image, scores = held.input(said.get("input", "")), held.output(said.get("output", ""))
    if image.shape is None:
        raise InputError(
            f"{path} does not say how many axes {image.name} has: export it with a batch, channels and sides"
        )
    channels, classes = len(fields["channels"]), len(fields["classes"])
    layout = said.get("layout") or _layout(path, image, scores, channels, classes)
    axis, other = (1, -1) if layout == "channels_first" else (-1, 1)
    count = image.shape[axis] or (channels if image.shape[other] != channels else None)
    if count != channels:
        raise InputError(
            f"{path} takes {image.line}, which is not {channels} channels with {layout.replace('_', ' ')}: give --channels one "
            "name for each, in the model's order, or the other --layout"
        )
    fixed = image.shape[2:] if axis == 1 else image.shape[1:-1]
    tensors = Tensors.model_validate({"layout": layout, "input": image.name, "output": scores.name})
    return _File(path, tensors, fixed, held)


def _layout(path: Path, image: Any, scores: Any, channels: int, classes: int) -> str:
    """Where the channels are, by the shapes: the axis as long as they are many, of several the one that fits the classes."""
    axes = {"channels_first": 1, "channels_last": -1}
    outputs = {classes, classes - 1} | ({1} if classes == 2 else set())
    takes = {layout: image.shape[axis] for layout, axis in axes.items()}
    gives = {layout: scores.shape[axis] if scores.shape else None for layout, axis in axes.items()}
    able = [layout for layout, n in takes.items() if n == channels]
    if not able and not any(takes.values()):
        able = list(axes)
    if len(able) > 1:
        able = [layout for layout in able if gives[layout] in outputs] or able
    if len(able) == 1:
        return able[0]
    if not able:
        raise InputError(
            f"{path} takes {image.line}, and {channels} channels are named: give --channels one name for each, in the model's "
            "order"
        )
    raise InputError(
        f"{path} takes {image.line}, which does not tell where its channels are: say --layout channels_first or --layout "
        "channels_last"
    )


def _copied(file: _File, place: Path) -> list[str]:
    """The file at its place in the bundle; a note where its numbers came from other files."""
    from seg_batch.nn.analysis.onnx.inline import write_whole

    write_whole(file.held, place)
    names = ", ".join(path.name for path in file.held.external)
    return [f"the numbers in {names} are now in {place.name}"] if names else []


def _patch(network: PatchNetwork, where: str, fields: Fields) -> Shape:
    """The patch: the file's sides, where it fixes them; else what is said, or the default."""
    rank, fixed = network.rank, network.sides
    said = fields.get("patch") or [None] * rank
    if len(said) != rank or any(n is not None and n < 1 for n in said):
        raise InputError(f"--patch {_comma(said)}: the model is {rank}-D, give {rank} sides")
    pairs = list(zip(fixed, said, strict=True))
    if any(n is not None and m not in (None, n) for n, m in pairs):
        raise InputError(
            f"{where} was made for patches of {_comma(fixed)} alone, not {_comma(said)}: leave out --patch, or export it "
            "with open sides"
        )
    steps = network.multiples or (1,) * rank
    sides = zip(pairs, steps, strict=True)
    patch = tuple(n or m or -(-SIDE[rank] // step) * step for (n, m), step in sides)
    if network.output_sides(patch) is None and network.multiples and not any(fixed):
        near = dict.fromkeys(
            tuple(max(1, n // m + up) * m for n, m in zip(patch, steps, strict=True))
            for up in (0, 1)
        )
        raise InputError(
            f"a patch of {_comma(patch)} does not fit {where}, whose sides are multiples of {_comma(steps)}: use --patch "
            f"{' or '.join(map(_comma, near))}"
        )
    return patch


def _comma(sides: Sequence[int | None]) -> str:
    return ",".join("any" if n is None else str(n) for n in sides)


def _measured(folder: Path, file: _File, fields: Fields) -> ModelCard:
    """The card with what the file and a real pass tell."""
    from seg_batch.nn.analysis.onnx.network import opened

    weights, where = folder / bundles.WEIGHTS[FORM], str(file.path)
    with _named_as_given(file, weights):
        network = opened(weights, file.tensors)
    patch = _patch(network, where, fields)
    costs = _costs(network, patch, where, fields)
    image = noise_fields(patch, len(fields["channels"]))[None]
    with _named_as_given(file, weights):
        run = _raw(weights, file.tensors)
        y = run(image)
    fields = _with_threshold(fields, y.shape[-1], where)
    said = Output(**fields.get("output", {}))
    meaning = Network(file.tensors, said, len(fields["classes"]), _background(fields))
    real_pass.require_meaning(run, image, y, meaning, where)
    grid = real_pass.output_grid(run, image, y, where)
    stride = network.multiples or (real_pass.COARSEST,) * len(patch)
    real_pass.require_place(run, image, y, grid, stride, where)
    if said.shrink is not None and said.shrink != (grid.shrink or (0,) * len(patch)):
        raise InputError(
            f"the card says output.shrink {list(said.shrink)}, and {where} gives {_comma(y.shape[1:-1])} for "
            f"{_comma(patch)}: leave it out of the card"
        )
    observed = {
        "rank": file.rank,
        "patch": patch,
        "finer": grid.finer,
        "multiple": None if any(network.sides) else network.multiples,
    }
    output = {**fields.get("output", {}), "shrink": grid.shrink}
    return settled({**fields, "tensors": file.tensors, "output": output, **costs}, observed, where)


@contextmanager
def _named_as_given(file: _File, place: Path) -> Iterator[None]:
    """What is wrong with the copy at ``place`` is told of the file that people know; InputError."""
    try:
        yield
    except SegbatchError as error:
        words = error.message.replace(str(place), str(file.path)).partition("); ")[0]
        closed = ")" if words.count("(") > words.count(")") else ""
        raise InputError(
            f"{words}{closed}: it can't be run here{file.other_layout} export it again with standard operators"
        ) from None


def _costs(network: PatchNetwork, patch: Shape, where: str, fields: Fields) -> Fields:
    """What a patch needs; InputError where that is more than this machine has."""
    try:
        needed, flops = network.activation_bytes(patch), network.flops(patch)
    except RuntimeError as error:
        reason = " ".join(without_colours(str(error)).split())[-200:]
        raise InputError(
            f"{where} can't take a patch of {_comma(patch)} ({reason}): try another --patch"
        ) from None
    if needed > (memory := hardware.memory_bytes()):
        raise InputError(
            f"a patch of {_comma(patch)} needs {units.show_bytes(needed)} to run, this machine has "
            f"{units.show_bytes(memory)}: use a smaller --patch"
        )
    weights_bytes = network.path.stat().st_size
    return {
        "compute": Compute(activation_bytes=needed, flops=flops, weights_bytes=weights_bytes),
        "architecture": {**fields.get("architecture", {}), **_seen(network, patch)},
    }


def _seen(network: PatchNetwork, patch: Shape) -> dict[str, Any]:
    """The layers that see the whole patch, or the receptive field where that is known."""
    from seg_batch.nn.analysis.onnx.dependence import global_layers, receptive_field

    if lines := [finding.line for finding in global_layers(network, patch)]:
        return {WHOLE_PATCH: lines}
    field = receptive_field(network, patch)
    return {"receptive_field": list(field)} if all(field) else {}


def _with_threshold(fields: Fields, outputs: int, where: str) -> Fields:
    """The fields, where a single output with a threshold of its own is a class beside the background."""
    output = fields.get("output", {})
    if "threshold" not in output or output.get("classes") == "independent":
        return fields
    ids = _ids(fields)
    if outputs != 1 or len(ids) != 2:
        raise InputError(
            f"--threshold is for classes of a sigmoid, and the classes of {where} exclude one another, so that the largest "
            "probability decides: leave it out, or say --activation sigmoid"
        )
    return {
        **fields,
        "background": ids[0] if fields.get("background") is None else fields["background"],
        "output": {**output, "classes": "independent"},
    }


def _background(fields: Fields) -> int | None:
    """The index of the background among the classes."""
    return next((k for k, i in enumerate(_ids(fields)) if i == fields.get("background")), None)


def _ids(fields: Fields) -> list[int]:
    return [c["id"] if isinstance(c, dict) else c.id for c in fields["classes"]]


def _raw(weights: Path, tensors: Tensors) -> Predictor:
    """The network alone, without activation, in float32."""
    from seg_batch.nn.engines import load_predictor
    from seg_batch.nn.engines.reference import reference

    return load_predictor(weights, engine=reference(FORM), network=Network.raw(tensors))


def _run(folder: Path, card: ModelCard) -> ModelCard:
    """Run what was written as predictions do, keep the test tensor; the card with its ``patch_fixed``."""
    from seg_batch.nn.engines.reference import reference

    model = bundles.model_in(folder)
    predictor = test_tensor.predictor_of(model, reference(FORM))
    image = test_tensor.noise(card)
    output = predictor(image)
    test_tensor.keep(folder, image, output)
    test_tensor.require_same_here(model, image, output)
    twice = tuple(2 * n for n in card.patch or ())
    larger = noise_fields(twice, image.shape[-1])
    fixed = card.patch_fixed or why_not_larger(_filled(predictor, card), card, [larger])
    return card.model_copy(update={"patch_fixed": fixed})


def _filled(predictor: Predictor, card: ModelCard) -> Predictor:
    """The predictor with outputs as large as its patches: what is missing at their borders is compared nowhere."""
    if not (shrink := card.output.shrink):
        return predictor
    missing = ((0, 0), *((n, n) for n in shrink), (0, 0))
    return lambda patches: np.pad(predictor(patches), missing, mode="edge")
