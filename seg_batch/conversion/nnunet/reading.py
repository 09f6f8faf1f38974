"""plans.json, dataset.json and dataset_fingerprint.json of nnU-Net v2 as checked values, of any release.

Their axes are ``z, y, x`` as SimpleITK gives arrays; those of a configuration are transposed by ``transpose_forward``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, ValidationError, model_validator

from seg_batch.config.validation import CheckedValue, first_problem
from seg_batch.conversion.nnunet.network import Design, design_of_before
from seg_batch.conversion.words import BACKGROUND
from seg_batch.core.errors import InputError
from seg_batch.core.units import size

PLANS, DATASET, FINGERPRINT = "plans.json", "dataset.json", "dataset_fingerprint.json"
MOST_BYTES = 64 << 20
IGNORE = "ignore"
NOT_RESAMPLED = "no_resampling_hack"

Scheme = Literal[
    "CTNormalization",
    "ZScoreNormalization",
    "RescaleTo01Normalization",
    "RGBTo01Normalization",
    "NoNormalization",
]
Reader = Literal[
    "SimpleITKIO",
    "SimpleITKIOWithReorient",
    "NibabelIO",
    "NibabelIOWithReorient",
    "NaturalImage2DIO",
]
Resizing = Literal[
    "resample_data_or_seg_to_shape", "resample_torch_fornnunet", "no_resampling_hack"
]
Order = Annotated[int, Field(ge=0, le=5)]
Label = Annotated[int, Field(ge=0, le=65533)]
Sides = Annotated[
    tuple[Annotated[int, Field(ge=1, le=1 << 14)], ...], Field(min_length=2, max_length=3)
]
Sizes = Annotated[tuple[PositiveFloat, ...], Field(min_length=2, max_length=3)]
Three = Annotated[tuple[PositiveFloat, PositiveFloat, PositiveFloat], Field()]


class _Read(CheckedValue, extra="ignore"):
    """What is read of a file that says more."""


class Resize(_Read):
    """How ``resample_data_or_seg_to_shape`` and its kin are called."""

    order: Order = 3
    order_z: Order = 0
    force_separate_z: bool | None = None
    mode: Literal["linear", "nearest", "nearest-exact"] = "linear"  # of resample_torch_fornnunet
    separate_z_anisotropy_threshold: float = 3.0


class Configuration(_Read):
    """One configuration with all that it inherits."""

    preprocessor_name: str = "DefaultPreprocessor"
    patch_size: Sides
    spacing: Sizes
    normalization_schemes: tuple[Scheme, ...]
    use_mask_for_norm: tuple[bool, ...]
    resampling_fn_data: Resizing
    resampling_fn_data_kwargs: Resize = Resize()
    resampling_fn_probabilities: Resizing
    resampling_fn_probabilities_kwargs: Resize = Resize(order=1)
    architecture: Design
    previous_stage: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _older(cls, data: Any) -> Any:
        if isinstance(data, dict) and "architecture" not in data and "UNet_class_name" in data:
            return {**data, "architecture": design_of_before(data)}
        return data

    @model_validator(mode="after")
    def _of_one_rank(self) -> Configuration:
        if not len(self.patch_size) == len(self.spacing) == self.architecture.kwargs.rank:
            raise ValueError("its patch, spacing and network do not have one rank")
        if any(a % b for a, b in zip(self.patch_size, self.architecture.multiple, strict=True)):
            raise ValueError(f"its network does not fit its patch {self.patch_size}")
        return self


class Intensity(_Read):
    """Of the foreground of one channel, over the training."""

    mean: float
    std: Annotated[float, Field(ge=0)]
    percentile_00_5: float
    percentile_99_5: float


class Plans(_Read):
    dataset_name: str = ""
    plans_name: str = "nnUNetPlans"
    image_reader_writer: Reader
    transpose_forward: tuple[int, int, int]
    label_manager: Literal["LabelManager"] = "LabelManager"
    intensities: dict[str, Intensity]
    configurations: dict[str, dict[str, Any]]

    @model_validator(mode="before")
    @classmethod
    def _named_now(cls, data: Any) -> Any:
        """The numbers of channels by any of the names that they had."""
        if not isinstance(data, dict):
            return data
        ends = ("per_channel", "by_modality")
        names = [f"foreground_intensity_properties_{end}" for end in ends]
        return {**data, "intensities": next((data[n] for n in names if data.get(n)), {})}

    @model_validator(mode="after")
    def _transposed(self) -> Plans:
        if sorted(self.transpose_forward) != [0, 1, 2]:
            raise ValueError(
                f"transpose_forward {self.transpose_forward} is no order of three axes"
            )
        return self

    def merged(self, name: str) -> dict[str, Any]:
        """A configuration over those that it inherits from; ValueError where there is none, or a circle."""
        merged: dict[str, Any] = {}
        seen: list[str] = []
        at: Any = name
        while at is not None:
            if at in seen:
                raise ValueError(
                    f"configurations inherit in a circle: {', '.join([*seen, at])[:200]}"
                )
            if not isinstance(at, str) or at not in self.configurations:
                raise ValueError(f"there is no configuration {str(at)[:60]!r}")
            seen.append(at)
            merged = {**self.configurations[at], **merged}
            at = self.configurations[at].get("inherits_from")
        return merged


class Dataset(_Read):
    """``labels``: a value, or the values of a region."""

    channel_names: dict[str, str]
    labels: dict[str, Label | tuple[Label, ...]]
    regions_class_order: tuple[Label, ...] | None = None
    training: Annotated[int | None, Field(alias="numTraining", ge=1)] = None
    reference: str = ""
    licence: str = ""

    @model_validator(mode="before")
    @classmethod
    def _named_now(cls, data: Any) -> Any:
        """Channels were ``modality`` first; what is told in words is told however it is spelled."""
        if not isinstance(data, dict):
            return data
        words = {
            "licence": str(data.get("licence") or data.get("license") or "")[:200],
            "reference": str(data.get("reference") or "")[:400],
        }
        channels = data.get("channel_names", data.get("modality"))
        training = data.get("numTraining")
        whole = training if isinstance(training, int) and training > 0 else None
        return {**data, **words, "channel_names": channels, "numTraining": whole}

    @model_validator(mode="after")
    def _as_nnunet(self) -> Dataset:
        if self.labels.get(BACKGROUND) != 0:
            raise ValueError("labels have no background of value 0")
        if sorted(self.channel_names) != sorted(map(str, range(len(self.channel_names)))):
            raise ValueError("channel_names are not numbered from 0")
        if not isinstance(self.labels.get(IGNORE, 0), int):
            raise ValueError("ignore is a value, no region")
        if not self.has_regions and list(self.values) != list(range(len(self.values))):
            raise ValueError(
                f"labels {', '.join(map(str, self.values))[:80]} do not count from 0 on"
            )
        return self

    @property
    def channels(self) -> tuple[str, ...]:
        return tuple(self.channel_names[str(k)] for k in range(len(self.channel_names)))

    @property
    def has_regions(self) -> bool:
        return any(isinstance(v, tuple) and len(v) > 1 for v in self.labels.values())

    @property
    def values(self) -> tuple[int, ...]:
        """All values of labels but that of ``ignore``, rising."""
        named = [v for name, v in self.labels.items() if name != IGNORE]
        return tuple(sorted({n for v in named for n in (v if isinstance(v, tuple) else (v,))}))

    @property
    def regions(self) -> tuple[str, ...]:
        """The names of what has an output each, where they are regions: all but background and ``ignore``."""
        return tuple(
            name
            for name, v in self.labels.items()
            if name != IGNORE and set(v if isinstance(v, tuple) else (v,)) != {0}
        )

    @property
    def outputs(self) -> int:
        return len(self.regions) if self.has_regions else len(self.values)


class Fingerprint(_Read):
    spacings: tuple[Three, ...] = ()


def read[T: CheckedValue](path: Path, kind: type[T]) -> T:
    """A file of nnU-Net; InputError, one line, where it is missing, too large or something else."""
    try:
        if (length := path.stat().st_size) > MOST_BYTES:
            raise InputError(
                f"{path} has {size(length)}, and no such file of nnU-Net has: name a results folder"
            )
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} can't be read ({error}): name a results folder of nnU-Net"
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({error}): copy the results folder again") from None
    return checked(data, kind, str(path))


def checked[T: CheckedValue](data: Any, kind: type[T], where: str) -> T:
    """``data`` as a value; InputError where it is none."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        value = error.errors()[0]["input"]
        given = f", not {value!r:.60}" if isinstance(value, str | int | float) else ""
        raise InputError(
            f"{where} has what can't be carried over ({first_problem(error, 'the file')[:300]}{given}), and predictions "
            "without it would be others: predict with nnU-Net"
        ) from None


def configuration(plans: Plans, name: str, where: str) -> Configuration:
    """One configuration of the plans; InputError where it can't be carried over, which a cascade can't."""
    try:
        merged = plans.merged(name)
    except ValueError as error:
        raise InputError(f"{where}: {error}: copy the results folder again") from None
    if stage := merged.get("previous_stage"):
        raise InputError(
            f"{where}: {name} is a cascade, which takes the segmentation of {str(stage)[:60]} as a further input: import "
            f"{str(stage)[:60]} or 3d_fullres, or predict with nnU-Net"
        )
    chosen = checked(merged, Configuration, f"{where}, configuration {name}")
    if chosen.preprocessor_name != "DefaultPreprocessor":
        raise InputError(
            f"{where}: {name} prepares images by {chosen.preprocessor_name[:60]}, and DefaultPreprocessor alone is known: "
            "predict with nnU-Net"
        )
    return chosen
