"""What people say of a model that is imported: fields of a card from a file and from options, as one.

An option counts before the file. What neither gives is found in the model, or has its default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seg_batch.config.card import ModelCard, make_card
from seg_batch.config.card_file import read_card_fields
from seg_batch.config.command_options import ImportOptions
from seg_batch.conversion.words import background_of
from seg_batch.core.errors import InputError
from seg_batch.datasets.label_classes import of_text
from seg_batch.inference import bundles

_SAME = (
    *("patch", "overlap", "margin", "modality", "kind", "name", "description", "licence"),
    *("missing", "pixel_m", "pixel_range_m", "spacing_mm"),
)

type Fields = dict[str, Any]


def declared(options: ImportOptions, bundle: Path, foreign: Fields | None = None) -> Fields:
    """The fields of the card of ``bundle`` that are said; InputError in one line where they make no card. ``foreign``: what
    the card of another world says, which counts least."""
    said = {} if options.card is None else read_card_fields(Path(options.card))
    said = {**(foreign or {}), **said}
    given = {key: value for key in _SAME if (value := getattr(options, key)) not in (None, "")}
    fields = {"name": bundles.name_for(bundle), **said, **given}
    fields |= _classes(options, said)
    fields |= {"channels": _channels(options, said)}
    fields |= {"normalisation": _normalisation(options, said, len(fields["channels"]))}
    fields |= _file(options, said)
    sizes = (fields.get("pixel_m") or 1.0, *(fields.get("spacing_mm") or ()))
    if options.pixel_m == 0 or min(sizes) <= 0:
        raise InputError("--pixel-m and --spacing-mm are sizes: above 0")
    make_card(**{"kind": "any", **_unchecked(fields)})
    return fields


def settled(fields: Fields, found: Mapping[str, Any], where: str) -> ModelCard:
    """The card of what is said and what was ``found`` in the model called ``where``: InputError where they differ."""
    for key, value in found.items():
        said = fields.get(key)
        if said is not None and value is not None and _listed(said) != _listed(value):
            raise InputError(
                f"the card says {key} {_listed(said)}, and {where} has {_listed(value)}: leave it out of the card, or mend it"
            )
    whole = {**fields, **{key: value for key, value in found.items() if value is not None}}
    rank = whole["rank"]
    for key in ("patch", "overlap", "margin"):
        if whole.get(key) is not None and len(whole[key]) != rank:
            raise InputError(f"--{key}: the model is {rank}-D, give {rank} numbers")
    whole["kind"] = fields.get("kind") or ("raster" if rank == 2 else "volume")
    if whole.get("overlap") is None:
        whole["overlap"] = _overlap(whole)
    return make_card(**whole)


def _overlap(fields: Fields) -> tuple[int, ...]:
    """A quarter of what is labelled of a patch, or twice the margin where that is more."""
    none = (0,) * fields["rank"]
    shrink = fields.get("output", {}).get("shrink") or none
    sides = zip(fields["patch"], shrink, fields.get("margin") or none, strict=True)
    return tuple(max((n - 2 * s) // 4, 2 * margin) for n, s, margin in sides)


def _unchecked(fields: Fields) -> Fields:
    """Without what is held against one another once the rank of the model is known."""
    return {k: v for k, v in fields.items() if k not in ("patch", "overlap", "margin", "border")}


def _listed(value: Any) -> Any:
    return [_listed(item) for item in value] if isinstance(value, list | tuple) else value


def _classes(options: ImportOptions, said: Fields) -> Fields:
    """The classes, and which of them is the background where nobody says that."""
    if options.classes is None:
        if "classes" not in said:
            raise InputError(
                "what the classes are called is not said: give --classes background,forest, or classes in a --card"
            )
        classes = [(c["id"], c["name"]) for c in said["classes"]]
        fields: Fields = {}
    else:
        text = options.classes
        if "=" not in text:
            text = ",".join(f"{i}={name}" for i, name in enumerate(text.split(",")))
        table = of_text(text).table
        if len(table) < 2:
            raise InputError(
                "--classes names one class: a map tells at least two apart, like no,yes"
            )
        classes, fields = [(c.id, c.name) for c in table], {"classes": table}
    if "background" not in said:
        fields["background"] = background_of({"id": k, "name": name} for k, name in classes)
    return fields


def _channels(options: ImportOptions, said: Fields) -> list[Fields]:
    """The channels with their aliases and quantities; the numbers of the normalisation tell the rest."""
    channels = [c if isinstance(c, dict) else {"name": c} for c in said.get("channels") or ()]
    if options.channels:
        channels = [{"name": name} for name in options.channels]
    if not channels:
        raise InputError(
            "what the channels are called is not said: give --channels red,green,nir, or channels in a --card"
        )
    names = [c["name"] for c in channels]
    if len(set(names)) < len(names) or not all(names):
        raise InputError("--channels: each channel has a name of its own, like red,green,nir")
    count = len(channels)
    quantities: Sequence[str] = options.quantity * (count if len(options.quantity) == 1 else 1)
    for flag, given in (("--quantity", quantities), ("--aliases", options.aliases)):
        if given and len(given) != count:
            raise InputError(f"{flag} names {len(given)} of {count} channels: name each")
    for channel, quantity in zip(channels, quantities, strict=False):
        channel["quantity"] = quantity
    for channel, text in zip(channels, options.aliases, strict=False):
        channel["aliases"] = [a for a in text.split("|") if a]
    return channels


def _normalisation(options: ImportOptions, said: Fields, channels: int) -> Fields:
    given = [name for name in ("mean", "std", "low", "high") if getattr(options, name)]
    if options.normalisation is None and not given and "normalisation" in said:
        kept: Fields = said["normalisation"]
        return kept
    kind = options.normalisation or ("card" if given else "identity")
    if kind != "card":
        if given:
            flags = " and ".join(f"--{name}" for name in given)
            raise InputError(f"{flags} belong to --normalisation card, not {kind}")
        return {"kind": kind}
    if not len(options.mean) == len(options.std) == channels:
        raise InputError(
            f"--normalisation card takes one --mean and one --std for each of "
            f"{channels} channels, {len(options.mean)} and {len(options.std)} were given"
        )
    if min(options.std) <= 0:
        raise InputError(f"--std {min(options.std):g}: deviations are above 0")
    return {"kind": "card", "mean": options.mean, "std": options.std, **_limits(options, channels)}


def _limits(options: ImportOptions, channels: int) -> dict[str, tuple[float, ...]]:
    """What values are clipped to first."""
    low, high = options.low, options.high
    if not low and not high:
        return {}
    if not len(low) == len(high) == channels:
        raise InputError(
            f"--low and --high come together, one of each for each of {channels} channels, "
            f"{len(low)} and {len(high)} were given"
        )
    for a, b in zip(low, high, strict=True):
        if not a < b:
            raise InputError(f"--low {a:g} must lie below --high {b:g}")
    return {"low": low, "high": high}


def _file(options: ImportOptions, said: Fields) -> Fields:
    """What the tensors of the file are, and what its output means."""
    tensors = {"layout": options.layout, "output": options.output_name}
    output = {
        "gives": "logits" if options.logits else None,
        "classes": {"softmax": "exclusive", "sigmoid": "independent"}.get(options.activation or ""),
        "threshold": options.threshold,
    }
    fields: Fields = {}
    for key, given in (("tensors", tensors), ("output", output)):
        if merged := {**(said.get(key) or {}), **{k: v for k, v in given.items() if v is not None}}:
            fields[key] = merged
    return fields
