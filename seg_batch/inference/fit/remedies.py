"""What would make values like those of the training: another unit, another order of channels, or the stored numbers.

An option is advised only where each channel would then lie in its scope, and near the mean of its training.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import permutations

import numpy as np

from seg_batch.config.card_parts.channels import ChannelStatistics, Span
from seg_batch.io.sources.sample import Sample

# Deviations between the means: 1.5 at most in crops of 64 pixels of the land cover's scene.
NEAR = 1.6
MOST_ORDERED, FEWEST_ORDERED = 6, 1000  # channels; values
OUTSIDE = 0.1  # of the values, outside the scope
OTHER = "give the --scale or --bands that it needs, or another --model"
# Between stored numbers and reflectance: Sentinel-2, per cent, 8 bits, Landsat (surface, top of atmosphere).
SCALES = (
    *((1e-4, 0.0), (1e4, 0.0), (0.01, 0.0), (100.0, 0.0), (1 / 255, 0.0), (255.0, 0.0)),
    *((2.75e-5, -0.2), (36363.6, 7272.73), (2e-5, -0.1), (5e4, 5e3), (5.0, 5e3), (0.2, -1e3)),
)
HOUNSFIELD = (1.0, -1024.0)

Channels = Sequence[np.ndarray]
Trained = Sequence[ChannelStatistics]


def scope(trained: ChannelStatistics) -> Span:
    """The span from 1 to 99 % of a training, wider by half of itself on each side."""
    low, high = trained.core
    return low - (high - low) / 2, high + (high - low) / 2


def outside(values: np.ndarray, trained: ChannelStatistics) -> float:
    """The share of values outside the scope of a channel."""
    low, high = scope(trained)
    return float(((values < low) | (values > high)).mean()) if len(values) else 0.0


def distance(values: np.ndarray, trained: ChannelStatistics) -> float:
    """Between the means, in deviations of the training, and between the deviations, as a ratio."""
    if not len(values) or not trained.std or not values.std():
        return 0.0
    return _shift(values, trained) + abs(math.log(float(values.std()) / trained.std))


def _shift(values: np.ndarray, trained: ChannelStatistics) -> float:
    return abs(float(values.mean()) - trained.mean) / (trained.std or 1.0) if len(values) else 0.0


def remedy(
    channels: Channels, trained: Trained, seen: Sample, quantities: Sequence[str | None]
) -> str:
    """The options under which the values are most like those of the training; else another model."""
    fitting = {
        words: sum(map(distance, values, trained))
        for words, values in _attempts(channels, trained, seen, quantities)
        if max(map(outside, values, trained)) <= OUTSIDE
        and max(map(_shift, values, trained)) <= NEAR
    }
    return min(fitting, key=fitting.__getitem__) if fitting else OTHER


def _attempts(
    channels: Channels, trained: Trained, seen: Sample, quantities: Sequence[str | None]
) -> Iterator[tuple[str, list[np.ndarray]]]:
    if seen.scale or seen.offset:  # a file with a scale of its own takes no other
        count = len(channels)
        numbers = zip(
            channels, seen.scale or (1,) * count, seen.offset or (0,) * count, strict=True
        )
        if all(seen.scale or (1,)):
            yield "try --scale none", [(values - b) / a for values, a, b in numbers]
    else:
        for scale, offset in (*SCALES, *([HOUNSFIELD] if set(quantities) == {"HU"} else [])):
            words = f" --scale {scale:.6g}" if scale != 1 else ""
            words += f" --offset {offset:.6g}" if offset else ""
            yield f"try{words}", [values * scale + offset for values in channels]
    order, gain = best_order(channels, trained)
    if gain:
        yield in_order(order, seen), [channels[n] for n in order]


def best_order(channels: Channels, trained: Trained) -> tuple[list[int], float]:
    """The order of channels that is most like the training, and by how much more than theirs."""
    same = [*range(len(trained))]
    if not 1 < len(same) <= MOST_ORDERED or min(map(len, channels)) < FEWEST_ORDERED:
        return same, 0.0
    table = np.array([[distance(values, each) for values in channels] for each in trained])
    orders = np.array(list(permutations(same)))
    costs = table[same, orders].sum(1)
    best = int(costs.argmin())
    return orders[best].tolist(), float(costs[0] - costs[best])


def in_order(order: Sequence[int], seen: Sample) -> str:
    """``--bands`` for channels in another order, by their numbers in the file."""
    numbers = [str(seen.numbers[n] if seen.numbers else n + 1) for n in order]
    return f"try --bands {','.join(numbers)}"
