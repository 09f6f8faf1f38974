"""DeepLabv3+: dilated (atrous) convolutions at several rates on a backbone, and a light decoder.

::

    image -> backbone, stride 16 -> ASPP -> x4 --+
                  |                              |-> beside -> two convolutions -> logits -> x4 -> head
                  +-- stride 4 -> 1x1, narrow ---+

The backbone halves the sides four times; its later kernels are dilated instead. ASPP joins a 1x1
convolution and a 3x3 one per rate by a 1x1 convolution. A rate of 18 at stride 16 reaches 288
voxels: take smaller rates for patches much below the paper's 513. TensorFlow trains dilated
convolutions slowly on CPUs.

Source: Chen et al., ECCV 2018, Fig. 2 and section 3.1; the rates of Chen et al., arXiv:1706.05587.
"""

from dataclasses import dataclass

from seg_batch.nn.backend import keras
from seg_batch.nn.networks.backbones import BackboneConfig, encode
from seg_batch.nn.networks.blocks import Tensor, batchnorm, convolution, probability
from seg_batch.nn.networks.encoder_unet import unit


@dataclass(frozen=True)
class DeepLabConfig(BackboneConfig):
    """The configuration of `deeplabv3plus`.

    `filters`: widths of the decoder (stride 4) and of ASPP (stride 16). `rates`: of ASPP. `low`:
    width of the skip from stride 4. `image_level`: ASPP also gets the mean over the whole patch, as
    in the paper, which makes seams.
    """

    arch, title = "deeplabv3plus", "DeepLabv3+"
    by_level = False

    filters: tuple[int, ...] = (256, 256)
    rates: tuple[int, ...] = (6, 12, 18)
    low: int = 48
    image_level: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        advice = "give two: of the decoder and of ASPP, such as [256, 256]"
        self._require(len(self.filters) == 2, f"filters are {self.filters}", advice)
        rates, positive = f"rates are {self.rates}", {rate for rate in self.rates if rate >= 1}
        rising = self.rates and sorted(positive) == list(self.rates)
        self._require(rising, rates, "use positive numbers in rising order")
        self._require(self.low >= 1, f"low is {self.low}", "use 1 or more")

    @property
    def depth(self) -> int:
        """How often the input is halved."""
        return 4


def aspp(x: Tensor, filters: int, config: DeepLabConfig, name: str) -> Tensor:
    """Atrous spatial pyramid pooling; ``(B, y, x, c)`` to ``(B, y, x, filters)``.

    The paper concatenates the image-level branch with the others before the last convolution. Here
    its part of that convolution is added to theirs: the same values, and no sides have to be known.
    """
    parts = [unit(x, filters, config, f"{name}_1x1", size=1)]
    parts += [unit(x, filters, config, f"{name}_rate_{rate}", rate=rate) for rate in config.rates]
    joined = keras.layers.Concatenate(name=f"{name}_concat")(parts)
    y = convolution(2, filters, 1, f"{name}_conv", use_bias=False)(joined)
    if config.image_level:
        mean = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_mean")(x)
        mean = unit(mean, filters, config, f"{name}_mean", size=1)
        mean = convolution(2, filters, 1, f"{name}_mean_out", use_bias=False)(mean)
        y = keras.layers.Add(name=f"{name}_add")([y, mean])
    return keras.layers.ReLU(name=f"{name}_relu")(batchnorm(f"{name}_bn")(y))


def enlarged(x: Tensor, name: str, **options: str) -> Tensor:
    """Every side four times as long, bilinear."""
    return keras.layers.UpSampling2D(4, interpolation="bilinear", name=name, **options)(x)


def deeplabv3plus(config: DeepLabConfig) -> keras.Model:
    """The network with new weights or those of a file; probabilities ``(B, y, x, classes)``."""
    image = config.image()
    low, deep = encode(image, config, (4, 16), dense=True)
    decoder, pyramid = config.filters
    x = enlarged(aspp(deep, pyramid, config, "decoder_aspp"), "decoder_up")
    low = unit(low, config.low, config, "decoder_low", size=1)
    x = keras.layers.Concatenate(name="decoder_concat")([low, x])
    for k in (1, 2):
        x = unit(x, decoder, config, f"decoder_{k}")
    single = {"kernel_initializer": "glorot_uniform", "dtype": "float32"}
    x = convolution(2, config.classes, 1, "head_logits", **single)(x)
    x = enlarged(x, "head_up", dtype="float32")
    final = keras.layers.Activation(probability(config.classes), name="head_4", dtype="float32")
    return keras.Model(image, final(x), name=config.arch)
