"""The networks that ANU-Net grew out of, from the same blocks: U-Net, U-Net++, attention U-Net.

They allow comparisons at equal width. A node, an encoder level or a gate has the same layers and
the same name in all of them, so weights can pass from one network to another.

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
from seg_batch.nn.networks.blocks import Tensor, attention_gate, conv_unit, encoder, shared_up
from seg_batch.nn.networks.config import NetworkConfig, OneHeadConfig


@dataclass(frozen=True)
class UNetPPConfig(NetworkConfig):
    """The configuration of a U-Net++; `norm`: with batch normalisations."""

    arch, title = "unetpp", "U-Net++"

    norm: bool = True


@dataclass(frozen=True)
class UNetConfig(OneHeadConfig):
    """The configuration of a U-Net; `norm`: with batch normalisations."""

    arch, title = "unet", "U-Net"

    norm: bool = True


class UNet3DConfig(UNetConfig):
    arch, title, ranks = "unet3d", "3-D U-Net", (3,)


class AttentionUNetConfig(UNetConfig):
    arch, title = "attention_unet", "attention U-Net"


def unet(config: UNetConfig) -> keras.Model:
    """A U-Net; for an `AttentionUNetConfig` the up-sampled features gate its skips.

    With filters 32 to 512, without `norm`, for one channel and one class: 7 759 521 parameters.
    """
    image = config.image()
    levels = encoder(image, config.filters, config.rank, norm=config.norm)
    return config.model(image, {config.depth: _single(levels, config)})


def unetpp(config: UNetPPConfig) -> keras.Model:
    """A U-Net++, with a head per level as in ANU-Net.

    With filters 32 to 512, without `norm`, for one channel, class and head: 9 041 601 parameters.
    """
    image = config.image()
    levels = encoder(image, config.filters, config.rank, norm=config.norm)
    return config.model(image, _nested(levels, config))


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
    """The top row X[0][0..depth] by column; every node has its own Up, unlike in ANU-Net."""
    node = {(i, 0): x for i, x in enumerate(levels)}
    for j in range(1, config.depth + 1):
        for i in range(config.depth - j + 1):
            up = shared_up(config.filters[i], config.rank, f"up_{i}_{j}", config.norm)
            skips = [node[i, k] for k in range(j)]
            node[i, j] = _joined([*skips, up(node[i + 1, j - 1])], config, i, j)
    return {j: node[0, j] for j in range(config.depth + 1)}


def _joined(parts: list[Tensor], config: UNetConfig | UNetPPConfig, i: int, j: int) -> Tensor:
    """Node X[i][j]: a unit on the concatenated `parts`."""
    x = keras.layers.Concatenate(name=f"x_{i}_{j}_concat")(parts)
    return conv_unit(x, config.filters[i], config.rank, f"x_{i}_{j}", config.norm)
