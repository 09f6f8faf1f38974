"""The networks by name, and properties read from a built network."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from seg_batch.core.errors import InputError
from seg_batch.core.text import nearest
from seg_batch.nn.backend import keras
from seg_batch.nn.networks.anunet import ANUNetConfig, anunet, filters_of
from seg_batch.nn.networks.config import NetworkConfig, checked_options
from seg_batch.nn.networks.deeplab import DeepLabConfig, deeplabv3plus
from seg_batch.nn.networks.encoder_unet import EncoderUNetConfig, MobileUNetConfig, encoder_unet
from seg_batch.nn.networks.unet_lrelu import UNetLReLUConfig, unet_lrelu
from seg_batch.nn.networks.unet_se import UNetSEConfig, unet_se
from seg_batch.nn.networks.unet_strided import UNetStridedConfig, unet_strided
from seg_batch.nn.networks.unet_xception import UNetXceptionConfig, unet_xception
from seg_batch.nn.networks.unets import (
    AttentionUNetConfig,
    UNet3DConfig,
    UNetConfig,
    UNetPPConfig,
    unet,
    unetpp,
)

type Part = Literal["encoder", "decoder", "head"]


@dataclass(frozen=True)
class Architecture:
    """A network by name: the class of its configuration, its builder, and one line about it."""

    config: type[NetworkConfig]
    builder: Callable[[Any], keras.Model]
    says: str


ARCHITECTURES: dict[str, Architecture] = {
    "anunet": Architecture(ANUNetConfig, anunet, "nested, gated skips, a head per level"),
    "unetpp": Architecture(UNetPPConfig, unetpp, "nested, dense skips, a head per level"),
    "attention_unet": Architecture(AttentionUNetConfig, unet, "U-Net with gated skips"),
    "unet": Architecture(UNetConfig, unet, "one decoder node per level, plain skips"),
    "unet3d": Architecture(UNet3DConfig, unet, "unet, for volumes only"),
    "unet_xception": Architecture(
        UNetXceptionConfig, unet_xception, "separable, residual, no skips"
    ),
    "unet_strided": Architecture(UNetStridedConfig, unet_strided, "strided down, dropout"),
    "unet_lrelu": Architecture(UNetLReLUConfig, unet_lrelu, "no normalisation, L2; can be finer"),
    "unet_se": Architecture(UNetSEConfig, unet_se, "separable, skips weighed by squeeze"),
    "encoder_unet": Architecture(
        EncoderUNetConfig,
        encoder_unet,
        "U-Net on a backbone; all but resnet50 and minimalistic squeeze",
    ),
    "mobile_unet": Architecture(MobileUNetConfig, encoder_unet, "encoder_unet for small devices"),
    "deeplabv3plus": Architecture(DeepLabConfig, deeplabv3plus, "ASPP on a backbone"),
}

# Layer names begin with their part; see blocks.py. X[i][0] is the encoder, X[i][j] the decoder.
_PARTS: tuple[tuple[str, Part], ...] = (
    (r"(image$|pool_\d+$|x_\d+_0_|encoder_)", "encoder"),
    (r"(x_\d+_[1-9]\d*_|up_\d+_|gate_\d+_\d+_|decoder_)", "decoder"),
    (r"(head_|mean_of_heads$)", "head"),
)


def build(
    arch: str,
    *,
    rank: int,
    channels: int,
    classes: int,
    filters: Sequence[int],
    heads: Sequence[int] = (),
    **options: Any,
) -> keras.Model:
    """The network called `arch`, with new weights: ``(B, *s, channels)`` to ``(B, *s, classes)``.

    One output per head; `heads` as in `NetworkConfig`; `options` are the fields that the network's
    configuration adds. Raises InputError for an unknown network or option, with the nearest known
    name, and for numbers that no network can be built from.
    """
    config = configuration(
        arch, filters, options, rank=rank, channels=channels, classes=classes, heads=tuple(heads)
    )
    return _known(arch).builder(config)


def configuration(
    arch: str, filters: Sequence[int], options: Mapping[str, Any] | None = None, **numbers: Any
) -> NetworkConfig:
    """The checked configuration of a network; `numbers`: rank, channels, classes and heads, if they
    matter. Raises InputError as `build` does."""
    config = _known(arch).config
    numbers = {"rank": config.ranks[0], "channels": 1, "classes": 1, **numbers}
    return config(filters=tuple(filters), **numbers, **checked_options(config, options or {}))


def own_filters(arch: str) -> tuple[int, ...] | None:
    """The only filters that suit a network; None where it takes any number of levels."""
    config = _known(arch).config
    return None if config.by_level else config.filters


def multiple(arch: str, filters: Sequence[int], options: Mapping[str, Any] | None = None) -> int:
    """What every side of a patch must be a multiple of, in voxels."""
    return configuration(arch, filters, options).multiple


def described(
    arch: str, filters: Sequence[int], options: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """For the card: ``{"name", "filters", "options"}``, with the defaults, which may change later.

    Together with rank, channels and classes it is enough to `build` the network again.
    """
    values = configuration(arch, filters, options).options
    plain = {"name": arch, "filters": [int(width) for width in filters]}
    return {**plain, "options": values} if values else plain


def architecture_of(model: keras.Model) -> dict[str, Any]:
    """The name of a network and, if its layers have the names of `blocks`, its filters; {} for other
    models. A pruned network is one of the same name with fewer filters. Options can't be read from a model.
    """
    name, filters = re.sub(r"_l\d+$", "", str(model.name)), list(filters_of(model))
    if name not in ARCHITECTURES:
        return {}
    return {"name": name, "filters": filters} if filters else {"name": name}


def part_of(layer_name: str) -> Part:
    """The part of the network that a layer belongs to; raises InputError for an unknown name.

    Training can freeze the encoder, or give it its own learning rate.
    """
    for pattern, part in _PARTS:
        if re.match(pattern, layer_name):
            return part
    raise InputError(
        f"layer {layer_name!r} belongs to no network of ours, so encoder, decoder and head can't "
        f"be told apart; use a bundle of {', '.join(ARCHITECTURES)}"
    )


def _known(arch: str) -> Architecture:
    if arch not in ARCHITECTURES:
        raise InputError(f"there is no network {arch!r}; {nearest(arch, ARCHITECTURES)}")
    return ARCHITECTURES[arch]
