"""A plain U-Net with leaky ReLU and L2 regularisation, and a head that can be finer.

With ``finer=3`` the output has three voxels per input voxel and axis (super-resolution): the last
convolution has ``classes * 3 ** rank`` channels (27 for three classes of an image), and
depth-to-space lays them out as the cells of the finer grid::

    out[3 y + dy, 3 x + dx, k] = in[y, x, (3 dy + dx) * classes + k]

Sources: Ronneberger et al., MICCAI 2015, Fig. 1; Shi et al., CVPR 2016, Eq. 4 (sub-pixel layer).
"""

from dataclasses import dataclass
from math import prod

import numpy as np

from seg_batch.nn.backend import keras
from seg_batch.nn.networks.blocks import Tensor, convolution, downsample, probability, transposed
from seg_batch.nn.networks.config import OneHeadConfig


@dataclass(frozen=True)
class UNetLReLUConfig(OneHeadConfig):
    """The configuration of `unet_lrelu`.

    `slope`: of the leaky ReLU below zero. `l2`: weight of the sum of squared kernels in the loss.
    `finer`: output voxels per input voxel and axis.
    """

    arch, title = "unet_lrelu", "the leaky U-Net"

    filters: tuple[int, ...] = (64, 128, 256, 512, 1024)
    slope: float = 0.2
    l2: float = 1e-4
    finer: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(0 <= self.slope < 1, f"slope is {self.slope}", "use 0 up to, not with, 1")
        self._require(self.l2 >= 0, f"l2 is {self.l2}", "use 0 or more")
        self._require(1 <= self.finer <= 8, f"finer is {self.finer}", "use 1 to 8")


def unit(x: Tensor, filters: int, config: UNetLReLUConfig, name: str) -> Tensor:
    """Twice a 3x3 convolution and a leaky ReLU; ``(B, *s, c)`` to ``(B, *s, filters)``."""
    for k in (1, 2):
        l2 = keras.regularizers.L2(config.l2)
        x = convolution(config.rank, filters, 3, f"{name}_conv{k}", kernel_regularizer=l2)(x)
        x = keras.layers.LeakyReLU(config.slope, name=f"{name}_relu{k}")(x)
    return x


def depth_to_space(x: Tensor, channels: int, finer: int, rank: int, name: str) -> Tensor:
    """``(B, *s, channels * finer ** rank)`` to ``(B, *(finer * s), channels)``, for open sides.

    A transposed convolution whose frozen kernel holds one 1 per cell and channel: Keras has no
    depth-to-space layer, and a Reshape has to know the sides.
    """
    options = {"kernel_initializer": "glorot_uniform", "use_bias": False}
    layer = transposed(rank, channels, finer, name, trainable=False, dtype="float32", **options)
    y = layer(x)
    cells = (finer,) * rank
    # Kernel: (*cells, channels out, channels in); channel in = cell number * channels + channel out.
    kernel = np.eye(prod(cells) * channels, dtype=np.float32).reshape(*cells, channels, -1)
    layer.set_weights([kernel])
    return y


def finer_head(x: Tensor, config: UNetLReLUConfig, name: str) -> Tensor:
    """Probabilities on a grid `config.finer` times finer than that of `x`, float32."""
    channels = config.classes * config.finer**config.rank
    options = {"kernel_initializer": "glorot_uniform", "dtype": "float32"}
    x = convolution(config.rank, channels, 1, "head_conv", **options)(x)
    x = depth_to_space(x, config.classes, config.finer, config.rank, "head_cells")
    return keras.layers.Activation(probability(config.classes), name=name, dtype="float32")(x)


def unet_lrelu(config: UNetLReLUConfig) -> keras.Model:
    """The network with new weights; ``(B, *s, channels)`` to ``(B, *(finer * s), classes)``."""
    image = x = config.image()
    skips = []
    for i, width in enumerate(config.filters):
        x = downsample(x, config.rank, f"pool_{i}") if i else x
        x = unit(x, width, config, f"x_{i}_0")
        skips.append(x)
    for i in reversed(range(config.depth)):
        l2 = keras.regularizers.L2(config.l2)
        up = transposed(config.rank, config.filters[i], 2, f"up_{i}_conv", kernel_regularizer=l2)
        joined = keras.layers.Concatenate(name=f"x_{i}_1_concat")([skips[i], up(x)])
        x = unit(joined, config.filters[i], config, f"x_{i}_1")
    if config.finer == 1:
        return config.model(image, {config.depth: x})
    return keras.Model(image, finer_head(x, config, f"head_{config.depth}"), name=config.arch)
