"""The verb ``models import``: a Keras model that somebody else trained becomes a bundle.

Keras is imported inside functions. What the file can't tell (what its channels are called, how
they were normalised, what its classes mean) is asked for; what it can is found out and checked.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seg_batch.config.card import (
    WHOLE_PATCH,
    Compute,
    ModelCard,
    Normalisation,
    make_card,
    read_card,
)
from seg_batch.config.command_options import ImportOptions
from seg_batch.core import files
from seg_batch.core.errors import InputError
from seg_batch.core.run_files import CARD
from seg_batch.datasets.label_classes import of_text
from seg_batch.inference import bundles
from seg_batch.io.sinks.publish import require_replaceable, writing_folder

if TYPE_CHECKING:
    from seg_batch.nn.wrap_foreign import WrappedModel

BACKGROUND = "background"  # a class of this name is left out of mean scores


def import_model(
    file: str | Path, bundle: str | Path, told: ImportOptions, *, overwrite: bool = False
) -> dict[str, Any]:
    """Write the bundle folder ``bundle`` for the model in ``file``; ``path``, ``card`` and ``notes``.

    The bundle is loaded and run before it is moved into its place. Raises InputError for a model or
    for words that make no bundle, OutputError for what is in the way; nothing is written then.
    """
    path = Path(bundle)
    require_replaceable(path, overwrite, CARD)
    card = _card(told, path)
    from seg_batch.nn.wrap_foreign import require_same, wrapped

    made = wrapped(
        Path(file),
        channels=len(told.channels),
        classes=len(card.classes),
        patch=told.patch,
        head=told.head,
        logits=told.logits,
    )
    card = _measured(card, told, made)
    with writing_folder(path, overwrite, CARD) as folder:
        weights = folder / bundles.WEIGHTS["keras"]
        made.model.save(weights)
        sha256 = files.sha256(weights)
        card = card.model_copy(update={"weights_sha256": sha256})
        text = json.dumps(card.model_dump(mode="json"), indent=2)
        (folder / CARD).write_text(text + "\n", encoding="utf-8")
        written = bundles.checked(bundles.Model(read_card(folder), folder))
        require_same(written.weights, made, written.card.weights_sha256)
    return {"path": str(path), "notes": list(made.notes), "card": card.model_dump(mode="json")}


def _card(told: ImportOptions, path: Path) -> ModelCard:
    """All of the card that does not depend on the model; InputError for words that make none."""
    text = told.classes
    if "=" not in text:
        text = ",".join(f"{i}={name}" for i, name in enumerate(text.split(",")))
    classes = of_text(text)
    if len(classes) < 2:
        raise InputError("--classes names one class: a map tells at least two apart, like no,yes")
    background = next((c.id for c in classes.table if c.name.lower() == BACKGROUND), None)
    if len(set(told.channels)) < len(told.channels) or not all(told.channels):
        raise InputError("--channels: each channel has a name of its own, like red,green,nir")
    sizes = (1.0 if told.pixel_m is None else told.pixel_m, *(told.spacing_mm or ()))
    if min(sizes) <= 0:
        raise InputError("--pixel-m and --spacing-mm are sizes: above 0")
    return make_card(
        name=told.name or re.sub(r"[^A-Za-z0-9._-]+", "-", path.name),
        description=told.description,
        kind=told.kind or "any",
        channels=told.channels,
        classes=classes.table,
        background=background,
        normalisation=_normalisation(told),
        pixel_m=told.pixel_m,
        spacing_mm=told.spacing_mm,
        licence=told.licence,
    )


def _normalisation(told: ImportOptions) -> Normalisation:
    kind = told.normalisation or ("card" if told.mean or told.std else "identity")
    if kind != "card":
        if told.mean or told.std:
            raise InputError(f"--mean and --std belong to --normalisation card, not {kind}")
        return Normalisation(kind=kind)
    if not len(told.mean) == len(told.std) == len(told.channels):
        raise InputError(
            f"--normalisation card takes one --mean and one --std for each of "
            f"{len(told.channels)} channels, {len(told.mean)} and {len(told.std)} were given"
        )
    if min(told.std) <= 0:
        raise InputError(f"--std {min(told.std):g}: deviations are above 0")
    return Normalisation(kind="card", mean=told.mean, std=told.std)


def _measured(card: ModelCard, told: ImportOptions, made: WrappedModel) -> ModelCard:
    """The card with what was found out of the model."""
    from seg_batch.nn.analysis.flops import activation_bytes, forward_flops
    from seg_batch.nn.analysis.global_layers import for_card
    from seg_batch.nn.analysis.patch_shapes import multiples
    from seg_batch.nn.networks.registry import architecture_of

    overlap = told.overlap or tuple(side // 4 for side in made.patch)
    if len(overlap) != made.rank:
        raise InputError(f"--overlap: the model is {made.rank}-D, give {made.rank} numbers")
    if told.spacing_mm is not None and len(told.spacing_mm) != made.rank:
        raise InputError(f"--spacing-mm: the model is {made.rank}-D, give {made.rank} numbers")
    found = {
        "kind": told.kind or ("raster" if made.rank == 2 else "volume"),
        "rank": made.rank,
        "patch": made.patch,
        "overlap": overlap,
        "finer": made.finer,
        "compute": Compute(
            activation_bytes=activation_bytes(made.model, made.patch),
            flops=forward_flops(made.model, made.patch),
        ),
        "multiple": None if any(made.model.input_shape[1:-1]) else multiples(made.model),
        "architecture": {**architecture_of(made.model), **for_card(made.model)},
    }
    return make_card(**{**{k: getattr(card, k) for k in type(card).model_fields}, **found})


def imported_lines(result: dict[str, Any]) -> list[str]:
    """What was made and what was chosen, for people."""
    card = result["card"]
    by = " x ".join(map(str, card["patch"]))
    grid = "" if card["finer"] == 1 else f", output x{card['finer']} finer"
    gigaflop = card["compute"]["flops"] / 1e9
    lines = [
        f"{card['name']}: {card['rank']}-D, {len(card['channels'])} channels to "
        f"{len(card['classes'])} classes, patch {by}{grid}, {gigaflop:.3g} GFLOP per patch",
        f"normalisation {card['normalisation']['kind']}: {_MEANING[card['normalisation']['kind']]}",
        *result["notes"],
        *card["architecture"].get(WHOLE_PATCH, ()),
    ]
    return [*lines, result["path"]]


_MEANING = {
    "identity": "the model sees the values of the file; --normalisation source or card change them",
    "source": "less the mean, by the deviation, of each whole input",
    "card": "less the given mean, by the given deviation",
}
