"""Several files seen as one image: their channels one after another, on one grid."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np

from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box
from seg_batch.core.normalise import Pixels
from seg_batch.io.sources.naming.channel_names import ChannelNames, without_numbers, words_of_file
from seg_batch.io.sources.naming.stack_names import channel_names
from seg_batch.io.sources.protocol import (
    AlphaBands,
    Source,
    SourceInfo,
    known_empty,
    require_inside,
)
from seg_batch.io.sources.views.channels.selected import selected
from seg_batch.io.sources.views.same_grid import stack_differences


class Stacked:
    """``read`` gives ``(*shape, channels of all files)`` in the common dtype of their values."""

    def __init__(self, sources: Sequence[Source], whole: SourceInfo | None = None) -> None:
        """``InputError`` unless all files lie on one grid, naming what differs. ``whole``: what is known of
        them, if it is known."""
        self._sources = tuple(sources)
        self.files = tuple(source.info for source in sources)
        first, *others = self.files
        for other in others:
            if differences := stack_differences(first, other):
                raise InputError(
                    f"{other.path} can't be stacked on {first.path} ({'; '.join(differences)}), their "
                    "channels would show different places: bring both to one grid first"
                )
        self.info = whole or _stacked_info(self.files)

    def read(self, box: Box) -> Pixels:
        """File after file: besides the whole, the pixels of one are held."""
        require_inside(self.info, box)
        values = np.empty((*box.shape, len(self.info.channels)), self.info.dtype)
        valid, at = None, 0
        for source in self._sources:
            part = source.read(box)
            here = np.s_[..., at : at + part.values.shape[-1]]
            values[here] = part.values
            if part.valid is not None:
                valid = np.ones(values.shape, bool) if valid is None else valid
                valid[here] = part.valid
            at += part.values.shape[-1]
        return Pixels(values, valid, self.info.scale, self.info.offset)

    def only(self, indices: Sequence[int], line: str = "") -> Stacked | None:
        """The stack that reads these channels only; None where their order mixes channels of files."""
        parts = only_of(self._sources, indices)
        return None if parts is None else Stacked(parts, self.info.of_channels(indices, line))

    def quality(self, name: str) -> Source | None:
        """The band of quality of this name, if any of the files has it beside its channels."""
        return quality_of(self._sources, name)

    def known_empty(self, box: Box) -> bool:
        return all(known_empty(source, box) for source in self._sources)

    def close(self) -> None:
        for source in self._sources:
            source.close()


def only_of(sources: Sequence[Source], indices: Sequence[int]) -> list[Source] | None:
    """The sources that hold these of all their channels, with these alone; the others are closed. None, and none closed, where
    the order mixes channels of sources."""
    first = np.cumsum([0, *(len(source.info.channels) for source in sources)]).tolist()
    at = [bisect_right(first, index) - 1 for index in indices]
    runs = [
        (k, [i - first[k] for _, i in run])
        for k, run in groupby(zip(at, indices, strict=True), itemgetter(0))
    ]
    if len({k for k, _ in runs}) < len(runs):
        return None
    for k in set(range(len(sources))) - {*at}:
        sources[k].close()
    return [selected(sources[k], own) for k, own in runs]


def quality_of(sources: Sequence[Source], name: str) -> Source | None:
    """The band of quality of this name that one of the sources has beside its channels."""
    lookups: list[Any] = [getattr(source, "quality", None) for source in sources]
    return next(filter(None, (look(name) for look in lookups if look is not None)), None)


def _numbers(
    parts: Sequence[tuple[int, tuple[float, ...] | None]], neutral: float
) -> tuple[float, ...] | None:
    """The numbers of all channels, of so many of each part; None where no part has any."""
    if all(numbers is None for _, numbers in parts):
        return None
    return tuple(v for n, numbers in parts for v in (numbers or (neutral,) * n))


def _named(infos: Sequence[SourceInfo], labels: Sequence[str]) -> tuple[ChannelNames, ...]:
    """What the files say, else what the names say of those that are one channel each."""
    rows: list[ChannelNames] = []
    for info in infos:
        own = info.names or (ChannelNames(),) * len(info.channels)
        if len(own) == 1 and len(infos) > 1:
            own = (replace(own[0], names=(*own[0].names, *words_of_file(labels[len(rows)]))),)
        rows += own
    return tuple(without_numbers(rows)) if len(infos) > 1 else tuple(rows)


def _stacked_info(infos: Sequence[SourceInfo]) -> SourceInfo:
    single = iter(channel_names([i.path for i in infos if len(i.channels) == 1] or [""]))
    names = [
        name for i in infos for name in ([next(single)] if len(i.channels) == 1 else i.channels)
    ]
    each = tuple({i.path: i for i in infos}.values())  # of a 4-D file there are several
    return replace(
        infos[0],
        path=", ".join(i.path for i in each),
        channels=tuple(names),
        dtype=np.result_type(*(i.dtype for i in infos)).name,
        nodata=tuple(value for i in infos for value in (i.nodata or (None,) * len(i.channels))),
        identity={"files": [i.identity for i in each]},
        warnings=tuple(dict.fromkeys(warning for i in each for warning in i.warnings)),
        facts={**infos[0].facts, **_facts(infos)},
        alpha=_alpha(_alphas(infos), names),
        stack=each,
        names=_named(infos, names),
        composed=next((i.composed for i in infos if i.composed), {}),
        scale=_numbers([(len(i.channels), i.scale) for i in infos], 1.0),
        offset=_numbers([(len(i.channels), i.offset) for i in infos], 0.0),
    )


def _alphas(infos: Sequence[SourceInfo]) -> list[AlphaBands]:
    """Those of each file, with their indices among the channels of all."""
    alphas, first = list[AlphaBands](), 0
    for info in infos:
        if info.alpha is not None:
            own = tuple(first + index for index in info.alpha.indices)
            alphas.append(replace(info.alpha, indices=own))
        first += len(info.channels)
    return alphas


def _facts(infos: Sequence[SourceInfo]) -> dict[str, Any]:
    """What is read beside the box, masks that may be damaged, and whether any file is compressed."""
    masks = [mask for i in infos for mask in i.facts.get("masks", ())]
    facts: dict[str, Any] = {"block_bytes": sum(int(i.facts.get("block_bytes", 0)) for i in infos)}
    if any(i.facts.get("compressed") is True for i in infos):
        facts["compressed"] = True
    return {**facts, "masks": masks} if masks else facts


def _alpha(bands: list[AlphaBands], channels: list[str]) -> AlphaBands | None:
    """The alpha bands of all files, as one: open if those of any file are."""
    changing = [each for each in bands if not each.fixed] or bands
    if not changing:
        return None
    more = sum(len(each.names) if each.reading == "mask" else -len(each.names) for each in changing)
    return AlphaBands(
        names=tuple(name for each in changing for name in each.names),
        reading=changing[0].reading,
        marks=min(each.marks for each in changing),
        fixed=changing[0].fixed,
        otherwise=len(channels) + more,
        indices=tuple(index for each in changing for index in each.indices),
    )
