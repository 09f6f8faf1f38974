"""A U-Net without pooling: strided convolutions down, nearest neighbour and a 1x1 convolution up.

A stage is twice (3x3 convolution -> batch normalisation -> dropout -> leaky ReLU). Down is a 3x3
convolution of stride 2 to the width of the next stage; up repeats every voxel and projects it to
the width of the stage above; the skip is put beside it.
"""

from dataclasses import dataclass

from seg_batch.nn.backend import keras
from seg_batch.nn.networks.blocks import Tensor, batchnorm, convolution
from seg_batch.nn.networks.config import OneHeadConfig


@dataclass(frozen=True)
class UNetStridedConfig(OneHeadConfig):
    """The configuration of `unet_strided`.

    `dropout`: shares of the values, after the first and the second convolution of a stage. `slope`:
    of the leaky ReLU below zero.
    """

    arch, title = "unet_strided", "the strided U-Net"

    filters: tuple[int, ...] = (64, 128, 256, 512, 1024)
    dropout: tuple[float, ...] = (0.3, 0.4)
    slope: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        shares = len(self.dropout) == 2 and all(0 <= rate < 1 for rate in self.dropout)
        advice = "give two shares from 0 up to, not with, 1"
        self._require(shares, f"dropout is {self.dropout}", advice)
        self._require(0 <= self.slope < 1, f"slope is {self.slope}", "use 0 up to, not with, 1")


def stage(x: Tensor, filters: int, config: UNetStridedConfig, name: str) -> Tensor:
    """``(B, *s, c)`` to ``(B, *s, filters)``; dropout acts in training only."""
    for k, rate in enumerate(config.dropout, start=1):
        x = batchnorm(f"{name}_bn{k}")(convolution(config.rank, filters, 3, f"{name}_conv{k}")(x))
        x = keras.layers.Dropout(rate, name=f"{name}_drop{k}")(x)
        x = keras.layers.LeakyReLU(config.slope, name=f"{name}_relu{k}")(x)
    return x


def nearest_up(x: Tensor, filters: int, rank: int, name: str) -> Tensor:
    """Every side doubled by repetition, then a 1x1 convolution to `filters` channels.

    The convolution comes first: it acts on each voxel alone, so the values are the same.
    """
    x = convolution(rank, filters, 1, f"{name}_conv")(x)
    repeat: type[keras.Layer] = getattr(keras.layers, f"UpSampling{rank}D")
    return repeat(2, name=f"{name}_repeat")(x)


def unet_strided(config: UNetStridedConfig) -> keras.Model:
    """The network with new weights; input and output as in `NetworkConfig.model`."""
    image = x = config.image()
    skips = []
    for i, width in enumerate(config.filters):
        if i:
            x = convolution(config.rank, width, 3, f"x_{i}_0_down", strides=2)(x)
        x = stage(x, width, config, f"x_{i}_0")
        skips.append(x)
    for i in reversed(range(config.depth)):
        width, name = config.filters[i], f"x_{i}_1"
        lifted = nearest_up(x, width, config.rank, f"up_{i}")
        joined = keras.layers.Concatenate(name=f"{name}_concat")([skips[i], lifted])
        x = stage(joined, width, config, name)
    return config.model(image, {config.depth: x})
