"""A card of ours as an item of STAC with the Machine Learning Model extension 1.5."""

from __future__ import annotations

import re
from typing import Any

from seg_batch.config.card import ModelCard
from seg_batch.config.card_parts.channels import Channel
from seg_batch.config.common_names import COMMON_NAMES, common_names, spelling
from seg_batch.conversion.cards.exported import ExportedFile
from seg_batch.conversion.cards.foreign import MIXED, spdx
from seg_batch.conversion.cards.scaling import limits_of
from seg_batch.conversion.cards.stac.reading import FORMAT, ROLE, UNITS
from seg_batch.io.sinks.catalogue.classes import stac_class

_MLM = "https://stac-extensions.github.io/mlm/v1.5.2/schema.json"
_FILE = "https://stac-extensions.github.io/file/v2.1.0/schema.json"
_EO = "https://stac-extensions.github.io/eo/v2.0.0/schema.json"
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_.\-\s]+[a-zA-Z0-9]")
_TASK = "semantic-segmentation"
# Framework and artifact type by the format of the file.
_ARTIFACTS = {
    "onnx": ("ONNX", "onnx"),
    "keras": ("Keras", "tf.keras.Model.save"),
    "h5": ("Keras", "tf.keras.Model.save"),
    "savedmodel": ("TensorFlow", "tf.keras.Model.export"),
    "tflite": ("TensorFlow", "tflite"),
    "openvino": ("OpenVINO", "openvino.save_model"),
}


def why_not(card: ModelCard, file: ExportedFile) -> str | None:
    """Why there is no item for this model, in a few words; None where there is one."""
    if card.rank != 2 or card.kind != "raster":
        return "STAC describes images of the Earth, and the model is not 2-D and of kind raster"
    if not card.channels:
        return "an item names its bands, and the card has none"
    if card.normalisation.kind == "mixed":
        return MIXED
    return None


def item(card: ModelCard, file: ExportedFile) -> dict[str, Any]:
    """The item, with the file beside it."""
    framework, artifact = _ARTIFACTS[file.form]
    bands = [_band(channel) for channel in card.channels or ()]
    named = any(key.startswith("eo:") for band in bands for key in band)
    properties: dict[str, Any] = {
        "description": card.description or card.name,
        "datetime": None,
        "start_datetime": "1900-01-01T00:00:00Z",
        "end_datetime": "9999-12-31T23:59:59Z",
        "mlm:name": card.name if _NAME.fullmatch(card.name) else f"model-{card.name}",
        "mlm:architecture": str(card.architecture.get("arch", "unknown")),
        "mlm:tasks": [_TASK],
        "mlm:framework": framework,
        "mlm:memory_size": card.compute.activation_bytes,
        "mlm:accelerator": None,
        "mlm:input": [_input(card, file)],
        "mlm:output": [_output(card, file)],
        "bands": bands,
    }
    if card.pixel_m is not None:
        properties["gsd"] = card.pixel_m
    if licence := spdx(card.licence):
        properties["license"] = licence
    asset: dict[str, Any] = {
        "href": f"./{file.name}",
        "type": f"application/octet-stream; framework={framework.lower()}",
        "roles": [ROLE, "mlm:weights"],
        "mlm:artifact_type": artifact,
        "file:size": file.size_bytes,
        # STAC allows bands of an item only where an asset has some.
        "bands": [{"name": band["name"]} for band in bands],
    }
    if file.sha256:
        asset["file:checksum"] = f"1220{file.sha256}"  # a multihash: sha2-256, 32 bytes
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [_MLM, _FILE, *([_EO] if named else [])],
        "id": card.name,
        "geometry": None,
        "properties": properties,
        "links": [],
        "assets": {"model": asset},
    }


def _axes(file: ExportedFile, channel: str) -> list[str]:
    sides = ["height", "width"]
    order = [channel, *sides] if file.layout == "channels_first" else [*sides, channel]
    return ["batch", *order]


def _shape(file: ExportedFile, sides: tuple[int, ...], channels: int) -> list[int]:
    order = [channels, *sides] if file.layout == "channels_first" else [*sides, channels]
    return [1 if file.single else -1, *order]


def _input(card: ModelCard, file: ExportedFile) -> dict[str, Any]:
    channels = card.channels or ()
    shape = _shape(file, card.patch or (-1, -1), len(channels))
    return {
        "name": file.input,
        "bands": [channel.name for channel in channels],
        "input": {"shape": shape, "dim_order": _axes(file, "bands"), "data_type": "float32"},
        "resize_type": None,
        **_values(card),
    }


def _values(card: ModelCard) -> dict[str, Any]:
    """The normalisation: numbers as scalings, a scheme of each image as a function by its name in cards."""
    numbers = card.normalisation
    if numbers.kind == "identity":
        return {"value_scaling": None, "pre_processing_function": None}
    if numbers.kind != "card":
        what = "numbers of each whole image, measured in one pass over it: see the card of segbatch"
        function = {"format": FORMAT, "expression": numbers.kind, "description": what}
        return {"value_scaling": None, "pre_processing_function": function}
    limits = limits_of(numbers)
    scalings: list[dict[str, Any]] = []
    for c, (mean, std) in enumerate(zip(numbers.mean, numbers.std, strict=True)):
        if limits:
            low, high = limits[c]
            text = f"(clip(A, {low!r}, {high!r}) - {mean!r}) / {std!r}"
            scalings.append({"type": "processing", "format": "gdal-calc", "expression": text})
        else:
            scalings.append({"type": "z-score", "mean": mean, "stddev": std})
    return {"value_scaling": scalings, "pre_processing_function": None}


def _output(card: ModelCard, file: ExportedFile) -> dict[str, Any]:
    sides: tuple[int, ...] = (-1, -1)
    if card.patch:
        shrink = card.output.shrink or (0,) * len(card.patch)
        sides = tuple((p - 2 * s) * card.finer for p, s in zip(card.patch, shrink, strict=True))
    shape = _shape(file, sides, file.outputs)
    return {
        "name": file.output,
        "tasks": [_TASK],
        "result": {"shape": shape, "dim_order": _axes(file, "class"), "data_type": "float32"},
        "classification:classes": [stac_class(c) for c in card.classes],
        "post_processing_function": _activation(card, file),
    }


def _activation(card: ModelCard, file: ExportedFile) -> dict[str, Any] | None:
    if card.output.gives == "probabilities":
        return None
    independent = card.output.classes == "independent" or file.outputs == 1
    name = "torch:sigmoid" if independent else "torch:softmax"
    word = "sigmoid" if independent else "softmax"
    return {"format": "python", "expression": name, "description": f"{word} of the scores"}


def _band(channel: Channel) -> dict[str, Any]:
    names = [channel.name, *channel.aliases]
    common = common_names({spelling(name) for name in names})
    spectral = [name for name in common if COMMON_NAMES[name][0] or name in ("pan", "swir")]
    band: dict[str, Any] = {"name": channel.name, "data_type": "float32"}
    if len(spectral) == 1:
        band["eo:common_name"] = spectral[0]
    if unit := {ours: unit for unit, ours in UNITS.items()}.get(channel.quantity or ""):
        band["unit"] = unit
    if known := channel.statistics:
        band["statistics"] = {
            "mean": known.mean,
            "stddev": known.std,
            "valid_percent": 100 * (1 - known.nodata_share),
        }
        if known.percentiles:
            least, greatest = known.percentiles[0], known.percentiles[-1]
            band["statistics"] |= {"minimum": least, "maximum": greatest}
    return band
