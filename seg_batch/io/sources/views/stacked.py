"""Several files seen as one image: their channels one after another, on one grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box
from seg_batch.core.normalise import Pixels
from seg_batch.io.sources.protocol import AlphaBands, Source, SourceInfo, require_inside
from seg_batch.io.sources.views.same_grid import grid_differences


class Stacked:
    """``read`` gives ``(*shape, channels of all files)`` in the common dtype of their values."""

    def __init__(self, sources: Sequence[Source]) -> None:
        """``InputError`` unless all files lie on one grid, naming what differs."""
        self._sources = tuple(sources)
        self.files = tuple(source.info for source in sources)
        first, *others = self.files
        for other in others:
            if differences := grid_differences(first, other):
                raise InputError(
                    f"{other.path} can't be stacked on {first.path} ({'; '.join(differences)}), their "
                    "channels would show different places: bring both to one grid first"
                )
        self.info = _stacked_info(self.files)

    def read(self, box: Box) -> Pixels:
        require_inside(self.info, box)
        parts = [source.read(box) for source in self._sources]
        values = np.concatenate([p.values for p in parts], -1, dtype=self.info.dtype)
        valid = None
        if any(p.valid is not None for p in parts):
            valid = np.concatenate([_mask(p) for p in parts], -1)
        return Pixels(values, valid, _numbers(parts, "scale", 1.0), _numbers(parts, "offset", 0.0))

    def close(self) -> None:
        for source in self._sources:
            source.close()


def _mask(pixels: Pixels) -> np.ndarray:
    return np.ones(pixels.values.shape, bool) if pixels.valid is None else pixels.valid


def _numbers(parts: list[Pixels], name: str, neutral: float) -> tuple[float, ...] | None:
    pairs = [(getattr(p, name), p.values.shape[-1]) for p in parts]
    if all(numbers is None for numbers, _ in pairs):
        return None
    return tuple(v for numbers, n in pairs for v in (numbers or (neutral,) * n))


def _stacked_info(infos: Sequence[SourceInfo]) -> SourceInfo:
    names = [
        Path(i.path).name.partition(".")[0] if len(i.channels) == 1 else channel
        for i in infos
        for channel in i.channels
    ]
    blocks = sum(int(i.facts.get("block_bytes", 0)) for i in infos)
    return replace(
        infos[0],
        path=", ".join(i.path for i in infos),
        channels=tuple(names),
        dtype=np.result_type(*(i.dtype for i in infos)).name,
        nodata=tuple(value for i in infos for value in (i.nodata or (None,) * len(i.channels))),
        identity={"files": [i.identity for i in infos]},
        warnings=tuple(warning for i in infos for warning in i.warnings),
        facts={**infos[0].facts, "block_bytes": blocks},
        alpha=_alpha([i.alpha for i in infos if i.alpha is not None], names),
    )


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
