"""Bundles of MONAI: ``configs/metadata.json`` and ``configs/inference.json``, read as cards of ours.

Transforms are recognised by name, and an unknown one is refused. Nothing of a bundle is run but its network.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from seg_batch.conversion.cards.archive import file_inside
from seg_batch.conversion.cards.entry import Entry, document
from seg_batch.conversion.cards.foreign import (
    Foreign,
    classes_of,
    no_place,
    with_background,
)
from seg_batch.conversion.cards.monai.config import Config
from seg_batch.conversion.cards.monai.postprocessing import Postprocessing
from seg_batch.conversion.cards.monai.preprocessing import Preprocessing
from seg_batch.conversion.cards.monai.window import Window
from seg_batch.conversion.words import background_of, is_background, modality_of
from seg_batch.core.errors import InputError
from seg_batch.core.text import as_name

WORLD = "MONAI"
METADATA, FOLDER = "metadata.json", "configs"
_INFERENCE = ("inference.json", "inference.yaml", "inference.yml")
_MODELS = ("model.onnx", "model.ts", "model.pt2", "model.pt")
_QUANTITIES = {"hounsfield": "HU", "suv": "SUV"}
_MULTIPLE = re.compile(r"(\d+)\s*\*\s*n|n\s*\*\s*(\d+)")
_NOT_KEPT = (
    "version changelog copyright data_type image_classes label_classes pred_classes eval_metrics "
    "intended_use monai_version pytorch_version numpy_version"
)


def read(path: Path) -> Foreign:
    """The bundle whose ``metadata.json`` this is."""
    folder = path.parent.parent if path.parent.name == FOLDER else path.parent
    inference = next((p for n in _INFERENCE if (p := path.parent / n).is_file()), None)
    if inference is None:
        raise InputError(
            f"{path.parent} has no {_INFERENCE[0]}, which says what a network sees: name a bundle for inference"
        )
    metadata, config = document(path), document(inference)
    fields, sentences = card_fields(metadata, config)
    people = metadata["authors"].texts()
    credited = tuple(t for t in (*people, *metadata["references"].texts()) if t)
    return Foreign(WORLD, path, _model(folder), fields, tuple(sentences), credits=credited)


def _model(folder: Path) -> Path:
    names = [
        n
        for place in ("models/", "")
        for name in _MODELS
        if (folder / (n := place + name)).is_file()
    ]
    if not names:
        raise InputError(
            f"{folder} has none of models/{', '.join(_MODELS)}: bundles are fetched without their large files at times, "
            "fetch the whole of it"
        )
    return file_inside(folder, names[0], "the model")


def card_fields(metadata: Entry, inference: Entry) -> tuple[dict[str, Any], list[str]]:
    """The fields of a card, and sentences on what they don't hold. InputError for a transform or an inferer that is not
    known here."""
    data = metadata["network_data_format"]
    given, result = data["inputs"].only("inputs"), data["outputs"].only("outputs")
    config = Config(inference)
    channels = _names(given, ("channel_def",), "channel")
    before = Preprocessing(config, len(channels), _modality(given))
    window = Window(config, _sides(given))
    after = Postprocessing(config)
    classes, output = _classes(result, after)
    quantity = _QUANTITIES.get(given["format"].text("").lower())
    fields: dict[str, Any] = {
        "name": as_name(metadata["name"].text()),
        "description": metadata["description"].text(""),
        "licence": metadata["license"].text(""),
        "training_data": metadata["data_source"].text(""),
        "kind": "volume",
        "rank": window.rank,
        "modality": _modality(given),
        "channels": [{"name": name, "quantity": quantity} for name in channels],
        "classes": classes,
        "background": background_of(classes),
        "normalisation": before.normalisation(),
        "tensors": {"layout": "channels_first"},
        "output": output,
        **before.grid(window.slices_along),
        **window.fields(),
        **after.post({c["id"]: c["name"] for c in classes}),
    }
    if fields["background"] is None:
        fields.pop("crop", None)
    if before.pads_with_zeros:
        fields["padding"] = "zero"
    if multiple := _multiple(given):
        fields["multiple"] = multiple
    unread = [key for key in _NOT_KEPT.split() if metadata[key]]
    sentences = no_place("what tells of its makers and versions", unread)
    return fields, [*sentences, *before.sentences, *window.sentences, *after.sentences]


def _modality(given: Entry) -> str | None:
    return modality_of([given["modality"].text("")])


def _names(entry: Entry, keys: tuple[str, ...], what: str) -> tuple[str, ...]:
    """The names of channels by their numbers; ``channel 1`` and so on where there are none."""
    count = entry["num_channels"].integer()
    known = next((entry[key] for key in keys if entry[key]), Entry({}, entry.where))
    names = known.mapping()
    if set(names) != {str(k) for k in range(count)}:
        if names and set(names) != {"0"}:
            raise known.error(f"it names {len(names)} of {count} channels: name each by its number")
        names = (
            {str(k): f"{what} {k}" for k in range(count)}
            if count > 1
            else {"0": names.get("0", what)}
        )
    each = tuple(Entry(names[str(k)], known.where, f"{known.way}.{k}").text() for k in range(count))
    if len(set(each)) < count:
        raise known.error("each channel has a name of its own: name them")
    return each


def _classes(result: Entry, after: Postprocessing) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The classes, and ``output`` of a card: MONAI joins what a network gives before any activation."""
    names = _names(result, ("channel_def", "label_def"), "class")
    output: dict[str, Any] = {"gives": "logits", "blend": "logits"}
    if not after.sigmoid:
        if len(names) < 2:
            raise result["num_channels"].error(
                "one output without a sigmoid makes no map of classes"
            )
        if not after.softmax and result["value_range"].value == [0, 1]:
            output = {"gives": "probabilities"}
        return classes_of(names), output
    if len(names) > 1 or after.threshold != 0.5:
        output |= {"classes": "independent", "threshold": after.threshold}
    return (classes_of(names) if is_background(names[0]) else with_background(names)), output


def _sides(given: Entry) -> tuple[int, ...] | None:
    """The sides of the input, where they are numbers."""
    sides = [s.value for s in given["spatial_shape"]]
    return tuple(sides) if all(type(s) is int and s > 0 for s in sides) and sides else None


def _multiple(given: Entry) -> tuple[int, ...] | None:
    """What the sides are multiples of, where they are written so."""
    each = [_MULTIPLE.fullmatch(str(s.value).strip()) for s in given["spatial_shape"]]
    if not each or not all(each):
        return None
    return tuple(int(m[1] or m[2]) for m in each if m)
