"""The schemes of normalisation whose numbers are measured: of each image by itself, or of a whole training.

All from one pass over pieces of bounded size, with the same result however these were cut but for the last digits of
means. What is not valid or not finite is not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from seg_batch.core.errors import InputError
from seg_batch.core.normalise import MaskedNormaliser, Normaliser, Pixels
from seg_batch.core.statistics.histogram import Histogram, most_of
from seg_batch.core.statistics.moments import Moments

LOW, HIGH = 2.0, 98.0  # of ``percentiles``
CT_LOW, CT_HIGH = 0.5, 99.5  # of the foreground, as in nnU-Net (Isensee et al. 2021)
_PART = 1 << 20  # values that are sorted at a time
_LEAST_STEPS = 4  # of float32 in the range of values whose percentiles are worth anything
_ROUNDING = 1e-13  # of a value: such differences are none


def measured(
    kind: str, pieces: Iterable[Pixels], channels: Sequence[str], where: str
) -> Normaliser:
    """The numbers of one image. ``channels``: their names; ``where``: the image, in errors.

    ``InputError`` where the percentiles of a channel are one value and its values are not, or where float32 has hardly
    any values in its range.
    """
    return SCHEMES[kind].numbers(pieces, channels, where)


def measured_each(
    kinds: Sequence[str],
    card: Normaliser,
    passes: Callable[[], Iterable[Pixels]],
    channels: Sequence[str],
    where: str,
) -> Normaliser:
    """The numbers of an image each of whose channels has a kind of its own, those of ``card`` and ``identity`` from the
    ``card``. One pass for every scheme that there is, over the channels that need it."""
    numbers = [_numbers_of(card, c) for c in range(len(channels))]
    for kind in dict.fromkeys(k for k in kinds if k in SCHEMES):
        those = [c for c, k in enumerate(kinds) if k == kind]
        part = SCHEMES[kind].numbers(
            (_of_scheme(pixels, kind, those) for pixels in passes()),
            [channels[c] for c in those],
            where,
        )
        for n, c in enumerate(those):
            numbers[c] = _numbers_of(part, n)
    mean, std, low, high = zip(*numbers, strict=True)
    clipped = any(limit is not None for limit in low)
    limits = {"low": low, "high": high} if clipped else {}
    if "nonzero" in kinds:
        return MaskedNormaliser(mean, std, **limits, nonzero=tuple(k == "nonzero" for k in kinds))
    return Normaliser(mean, std, **limits)


def _numbers_of(of: Normaliser, c: int) -> tuple[float, float, float | None, float | None]:
    low, high = (None if ends is None else ends[c] for ends in (of.low, of.high))
    return of.mean[c], of.std[c], low, high


def _of_scheme(pixels: Pixels, kind: str, channels: Sequence[int]) -> Pixels:
    """Some channels, of which ``nonzero`` goes by the 0 of all."""
    return (pixels.only(pixels.nonzero()) if kind == "nonzero" else pixels).channels(channels)


def _moments(pieces: Iterable[Pixels], channels: Sequence[str], _: str) -> Normaliser:
    return Moments.of(pieces, len(channels)).normaliser()


def _nonzero(pieces: Iterable[Pixels], channels: Sequence[str], _: str) -> Normaliser:
    inside = (pixels.only(pixels.nonzero()) for pixels in pieces)
    numbers = Moments.of(inside, len(channels)).normaliser()
    return MaskedNormaliser(numbers.mean, numbers.std)


def _range(pieces: Iterable[Pixels], channels: Sequence[str], _: str) -> Normaliser:
    low, high = np.full(len(channels), np.inf), np.full(len(channels), -np.inf)
    for pixels in pieces:
        for c, stored in _seen(pixels):
            ends = _physical(pixels, c, np.array([stored.min(), stored.max()]))
            low[c], high[c] = min(low[c], ends.min()), max(high[c], ends.max())
    empty = low > high
    return _to_one(np.where(empty, 0, low).tolist(), np.where(empty, 0, high).tolist())


def _percentiles(pieces: Iterable[Pixels], channels: Sequence[str], where: str) -> Normaliser:
    each = [Histogram(most_of(len(channels))) for _ in channels]
    for pixels in pieces:
        count_values(each, pixels)
    limits = [h.percentiles((LOW, HIGH)) if len(h.keys) else [0.0, 0.0] for h in each]
    for name, histogram, (low, high) in zip(channels, each, limits, strict=True):
        if low == high and len(histogram.keys) > 1:
            raise InputError(
                f"{where}: {name} is {low:g} from percentile {LOW:g} to {HIGH:g}, so they would make one value of all "
                "of it: leave the image out, or normalise in another way"
            )
        if _hardly_counted(histogram):
            raise InputError(
                f"{where}: {name} goes from {histogram.least:.17g} to {histogram.greatest:.17g}, where float32 has "
                f"hardly any values, so percentiles would make a few of all of it: subtract {low:g} from it, or "
                "normalise in another way"
            )
    return _to_one([low for low, _ in limits], [high for _, high in limits])


def _hardly_counted(histogram: Histogram) -> bool:
    """Whether float32, as which values are counted, has hardly any in their range, and they are not rounding alone."""
    ends = np.array([histogram.least, histogram.greatest])
    with np.errstate(over="ignore", invalid="ignore"):
        rounded, extent = ends.astype(np.float32), float(ends[1] - ends[0])
        steps = extent / float(np.spacing(np.abs(rounded).max()))
    exact = bool((rounded == ends).all())
    return not exact and _ROUNDING * float(np.abs(ends).max()) < extent and steps < _LEAST_STEPS


def _to_one(low: Sequence[float], high: Sequence[float]) -> Normaliser:
    """From ``low`` to ``high`` becomes 0 to 1; a channel of one value becomes 0."""
    std = tuple(b - a if b > a else 1.0 for a, b in zip(low, high, strict=True))
    return Normaliser(tuple(low), std, tuple(low), tuple(high))


def count_values(each: Sequence[Histogram], pixels: Pixels) -> None:
    """Add the valid, finite values of each channel, in physical units, to its histogram."""
    for c, stored in _seen(pixels):
        for start in range(0, stored.size, _PART):
            part, counts = stored[start : start + _PART], None
            if part.dtype.kind in "iub":
                part, counts = np.unique(part, return_counts=True)
            each[c].add(_physical(pixels, c, part), counts)


def of_foreground(
    moments: Moments, each: Sequence[Histogram], channels: Sequence[str]
) -> Normaliser:
    """The numbers of CT: a clip to percentiles .5 and 99.5 of the foreground, then its mean and deviation, which are of
    its values before any clip, as in nnU-Net.

    ``InputError`` where there is no foreground, or these percentiles are one value.
    """
    limits = []
    for name, histogram in zip(channels, each, strict=True):
        if not len(histogram.keys):
            raise InputError(
                f"no voxel that training may see has both a value in {name} and a class other than the "
                "background, of which card.normalisation ct takes its numbers: set it to card"
            )
        low, high = histogram.percentiles((CT_LOW, CT_HIGH))
        if low >= high:
            raise InputError(
                f"{name} is {low:g} from percentile {CT_LOW:g} to {CT_HIGH:g} of the foreground, so card.normalisation "
                "ct would make one value of all of it: set it to card"
            )
        limits.append((low, high))
    numbers = moments.normaliser()
    return replace(numbers, low=tuple(a for a, _ in limits), high=tuple(b for _, b in limits))


def _seen(pixels: Pixels) -> Iterator[tuple[int, np.ndarray]]:
    """Of each channel that has any: its valid, finite values as they are stored, ``(n,)``."""
    for c in range(pixels.values.shape[-1]):
        stored = pixels.values[..., c]
        stored = stored.ravel() if pixels.valid is None else stored[pixels.valid[..., c]]
        stored = stored[np.isfinite(stored)] if stored.dtype.kind == "f" else stored
        if stored.size:
            yield c, stored


def _physical(pixels: Pixels, c: int, stored: np.ndarray) -> np.ndarray:
    """Values of channel ``c`` in physical units."""
    channel = pixels.channels([c])
    return Pixels(stored[:, None], None, channel.scale, channel.offset).physical()[:, 0]


@dataclass(frozen=True)
class Scheme:
    """``what`` is measured of an image, in words, and how."""

    what: str
    numbers: Callable[[Iterable[Pixels], Sequence[str], str], Normaliser]


SCHEMES: dict[str, Scheme] = {  # of each name in ``PerImage``
    "source": Scheme("mean and deviation", _moments),
    "nonzero": Scheme("mean and deviation of what is not 0", _nonzero),
    "range": Scheme("the range of values", _range),
    "percentiles": Scheme(f"percentiles {LOW:g} and {HIGH:g}", _percentiles),
}
