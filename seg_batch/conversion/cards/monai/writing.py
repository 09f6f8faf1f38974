"""A card of ours as a bundle of MONAI: ``configs/metadata.json`` and ``configs/inference.json``."""

from __future__ import annotations

from typing import Any

from seg_batch.config.card import STORED, ModelCard
from seg_batch.conversion.cards.exported import ExportedFile
from seg_batch.conversion.cards.foreign import MIXED, spdx
from seg_batch.conversion.cards.scaling import limits_of
from seg_batch.core.statistics.schemes import HIGH, LOW

_SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
    "meta_schema_20240725.json"
)
_FORMATS = {"HU": "hounsfield", "SUV": "suv"}
_MODES = {"linear": "bilinear", "nearest": "nearest", "cubic": "bicubic"}
_IMAGE, _PRED = "image", "pred"


def why_not(card: ModelCard, file: ExportedFile) -> str | None:
    """Why there is no bundle of this model, in a few words; None where there is one."""
    if card.kind != "volume" or card.patch is None or not card.channels:
        return "a bundle is for volumes, with named channels and a patch"
    if file.form != "onnx" or file.layout != "channels_first":
        return "it runs networks with channels first, in ONNX or TorchScript"
    if card.normalisation.kind == "mixed":
        return MIXED
    if card.output.gives != "logits" and file.outputs < len(card.classes):
        return "it takes thresholds after a sigmoid alone, and the network ends in its own"
    if card.output.rule == "last":
        return "it can't say that the last class above the threshold is taken"
    return None


def metadata(card: ModelCard, file: ExportedFile) -> dict[str, Any]:
    """``configs/metadata.json``."""
    patch, channels = list(card.patch or ()), card.channels or ()
    sides: list[Any] = [f"{m}*n" for m in card.multiple] if card.multiple else patch
    names = [c.name for c in card.classes]
    if file.outputs < len(names) and card.background_index is not None:
        del names[card.background_index]
    first = channels[0].quantity if channels else None
    return {
        "schema": _SCHEMA,
        "version": "0.1.0",
        "changelog": {"0.1.0": "written by segbatch"},
        "monai_version": "1.4.0",
        "pytorch_version": "2.4.0",
        "numpy_version": "1.26.4",
        "name": card.name,
        "task": "segmentation",
        "description": card.description or card.name,
        "authors": "",
        "copyright": "",
        "license": spdx(card.licence),
        "data_source": card.training_data,
        "network_data_format": {
            "inputs": {
                _IMAGE: {
                    **_tensor(len(channels), sides, [c.name for c in channels]),
                    "format": _FORMATS.get(first or "", "magnitude"),
                    "modality": card.modality or "n/a",
                }
            },
            "outputs": {
                _PRED: {
                    **_tensor(file.outputs, sides, names),
                    "format": "segmentation",
                    "value_range": [0, 1] if card.output.gives == "probabilities" else [],
                },
            },
        },
    }


def inference(card: ModelCard, file: ExportedFile) -> dict[str, Any]:
    """``configs/inference.json``: what is around the network, without a workflow that runs it."""
    return {
        "image_key": _IMAGE,
        "output_dir": "./eval",
        "model_file": file.name,
        "preprocessing": {"_target_": "Compose", "transforms": _before(card)},
        "inferer": _inferer(card),
        "postprocessing": {"_target_": "Compose", "transforms": _after(card, file)},
    }


def _tensor(channels: int, sides: list[Any], names: list[str]) -> dict[str, Any]:
    return {
        "type": "image",
        "num_channels": channels,
        "spatial_shape": sides,
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": True,
        "channel_def": {str(k): name for k, name in enumerate(names)},
    }


def _step(name: str, key: str = "@image_key", **options: Any) -> dict[str, Any]:
    return {"_target_": name, "keys": key, **options}


def _order(card: ModelCard) -> tuple[int, ...]:
    """Axes of the card's view (z, y, x) as those of MONAI's tensor: slices of a 2-D model are along its last."""
    return (0, 1, 2) if card.rank == 3 else (1, 2, 0)


def _before(card: ModelCard) -> list[dict[str, Any]]:
    steps = [_step("LoadImaged"), _step("EnsureChannelFirstd"), *_orientation(card)]
    if card.spacing_mm is not None and len(card.spacing_mm) == 3:
        sizes = [card.spacing_mm[k] for k in _order(card)]
        mode = _MODES.get(card.resampling.up, "bilinear")
        steps.append(_step("Spacingd", pixdim=sizes, mode=mode))
    if card.crop == "nonzero":
        steps.append(_step("CropForegroundd", source_key="@image_key"))
    return [*steps, *_intensity(card), _step("EnsureTyped")]


def _orientation(card: ModelCard) -> list[dict[str, Any]]:
    """None where the card has the axes of each file, x first, as MONAI reads them; other orders are told as lost."""
    if card.orientation.startswith(STORED):
        return []
    letters = card.orientation[::-1]
    return [_step("Orientationd", axcodes="".join(letters[k] for k in _order(card)))]


def _intensity(card: ModelCard) -> list[dict[str, Any]]:
    numbers = card.normalisation
    each = len(card.channels or ()) > 1
    if numbers.kind in ("source", "nonzero"):
        nonzero = numbers.kind == "nonzero"
        return [_step("NormalizeIntensityd", nonzero=nonzero, channel_wise=each)]
    if numbers.kind == "range":
        return [_step("ScaleIntensityd", minv=0.0, maxv=1.0, channel_wise=each)]
    if numbers.kind == "percentiles":
        ends: dict[str, Any] = {
            "lower": LOW,
            "upper": HIGH,
            "b_min": 0.0,
            "b_max": 1.0,
            "clip": True,
        }
        return [_step("ScaleIntensityRangePercentilesd", **ends, channel_wise=each)]
    if numbers.kind != "card":
        return []
    return [*_clips(limits_of(numbers)), _normalise(numbers.mean, numbers.std)]


def _clips(limits: tuple[tuple[float, float], ...]) -> list[dict[str, Any]]:
    """One pair of limits for all channels; where they have different ones, each goes to 0 and 1 for it, and back."""
    if len(set(limits)) <= 1:
        return [_clip(low, high) for low, high in set(limits)]
    low = [a for a, _ in limits]
    width = [b - a for a, b in limits]
    back = [-a / w for a, w in zip(low, width, strict=True)]
    return [_normalise(low, width), _clip(0.0, 1.0), _normalise(back, [1 / w for w in width])]


def _clip(low: float, high: float) -> dict[str, Any]:
    return _step("ScaleIntensityRanged", a_min=low, a_max=high, b_min=low, b_max=high, clip=True)


def _normalise(mean: Any, std: Any) -> dict[str, Any]:
    numbers: dict[str, Any] = {"subtrahend": list(mean), "divisor": list(std)}
    return _step("NormalizeIntensityd", **numbers, channel_wise=True)


def _inferer(card: ModelCard) -> dict[str, Any]:
    patch = card.patch or ()
    overlap = card.overlap or tuple(n // 2 for n in patch)
    window: dict[str, Any] = {
        "roi_size": list(patch),
        "overlap": [_share(n, o) for n, o in zip(patch, overlap, strict=True)],
        "mode": "constant" if card.taper == "constant" else "gaussian",
        "padding_mode": "constant" if card.padding == "zero" else "reflect",
    }
    if card.rank == 2:
        return {"_target_": "SliceInferer", "spatial_dim": 2, "sw_batch_size": 1, **window}
    return {"_target_": "SlidingWindowInferer", "sw_batch_size": 1, **window}


def _share(side: int, overlap: int) -> float:
    """The share of which MONAI, which rounds its step down, makes just this overlap."""
    return max(0.0, 1 - (side - overlap + 0.5) / side)


def _after(card: ModelCard, file: ExportedFile) -> list[dict[str, Any]]:
    output = card.output
    sigmoid = output.classes == "independent" or file.outputs == 1
    steps = []
    if output.gives == "logits":
        kind = {"sigmoid": True} if sigmoid else {"softmax": True}
        steps.append(_step("Activationsd", _PRED, **kind))
    back = {"transform": "@preprocessing", "orig_keys": "@image_key", "nearest_interp": False}
    discrete = {"threshold": output.threshold} if sigmoid else {"argmax": True}
    steps += [
        _step("Invertd", _PRED, **back, to_tensor=True),
        _step("AsDiscreted", _PRED, **discrete),
    ]
    for step in card.post:
        if step.step == "largest" and not sigmoid:
            labels = [c.id for c in card.classes if c.name in step.classes]
            kept = {"applied_labels": labels} if labels else {}
            steps.append(_step("KeepLargestConnectedComponentd", _PRED, **kept))
    return [*steps, _step("SaveImaged", _PRED, output_dir="@output_dir")]
