"""The card of a network of nnU-Net: how its images are prepared, tiled and put together, and what its classes are.

nnU-Net lays tiles half a patch apart, weighs them by a Gaussian of an eighth of a patch, sums raw scores over tiles, mirrored
views and folds, brings the sums back to the voxels of the image and takes the largest, or of regions the last above .5.
"""

from __future__ import annotations

from typing import Any

from seg_batch.config.card import ModelCard, make_card
from seg_batch.conversion.nnunet.reading import (
    IGNORE,
    NOT_RESAMPLED,
    Configuration,
    Dataset,
    Fingerprint,
    Intensity,
    Plans,
    Resize,
)
from seg_batch.conversion.words import BACKGROUND, is_sequence
from seg_batch.core.errors import InputError

_REORIENTED = ("SimpleITKIOWithReorient", "NibabelIOWithReorient")  # to RAS
_FLAT = "NaturalImage2DIO"
_AXES = "zyx"
_NEVER, _ALWAYS = 1e9, 1.0  # of thick_ratio
_LEAST_STD = 1e-8  # by which nnU-Net divides at least
_RULES = {0: "nearest", 1: "linear", 3: "cubic"}


def card_of(
    plans: Plans,
    chosen: Configuration,
    dataset: Dataset,
    fingerprint: Fingerprint,
    mirroring: tuple[int, ...],
    **words: Any,
) -> ModelCard:
    """The card without what only the converted file tells. ``mirroring``: the axes along which predictions are mirrored;
    ``words``: further fields. InputError for what a card can't hold."""
    rank, flat = len(chosen.patch_size), plans.image_reader_writer == _FLAT
    if flat and rank == 3:
        raise InputError(
            "a 3-D configuration of flat pictures (NaturalImage2DIO) has no input: import 2d"
        )
    return make_card(
        kind="raster" if flat else "volume",
        rank=rank,
        modality=_modality(chosen, dataset),
        channels=_channels(chosen, dataset),
        patch=chosen.patch_size,
        overlap=tuple(side // 2 for side in chosen.patch_size),
        patch_fixed="its normalisation sees the whole patch",
        normalisation=_normalisation(plans, chosen),
        resampling=_resampling(chosen),
        orientation=_orientation(plans),
        images=len(fingerprint.spacings) or dataset.training,
        format="onnx",
        tensors={"layout": "channels_first", "input": "image", "output": "logits"},
        padding="zero",
        crop="nonzero",
        tiles="even",
        taper="nnunet",
        tta=_views(mirroring, rank),
        **_classes(dataset),
        **_sizes(plans, chosen, fingerprint, flat),
        **words,
    )


def not_held(chosen: Configuration) -> list[str]:
    """What nnU-Net does to images of this configuration and a card does not say, in words."""
    pairs = zip(chosen.normalization_schemes, chosen.use_mask_for_norm, strict=True)
    if "nonzero" not in [_kind(*pair) for pair in pairs]:
        return []
    return [
        "voxels of 0 that lie inside the others are normalised by nnU-Net, and stay 0 here: labels differ where an image has "
        "such holes"
    ]


def _classes(dataset: Dataset) -> dict[str, Any]:
    """Classes, and how labels are made of scores."""
    both = {"gives": "logits", "blend": "logits"}
    if not dataset.has_regions:
        names = {
            v if isinstance(v, int) else v[0]: k for k, v in dataset.labels.items() if k != IGNORE
        }
        classes = [{"id": value, "name": names[value]} for value in sorted(names)]
        return {"classes": classes, "background": 0, "output": both}
    order = dataset.regions_class_order or ()
    if len(order) != len(dataset.regions):
        raise InputError(
            f"regions_class_order has {len(order)} values for {len(dataset.regions)} regions, and each has one: mend dataset.json"
        )
    if len({0, *order}) != len(order) + 1:
        raise InputError(
            f"regions_class_order {', '.join(map(str, order))} gives several regions one label, or that of the background, "
            "which a card can't hold: predict with nnU-Net"
        )
    regions = zip(order, dataset.regions, strict=True)
    classes = [{"id": 0, "name": BACKGROUND}, *({"id": k, "name": name} for k, name in regions)]
    output = {**both, "classes": "independent", "rule": "last"}
    return {"classes": classes, "background": 0, "output": output}


def _channels(chosen: Configuration, dataset: Dataset) -> list[dict[str, Any]]:
    """One name for each; values of CT are Hounsfield units."""
    names = list(dataset.channels)
    schemes = chosen.normalization_schemes
    if not len(names) == len(schemes) == len(chosen.use_mask_for_norm):
        raise InputError(
            f"dataset.json has {len(names)} channels and plans.json normalises {len(schemes)}: copy the results folder again"
        )
    if len({name.lower() for name in names}) < len(names):
        names = [f"{name}_{k}" for k, name in enumerate(names)]
    return [
        {"name": name, "quantity": "HU" if scheme == "CTNormalization" else None}
        for name, scheme in zip(names, schemes, strict=True)
    ]


def _modality(chosen: Configuration, dataset: Dataset) -> str | None:
    if set(chosen.normalization_schemes) == {"CTNormalization"}:
        return "CT"
    return "MR" if all(map(is_sequence, dataset.channels)) else None


def _normalisation(plans: Plans, chosen: Configuration) -> dict[str, Any]:
    """One scheme for all channels, or one for each."""
    pairs = zip(chosen.normalization_schemes, chosen.use_mask_for_norm, strict=True)
    kinds = [_kind(scheme, masked) for scheme, masked in pairs]
    numbers = [_numbers(plans, scheme, k) for k, scheme in enumerate(chosen.normalization_schemes)]
    clipped = [n["low"] is not None for n in numbers]
    keys = ("mean", "std", *(("low", "high") if any(clipped) else ()))
    columns = {key: [n[key] for n in numbers] for key in keys}
    if len({*kinds}) > 1 or (any(clipped) and not all(clipped)):
        return {"kind": "mixed", "kinds": kinds, **(columns if "card" in kinds else {})}
    return {"kind": kinds[0], **(columns if kinds[0] == "card" else {})}


def _kind(scheme: str, masked: bool) -> str:
    """What a card calls it."""
    return {
        "CTNormalization": "card",
        "ZScoreNormalization": "nonzero" if masked else "source",
        "RescaleTo01Normalization": "range",
        "RGBTo01Normalization": "card",
        "NoNormalization": "identity",
    }[scheme]


def _numbers(plans: Plans, scheme: str, channel: int) -> dict[str, float | None]:
    if scheme == "RGBTo01Normalization":
        return {"mean": 0.0, "std": 255.0, "low": None, "high": None}
    if scheme != "CTNormalization":
        return {"mean": 0.0, "std": 1.0, "low": None, "high": None}
    known: Intensity | None = plans.intensities.get(str(channel))
    if known is None:
        raise InputError(
            f"plans.json lacks the intensities of channel {channel}, by which CTNormalization goes: copy the results folder again"
        )
    return {
        "mean": known.mean,
        "std": max(known.std, _LEAST_STD),
        "low": known.percentile_00_5,
        "high": known.percentile_99_5,
    }


def _resampling(chosen: Configuration) -> dict[str, Any]:
    """The rules of values; probabilities go back linearly, along thick slices by the nearest."""
    functions = (chosen.resampling_fn_data, chosen.resampling_fn_probabilities)
    if NOT_RESAMPLED in functions and len({*functions}) > 1:
        raise InputError(
            "its plans resample images alone or scores alone, so that labels would not lie on their image: mend plans.json"
        )
    values, back = (
        _rules(chosen.resampling_fn_data, chosen.resampling_fn_data_kwargs),
        _rules(chosen.resampling_fn_probabilities, chosen.resampling_fn_probabilities_kwargs),
    )
    if (back["up"], back["thick"]) != ("linear", "nearest") or back["thick_ratio"] != values[
        "thick_ratio"
    ]:
        raise InputError(
            f"its scores are resampled by {back['up']} and {back['thick']} rules, and linear and nearest alone are known: predict "
            "with nnU-Net"
        )
    return {**values, "tolerance": 0.0, "normalised": True}


def _rules(function: str, given: Resize) -> dict[str, Any]:
    if function == NOT_RESAMPLED:
        return {"up": "linear", "down": "linear", "thick": "nearest", "thick_ratio": _NEVER}
    if function == "resample_torch_fornnunet":
        rule, thick = given.mode.removesuffix("-exact"), "nearest"
    else:
        rule, thick = _RULES.get(given.order, ""), _RULES.get(given.order_z, "")
    if not rule or not thick:
        raise InputError(
            f"it resamples by splines of order {given.order} and {given.order_z}, and 0, 1 and 3 alone are known: predict with nnU-Net"
        )
    separate = {None: given.separate_z_anisotropy_threshold, True: _ALWAYS, False: _NEVER}
    return {
        "up": rule,
        "down": rule,
        "thick": thick,
        "thick_ratio": separate[given.force_separate_z],
    }


def _orientation(plans: Plans) -> str:
    """The axes as its reader has them, in the order of its plans."""
    order = plans.transpose_forward
    if plans.image_reader_writer in _REORIENTED:
        letters = "SAR"  # of z, y, x
        return "".join(letters[k] for k in reversed(order))
    if order == (0, 1, 2) or plans.image_reader_writer == _FLAT:
        return "stored"
    return "stored:" + ",".join(map(str, order))


def _sizes(
    plans: Plans, chosen: Configuration, fingerprint: Fingerprint, flat: bool
) -> dict[str, Any]:
    """The voxels of the model, and those of the images it was trained on, in its axes."""
    if flat or NOT_RESAMPLED in (chosen.resampling_fn_data, chosen.resampling_fn_probabilities):
        return {}
    sizes: dict[str, Any] = {"spacing_mm": chosen.spacing}
    if fingerprint.spacings:
        columns = [[s[axis] for s in fingerprint.spacings] for axis in plans.transpose_forward]
        own = (None,) * (3 - len(chosen.spacing)) + chosen.spacing
        sizes["spacing_range_mm"] = [
            (min([*seen, *mine]), max([*seen, *mine]))
            for seen, mine in zip(columns, ([n] if n else [] for n in own), strict=True)
        ]
    return sizes


def _views(mirroring: tuple[int, ...], rank: int) -> str:
    """``tta`` of the axes along which it mirrors; InputError for one that there is not."""
    if any(axis >= rank for axis in mirroring):
        raise InputError(
            f"its checkpoints mirror along axis {max(mirroring)}, and its network is {rank}-D: copy the results folder again"
        )
    if not mirroring:
        return "none"
    if len(mirroring) == rank:
        return "flips"
    return "flips:" + ",".join(_AXES[3 - rank :][axis] for axis in mirroring)
