"""The network, the loss, the optimiser and the run of a training."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from seg_batch.config.validation import CheckedValue


class Network(CheckedValue):
    """``arch``: a name of ``networks.registry``. ``filters``: channels per level, full resolution first.
    ``options``: further fields of the configuration of that network, such as ``backbone``."""

    arch: str = "anunet"
    filters: tuple[int, ...] = (16, 32, 64, 128)
    options: dict[str, Any] = Field(default_factory=dict)


class Loss(CheckedValue):
    """A weighted sum of ``terms``, each ``{"name": ..., "weight": ..., ...}``; see ``nn.losses``.

    A term with ``"class_weights": "inverse"`` weighs each class by its inverse frequency in the training
    part to the ``power``, and by at most ``clip`` times the weight of the commonest class. ``heads``: weights
    of the heads of a network with deep supervision, shallowest first; None: equal."""

    terms: tuple[dict[str, Any], ...] = ({"name": "dice"}, {"name": "cross_entropy"})
    heads: tuple[float, ...] | None = None
    clip: float = Field(default=10.0, gt=1)
    power: float = Field(default=1.0, ge=0, le=1)


class Optimiser(CheckedValue):
    """``accumulate``: batches whose gradients are averaged for one step. ``ema``: decay of the
    exponential moving average of the weights, which is validated and kept (0: off).
    ``encoder_rate``: learning rate of the encoder, as a share of that of the other layers.
    ``frozen_epochs``: epochs at the start in which the encoder is frozen."""

    name: Literal["adamw", "adam", "sgd", "lion", "rmsprop", "nadam"] = "adamw"
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    clip_norm: float = Field(default=1.0, gt=0)
    accumulate: int = Field(default=1, ge=1)
    ema: float = Field(default=0.99, ge=0, lt=1)
    precision: Literal["float32", "mixed"] = "float32"
    encoder_rate: float = Field(default=1.0, ge=0, le=1)
    frozen_epochs: float = Field(default=0.0, ge=0)


class Schedule(CheckedValue):
    """The learning rate over the run: a linear ``warmup`` (share of the run), then a decay to ``floor``
    (share of the peak) along a half cosine or a polynomial of ``power``, or, for ``plateau``, by
    ``factor`` after every ``patience`` validations without a better score."""

    name: Literal["cosine", "polynomial", "plateau", "constant"] = "cosine"
    warmup: float = Field(default=0.05, ge=0, lt=1)
    floor: float = Field(default=0.01, ge=0, le=1)
    power: float = Field(default=0.9, gt=0)
    factor: float = Field(default=0.5, gt=0, lt=1)
    patience: int = Field(default=5, ge=1)


class Distil(CheckedValue):
    """Knowledge distillation from a teacher (Hinton et al., 2015)."""

    weight: float = Field(default=0.5, ge=0)
    temperature: float = Field(default=2.0, gt=0)


class FitSettings(CheckedValue):
    """The run. ``patch``: sides of the training crops in voxels; None: the card's. ``score``: the metric
    that selects the best checkpoint. ``minutes``: a second limit beside ``steps``; the learning rate
    follows the nearer one. ``patience``: validations without a better score after which training
    stops (0: never). ``validate_every``, ``checkpoint_every``, ``examples_every``: in steps."""

    patch: tuple[int, ...] | None = None
    batch: int = Field(default=8, ge=1)
    steps: int = Field(default=2000, ge=1)
    minutes: float | None = Field(default=None, gt=0)
    validate_every: int = Field(default=100, ge=1)
    checkpoint_every: int = Field(default=100, ge=1)
    patience: int = Field(default=0, ge=0)
    examples_every: int = Field(default=0, ge=0)
    score: Literal["accuracy", "dice"] = "dice"
    seed: int = 0
    devices: int = Field(default=1, ge=1)
    distil: Distil = Distil()
