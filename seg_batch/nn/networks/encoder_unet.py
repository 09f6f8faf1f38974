"""A U-Net whose encoder is a backbone of keras.applications.

::

    image --> 2 --> 4 --> 8 --> 16 --> 32     the backbone, tapped at these strides
              |     |     |     |      |
    head <- 1 <- 2 <- 4 <- 8 <- 16 <- up      nearest neighbour, the skip beside it, two convolutions

`MobileUNetConfig` has a MobileNetV3 Small and a separable decoder, for devices that have to keep up
with a camera. Its default backbone is the minimalistic one: the other MobileNetV3 weigh channels by
their mean over the whole patch (see `backbones`).

Source: Ronneberger et al., MICCAI 2015, on the encoders listed in `backbones`.
"""

from dataclasses import dataclass

from seg_batch.nn.backend import keras
from seg_batch.nn.networks.backbones import STRIDES, BackboneConfig, encode
from seg_batch.nn.networks.blocks import Tensor, batchnorm, convolution
from seg_batch.nn.networks.unet_xception import separable


@dataclass(frozen=True)
class EncoderUNetConfig(BackboneConfig):
    """The configuration of `encoder_unet`.

    `filters`: widths of the decoder from the full resolution downwards, one per stride of the
    backbone that is used, five at most (stride 32).
    """

    arch, title = "encoder_unet", "the U-Net on a backbone"

    filters: tuple[int, ...] = (16, 32, 64, 128, 256)

    def __post_init__(self) -> None:
        super().__post_init__()
        count, most = len(self.filters), len(STRIDES)
        self._require(count <= most, f"{count} filters", f"give 2 to {most}")

    @property
    def depth(self) -> int:
        """How often the input is halved: the backbone ends below the deepest decoder level."""
        return len(self.filters)


@dataclass(frozen=True)
class MobileUNetConfig(EncoderUNetConfig):
    arch, title = "mobile_unet", "the mobile U-Net"

    filters: tuple[int, ...] = (16, 24, 32, 48, 64)
    backbone: str = "mobilenet_v3_small_minimalistic"
    separable: bool = True


def unit(
    x: Tensor, filters: int, config: BackboneConfig, name: str, size: int = 3, rate: int = 1
) -> Tensor:
    """Convolution without bias -> batch normalisation -> ReLU; ``(B, y, x, c)`` to ``(B, y, x, filters)``.

    `rate`: dilation. Separable if the config says so, except for a `size` of 1.
    """
    options = {"use_bias": False, "dilation_rate": rate}
    if config.separable and size > 1:
        layer = separable(filters, size, f"{name}_conv", **options)
    else:
        layer = convolution(2, filters, size, f"{name}_conv", **options)
    return keras.layers.ReLU(name=f"{name}_relu")(batchnorm(f"{name}_bn")(layer(x)))


def encoder_unet(config: EncoderUNetConfig) -> keras.Model:
    """The network with new weights or a file's; input and output as in `NetworkConfig.model`."""
    image = config.image()
    skips = [None, *encode(image, config, STRIDES[: config.depth])]
    x = skips.pop()
    for i in reversed(range(config.depth)):
        x = keras.layers.UpSampling2D(2, name=f"decoder_{i}_up")(x)
        if skips[i] is not None:
            x = keras.layers.Concatenate(name=f"decoder_{i}_concat")([skips[i], x])
        for k in (1, 2):
            x = unit(x, config.filters[i], config, f"decoder_{i}_{k}")
    return config.model(image, {config.depth: x})
