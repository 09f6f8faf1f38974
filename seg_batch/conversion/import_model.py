"""The command ``models import``: a bundle from a foreign Keras model.

The options give what the file can't tell: names of channels, normalisation, meaning of classes. The
rest is read from the model and checked. Keras is imported inside functions.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seg_batch.config.card import (
    WHOLE_PATCH,
    Compute,
    ModelCard,
    make_card,
    read_card,
)
from seg_batch.config.command_options import ImportOptions
from seg_batch.core import files
from seg_batch.core.errors import InputError
from seg_batch.core.run_files import CARD
from seg_batch.datasets.label_classes import of_text
from seg_batch.inference import bundles
from seg_batch.inference.sliding_window.larger_patch import larger_patch, why_not_larger
from seg_batch.io.sinks.publish import require_replaceable, writing_folder

if TYPE_CHECKING:
    from seg_batch.nn.wrap_foreign import WrappedModel

BACKGROUND = "background"  # a class of this name is left out of mean scores


def import_model(
    file: str | Path, bundle: str | Path, options: ImportOptions, *, overwrite: bool = False
) -> dict[str, Any]:
    """Write the bundle folder ``bundle`` for the model in ``file``; ``path``, ``card`` and ``notes``.

    The bundle is loaded and run before it replaces ``bundle`` atomically. Raises InputError for a
    model or options that make no bundle, OutputError if ``bundle`` can't be written; nothing is
    written then.
    """
    path = Path(bundle)
    require_replaceable(path, overwrite, CARD)
    card = _card(options, path)
    from seg_batch.nn.wrap_foreign import require_same, wrapped

    wrapping = wrapped(
        Path(file),
        channels=len(options.channels),
        classes=len(card.classes),
        patch=options.patch,
        head=options.head,
        logits=options.logits,
    )
    card = _measured(card, options, wrapping)
    with writing_folder(path, overwrite, CARD) as folder:
        weights = folder / bundles.WEIGHTS["keras"]
        wrapping.model.save(weights)
        sha256 = files.sha256(weights)
        card = card.model_copy(update={"weights_sha256": sha256})
        _write_card(folder, card)
        written = bundles.require_intact(bundles.Model(read_card(folder), folder))
        require_same(written.weights, wrapping, written.card.weights_sha256)
        if fixed := _why_fixed(wrapping, card):
            card = card.model_copy(update={"patch_fixed": fixed})
            _write_card(folder, card)
    return {"path": str(path), "notes": list(wrapping.notes), "card": card.model_dump(mode="json")}


def _why_fixed(wrapping: WrappedModel, card: ModelCard) -> str | None:
    """Why predictions take the card's patch alone, by a try on noise; None where they need not."""
    from seg_batch.nn.analysis.patch_shapes import require_patch_memory
    from seg_batch.nn.wrap_foreign import noise_images

    try:
        require_patch_memory(wrapping.model, larger_patch(card))
    except InputError:
        return "a larger one needs more memory than there was to try it"
    return why_not_larger(wrapping.run, card, noise_images(wrapping))


def _write_card(folder: Path, card: ModelCard) -> None:
    text = json.dumps(card.model_dump(mode="json"), indent=2)
    (folder / CARD).write_text(text + "\n", encoding="utf-8")


def _card(options: ImportOptions, path: Path) -> ModelCard:
    """The card without the model's part; raises InputError for options that make none."""
    text = options.classes
    if "=" not in text:
        text = ",".join(f"{i}={name}" for i, name in enumerate(text.split(",")))
    classes = of_text(text)
    if len(classes) < 2:
        raise InputError("--classes names one class: a map tells at least two apart, like no,yes")
    background = next((c.id for c in classes.table if c.name.lower() == BACKGROUND), None)
    if len(set(options.channels)) < len(options.channels) or not all(options.channels):
        raise InputError("--channels: each channel has a name of its own, like red,green,nir")
    sizes = (1.0 if options.pixel_m is None else options.pixel_m, *(options.spacing_mm or ()))
    if min(sizes) <= 0:
        raise InputError("--pixel-m and --spacing-mm are sizes: above 0")
    return make_card(
        name=options.name or bundles.name_for(path),
        description=options.description,
        kind=options.kind or "any",
        modality=options.modality,
        missing=options.missing,
        channels=_channels(options),
        classes=classes.table,
        background=background,
        normalisation=_normalisation(options),
        pixel_m=options.pixel_m,
        pixel_range_m=options.pixel_range_m,
        spacing_mm=options.spacing_mm,
        licence=options.licence,
    )


def _channels(options: ImportOptions) -> list[dict[str, Any]]:
    """The channels with their aliases and quantities; the numbers of the normalisation tell the rest."""
    count = len(options.channels)
    quantities = options.quantity * (count if len(options.quantity) == 1 else 1) or (None,) * count
    aliases = options.aliases or ("",) * count
    for flag, given in (("--quantity", quantities), ("--aliases", aliases)):
        if len(given) != count:
            raise InputError(f"{flag} names {len(given)} of {count} channels: name each")
    return [
        {"name": name, "quantity": quantity, "aliases": [a for a in text.split("|") if a]}
        for name, quantity, text in zip(options.channels, quantities, aliases, strict=True)
    ]


def _normalisation(options: ImportOptions) -> dict[str, Any]:
    given = [name for name in ("mean", "std", "low", "high") if getattr(options, name)]
    kind = options.normalisation or ("card" if given else "identity")
    if kind != "card":
        if given:
            flags = " and ".join(f"--{name}" for name in given)
            raise InputError(f"{flags} belong to --normalisation card, not {kind}")
        return {"kind": kind}
    if not len(options.mean) == len(options.std) == len(options.channels):
        raise InputError(
            f"--normalisation card takes one --mean and one --std for each of "
            f"{len(options.channels)} channels, {len(options.mean)} and {len(options.std)} were given"
        )
    if min(options.std) <= 0:
        raise InputError(f"--std {min(options.std):g}: deviations are above 0")
    return {"kind": "card", "mean": options.mean, "std": options.std, **_limits(options)}


def _limits(options: ImportOptions) -> dict[str, tuple[float, ...]]:
    """What values are clipped to first."""
    low, high = options.low, options.high
    if not low and not high:
        return {}
    if not len(low) == len(high) == len(options.channels):
        raise InputError(
            f"--low and --high come together, one of each for each of {len(options.channels)} channels, "
            f"{len(low)} and {len(high)} were given"
        )
    for a, b in zip(low, high, strict=True):
        if not a < b:
            raise InputError(f"--low {a:g} must lie below --high {b:g}")
    return {"low": low, "high": high}


def _measured(card: ModelCard, options: ImportOptions, wrapping: WrappedModel) -> ModelCard:
    """The card with the entries that were read from the model or measured."""
    from seg_batch.nn.analysis.flops import activation_bytes, forward_flops
    from seg_batch.nn.analysis.global_layers import for_card
    from seg_batch.nn.analysis.patch_shapes import multiples
    from seg_batch.nn.networks.registry import architecture_of

    overlap = options.overlap or tuple(side // 4 for side in wrapping.patch)
    if len(overlap) != wrapping.rank:
        raise InputError(f"--overlap: the model is {wrapping.rank}-D, give {wrapping.rank} numbers")
    if options.spacing_mm is not None and len(options.spacing_mm) != wrapping.rank:
        raise InputError(
            f"--spacing-mm: the model is {wrapping.rank}-D, give {wrapping.rank} numbers"
        )
    measured = {
        "kind": options.kind or ("raster" if wrapping.rank == 2 else "volume"),
        "rank": wrapping.rank,
        "patch": wrapping.patch,
        "overlap": overlap,
        "finer": wrapping.finer,
        "compute": Compute(
            activation_bytes=activation_bytes(wrapping.model, wrapping.patch),
            flops=forward_flops(wrapping.model, wrapping.patch),
        ),
        "multiple": None if any(wrapping.model.input_shape[1:-1]) else multiples(wrapping.model),
        "architecture": {**architecture_of(wrapping.model), **for_card(wrapping.model)},
    }
    return make_card(**{**{k: getattr(card, k) for k in type(card).model_fields}, **measured})


def imported_lines(result: dict[str, Any]) -> list[str]:
    """The bundle and the choices made, in lines for people."""
    card = result["card"]
    by = " x ".join(map(str, card["patch"]))
    grid = "" if card["finer"] == 1 else f", output x{card['finer']} finer"
    gigaflop = card["compute"]["flops"] / 1e9
    return [
        f"{card['name']}: {card['rank']}-D, {len(card['channels'])} channels to "
        f"{len(card['classes'])} classes, patch {by}{grid}, {gigaflop:.3g} GFLOP per patch",
        f"normalisation {card['normalisation']['kind']}: {_MEANING[card['normalisation']['kind']]}",
        *result["notes"],
        *card["architecture"].get(WHOLE_PATCH, ()),
        *(
            [f"predictions take this patch alone: {card['patch_fixed']}"]
            if card["patch_fixed"]
            else []
        ),
        result["path"],
    ]


_MEANING = {
    "identity": "the model sees the values of the file; --normalisation source or card change them",
    "source": "less the mean, by the deviation, of each whole input",
    "nonzero": "less the mean, by the deviation, of what is not 0 in each whole input; 0 stays 0",
    "range": "from 0 to 1, the least and the greatest value of each whole input",
    "percentiles": "from 0 to 1, percentiles 2 and 98 of each whole input, to which it is clipped",
    "card": "less the given mean, by the given deviation",
}
