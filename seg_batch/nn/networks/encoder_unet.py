"""A U-Net whose encoder is a backbone of keras.applications.

::

    image --> 2 --> 4 --> 8 --> 16 --> 32     the backbone, tapped at these strides
              |     |     |     |      |
    head <- 1 <- 2 <- 4 <- 8 <- 16 <- up      nearest neighbour, the skip beside it, two convolutions

`mobile_unet` is the same on MobileNetV3 Small with a separable decoder, for devices that have to keep
up with a camera. Its default backbone is the minimalistic one: the others of MobileNetV3 weigh
channels by their mean over the whole patch (see `backbones`).

Source: Ronneberger et al., MICCAI 2015, on the encoders listed in `backbones`.
"""

from dataclasses import dataclass

from seg_batch.nn.backend import keras
from seg_batch.nn.networks.backbones import STRIDES, BackboneConfig, encode
from seg_batch.nn.networks.blocks import Tensor, batchnorm, convolution, head
from seg_batch.nn.networks.unet_xception import separable

# -- layers


def unit(
    x: Tensor, filters: int, config: BackboneConfig, name: str, size: int = 3, rate: int = 1
) -> Tensor:
    """Convolution without bias -> batch normalisation -> ReLU; ``(B, y, x, c)`` to ``(B, y, x, filters)``.

    `rate` is the distance between the kernel's voxels. Separable if the config says so; 1x1 ones
    never are.
    """
    options = {"use_bias": False, "dilation_rate": rate}
    if config.separable and size > 1:
        layer = separable(filters, size, f"{name}_conv", **options)
    else:
        layer = convolution(2, filters, size, f"{name}_conv", **options)
    return keras.layers.ReLU(name=f"{name}_relu")(batchnorm(f"{name}_bn")(layer(x)))


# -- wiring


def encoder_unet(config: "EncoderUNetConfig") -> keras.Model:
    """Build the network: ``(B, y, x, channels)`` to probabilities ``(B, y, x, classes)``."""
    return _model(config, "encoder_unet")


def mobile_unet(config: "MobileUNetConfig") -> keras.Model:
    """Build the network for small devices; see `encoder_unet`."""
    return _model(config, "mobile_unet")


def _model(config: "EncoderUNetConfig", name: str) -> keras.Model:
    image = keras.Input((None, None, config.channels), name="image")
    skips = [None, *encode(image, config, STRIDES[: config.depth])]
    x = skips.pop()
    for i in reversed(range(config.depth)):
        x = keras.layers.UpSampling2D(2, name=f"decoder_{i}_up")(x)
        if skips[i] is not None:
            x = keras.layers.Concatenate(name=f"decoder_{i}_concat")([skips[i], x])
        for k in (1, 2):
            x = unit(x, config.filters[i], config, f"decoder_{i}_{k}")
    outputs = head(x, config.classes, 2, f"head_{config.depth}")
    return keras.Model(image, outputs, name=name)


# -- configuration


@dataclass(frozen=True)
class EncoderUNetConfig(BackboneConfig):
    """What is needed to build it: `filters` are the widths of the decoder from the full resolution
    downwards; the backbone goes as deep as they do, five times at most (stride 32)."""

    title = "the U-Net on a backbone"

    filters: tuple[int, ...] = (16, 32, 64, 128, 256)

    def __post_init__(self) -> None:
        super().__post_init__()
        found = f"{len(self.filters)} filters"
        self._require(len(self.filters) <= len(STRIDES), found, f"give 2 to {len(STRIDES)}")

    @property
    def depth(self) -> int:
        """How often the input is halved: the deepest decoder level is above the backbone's end."""
        return len(self.filters)


@dataclass(frozen=True)
class MobileUNetConfig(EncoderUNetConfig):
    """What is needed to build it: the fields of `EncoderUNetConfig`."""

    title = "the mobile U-Net"

    filters: tuple[int, ...] = (16, 24, 32, 48, 64)
    backbone: str = "mobilenet_v3_small_minimalistic"
    separable: bool = True
