"""The networks that plans may name, as checked values: names from lists, numbers within limits.

Plans are text that names classes to import, so they are hostile. Nothing but what stands here comes to the process
that builds a network, and there it is looked up, not imported.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, field_validator, model_validator

from seg_batch.config.validation import CheckedValue

_UNETS = ("PlainConvUNet", "ResidualEncoderUNet")
_HOMES = {
    **{f"dynamic_network_architectures.architectures.unet.{name}": name for name in _UNETS},
    "dynamic_network_architectures.architectures.residual_unet.ResidualEncoderUNet": "ResidualEncoderUNet",
}
_TORCH = ("torch.nn.", "torch.nn.modules.")
_FILES = ("conv.", "instancenorm.", "batchnorm.", "dropout.", "activation.")
_STAGES = 12

Conv = Literal["Conv2d", "Conv3d"]
Norm = Literal["InstanceNorm2d", "InstanceNorm3d", "BatchNorm2d", "BatchNorm3d"]
Dropout = Literal["Dropout2d", "Dropout3d"]
Nonlinearity = Literal["LeakyReLU", "ReLU", "GELU", "SiLU", "Mish", "ELU"]
Count = Annotated[int, Field(ge=1, le=64)]
Features = Annotated[int, Field(ge=1, le=1 << 14)]
Side = Annotated[int, Field(ge=1, le=64)]
Sides = Annotated[tuple[Side, ...], Field(min_length=2, max_length=3)]
Stages = Annotated[tuple[Count, ...], Field(max_length=_STAGES)]
Numbers = dict[
    Literal[
        "eps",
        "affine",
        "momentum",
        "track_running_stats",
        "p",
        "inplace",
        "negative_slope",
        "alpha",
    ],
    bool | float | None,
]


class Kwargs(CheckedValue):
    """What a network is built with, by the names of dynamic_network_architectures."""

    n_stages: Annotated[int, Field(ge=2, le=_STAGES)]
    features_per_stage: Annotated[tuple[Features, ...], Field(max_length=_STAGES)]
    conv_op: Conv
    kernel_sizes: Annotated[tuple[Sides, ...], Field(max_length=_STAGES)]
    strides: Annotated[tuple[Sides, ...], Field(max_length=_STAGES)]
    n_conv_per_stage: Stages | None = None
    n_blocks_per_stage: Stages | None = None
    n_conv_per_stage_decoder: Stages
    conv_bias: bool = False
    norm_op: Norm | None = None
    norm_op_kwargs: Numbers | None = None
    dropout_op: Dropout | None = None
    dropout_op_kwargs: Numbers | None = None
    nonlin: Nonlinearity | None = None
    nonlin_kwargs: Numbers | None = None
    nonlin_first: bool = False

    @model_validator(mode="before")
    @classmethod
    def _one_for_each_stage(cls, data: Any) -> Any:
        """A number that stands for all stages or axes, as each of them."""
        if not isinstance(data, dict) or not isinstance(data.get("n_stages"), int):
            return data
        stages = min(max(data["n_stages"], 0), _STAGES)
        axes = 2 if str(data.get("conv_op")).endswith("2d") else 3
        data = {k: v for k, v in data.items() if k != "deep_supervision"}
        for name in ("features_per_stage", "n_conv_per_stage", "n_blocks_per_stage"):
            if isinstance(data.get(name), int):
                data[name] = [data[name]] * stages
        if isinstance(data.get("n_conv_per_stage_decoder"), int):
            data["n_conv_per_stage_decoder"] = [data["n_conv_per_stage_decoder"]] * (stages - 1)
        for name in ("kernel_sizes", "strides"):
            rows = [data[name]] * stages if isinstance(data.get(name), int) else data.get(name)
            if isinstance(rows, list):
                data[name] = [[row] * axes if isinstance(row, int) else row for row in rows]
        return data

    @field_validator("conv_op", "norm_op", "dropout_op", "nonlin", mode="before")
    @classmethod
    def _of_torch(cls, value: Any) -> Any:
        """``torch.nn.modules.conv.Conv3d`` as ``Conv3d``; any other place stays, and is in no list."""
        if not isinstance(value, str):
            return value
        for start in _TORCH:
            for file in ("", *_FILES):
                if value.startswith(start + file) and "." not in value[len(start + file) :]:
                    return value[len(start + file) :]
        return value

    @model_validator(mode="after")
    def _of_one_design(self) -> Kwargs:
        stages = self.n_stages
        per_stage = self.n_conv_per_stage or self.n_blocks_per_stage or ()
        lengths = {
            len(v) for v in (self.features_per_stage, self.kernel_sizes, self.strides, per_stage)
        }
        if lengths != {stages} or len(self.n_conv_per_stage_decoder) != stages - 1:
            raise ValueError(f"not all of its lists are of {stages} stages")
        if {len(row) for row in (*self.kernel_sizes, *self.strides)} != {self.rank}:
            raise ValueError(f"not all of its kernels and strides are {self.rank}-D")
        if any(
            name and not name.endswith(f"{self.rank}d") for name in (self.norm_op, self.dropout_op)
        ):
            raise ValueError(f"not all of its layers are {self.rank}-D")
        return self

    @property
    def rank(self) -> int:
        return int(self.conv_op[-2])


class Design(CheckedValue):
    """One network: which, and what it is built with."""

    name: Literal["PlainConvUNet", "ResidualEncoderUNet"]
    kwargs: Kwargs

    @model_validator(mode="before")
    @classmethod
    def _as_plans_have_it(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "network_class_name" not in data:
            return data
        name = data["network_class_name"]
        return {
            "name": _HOMES.get(name, name) if isinstance(name, str) else name,
            "kwargs": data.get("arch_kwargs"),
        }

    @model_validator(mode="after")
    def _counted(self) -> Design:
        """Blocks are for the encoder of residual ones, convolutions for plain ones."""
        plain = self.name == "PlainConvUNet"
        if (self.kwargs.n_conv_per_stage is None) == plain or (
            self.kwargs.n_blocks_per_stage is None
        ) != plain:
            raise ValueError(
                f"{self.name} is built of {'convolutions' if plain else 'blocks'} per stage"
            )
        if self.kwargs.nonlin_first and not plain:
            raise ValueError("nonlin_first is for PlainConvUNet")
        return self

    @property
    def multiple(self) -> tuple[int, ...]:
        """What the sides of a patch are multiples of: the product of all strides."""
        product = [1] * self.kwargs.rank
        for row in self.kwargs.strides:
            product = [a * b for a, b in zip(product, row, strict=True)]
        return tuple(product)

    def as_job(self) -> dict[str, Any]:
        """For the process that builds it: JSON, without what is not given."""
        given = self.kwargs.model_dump(mode="json", exclude_none=True)
        if self.name != "PlainConvUNet":
            given.pop("nonlin_first")
        return {"class": self.name, "kwargs": given}


class _Before(CheckedValue, extra="ignore"):
    """The keys of a network in plans of nnU-Net before 2.4."""

    UNet_class_name: str
    UNet_base_num_features: Features
    unet_max_num_features: Features
    n_conv_per_stage_encoder: Stages
    n_conv_per_stage_decoder: Stages
    conv_kernel_sizes: tuple[Sides, ...]
    pool_op_kernel_sizes: tuple[Sides, ...]
    patch_size: Annotated[tuple[PositiveInt, ...], Field(min_length=2, max_length=3)]


def design_of_before(plans: dict[str, Any]) -> dict[str, Any]:
    """``architecture`` from the keys that plans of nnU-Net before 2.4 had in its place; ValidationError where they lack one."""
    old = _Before.model_validate(plans)
    stages, rank = len(old.n_conv_per_stage_encoder), len(old.patch_size)
    counted = "n_conv_per_stage" if old.UNet_class_name == "PlainConvUNet" else "n_blocks_per_stage"
    features = [
        min(old.UNet_base_num_features << i, old.unet_max_num_features) for i in range(stages)
    ]
    return {
        "name": old.UNet_class_name,
        "kwargs": {
            "n_stages": stages,
            "features_per_stage": features,
            "conv_op": f"Conv{rank}d",
            "kernel_sizes": old.conv_kernel_sizes,
            "strides": old.pool_op_kernel_sizes,
            counted: old.n_conv_per_stage_encoder,
            "n_conv_per_stage_decoder": old.n_conv_per_stage_decoder,
            "conv_bias": True,
            "norm_op": f"InstanceNorm{rank}d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "nonlin": "LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
    }
