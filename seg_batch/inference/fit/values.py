"""The values of an input, against those that the model was trained on.

A channel is held against the scope of its training (``remedies.scope``). In a scene like those of the training
next to no value lies outside, however small or uniform the scene is; means and deviations tell scenes from each
other as well as sensors, so they are only told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from seg_batch.config.card import ModelCard
from seg_batch.config.card_parts.channels import ChannelStatistics
from seg_batch.core.units import share_in_line
from seg_batch.inference.fit.remedies import (
    FEWEST_ORDERED,
    HOUNSFIELD,
    OUTSIDE,
    best_order,
    in_order,
    outside,
    remedy,
)
from seg_batch.inference.fit.verdict import Finding, Outcome
from seg_batch.io.sources.protocol import SourceInfo
from seg_batch.io.sources.sample import Sample

OUTSIDE_REFUSED = 0.5  # of the values of a channel, outside its scope
FILL_SHARE = 0.01  # of a channel: a single value outside all that training saw
EDGE_SHARE = 0.2  # of the border
MISSING_SHARE = 0.1  # of a channel, where others have data
EMPTY_SHARE = 0.9  # of an image, where images of the training have data
# In deviations. Crops of 64 pixels of the land cover's scene: 1.5 at most; its first four bands in another's place: 2.1.
MEAN_SHIFT = 2.0
# In deviations, summed over channels: at most .7 between scenes of two sensors, and 1.3 or more for a scene with red and
# blue exchanged.
ORDER_GAIN = 1.0
AIR, TISSUE = (-1100, -900), (-150, 150)  # HU
AIR_SHARE, TISSUE_SHARE = 0.02, 0.05

Named = dict[str, np.ndarray]


def value_findings(card: ModelCard, info: SourceInfo, seen: Sample) -> Iterator[Finding]:
    """``seen``: of the channels that the model takes, in its order. A model that takes any number of channels, as
    the probe does, takes any values."""
    names = card.channel_names
    if names is None:
        return
    if not len(seen.values):
        yield Finding("unusual", "its values were not looked at: its stored blocks are too large")
        return
    if not seen.valid.any():
        yield _nothing(info, seen)
        return
    channels = {name: seen.channel(n) for n, name in enumerate(names)}
    if fault := _constant(channels, card, seen):
        yield fault
        return
    yield from _missing(card, seen)
    yield from _against_card(card, info, channels, seen)
    yield from _modality(card, [*channels.values()])


def _nothing(info: SourceInfo, seen: Sample) -> Finding:
    if info.kind == "raster" and not np.isnan(seen.values).all():
        return Finding("unusual", "no pixel that was looked at has data")
    return Finding(_sure(seen), "it has no values but NaN", "restore it from its origin")


def _sure(seen: Sample) -> Outcome:
    """A part of an image proves nothing of the rest."""
    return "does not fit" if seen.whole else "unusual"


def _constant(channels: Named, card: ModelCard, seen: Sample) -> Finding | None:
    """A channel of one value, unless the model was trained on such values, and others vary."""
    trained = dict(zip(channels, card.trained_on, strict=True))
    flat = [name for name, values in channels.items() if _is_flat(values)]
    if len(seen.values) < 2 or not flat:
        return None
    if len(flat) < len(channels):
        flat = [name for name in flat if not _is_known(channels[name], trained[name])]
        if not flat:
            return None
    words = "each of its channels" if len(flat) == len(channels) > 1 else ", ".join(flat)
    values = channels[flat[0]]
    what = "empty" if len(values) == 0 else f"{values[0]:g}" if len(flat) == 1 else "constant"
    where = "" if seen.whole else " where it was looked at"
    zero = all(len(v) and not v.any() for v in channels.values())
    outcome = "unusual" if card.crop != "none" and zero else _sure(seen)  # its labels are known
    return Finding(outcome, f"{words} is {what} everywhere{where}", "restore it from its origin")


def _is_flat(values: np.ndarray) -> bool:
    return len(values) == 0 or bool(values.min() == values.max())


def _is_known(values: np.ndarray, trained: ChannelStatistics | None) -> bool:
    low, high = trained.core if trained else (0.0, -1.0)
    return len(values) > 0 and bool(low <= values[0] <= high)


def _missing(card: ModelCard, seen: Sample) -> Iterator[Finding]:
    if seen.valid.all():
        return
    anywhere = seen.valid.any(1)
    shares = 1 - seen.valid[anywhere].mean(0)
    for name, share in zip(card.channel_names or (), shares, strict=True):
        if share > MISSING_SHARE:
            words = f"{name} is missing on {share_in_line(share)} of what other channels cover"
            yield Finding("unusual", words)
    empty, trained = 1 - anywhere.mean(), [each.nodata_share for each in card.trained_on if each]
    if trained and empty > EMPTY_SHARE > 2 * max(trained):
        yield Finding("unusual", f"{share_in_line(empty)} of it has no data")


def _against_card(
    card: ModelCard, info: SourceInfo, channels: Named, seen: Sample
) -> Iterator[Finding]:
    """Fill values first: what they cover says nothing of the other values."""
    if card.normalisation.per_image:  # each image has a scale of its own
        return
    known = zip(card.channels or (), card.trained_on, strict=True)
    trained = {c.name: each for c, each in known if each and c.quantity != "arbitrary"}
    borders = dict(zip(channels, map(seen.border, range(len(channels))), strict=True))
    fills = {
        name: value
        for name, each in trained.items()
        if (value := _fill(channels[name], borders[name], each)) is not None
    }
    if fills:
        yield _fill_finding(fills, channels, info)
        channels = {n: v[v != fills[n]] if n in fills else v for n, v in channels.items()}
    compared = {name: channels[name] for name in trained if len(channels[name])}
    if compared:
        named = bool(info.names) and all(each.names for each in info.names)
        yield from _range(card, compared, [trained[name] for name in compared], seen, named)
    yield from _twins(compared)


def _fill(values: np.ndarray, border: np.ndarray, trained: ChannelStatistics) -> float | None:
    """The one value of a channel that lies outside all that training saw, and covers a share of it or of its border."""
    low, high = trained.limits
    beyond = values[(values < low) | (values > high)]
    if not len(beyond):
        return None
    numbers, counts = np.unique(beyond, return_counts=True)
    value, count = float(numbers[counts.argmax()]), int(counts.max())
    enough = count >= max(2, FILL_SHARE * len(values))
    around = len(border) > 1 and (border == value).mean() >= EDGE_SHARE
    return value if enough or around else None


def _fill_finding(fills: dict[str, float], channels: Named, info: SourceInfo) -> Finding:
    name, value = next(iter(fills.items()))
    share = share_in_line(float((channels[name] == value).mean()))
    others = f" (and {len(fills) - 1} more channels)" if len(fills) > 1 else ""
    cure = "declare it (gdal_edit.py -a_nodata)" if info.kind == "raster" else "cut it away"
    words = f"{value:g} fills {share} of {name}{others}, which is no value of the training: nodata without a tag"
    return Finding("unusual", words, cure)


def _range(
    card: ModelCard,
    channels: Named,
    trained: Sequence[ChannelStatistics],
    seen: Sample,
    named: bool,
) -> Iterator[Finding]:
    names, values = [*channels], [*channels.values()]
    quantities = [c.quantity for c in card.channels or ()]
    whole = len(names) == len(card.channels or ())  # else numbers of bands would be those of others
    shares = [*map(outside, values, trained)]
    worst = int(np.argmax(shares))
    if shares[worst] > OUTSIDE:
        # Numbers of a normalisation may be anybody's choice: they refuse nothing.
        sure = trained[worst].percentiles is not None and shares[worst] > OUTSIDE_REFUSED
        cure = remedy(values, trained, seen, quantities) if whole else "give another --model"
        words = _compared(names[worst], values[worst], trained[worst])
        yield Finding("does not fit" if sure else "unusual", words, cure)
        return
    # Numbers of a normalisation say little of the order, and nothing where the file names its channels.
    vague = any(each.percentiles is None for each in trained)
    order, gain = best_order(values, trained)
    if gain > ORDER_GAIN and whole and not (vague and named):
        words = "its channels are more like the training in another order"
        yield Finding("unusual", words, in_order(order, seen))
        return
    if min(map(len, values)) >= FEWEST_ORDERED:
        for name, own, each in zip(names, values, trained, strict=True):
            if each.percentiles and abs(own.mean() - each.mean) > MEAN_SHIFT * each.std:
                yield Finding(
                    "unusual", _compared(name, own, each), "look whether it is this channel"
                )
                return


def _compared(name: str, values: np.ndarray, trained: ChannelStatistics) -> str:
    low, high = np.percentile(values, (1, 99))
    first, last = trained.core
    return f"{name} lies between {low:.5g} and {high:.5g}, in training it lay between {first:.5g} and {last:.5g}"


def _twins(channels: Named) -> Iterator[Finding]:
    for (a, first), (b, second) in combinations(channels.items(), 2):
        if len(first) == len(second) >= FEWEST_ORDERED and np.array_equal(first, second):
            yield Finding(
                "unusual", f"{a} and {b} have the same values", "give each its own --bands"
            )


def _modality(card: ModelCard, channels: Sequence[np.ndarray]) -> Iterator[Finding]:
    """Air and tissue of CT where a model is for MR, and a CT without air."""
    for values in channels:
        air, tissue = (
            float(((values >= low) & (values <= high)).mean()) for low, high in (AIR, TISSUE)
        )
        if card.modality == "MR" and air > AIR_SHARE and tissue > TISSUE_SHARE:
            words = f"{share_in_line(air)} of it lies near -1000, as air in CT does, and the model is for MR"
            yield Finding("does not fit", words, "name another --model")
        trained = next(iter(card.trained_on), None)
        if card.modality == "CT" and trained and trained.core[0] < AIR[1] and not _has_air(values):
            stored = values.min() >= 0 and _has_air(values + HOUNSFIELD[1])
            cure = f"try --offset {HOUNSFIELD[1]:g}" if stored else "name another --model"
            words = f"its values begin at {np.percentile(values, 1):.5g}, so they are no HU, where air is near -1000"
            yield Finding("does not fit", words, cure)


def _has_air(values: np.ndarray) -> bool:
    return bool(np.percentile(values, 2) < -200 and values.max() > 100)
