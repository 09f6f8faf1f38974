"""An image that has no data where the values of other bands say so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from seg_batch.config.image_options.mask_from import MaskRule
from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box
from seg_batch.core.normalise import Pixels
from seg_batch.core.resample.placed import Placing
from seg_batch.io.sources.protocol import Source, SourceInfo, require_inside
from seg_batch.io.sources.views.channels.by_name import channels_called
from seg_batch.io.sources.views.channels.selected import selected
from seg_batch.io.sources.views.joined.lattice import of_unequal_pixels, placings_on
from seg_batch.io.sources.views.same_grid import stack_differences

Masks = Sequence[tuple[MaskRule, Source]]
_AT_ONCE_BYTES = 16 << 20  # of a mask that are read together


class Masked:
    """``read`` gives the pixels of ``image``, in all channels invalid where a rule finds its values in its mask, or where
    the mask has no pixel. A mask comes to the grid of the image by the pixel that holds the centre of each."""

    def __init__(self, image: Source, masks: Masks) -> None:
        """``InputError`` where a mask has no place on the grid of the image."""
        self._image, self._masks = image, tuple(masks)
        self._layers = [_Layer(rule, mask, _placings(image.info, mask)) for rule, mask in masks]
        rules = [str(rule) for rule, _ in masks]
        info, held = image.info, sum(mask.info.voxel_bytes + 2 for _, mask in masks)
        facts = {**info.facts, "held_bytes": int(info.facts.get("held_bytes", 0)) + held}
        facts["block_bytes"] = int(facts.get("block_bytes", 0)) + 2 * _AT_ONCE_BYTES
        self.info = replace(info, composed={**info.composed, "mask_from": rules}, facts=facts)

    def read(self, box: Box) -> Pixels:
        require_inside(self.info, box)
        seen = np.ones(box.shape, bool)
        for layer in self._layers:
            seen &= layer.seen(box)
        if not seen.any():
            return _empty(self.info, box)
        pixels = self._image.read(box)
        return pixels if seen.all() else pixels.only(seen)

    def only(self, indices: Sequence[int], line: str = "") -> Masked:
        return Masked(selected(self._image, indices, line), self._masks)

    def close(self) -> None:
        self._image.close()
        for _, mask in self._masks:
            mask.close()


def _empty(info: SourceInfo, box: Box) -> Pixels:
    """No data, for which the image need not be read."""
    shape = (*box.shape, len(info.channels))
    return Pixels(np.zeros(shape, info.dtype), np.zeros(shape, bool), info.scale, info.offset)


@dataclass(frozen=True)
class _Layer:
    """One rule and its mask, placed on the grid of the image."""

    rule: MaskRule
    mask: Source
    placings: tuple[Placing, ...]

    def seen(self, box: Box) -> np.ndarray:
        """bool ``box.shape``: where the mask has a pixel that no value hides."""
        out = np.zeros(box.shape, bool)
        sides = zip(self.placings, self.mask.info.extent, box.start, box.stop, strict=True)
        axes = [_places(*side) for side in sides]
        (row, rows), (column, columns) = axes
        if not rows.size or not columns.size:
            return out
        for part in _runs(rows, (columns[-1] - columns[0] + 1) * self.mask.info.voxel_bytes):
            some = rows[part]
            window = Box((int(some[0]), int(columns[0])), (int(some[-1]) + 1, int(columns[-1]) + 1))
            values = self.mask.read(window).values[..., 0]
            hidden = _hidden(values, self.rule)[np.ix_(some - some[0], columns - columns[0])]
            at = row + part.start
            out[at : at + len(some), column : column + len(columns)] = ~hidden
        return out


def _places(placing: Placing, n: int, start: int, stop: int) -> tuple[int, np.ndarray]:
    """The pixels of a mask under those of a span of the image, and which of these is the first that has one."""
    step, shift, parts = placing
    centres = (2 * np.arange(start, stop, dtype=np.int64) + 1) * step + 2 * shift
    places = centres // (2 * parts)
    inside = np.flatnonzero((places >= 0) & (places < n))
    return (int(inside[0]), places[inside]) if inside.size else (0, places[:0])


def _runs(rows: np.ndarray, row_bytes: int) -> Iterator[slice]:
    """Rows of the image whose pixels of the mask are read together."""
    most, first = max(1, _AT_ONCE_BYTES // int(row_bytes)), 0
    while first < len(rows):
        stop = max(first + 1, int(np.searchsorted(rows, rows[first] + most)))
        yield slice(first, stop)
        first = stop


def _hidden(values: np.ndarray, rule: MaskRule) -> np.ndarray:
    hidden = np.isin(values, rule.values) if rule.values else np.zeros(values.shape, bool)
    if rule.bits:
        hidden |= (values.astype(np.int64) & rule.bits) != 0
    return hidden


def _placings(image: SourceInfo, mask: Source) -> tuple[Placing, ...]:
    if of_unequal_pixels([image, mask.info]):
        return placings_on(image, mask.info)
    if differences := stack_differences(image, mask.info):
        raise InputError(
            f"{mask.info.path} can't mask {image.path} ({'; '.join(differences)}), it would hide other places: bring both "
            "to one grid first"
        )
    return tuple((n, 0, n) for n in image.extent)


def masks_of(
    image: Source, rules: Sequence[MaskRule], files: Callable[[], Source]
) -> tuple[list[tuple[MaskRule, Source]], list[int]]:
    """The band of each rule, alone and with its own pixels: one of quality that the image has beside its channels, or
    else one of its channels, of which ``files`` opens another copy; and the indices of these. InputError where there is none."""
    masks, own = list[tuple[MaskRule, Source]](), list[int]()
    with ExitStack() as opened:
        for rule in rules:
            quality: Any = getattr(image, "quality", None)
            mask = quality(rule.band) if quality is not None else None
            if mask is None:
                (index,) = channels_called(image.info, [rule.band])
                own.append(index)
                copy = opened.enter_context(closing(files()))
                mask = selected(copy, (index,))
            opened.callback(mask.close)
            _require_whole(mask, rule)
            masks.append((rule, mask))
        opened.pop_all()
    return masks, own


def _require_whole(mask: Source, rule: MaskRule) -> None:
    info = mask.info
    if info.kind != "raster":
        raise InputError(f"{info.path}: --mask-from is for rasters, and this is a volume: drop it")
    if rule.bits and np.dtype(info.dtype).kind not in "iub":
        raise InputError(
            f"{info.path}: --mask-from {rule} asks for bits, and that band holds {info.dtype}: name values instead"
        )


def without_channels(image: Source, indices: Sequence[int]) -> Source:
    """The image without channels that are masks, and still with the names of the others."""
    info = image.info
    kept = [j for j in range(len(info.channels)) if j not in indices]
    if len(kept) == len(info.channels):
        return image
    if not kept:
        raise InputError(
            f"{info.path}: every band of it is taken as a mask: leave one for the model"
        )
    names = tuple(info.names[j] for j in kept) if info.names else ()
    alpha = info.alpha
    if alpha is not None:
        at = tuple(kept.index(j) for j in alpha.indices if j in kept)
        alpha = replace(
            alpha, indices=at, otherwise=alpha.otherwise - len(info.channels) + len(kept)
        )
    part: Any = selected(image, kept)
    part.info = replace(part.info, names=names, alpha=alpha)
    whole: Source = part
    return whole
