"""The networks that ANU-Net grew out of, from the same blocks: U-Net, U-Net++, attention U-Net.

For comparison at equal width: each is ANU-Net less something, and a node, an encoder level or a
gate has the same layers and the same name everywhere, so weights can pass from one to another.

============== ====================== ================== ==========
network        decoder                gates on the skips heads
============== ====================== ================== ==========
unet           one node per level     no                 one
attention_unet one node per level     yes                one
unet3d         as unet, for volumes   no                 one
unetpp         nested, dense skips    no                 all levels
anunet         nested, dense skips    yes                all levels
============== ====================== ================== ==========

Sources: Ronneberger et al., MICCAI 2015, Fig. 1; Oktay et al., MIDL 2018, with the gate and the
gating signal of ANU-Net (Eq. 1-3 there) instead of their own; Zhou et al., DLMIA 2018, Eq. 1.
"""

from dataclasses import dataclass

from seg_batch.nn.backend import keras
from seg_batch.nn.networks.blocks import Tensor, attention_gate, conv_unit, encoder, head, shared_up
from seg_batch.nn.networks.config import NetworkConfig, OneHeadConfig


@dataclass(frozen=True)
class UNetPPConfig(NetworkConfig):
    """What is needed to build a U-Net++; `norm` is whether it has batch normalisations."""

    title = "U-Net++"

    norm: bool = True


@dataclass(frozen=True)
class UNetConfig(OneHeadConfig):
    """What is needed to build a U-Net; `norm` is whether it has batch normalisations."""

    title = "U-Net"

    norm: bool = True


class UNet3DConfig(UNetConfig):
    """What is needed to build a U-Net of volumes."""

    title, ranks = "3-D U-Net", (3,)


class AttentionUNetConfig(UNetConfig):
    """What is needed to build an attention U-Net: the fields of a U-Net."""

    title = "attention U-Net"


def unet(config: UNetConfig) -> keras.Model:
    """Build a U-Net: ``(B, *spatial, channels)`` to probabilities ``(B, *spatial, classes)``.

    With filters 32 to 512, without `norm`, for one channel and one class: 7 759 521 parameters.
    """
    return _model(config, "unet")


def unet3d(config: UNet3DConfig) -> keras.Model:
    """Build the U-Net for volumes: that of `unet`, with convolutions of three dimensions."""
    return _model(config, "unet3d")


def attention_unet(config: AttentionUNetConfig) -> keras.Model:
    """Build a U-Net whose skips pass a gate steered by what comes up from below."""
    return _model(config, "attention_unet")


def unetpp(config: UNetPPConfig) -> keras.Model:
    """Build a U-Net++; an output per head as in `anunet`, shallowest first, one tensor if one.

    With filters 32 to 512, without `norm`, for one channel, class and head: 9 041 601 parameters.
    """
    return _model(config, "unetpp")


def _model(config: UNetConfig | UNetPPConfig, name: str) -> keras.Model:
    inputs = keras.Input((None,) * config.rank + (config.channels,), name="image")
    levels = encoder(inputs, config.filters, config.rank, norm=config.norm)
    if isinstance(config, UNetPPConfig):
        row = _nested(levels, config)
    else:
        row = {config.depth: _single(levels, config)}
    outputs = [head(row[n], config.classes, config.rank, f"head_{n}") for n in config.levels]
    return keras.Model(inputs, outputs[0] if len(outputs) == 1 else outputs, name=name)


def _single(levels: list[Tensor], config: UNetConfig) -> Tensor:
    """X[0][depth], through one decoder node X[i][depth - i] per level."""
    rank, norm, x = config.rank, config.norm, levels[-1]
    for i in reversed(range(config.depth)):
        lifted, skip = shared_up(config.filters[i], rank, f"up_{i}", norm)(x), levels[i]
        if isinstance(config, AttentionUNetConfig):
            skip = attention_gate(skip, lifted, config.gate_width(i), rank, f"gate_{i}_0", norm)
        x = _joined([skip, lifted], config, i, config.depth - i)
    return x


def _nested(levels: list[Tensor], config: UNetPPConfig) -> dict[int, Tensor]:
    """The top row X[0][0..depth]; every node has an Up of its own, unlike in ANU-Net."""
    node = {(i, 0): x for i, x in enumerate(levels)}
    for j in range(1, config.depth + 1):
        for i in range(config.depth - j + 1):
            up = shared_up(config.filters[i], config.rank, f"up_{i}_{j}", config.norm)
            skips = [node[i, k] for k in range(j)]
            node[i, j] = _joined([*skips, up(node[i + 1, j - 1])], config, i, j)
    return {j: node[0, j] for j in range(config.depth + 1)}


def _joined(parts: list[Tensor], config: UNetConfig | UNetPPConfig, i: int, j: int) -> Tensor:
    """Node X[i][j]: a unit on what arrives, side by side."""
    x = keras.layers.Concatenate(name=f"x_{i}_{j}_concat")(parts)
    return conv_unit(x, config.filters[i], config.rank, f"x_{i}_{j}", config.norm)
