"""Several files seen as one image: their channels one after another, on one grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box
from seg_batch.core.normalise import Pixels
from seg_batch.io.sources.protocol import AlphaBands, Source, SourceInfo, require_inside
from seg_batch.io.sources.stack_names import channel_names
from seg_batch.io.sources.views.same_grid import stack_differences

_Factors = tuple[int, tuple[float, ...] | None, tuple[float, ...] | None]


class Stacked:
    """``read`` gives ``(*shape, channels of all files)`` in the common dtype of their values."""

    def __init__(self, sources: Sequence[Source]) -> None:
        """``InputError`` unless all files lie on one grid, naming what differs."""
        self._sources = tuple(sources)
        self.files = tuple(source.info for source in sources)
        first, *others = self.files
        for other in others:
            if differences := stack_differences(first, other):
                raise InputError(
                    f"{other.path} can't be stacked on {first.path} ({'; '.join(differences)}), their "
                    "channels would show different places: bring both to one grid first"
                )
        self.info = _stacked_info(self.files)

    def read(self, box: Box) -> Pixels:
        """File after file: besides the whole, the pixels of one are held."""
        require_inside(self.info, box)
        values = np.empty((*box.shape, len(self.info.channels)), self.info.dtype)
        valid, factors, at = None, list[_Factors](), 0
        for source in self._sources:
            part = source.read(box)
            here = np.s_[..., at : at + part.values.shape[-1]]
            values[here] = part.values
            if part.valid is not None:
                valid = np.ones(values.shape, bool) if valid is None else valid
                valid[here] = part.valid
            at += part.values.shape[-1]
            factors.append((part.values.shape[-1], part.scale, part.offset))
        scales, offsets = [(n, scale) for n, scale, _ in factors], [(n, o) for n, _, o in factors]
        return Pixels(values, valid, _numbers(scales, 1.0), _numbers(offsets, 0.0))

    def close(self) -> None:
        for source in self._sources:
            source.close()


def _numbers(
    parts: Sequence[tuple[int, tuple[float, ...] | None]], neutral: float
) -> tuple[float, ...] | None:
    """The numbers of all channels, of so many of each part; None where no part has any."""
    if all(numbers is None for _, numbers in parts):
        return None
    return tuple(v for n, numbers in parts for v in (numbers or (neutral,) * n))


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
        warnings=tuple(warning for i in each for warning in i.warnings),
        facts={**infos[0].facts, **_facts(infos)},
        alpha=_alpha([i.alpha for i in infos if i.alpha is not None], names),
        stack=each,
    )


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
    )
