"""Pre- and postprocessing in a description of bioimage.io."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from seg_batch.conversion.cards.entry import Entry
from seg_batch.conversion.cards.example import Example
from seg_batch.conversion.cards.scaling import NO_LIMIT, Scaling
from seg_batch.core.statistics.schemes import HIGH, LOW

_SUM = 1e-3  # by which probabilities of exclusive classes may miss one


def normalisation_of(given: Entry, channels: int, sides: Sequence[str]) -> dict[str, Any]:
    """The steps of ``preprocessing`` as one normalisation; InputError names the one that a card can't hold."""
    scaling, names = Scaling(channels), ("channel", *sides)
    steps = list(given["preprocessing"])
    for k, step in enumerate(steps):
        known = _STEPS.get(step["id"].text())
        if known is None:
            raise step.error(
                f"the operation {step['id'].text()!r} is not known here: say what it does with --card"
            )
        clipped = k + 1 < len(steps) and _clips_to_one(steps[k + 1])
        try:
            known(scaling, step["kwargs"], _Place(channels, names, clipped))
        except ValueError as error:
            raise step.error(f"{step['id'].text()}: {error}: say it with --card") from None
    try:
        return scaling.normalisation()
    except ValueError as error:
        raise given["preprocessing"].error(f"{error}: say it with --card") from None


@dataclass(frozen=True)
class _Place:
    """``names``: the axes of a tensor but the batch. ``clipped``: whether the next step clips to 0 and 1."""

    channels: int
    names: tuple[str, ...]
    clipped: bool

    def joint(self, kwargs: Entry) -> bool:
        """Whether numbers are of all channels together; ValueError where they are of parts of an image."""
        axes = set(kwargs["axes"].texts() or self.names) - {"batch"}
        if missing := set(self.names[1:]) - axes:
            raise ValueError(f"its numbers are of each {', '.join(sorted(missing))} of an image")
        return "channel" in axes


def _dtype(scaling: Scaling, kwargs: Entry, place: _Place) -> None:
    kind = kwargs["dtype"].text("float32")
    if not kind.startswith("float") and not _untouched(scaling):
        raise ValueError(f"it rounds what was scaled to {kind}")


def _untouched(scaling: Scaling) -> bool:
    return not scaling.scheme and not any(scaling.mean) and set(scaling.std) == {1.0}


def _linear(scaling: Scaling, kwargs: Entry, place: _Place) -> None:
    _require_channels(kwargs)
    gain, offset = (
        (kwargs[key] if kwargs[key] else Entry(default, kwargs.where)).numbers(place.channels)
        for key, default in (("gain", 1.0), ("offset", 0.0))
    )
    scaling.linear(gain, offset)


def _fixed(scaling: Scaling, kwargs: Entry, place: _Place) -> None:
    _require_channels(kwargs)
    scaling.standardise(
        kwargs["mean"].numbers(place.channels), kwargs["std"].numbers(place.channels)
    )


def _require_channels(kwargs: Entry) -> None:
    if kwargs["axis"].text("channel") != "channel":
        raise ValueError(
            f"its numbers go along {kwargs['axis'].text()}, and a card's along the channels"
        )


def _clip(scaling: Scaling, kwargs: Entry, place: _Place) -> None:
    if kwargs["min_percentile"] or kwargs["max_percentile"]:
        raise ValueError("it clips to percentiles of each image alone")
    low, high = kwargs["min"].number(-NO_LIMIT), kwargs["max"].number(NO_LIMIT)
    scaling.clip([low] * place.channels, [high] * place.channels)


def _mean_variance(scaling: Scaling, kwargs: Entry, place: _Place) -> None:
    scaling.of_image("source", joint=place.joint(kwargs))


def _range(scaling: Scaling, kwargs: Entry, place: _Place) -> None:
    if kwargs["reference_tensor"]:
        raise ValueError("it goes by another tensor")
    ends = kwargs["min_percentile"].number(0), kwargs["max_percentile"].number(100)
    scheme = {(0.0, 100.0): "range", (LOW, HIGH): "percentiles"}.get(ends)
    if scheme is None:
        raise ValueError(
            f"it goes by percentiles {ends[0]:g} and {ends[1]:g}, and a card by {LOW:g} and {HIGH:g}, or the whole range"
        )
    scaling.of_image(scheme, joint=place.joint(kwargs), clipped=place.clipped)


def _clips_to_one(step: Entry) -> bool:
    kwargs = step["kwargs"].mapping()
    return step["id"].value == "clip" and (kwargs.get("min"), kwargs.get("max")) == (0, 1)


_STEPS: dict[str, Callable[[Scaling, Entry, _Place], None]] = {
    "ensure_dtype": _dtype,
    "scale_linear": _linear,
    "fixed_zero_mean_unit_variance": _fixed,
    "zero_mean_unit_variance": _mean_variance,
    "scale_range": _range,
    "clip": _clip,
}


@dataclass(frozen=True)
class Activation:
    """From the output of a network to probabilities. ``gives``: as a card has it, empty where nothing tells;
    ``discrete``: the described output is 0 or 1; ``applied``: it is after the activation."""

    gives: str = ""
    independent: bool = False
    threshold: float | None = None
    discrete: bool = False

    @property
    def applied(self) -> bool:
        return self.gives == "logits" or self.discrete


def activation_of(result: Entry, example: Example | None) -> Activation:
    """Of ``postprocessing``; the test output tells whether several channels exclude each other, where no step does."""
    channels = next(
        (len(a["channel_names"].texts()) for a in result["axes"] if a["type"].value == "channel"), 1
    )
    activation, known = Activation(), False
    for step in result["postprocessing"]:
        name, kwargs = step["id"].text(), step["kwargs"]
        if name == "sigmoid" and not activation.gives:
            activation, known = replace(activation, gives="logits", independent=channels > 1), True
        elif name == "softmax" and not activation.gives:
            if kwargs["axis"].text("channel") != "channel":
                raise kwargs["axis"].error("its classes do not lie along the channels")
            activation, known = replace(activation, gives="logits"), True
        elif name == "binarize" and not activation.discrete:
            thresholds = set(kwargs["threshold"].numbers(channels))
            if len(thresholds) > 1:
                raise kwargs["threshold"].error(
                    "each channel has a threshold of its own, and a card has one: give the step as post of --card"
                )
            activation = replace(activation, threshold=thresholds.pop(), discrete=True)
        elif name != "ensure_dtype" and not _clips_to_one(step):
            raise step.error(
                f"the operation {name!r} makes no map of classes, or is not known here: remove it if a map needs it not"
            )
    return activation if known else _by_values(activation, channels, example)


def _by_values(activation: Activation, channels: int, example: Example | None) -> Activation:
    """What the values of the output tell where no step does: probabilities lie within 0 and 1, and those of exclusive
    classes add up to one."""
    if channels == 1 or activation.discrete or example is None:
        independent = activation.discrete and channels > 1
        return replace(
            activation,
            gives="probabilities" if activation.discrete else "",
            independent=independent,
        )
    output = example.output
    if float(output.min()) < 0 or float(output.max()) > 1:
        return activation
    exclusive = bool((np.abs(output.sum(axis=-1) - 1) < _SUM).all())
    return replace(activation, gives="probabilities", independent=not exclusive)
