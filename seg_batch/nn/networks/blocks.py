"""The blocks that the networks share, for images (rank 2) and volumes (rank 3), channels last.

A block is a function that composes stock Keras layers, so a saved model holds no custom class and
loads with Keras alone. Layers are named after their place: ``x_0_2_conv1`` is the first convolution
of node X[0][2], ``up_1_conv`` the transposed convolution that level 1 shares.

``norm=False`` leaves out the batch normalisations, as the first U-Nets had none.

Source: Li et al., "ANU-Net", Computers & Graphics 90 (2020) 11-20, Eq. 1-4 and Fig. 3-5.
"""

from collections.abc import Callable, Sequence
from typing import Any

from seg_batch.nn.backend import keras

# A symbolic or a concrete tensor of Keras' backend.
type Tensor = Any

# Keras' default (.99) needs several hundred steps for good inference statistics; fine-tuning runs
# are often not much longer than that.
BATCHNORM_MOMENTUM = 0.95


def convolution(rank: int, filters: int, size: int, name: str, **options: Any) -> keras.Layer:
    """A convolution of `rank` dimensions with bias, "same" borders and He initialisation."""
    options = {"padding": "same", "kernel_initializer": "he_normal", **options}
    layer: type[keras.Layer] = getattr(keras.layers, f"Conv{rank}D")
    return layer(filters, size, name=name, **options)


def transposed(rank: int, filters: int, size: int, name: str, **options: Any) -> keras.Layer:
    """A transposed convolution that makes sides `size` times as long, with He initialisation."""
    options = {"strides": size, "kernel_initializer": "he_normal", **options}
    layer: type[keras.Layer] = getattr(keras.layers, f"Conv{rank}DTranspose")
    return layer(filters, size, name=name, **options)


def batchnorm(name: str) -> keras.Layer:
    return keras.layers.BatchNormalization(momentum=BATCHNORM_MOMENTUM, name=name)


def conv_unit(x: Tensor, filters: int, rank: int, name: str, norm: bool = True) -> Tensor:
    """Phi: (convolution 3 -> batch normalisation -> ReLU) twice; ``(B, *s, c)`` to ``(B, *s, filters)``."""
    for k in (1, 2):
        x = convolution(rank, filters, 3, f"{name}_conv{k}")(x)
        x = batchnorm(f"{name}_bn{k}")(x) if norm else x
        x = keras.layers.ReLU(name=f"{name}_relu{k}")(x)
    return x


def downsample(x: Tensor, rank: int, name: str) -> Tensor:
    """Max-pooling by 2 on every spatial axis."""
    pool: type[keras.Layer] = getattr(keras.layers, f"MaxPooling{rank}D")
    return pool(2, name=name)(x)


def encoder(x: Tensor, filters: Sequence[int], rank: int, *, norm: bool = True) -> list[Tensor]:
    """``X[0][0], X[1][0], ...``: a unit per level, on the max-pooled level above."""
    levels: list[Tensor] = []
    for i, width in enumerate(filters):
        x = downsample(levels[-1], rank, f"pool_{i}") if levels else x
        levels.append(conv_unit(x, width, rank, f"x_{i}_0", norm))
    return levels


def shared_up(filters: int, rank: int, name: str, norm: bool = True) -> Callable[[Tensor], Tensor]:
    """Up: transposed convolution 2, stride 2 -> batch normalisation -> ReLU; doubles every side.

    The function returned uses the same weights for every node that it is applied to, as ANU-Net
    does for all nodes of one level.
    """
    layers = (
        transposed(rank, filters, 2, f"{name}_conv"),
        *([batchnorm(f"{name}_bn")] if norm else []),
        keras.layers.ReLU(name=f"{name}_relu"),
    )

    def up(x: Tensor) -> Tensor:
        for layer in layers:
            x = layer(x)
        return x

    return up


def attention_gate(
    f: Tensor, g: Tensor, inner: int, rank: int, name: str, norm: bool = True
) -> Tensor:
    """Ag(f, g) = f * alpha, with one channel of alpha in (0, 1) for all channels of `f` (Eq. 1-3).

    ``alpha = sigmoid(BN(W_t * relu(BN(W_f * f) + BN(W_g * g))))``, all W being 1x1 convolutions
    with bias. `f` is gated by the signal `g`, which has the resolution of `f`.
    """

    def projected(x: Tensor, width: int, part: str) -> Tensor:
        x = convolution(rank, width, 1, f"{name}_conv_{part}")(x)
        return batchnorm(f"{name}_bn_{part}")(x) if norm else x

    total = keras.layers.Add(name=f"{name}_add")(
        [projected(f, inner, "f"), projected(g, inner, "g")]
    )
    theta = projected(keras.layers.ReLU(name=f"{name}_relu")(total), 1, "t")
    alpha = keras.layers.Activation("sigmoid", name=f"{name}_alpha")(theta)
    return keras.layers.Multiply(name=f"{name}_out")([f, alpha])


def head(x: Tensor, classes: int, rank: int, name: str, size: int = 1) -> Tensor:
    """Class probabilities by a convolution of `size`: softmax, or a sigmoid for a single class.

    Always float32: probabilities with 8 bits of mantissa would show in a blended seam.
    """
    options = {"kernel_initializer": "glorot_uniform", "dtype": "float32"}
    return convolution(rank, classes, size, name, activation=probability(classes), **options)(x)


def probability(classes: int) -> str:
    """The activation that makes probabilities of so many classes."""
    return "sigmoid" if classes == 1 else "softmax"
