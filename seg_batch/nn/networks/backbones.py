"""Encoders from keras.applications: taps for the skips, pretrained weights, dilation for strides.

An encoder is the graph of the application, cloned layer by layer into a flat model of stock layers.
A layer is called ``encoder_`` plus its name in the application; a layer without weights, which
Keras numbers by what was built before, gets its number in this graph instead.

The skips are tapped where the graph says: at each stride, the last tensor before the next halving
(the expanded activation in MobileNetV3 and EfficientNetV2, the sum of the last block in ResNet).

========================== ============================================= ======================
backbone                   a voxel's result depends on the whole patch   parameters (3 channels)
========================== ============================================= ======================
resnet50                   no                                            23 587 712
mobilenet_v3_small         yes: squeeze-and-excitation                   939 120
mobilenet_v3_large         yes: squeeze-and-excitation                   2 996 352
..._minimalistic           no: 3x3 convolutions and ReLU only            441 000, 1 437 608
efficientnet_v2_b0 .. b3   yes: squeeze-and-excitation                   5 919 312 .. 12 930 622
========================== ============================================= ======================

Squeeze-and-excitation pools over the whole patch, which makes seams that blending does not remove.

Sources: He et al., CVPR 2016; Howard et al., ICCV 2019, Tables 1-2; Tan and Le, ICML 2021.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seg_batch.core.errors import InputError
from seg_batch.core.text import nearest
from seg_batch.nn.analysis.graph import first_weighted, steps
from seg_batch.nn.backend import keras
from seg_batch.nn.networks.blocks import BATCHNORM_MOMENTUM, Tensor
from seg_batch.nn.networks.channel_fitting import fitted
from seg_batch.nn.networks.config import OneHeadConfig

STRIDES = (2, 4, 8, 16, 32)

# The side of the image on which the strides of a graph are read: no padded or pooled side divides
# it as the strides do.
_SIDE = 256


@dataclass(frozen=True)
class Backbone:
    """A function of keras.applications and its arguments; `widths`: it also takes `alpha`."""

    function: str
    arguments: dict[str, Any] = field(default_factory=dict)
    widths: bool = False


# The card normalises: nothing is rescaled in the graph.
_PLAIN = {"include_preprocessing": False}

BACKBONES: dict[str, Backbone] = {
    "resnet50": Backbone("ResNet50"),
    **{
        f"mobilenet_v3_{size.lower()}{ending}": Backbone(
            f"MobileNetV3{size}", {**_PLAIN, "minimalistic": bool(ending)}, widths=True
        )
        for size in ("Small", "Large")
        for ending in ("", "_minimalistic")
    },
    **{f"efficientnet_v2_b{k}": Backbone(f"EfficientNetV2B{k}", _PLAIN) for k in range(4)},
}


def encode(
    image: Tensor, config: "BackboneConfig", strides: Sequence[int], *, dense: bool = False
) -> list[Tensor]:
    """The backbone's last tensor at each of `strides`, finest first; deeper layers are left out.

    With `dense` the last tensor is the end of the whole backbone, whose layers after the last of
    `strides` are dilated instead of strided (`_without_strides`).
    """
    source = _source(config)
    taps = {_stride(step.outputs[0]): step.outputs[0] for step in steps(source)}
    ends = [taps[s] for s in strides[:-1]] + [taps[STRIDES[-1] if dense else strides[-1]]]
    cut = keras.Model(source.inputs[0], ends)
    changes = _without_strides(cut, strides[-1]) if dense else {}
    names = {step.name: _renamed(i, step.layer) for i, step in enumerate(steps(cut))}
    encoder = keras.models.clone_model(
        cut,
        input_tensors=image,
        clone_function=lambda layer: _copied(layer, names[layer.name], changes.get(layer.name, {})),
        call_function=_called,
    )
    if config.weights is not None:
        _copy_weights(cut, encoder, names, config.channels)
    return list(encoder.outputs)


def _source(config: "BackboneConfig") -> keras.Model:
    """The application for 3 channels, with the weights of the config's file if it names one."""
    config.require_files()
    backbone, image = BACKBONES[config.backbone], keras.Input((_SIDE, _SIDE, 3), name="image")
    arguments = {**backbone.arguments, **({"alpha": config.alpha} if backbone.widths else {})}
    model = getattr(keras.applications, backbone.function)(
        include_top=False, weights=None, input_tensor=image, **arguments
    )
    if config.weights is not None:
        _load(model, config)
    return model


def _load(model: keras.Model, config: "BackboneConfig") -> None:
    try:
        with warnings.catch_warnings():  # Keras warns, then raises for the same reason
            warnings.simplefilter("ignore")
            model.load_weights(config.weights)
    except Exception as error:  # Keras and h5py raise errors of many types
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise InputError(
            f"{config.weights} holds no weights of {config.backbone} with 3 channels, without its top "
            f"({reason}); {_how_to_get(config)}"
        ) from error


def _stride(tensor: Tensor) -> int:
    """The stride of a tensor in a graph for `_SIDE`; 0 if none of `STRIDES` (padded, pooled)."""
    side = tensor.shape[1] if len(tensor.shape) == 4 else 0
    return _SIDE // side if side and _SIDE % side == 0 and _SIDE // side in STRIDES else 0


def _without_strides(model: keras.Model, last: int) -> dict[str, dict[str, Any] | None]:
    """The changes of layers, by name, that replace strides after stride `last` by dilation.

    A strided layer keeps its kernel and loses its stride; later kernels are dilated (algorithme a
    trous): ``y[2 i + o]`` of the new graph is ``y[i]`` of the old one, o being 0 or 1 by the
    padding. The padding layer of a strided one (None here) becomes "same" padding.
    """
    changes: dict[str, dict[str, Any] | None] = {}
    for step in (step for step in steps(model) if step.inputs):
        before, after = (_stride(tensors[0]) for tensors in (step.inputs, step.outputs))
        if isinstance(step.layer, keras.layers.ZeroPadding2D) and before >= last:
            changes[step.name] = None
        elif after > last and before != after and hasattr(step.layer, "strides"):
            changes[step.name] = {"strides": 1, "padding": "same"}
        elif before > last and max(getattr(step.layer, "kernel_size", (1,))) > 1:
            changes[step.name] = {"dilation_rate": before // last}
    return changes


def _renamed(number: int, layer: Any) -> str:
    if getattr(layer, "weights", ()):
        return f"encoder_{layer.name}"
    return f"encoder_{number}_{type(layer).__name__.lower()}"


def _copied(layer: Any, name: str, changes: dict[str, Any] | None) -> keras.Layer | None:
    """A new layer with `changes`; None for a layer that is left out.

    MobileNetV3 writes the hard sigmoid as three operations, ``relu6(x + 3) / 6``, two of which are
    no layers; one layer replaces them. Batch normalisations get the momentum of `blocks`.
    """
    if changes is None or _in_hard_sigmoid(layer):
        return None
    if not isinstance(layer, keras.Layer):
        return keras.layers.Activation("hard_sigmoid", name=name)
    config = {**layer.get_config(), **changes, "name": name}
    if isinstance(layer, keras.layers.BatchNormalization):
        config["momentum"] = BATCHNORM_MOMENTUM
    return layer.__class__.from_config(config)


def _called(layer: keras.Layer | None, *x: Tensor, **options: Any) -> Tensor:
    """A layer that is left out returns its input; the sum in a hard sigmoid also takes a number."""
    if layer is None:
        return x[0]
    return layer(x[0]) if isinstance(layer, keras.layers.Activation) else layer(*x, **options)


def _in_hard_sigmoid(layer: Any) -> bool:
    """Whether this is the second or third operation of a hard sigmoid; the first is the sum."""
    capped = isinstance(layer, keras.layers.ReLU) and layer.max_value == 6
    return capped or not (isinstance(layer, keras.Layer) or type(layer).__name__ == "Add")


def _copy_weights(
    source: keras.Model, encoder: keras.Model, names: dict[str, str], channels: int
) -> None:
    """Copy the weights; the first kernel is fitted from 3 channels to those of the image."""
    first = first_weighted(source)
    for layer in (layer for layer in source.layers if layer.weights):
        weights = layer.get_weights()
        if layer.name in first and channels != 3:
            weights[0] = fitted(weights[0], channels)
        encoder.get_layer(names[layer.name]).set_weights(weights)


@dataclass(frozen=True)
class BackboneConfig(OneHeadConfig):
    """The configuration that all networks on a backbone share.

    `backbone` is one of `BACKBONES`; `alpha` scales the widths of a MobileNetV3. `weights` is a
    local Keras file of the backbone's weights for 3 channels without its top (fitted to the image's
    channels, see `said`), or None for new weights. `separable`: the decoder's convolutions are
    depthwise-separable.
    """

    ranks = (2,)

    backbone: str = "resnet50"
    weights: str | None = None
    alpha: float = 1.0
    separable: bool = False

    def __post_init__(self) -> None:
        rank = f"rank is {self.rank}, and its backbones are for images"
        self._require(self.rank == 2, rank, "use rank 2, or anunet or unet3d for volumes")
        super().__post_init__()
        known = self.backbone in BACKBONES
        self._require(known, f"no backbone {self.backbone!r}", nearest(self.backbone, BACKBONES))
        fits = self.alpha == 1 or (self.alpha > 0 and BACKBONES[self.backbone].widths)
        alpha = f"alpha is {self.alpha} for {self.backbone}"
        self._require(fits, alpha, "use 1, or a positive number with a mobilenet_v3")
        weights = "weights is 'imagenet', which Keras would download"
        self._require(self.weights != "imagenet", weights, _how_to_get(self))

    @property
    def options(self) -> dict[str, Any]:
        """Without `weights`: the start of a training is no part of the network."""
        return {name: value for name, value in super().options.items() if name != "weights"}

    @property
    def said(self) -> tuple[str, ...]:
        """How the weights of the file were used, one line each; none for new weights."""
        if self.weights is None:
            return ()
        start = f"the encoder starts from {self.weights}"
        if self.channels == 3:
            return (start,)
        fit = f"its first layer was fitted from 3 to {self.channels} channels"
        return start, f"{fit}, each from the mean of all"

    def require_files(self) -> None:
        if self.weights is not None and not Path(self.weights).is_file():
            raise InputError(f"there is no weights file {self.weights}; {_how_to_get(self)}")


def _how_to_get(config: BackboneConfig) -> str:
    function = BACKBONES[config.backbone].function
    return (
        f"on a machine with a network, run keras.applications.{function}(include_top=False)"
        f".save_weights('{config.backbone}.weights.h5') and name that file, or leave weights out"
    )
