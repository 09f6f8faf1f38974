"""The values of an input, against those that the model was trained on.

A channel is held against the percentiles of its training. Its *scope* is the span from 1 to 99 %, wider by half
of itself on each side. In a scene like those of the training next to no value lies outside, however small or
uniform the scene is; means and deviations tell scenes from each other, not sensors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import permutations

import numpy as np

from seg_batch.config.card import ModelCard
from seg_batch.config.channels import ChannelStatistics, Span
from seg_batch.core.units import share_in_line
from seg_batch.inference.fit.verdict import Finding
from seg_batch.io.sources.protocol import SourceInfo
from seg_batch.io.sources.sample import Sample

OUTSIDE_UNUSUAL, OUTSIDE_REFUSED = 0.1, 0.5  # of the values of a channel, outside its scope
FILL_SHARE = 0.01  # of the sample: a single value outside all that training saw
EDGE_SHARE = 0.2  # of the border
MISSING_SHARE = 0.1  # of a channel, where others have data
AIR_HU, AIR_SHARE = -800, 0.02
# In deviations, summed over channels: at most .7 between scenes of two sensors, and 1.3 or more for a scene with red and
# blue exchanged.
ORDER_GAIN = 1.0
MOST_ORDERED, FEWEST_ORDERED = 6, 1000  # channels; values
# Between stored numbers and reflectance: Sentinel-2, per cent, 8 bits, Landsat (surface, top of atmosphere); HU.
SCALES = (
    *((1e-4, 0.0), (1e4, 0.0), (0.01, 0.0), (100.0, 0.0), (1 / 255, 0.0), (255.0, 0.0)),
    *((2.75e-5, -0.2), (36363.6, 7272.73), (2e-5, -0.1), (5e4, 5e3), (5.0, 5e3), (0.2, -1e3)),
    *((1.0, -1024.0), (1.0, 1024.0)),
)


def value_findings(card: ModelCard, info: SourceInfo, seen: Sample) -> Iterator[Finding]:
    """``seen``: of the channels that the model takes, in its order. A model that takes any number of channels, as
    the probe does, takes any values."""
    names = card.channel_names
    if names is None or not len(seen.values):
        return
    if not seen.valid.any():
        yield _nothing(info, seen)
        return
    channels = [seen.channel(n) for n in range(len(names))]
    flat = [name for name, values in zip(names, channels, strict=True) if _is_constant(values)]
    if flat:
        yield _constant(flat, names, channels)
        return
    if not seen.valid.all():
        yield from _missing(names, seen)
    yield from _against_card(card, channels, seen)
    yield from _other_modality(card, channels)


def _nothing(info: SourceInfo, seen: Sample) -> Finding:
    if info.kind == "raster" and not np.isnan(seen.values).all():
        return Finding("unusual", "no pixel that was looked at has data")
    return Finding("does not fit", "it has no values but NaN", "restore it from its origin")


def _is_constant(values: np.ndarray) -> bool:
    return len(values) == 0 or bool(values.min() == values.max())


def _constant(flat: list[str], names: tuple[str, ...], channels: list[np.ndarray]) -> Finding:
    values = channels[names.index(flat[0])]
    what = "empty" if len(values) == 0 else f"{values[0]:g} everywhere"
    which = "it is" if len(flat) == len(names) else f"{', '.join(flat)}: is"
    return Finding("does not fit", f"{which} {what}", "restore it from its origin")


def _missing(names: tuple[str, ...], seen: Sample) -> Iterator[Finding]:
    anywhere = seen.valid.any(1)
    for name, share in zip(names, 1 - seen.valid[anywhere].mean(0), strict=True):
        if share > MISSING_SHARE:
            yield Finding(
                "unusual",
                f"{name} is missing on {share_in_line(share)} of what other channels cover",
            )


def _against_card(card: ModelCard, channels: list[np.ndarray], seen: Sample) -> Iterator[Finding]:
    """Fill values first: what they cover says nothing of the other values."""
    names, trained = card.channel_names or (), [each for each in card.trained_on if each]
    if len(trained) < len(names) or any(c.quantity == "arbitrary" for c in card.channels or ()):
        return
    fill = _fill(trained, seen)
    if fill is not None:
        value, share = fill
        yield Finding(
            "unusual",
            f"{value:g} fills {share_in_line(share)} of it, which is no value of the training: nodata without a tag",
            "declare it (gdal_edit.py -a_nodata)",
        )
        channels = [values[values != value] for values in channels]
    outside = [_outside(*pair) for pair in zip(channels, trained, strict=True)]
    worst = int(np.argmax(outside))
    if outside[worst] > OUTSIDE_UNUSUAL:
        low, high = np.percentile(channels[worst], (1, 99))
        first, last = trained[worst].core
        # Numbers of a normalisation may be anybody's choice: they refuse nothing.
        known = trained[worst].percentiles is not None
        yield Finding(
            "does not fit" if known and outside[worst] > OUTSIDE_REFUSED else "unusual",
            f"{names[worst]} lies between {low:.5g} and {high:.5g}, in training it lay between "
            f"{first:.5g} and {last:.5g}",
            _remedy(channels, trained, seen),
        )
        return
    order, gain = _best_order(channels, trained)
    if gain > ORDER_GAIN:
        yield Finding(
            "unusual", "its channels are more like the training in another order", _in_order(order)
        )


def scope(trained: ChannelStatistics) -> Span:
    low, high = trained.core
    return low - (high - low) / 2, high + (high - low) / 2


def _outside(values: np.ndarray, trained: ChannelStatistics) -> float:
    """The share of values outside the scope of a channel."""
    low, high = scope(trained)
    return float(((values < low) | (values > high)).mean()) if len(values) else 0.0


def _fill(trained: list[ChannelStatistics], seen: Sample) -> tuple[float, float] | None:
    """The one value of all channels that lies outside all that training saw and covers a share of the image or
    of its border, and its share."""
    together = seen.values[seen.valid.all(1)]
    same = together[(together == together[:, :1]).all(1), 0]
    if not len(same):
        return None
    numbers, counts = np.unique(same, return_counts=True)
    value, share = float(numbers[counts.argmax()]), counts.max() / len(together)
    if any(each.limits[0] <= value <= each.limits[1] for each in trained):
        return None
    border = (seen.values[seen.edge] == value).all(1)
    covers = share >= FILL_SHARE or (len(border) and border.mean() >= EDGE_SHARE)
    return (value, share) if covers else None


def _remedy(channels: list[np.ndarray], trained: list[ChannelStatistics], seen: Sample) -> str:
    """The options under which the values are most like those of the training; else another model."""
    count = len(channels)
    attempts = {}
    if seen.scale or seen.offset:
        numbers = zip(
            channels, seen.scale or (1,) * count, seen.offset or (0,) * count, strict=True
        )
        attempts["try --scale none"] = [(values - b) / a for values, a, b in numbers]
    attempts |= {
        f"try --scale {scale:.6g}{f' --offset {offset:.6g}' if offset else ''}": [
            values * scale + offset for values in channels
        ]
        for scale, offset in SCALES
    }
    order, _ = _best_order(channels, trained)
    if order != [*range(count)]:
        attempts[_in_order(order)] = [channels[n] for n in order]
    fitting = {
        words: round(sum(map(_distance, values, trained)), 3)
        for words, values in attempts.items()
        if max(map(_outside, values, trained)) <= OUTSIDE_UNUSUAL
    }
    other = "give the --scale or --bands that it needs, or another --model"
    return min(fitting, key=fitting.__getitem__) if fitting else other


def _best_order(
    channels: list[np.ndarray], trained: list[ChannelStatistics]
) -> tuple[list[int], float]:
    """The order of channels that is most like the training, and by how much more than theirs."""
    table = np.array([[_distance(values, each) for values in channels] for each in trained])
    same = [*range(len(table))]
    if not 1 < len(table) <= MOST_ORDERED or min(map(len, channels)) < FEWEST_ORDERED:
        return same, 0.0
    orders = np.array(list(permutations(same)))
    costs = table[same, orders].sum(1)
    best = int(costs.argmin())
    return orders[best].tolist(), float(costs[0] - costs[best])


def _in_order(order: list[int]) -> str:
    return f"try --bands {','.join(str(n + 1) for n in order)}"


def _distance(values: np.ndarray, trained: ChannelStatistics) -> float:
    """Between the means, in deviations of the training, and between the deviations, as a ratio."""
    if not len(values) or not trained.std or not values.std():
        return 0.0
    mean = abs(float(values.mean()) - trained.mean) / trained.std
    return mean + abs(math.log(float(values.std()) / trained.std))


def _other_modality(card: ModelCard, channels: list[np.ndarray]) -> Iterator[Finding]:
    """Air and bone of CT where another modality was trained, and CT without air."""
    for values in channels:
        air = float((values < AIR_HU).mean())
        if card.modality == "MR" and air > AIR_SHARE:
            yield Finding(
                "does not fit",
                f"{share_in_line(air)} of it lies below {AIR_HU}, as air in CT does, and the model is for MR",
                "name another --model",
            )
        trained = next(iter(card.trained_on), None)
        if card.modality == "CT" and trained and trained.core[0] < AIR_HU and values.min() >= 0:
            yield Finding(
                "does not fit",
                f"its values begin at {values.min():g}, so they are no HU, where air is near -1000",
                "try --offset -1024",
            )
