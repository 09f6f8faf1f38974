"""A card of ours as a model description of bioimage.io, format 0.5, with its test tensors."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from seg_batch.config.card import ModelCard
from seg_batch.conversion.cards.example import Example
from seg_batch.conversion.cards.exported import ExportedFile
from seg_batch.conversion.cards.foreign import MIXED, spdx
from seg_batch.conversion.cards.scaling import limits_of
from seg_batch.conversion.words import word_of
from seg_batch.core.statistics.schemes import HIGH, LOW

FORMAT = "0.5.4"
INPUT, OUTPUT = "test_input.npy", "test_output.npy"
_WEIGHTS = {"onnx": "onnx", "keras": "keras_v3"}
_IMAGE, _SCORES = "image", "scores"  # ids of the tensors
_TOLERANCE = {"relative_tolerance": Example.relative, "absolute_tolerance": Example.absolute}


def why_not(card: ModelCard, file: ExportedFile) -> str | None:
    """Why there is no description of this model, in a few words; None where there is one."""
    if file.form not in _WEIGHTS:
        return f"it knows no weights in {file.form}"
    if card.rank is None or not card.channels or card.patch is None:
        return "a description names channels and sides, and the card has none"
    if card.normalisation.kind == "nonzero":
        return "it can't say that what is 0 stays 0"
    if card.output.rule == "last":
        return "it can't say that the last class above the threshold is taken"
    if card.normalisation.kind == "mixed":
        return MIXED
    return None


def description(card: ModelCard, file: ExportedFile, hashes: dict[str, str]) -> dict[str, Any]:
    """``rdf.yaml``. ``hashes``: sha256 of the two test tensors, by file."""
    text = re.sub(r"[^A-Za-z0-9_+\- ()]", "_", card.name)
    rdf: dict[str, Any] = {
        "format_version": FORMAT,
        "type": "model",
        "name": text if len(text) >= 5 else f"model {text}",
        "description": (card.description or card.name)[:1024],
        "tags": ["semantic-segmentation", f"{card.rank}d", *_tags(card)],
        "inputs": [_input(card, file, hashes)],
        "outputs": [_output(card, file, hashes)],
        "weights": {_WEIGHTS[file.form]: _weights(file)},
        "config": {"bioimageio": {"reproducibility_tolerance": [_TOLERANCE]}},
    }
    if licence := spdx(card.licence):
        rdf["license"] = licence
    return rdf


def raw(card: ModelCard, normalised: np.ndarray) -> np.ndarray:
    """A test input: values, float32, that ``preprocessing`` makes about this of."""
    numbers = card.normalisation
    if numbers.kind != "card":
        return normalised
    mean, std = (np.asarray(n, np.float32) for n in (numbers.mean, numbers.std))
    return (normalised * std + mean).astype(np.float32)


def _tags(card: ModelCard) -> list[str]:
    tags = [] if card.kind == "any" else [card.kind]
    return tags + [word for word in [word_of(card.modality)] if word]


def _weights(file: ExportedFile) -> dict[str, Any]:
    entry: dict[str, Any] = {"source": file.name, "sha256": file.sha256}
    if file.form == "onnx":
        return {**entry, "opset_version": int(file.versions.get("opset", 17))}
    keras = str(file.versions.get("keras", "3.0"))
    tensorflow = str(file.versions.get("tensorflow", "2.21"))
    return {**entry, "keras_version": keras, "backend": ["tensorflow", tensorflow]}


def _sizes(card: ModelCard) -> list[tuple[str, Any, dict[str, Any]]]:
    """Of each side: its id, its size, and unit and scale."""
    assert card.patch is not None
    ids, multiple = "zyx"[-len(card.patch) :], card.multiple
    sizes: list[Any] = list(card.patch)
    if card.patch_fixed is None and multiple is not None:
        margins = card.margin or (0,) * len(
            multiple
        )  # a halo has to leave something of the least side
        least = ((2 * h // m + 1) * m for h, m in zip(margins, multiple, strict=True))
        sizes = [{"min": n, "step": m} for n, m in zip(least, multiple, strict=True)]
    return list(zip(ids, sizes, _units(card), strict=True))


def _units(card: ModelCard) -> list[dict[str, Any]]:
    rank = card.rank or 0
    if card.spacing_mm is not None and len(card.spacing_mm) >= rank:
        return [{"unit": "millimeter", "scale": s} for s in card.spacing_mm[-rank:]]
    if card.pixel_m is not None:
        return [{"unit": "meter", "scale": card.pixel_m}] * rank
    return [{}] * rank


def _in_order(file: ExportedFile, channel: dict[str, Any], space: list[Any]) -> list[Any]:
    order = [channel, *space] if file.layout == "channels_first" else [*space, channel]
    return [{"type": "batch", **({"size": 1} if file.single else {})}, *order]


def _input(card: ModelCard, file: ExportedFile, hashes: dict[str, str]) -> dict[str, Any]:
    channel = {"type": "channel", "channel_names": [c.name for c in card.channels or ()]}
    space = [{"type": "space", "id": i, "size": n, **unit} for i, n, unit in _sizes(card)]
    return {
        "id": _IMAGE,
        "description": file.input,
        "axes": _in_order(file, channel, space),
        "data": {"type": "float32"},
        "test_tensor": {"source": INPUT, "sha256": hashes[INPUT]},
        "preprocessing": _preprocessing(card),
    }


def _output(card: ModelCard, file: ExportedFile, hashes: dict[str, str]) -> dict[str, Any]:
    names = [c.name for c in card.classes]
    if file.outputs < len(names) and card.background_index is not None:
        del names[card.background_index]
    channel = {"type": "channel", "channel_names": names}
    space = [_outer(card, k, i, n, unit) for k, (i, n, unit) in enumerate(_sizes(card))]
    steps: list[dict[str, Any]] = []
    if card.output.gives == "logits":
        one = card.output.classes == "independent" or file.outputs == 1
        steps = [{"id": "sigmoid"}] if one else [{"id": "softmax", "kwargs": {"axis": "channel"}}]
    return {
        "id": _SCORES,
        "description": file.output,
        "axes": _in_order(file, channel, space),
        "data": {"type": "float32"},
        "test_tensor": {"source": OUTPUT, "sha256": hashes[OUTPUT]},
        "postprocessing": steps,
    }


def _outer(card: ModelCard, k: int, axis: str, inner: Any, unit: dict[str, Any]) -> dict[str, Any]:
    """An axis of the output: the size of the input, less what valid convolutions take."""
    size: dict[str, Any] = {"tensor_id": _IMAGE, "axis_id": axis}
    if card.output.shrink and card.output.shrink[k]:
        size["offset"] = -2 * card.output.shrink[k] * card.finer
    entry: dict[str, Any] = {"type": "space", "id": axis, "size": size, **unit}
    if card.finer > 1:
        entry["scale"] = unit.get("scale", 1.0) / card.finer
    least = inner["min"] if isinstance(inner, dict) else inner
    if card.margin and 0 < card.margin[k] < least / 2:
        entry["halo"] = card.margin[k] * card.finer
    return entry


def _preprocessing(card: ModelCard) -> list[dict[str, Any]]:
    numbers, space = card.normalisation, list("zyx"[-(card.rank or 2) :])
    if numbers.kind == "source":
        return [{"id": "zero_mean_unit_variance", "kwargs": {"axes": space}}]
    if numbers.kind == "range":
        return [{"id": "scale_range", "kwargs": {"axes": space}}]
    if numbers.kind == "percentiles":
        ends = {"min_percentile": LOW, "max_percentile": HIGH}
        return [{"id": "scale_range", "kwargs": {"axes": space, **ends}}, _clip(0.0, 1.0)]
    if numbers.kind != "card":
        return []
    steps = _clips(limits_of(numbers))
    kwargs = {"axis": "channel", "mean": list(numbers.mean), "std": list(numbers.std)}
    return [*steps, {"id": "fixed_zero_mean_unit_variance", "kwargs": kwargs}]


def _clips(limits: tuple[tuple[float, float], ...]) -> list[dict[str, Any]]:
    """A clip knows one pair of limits: where channels have different ones, each goes to 0 and 1 for it, and back."""
    if len(set(limits)) <= 1:
        return [_clip(*pair) for pair in set(limits)]
    low, width = [a for a, _ in limits], [b - a for a, b in limits]
    there = {"axis": "channel", "mean": low, "std": width}
    back = {"axis": "channel", "gain": width, "offset": low}
    return [
        {"id": "fixed_zero_mean_unit_variance", "kwargs": there},
        _clip(0.0, 1.0),
        {"id": "scale_linear", "kwargs": back},
    ]


def _clip(low: float, high: float) -> dict[str, Any]:
    return {"id": "clip", "kwargs": {"min": low, "max": high}}
