"""A light U-Net: depthwise-separable convolutions, and skips weighted by squeeze-and-excitation.

The last stage of the encoder has dilation 2, which doubles its reach at no cost. Squeeze-and-
excitation weighs the channels of a skip by their mean over the **whole patch**, so neighbouring
patches differ and blending leaves seams (see `analysis.global_layers`).

Sources: Chollet, CVPR 2017 (separable convolutions); Hu et al., CVPR 2018, Eq. 2-4; Yu and Koltun,
ICLR 2016 (dilation).
"""

from dataclasses import dataclass

from seg_batch.nn.backend import keras
from seg_batch.nn.networks.blocks import Tensor, batchnorm, convolution, downsample, shared_up
from seg_batch.nn.networks.config import OneHeadConfig
from seg_batch.nn.networks.unet_xception import separable


@dataclass(frozen=True)
class UNetSEConfig(OneHeadConfig):
    """The configuration of `unet_se`.

    `reduction`: channels per channel of the squeeze. `dilation`: of the encoder's last stage.
    """

    arch, title, ranks = "unet_se", "the squeeze-and-excitation U-Net", (2,)

    reduction: int = 8
    dilation: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(self.reduction >= 1, f"reduction is {self.reduction}", "use 1 or more")
        self._require(self.dilation >= 1, f"dilation is {self.dilation}", "use 1 or more")


def light_unit(
    x: Tensor, filters: int, name: str, *, dilation: int = 1, first: bool = False
) -> Tensor:
    """(Separable convolution 3 -> batch normalisation -> ReLU) twice; ``(B, y, x, c)`` to
    ``(B, y, x, filters)``. The `first` of all is a plain convolution: an image has few channels."""
    for k in (1, 2):
        if first and k == 1:
            layer = convolution(2, filters, 3, f"{name}_conv{k}")
        else:
            layer = separable(filters, 3, f"{name}_conv{k}", dilation_rate=dilation)
        x = keras.layers.ReLU(name=f"{name}_relu{k}")(batchnorm(f"{name}_bn{k}")(layer(x)))
    return x


def excite(x: Tensor, reduction: int, name: str) -> Tensor:
    """``x * sigmoid(W2 relu(W1 mean(x)))``, the mean over all voxels, one weight per channel."""
    width = x.shape[-1]
    s = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_mean")(x)
    s = convolution(2, max(width // reduction, 1), 1, f"{name}_squeeze", activation="relu")(s)
    s = convolution(2, width, 1, f"{name}_excite", activation="sigmoid")(s)
    return keras.layers.Multiply(name=f"{name}_out")([x, s])


def unet_se(config: UNetSEConfig) -> keras.Model:
    """The network with new weights; input and output as in `NetworkConfig.model`."""
    image = x = config.image()
    skips = []
    for i, width in enumerate(config.filters):
        x = downsample(x, 2, f"pool_{i}") if i else x
        dilation = config.dilation if i == config.depth else 1
        x = light_unit(x, width, f"x_{i}_0", dilation=dilation, first=i == 0)
        skips.append(x)
    for i in reversed(range(config.depth)):
        lifted = shared_up(config.filters[i], 2, f"up_{i}")(x)
        skip = excite(skips[i], config.reduction, f"gate_{i}_0")
        joined = keras.layers.Concatenate(name=f"x_{i}_1_concat")([skip, lifted])
        x = light_unit(joined, config.filters[i], f"x_{i}_1")
    return config.model(image, {config.depth: x})
