"""A scale and an offset that are put on a file without any: physical = stored * scale + offset."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from seg_batch.config.card_parts.channels import Channel
from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box
from seg_batch.core.normalise import Pixels
from seg_batch.io.sources.protocol import Source, SourceInfo, known_empty
from seg_batch.io.sources.views.channels.selected import selected

Numbers = tuple[float, ...]
Scale = Numbers | Literal["none"]


def rescaled(source: Source, scale: Scale | None, offset: Numbers | None) -> Source:
    """``source`` with these numbers, one for all channels or one for each; ``none``: its stored numbers, whatever its
    file says. ``InputError`` for numbers that don't fit, and for a file that has a scale of its own."""
    info = source.info
    if scale is None and offset is None:
        return source
    if scale != "none" and (own := own_scale(info)):
        raise InputError(
            f"{info.path} carries a scale of its own ({own}), which another would undo: drop --scale and --offset, "
            "or give --scale none, which takes the stored numbers"
        )
    scales = _each(info, "--scale", (1.0,) if scale in (None, "none") else scale, 1.0)
    offsets = _each(info, "--offset", (0.0,) if offset is None else offset, 0.0)
    if scales is not None and not all(scales):
        raise InputError("--scale is 0, which makes all values one: use another")
    if (scales, offsets) == (info.scale, info.offset):
        return source
    return Rescaled(source, scales, offsets)


def own_scale(info: SourceInfo) -> str:
    """The scale that a file carries, in words; empty where it has none."""
    if info.scale is None and info.offset is None:
        return ""
    pairs = zip(info.scale or (1.0,), info.offset or (0.0,), strict=False)
    numbers = dict.fromkeys(f"x {scale:g} + {offset:g}" for scale, offset in pairs)
    return next(iter(numbers)) + ", ..." * (len(numbers) > 1)


def scale_by_hand(info: SourceInfo) -> str:
    """The scale and offset that were put on an image, in words; empty where its files' own count."""
    rows = {"scale": info.scale, "offset": info.offset} if info.rescaled else {}
    words = [f"{name} {','.join(map(str, numbers))}" for name, numbers in rows.items() if numbers]
    return "; ".join(words) or ("stored numbers" if info.rescaled else "")


def _each(info: SourceInfo, flag: str, numbers: Numbers | str, neutral: float) -> Numbers | None:
    """One number for each channel; None where they change nothing."""
    assert not isinstance(numbers, str)
    count, alpha = len(info.channels), info.alpha
    if alpha is not None and not alpha.fixed and len(numbers) == alpha.otherwise:
        numbers = (*numbers, *(neutral,) * count)[
            :count
        ]  # until the model's channels settle what it is
    if len(numbers) not in (1, count):
        raise InputError(
            f"{flag} has {len(numbers)} numbers and {info.path} {count} channels: give one, or one for each"
        )
    if not all(map(math.isfinite, numbers)):
        raise InputError(f"{flag} holds a value that is no number: use finite ones")
    return None if {*numbers} == {neutral} else (tuple(map(float, numbers)) * count)[:count]


class Rescaled:
    """A source whose pixels have another scale and offset."""

    def __init__(self, source: Source, scale: Numbers | None, offset: Numbers | None) -> None:
        self._source = source
        self.info = replace(source.info, scale=scale, offset=offset, rescaled=True)
        if (reduced := getattr(source, "reduced", None)) is not None:
            self.reduced = lambda shape: self._of(reduced(shape))

    def read(self, box: Box) -> Pixels:
        return self._of(self._source.read(box))

    def _of(self, pixels: Pixels) -> Pixels:
        return replace(pixels, scale=self.info.scale, offset=self.info.offset)

    def only(self, indices: tuple[int, ...], line: str = "") -> Rescaled:
        info = self.info.of_channels(indices)
        return Rescaled(selected(self._source, indices, line), info.scale, info.offset)

    def known_empty(self, box: Box) -> bool:
        return known_empty(self._source, box)

    def close(self) -> None:
        self._source.close()


def units_fault(info: SourceInfo, channels: Sequence[Channel] | None) -> str | None:
    """Why a model of stored numbers can't take the physical values of an image; None where it can."""
    stored = channels and all(channel.quantity == "DN" for channel in channels)
    if not stored or info.rescaled or not (own := own_scale(info)):
        return None
    return (
        f"it takes stored numbers (DN), and the input carries a scale of its own ({own}): "
        "give --scale none (options.scale in a workflow), which takes its stored numbers"
    )
