"""The U-Net-like network of Keras' examples: separable convolutions with residual projections.

::

    conv 3, stride 2 -> X[0][0] -> X[1][0] -> ... -> X[n][0]       a half of the side each
                                                        |
    head 3x3 <- X[0][1] <- X[1][1] <- ... <- X[n][1] <--+          twice the side each

There are no skips: fine detail has to pass the bottleneck. With filters (32, 64, 128, 256),
three channels and three classes the network has 2 058 979 parameters, as in the source.

Source: F. Chollet, "Image segmentation with a U-Net-like architecture", keras.io/examples, 2019.
"""

from dataclasses import dataclass

from seg_batch.nn.backend import keras
from seg_batch.nn.networks.blocks import Tensor, batchnorm, convolution
from seg_batch.nn.networks.config import OneHeadConfig


@dataclass(frozen=True)
class UNetXceptionConfig(OneHeadConfig):
    """The configuration of `unet_xception`; ``filters[0]`` is the width at half resolution."""

    arch, title, ranks = "unet_xception", "the Xception U-Net", (2,)

    filters: tuple[int, ...] = (32, 64, 128, 256)

    @property
    def multiple(self) -> int:
        """The entry halves the sides once more."""
        return 2 * super().multiple


def separable(filters: int, size: int, name: str, **options: object) -> keras.Layer:
    """A depthwise-separable convolution with bias and He initialisation."""
    start = {"depthwise_initializer": "he_normal", "pointwise_initializer": "he_normal"}
    return keras.layers.SeparableConv2D(
        filters, size, padding="same", name=name, **start, **options
    )


def entry(x: Tensor, filters: int, name: str) -> Tensor:
    """(B, y, x, c) to (B, y / 2, x / 2, filters)."""
    x = convolution(2, filters, 3, f"{name}_conv1", strides=2)(x)
    return keras.layers.ReLU(name=f"{name}_relu1")(batchnorm(f"{name}_bn1")(x))


def down(x: Tensor, filters: int, name: str) -> Tensor:
    """Two separable convolutions and a pool, beside a 1x1 convolution of stride 2; their sum."""
    y = x
    for k in (1, 2):
        y = keras.layers.ReLU(name=f"{name}_relu{k}")(y)
        y = batchnorm(f"{name}_bn{k}")(separable(filters, 3, f"{name}_conv{k}")(y))
    y = keras.layers.MaxPooling2D(3, strides=2, padding="same", name=f"{name}_pool")(y)
    beside = convolution(2, filters, 1, f"{name}_beside", strides=2)(x)
    return keras.layers.Add(name=f"{name}_add")([y, beside])


def up(x: Tensor, filters: int, name: str) -> Tensor:
    """Two transposed convolutions of stride 1, beside a 1x1 convolution; their sum at twice the side.

    The source enlarges before it projects and adds, four times the work for the same values.
    """
    y = x
    for k in (1, 2):
        y = keras.layers.ReLU(name=f"{name}_relu{k}")(y)
        options = {"padding": "same", "kernel_initializer": "he_normal"}
        y = keras.layers.Conv2DTranspose(filters, 3, name=f"{name}_conv{k}", **options)(y)
        y = batchnorm(f"{name}_bn{k}")(y)
    beside = convolution(2, filters, 1, f"{name}_beside")(x)
    y = keras.layers.Add(name=f"{name}_add")([y, beside])
    return keras.layers.UpSampling2D(2, name=f"{name}_up")(y)


def unet_xception(config: UNetXceptionConfig) -> keras.Model:
    """The network with new weights; input and output as in `NetworkConfig.model`."""
    image = config.image()
    x = entry(image, config.filters[0], "x_0_0")
    for i, width in enumerate(config.filters[1:], start=1):
        x = down(x, width, f"x_{i}_0")
    for i, width in reversed(list(enumerate(config.filters))):
        x = up(x, width, f"x_{i}_1")
    return config.model(image, {config.depth: x}, size=3)
