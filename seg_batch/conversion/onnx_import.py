"""A bundle from ONNX files: one network, or the folds of one.

The file is kept as it came; only numbers that lie in other files are put into it. What the card says is held
against the file and a real pass over noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seg_batch.config.card import ModelCard
from seg_batch.config.card_parts.network import Network, Output, Tensors
from seg_batch.conversion import real_pass, test_tensor
from seg_batch.conversion.bundle_folder import write_card
from seg_batch.conversion.declared import Fields, settled
from seg_batch.core import files
from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Shape
from seg_batch.inference import bundles
from seg_batch.inference.sliding_window.stitch import Predictor

if TYPE_CHECKING:
    from seg_batch.nn.analysis.onnx.describe import OnnxDescription

SIDE = {2: 256, 3: 64}  # of a patch, by rank, if neither the file nor a person fixes one
FORM = "onnx"
RAW = Output(classes="independent")  # what a predictor leaves as it is


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
    found = {"weights_sha256": hashes[0], "folds_sha256": tuple(hashes[1:]), "format": FORM}
    card = _measured(folder, first, {**fields, **found})
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
    axis = 1 if layout == "channels_first" else -1
    if image.shape[axis] not in (None, channels):
        raise InputError(
            f"{path} takes {image.shape[axis]} channels ({image.line}, {layout.replace('_', ' ')}) and {channels} are "
            "named: give --channels one name for each, in the model's order, or the other --layout"
        )
    fixed = image.shape[2:] if axis == 1 else image.shape[1:-1]
    tensors = Tensors.model_validate({"layout": layout, "input": image.name, "output": scores.name})
    return _File(path, tensors, fixed, held)


def _layout(path: Path, image: Any, scores: Any, channels: int, classes: int) -> str:
    """Where the channels are, by the shapes alone: those that can't be are left out."""
    outputs = {classes, classes - 1} | ({1} if classes == 2 else set())
    able = []
    for layout, axis in (("channels_first", 1), ("channels_last", -1)):
        gives = scores.shape[axis] if scores.shape else None
        if image.shape[axis] in (None, channels) and (gives is None or gives in outputs):
            able.append((layout, (image.shape[axis] is not None) + (gives is not None)))
    sure = [layout for layout, known in able if known == max(k for _, k in able)]
    if len(sure) == 1:
        return sure[0]
    if not able:
        raise InputError(
            f"{path} takes {image.line} and gives {scores.line}, which are not {channels} channels and {classes} classes: "
            "name each channel and each class, in the model's order, or say --layout"
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


def _patch(file: _File, fields: Fields) -> Shape:
    """The patch: the file's sides, where it fixes them; else what is said, or the default."""
    said = fields.get("patch") or [None] * file.rank
    if len(said) != file.rank or any(n is not None and n < 1 for n in said):
        raise InputError(
            f"--patch {_comma(said)}: the model is {file.rank}-D, give {file.rank} sides"
        )
    pairs = list(zip(file.fixed, said, strict=True))
    if any(n is not None and m not in (None, n) for n, m in pairs):
        raise InputError(
            f"{file.path} was made for patches of {_comma(file.fixed)} alone, not {_comma(said)}: leave out --patch, or "
            "export it with open sides"
        )
    return tuple(n or m or SIDE[file.rank] for n, m in pairs)


def _comma(sides: Sequence[int | None]) -> str:
    return ",".join("any" if n is None else str(n) for n in sides)


def _measured(folder: Path, file: _File, fields: Fields) -> ModelCard:
    """The card with what the file and a real pass tell."""
    patch, where = _patch(file, fields), str(file.path)
    run = _raw(folder / bundles.WEIGHTS[FORM], file.tensors)
    image = test_tensor.noise_of(patch, len(fields["channels"]))
    y = run(image)
    fields = _with_threshold(fields, y.shape[-1], where)
    said = Output(**fields.get("output", {}))
    network = Network(file.tensors, said, len(fields["classes"]), _background(fields))
    real_pass.require_meaning(run, image, y, network, where)
    grid = real_pass.output_grid(run, image, y, where)
    if said.shrink is not None and said.shrink != (grid.shrink or (0,) * len(patch)):
        raise InputError(
            f"the card says output.shrink {list(said.shrink)}, and {where} gives {_comma(y.shape[1:-1])} for "
            f"{_comma(patch)}: leave it out of the card"
        )
    found = {"rank": file.rank, "patch": patch, "finer": grid.finer}
    own = {
        "tensors": file.tensors,
        "output": {**fields.get("output", {}), "shrink": grid.shrink},
        **_costs(file, patch),
    }
    return settled({**fields, **own}, found, where)


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

    network = Network(tensors, RAW)
    return load_predictor(weights, engine=reference(FORM), network=network)


def _run(folder: Path, card: ModelCard) -> ModelCard:
    """Run what was written as predictions do, keep the test tensor; the card with its ``patch_fixed``."""
    from seg_batch.nn.engines.reference import reference

    model = bundles.model_in(folder)
    predictor = test_tensor.predictor_of(model, reference(FORM))
    image = test_tensor.noise(card)
    output = predictor(image)
    test_tensor.keep(folder, image, output)
    test_tensor.require_same_here(model, image, output)
    return card


def _costs(file: _File, patch: Shape) -> Fields:
    return {}
