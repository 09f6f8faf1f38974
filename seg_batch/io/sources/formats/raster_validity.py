"""Which pixels of a raster count: what GDAL's masks say, of every source that the file has.

A pixel is invalid where the mask of the file or of its band is 0, where it equals the nodata of its band, where
all bands equal the file's ``NODATA_VALUES``, where an alpha that is read as a mask is 0, and where it is NaN or
infinite. GDAL's own mask is the first of these sources that a file has; here a pixel must pass all.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, reduce
from operator import and_
from typing import Any, Literal

import numpy as np
from rasterio.enums import ColorInterp, Interleaving, MaskFlags
from rasterio.io import MemoryFile
from rasterio.shutil import copy

from seg_batch.core.geometry import Box
from seg_batch.io.sources.protocol import AlphaBands, AlphaOption, AlphaReading
from seg_batch.io.sources.valid_mask import Nodata, exactly, stored_nodata

_DEFAULT_OF_FOUR = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
_COMPARED = {MaskFlags.all_valid, MaskFlags.nodata, MaskFlags.alpha}  # needs no mask of GDAL's
_OF_A_PAGE = 512  # blocks in the 4 KiB of a table that libtiff reads at once
_EPSILON = np.finfo(np.float32).eps  # GDAL has it for doubles, too
_NO_NAME = re.compile(r"(?:band|channel|layer|b)?[ _-]*0*(\d*)", re.IGNORECASE)
_ALPHA_NAME = re.compile(
    r"a|((data|valid|validity)[ _-]*)?mask|.*(alpha|opacity|transparency).*", re.IGNORECASE
)


@dataclass(frozen=True)
class Bands:
    """The bands of a file by role.

    ``alpha``: those read as a mask. ``nodata``: per data band. ``together``: a value of each data band and
    then of each alpha, which hide a pixel where it has all of them; empty: none. ``masks``: bands whose mask
    GDAL is asked for, one of all channels or one per channel (0: none).
    """

    data: tuple[int, ...]
    alpha: tuple[int, ...]
    dtype: np.dtype
    nodata: tuple[Nodata, ...]
    together: tuple[Any, ...]
    masks: tuple[int, ...]

    def read(
        self, dataset: Any, window: Any, shape: tuple[int, ...] | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Values ``(y, x, C)``, and where masks let them count ``(y, x, C or 1)``, if there are any.

        One read for data and alpha: interleaved by pixel, they are decoded together.
        """
        count, both = len(self.data), [*self.data, *self.alpha]
        sides = shape or tuple(stop - start for start, stop in window)
        # rasterio's own array would be zeroed first, page by page, which takes as long as the read.
        out = np.empty((len(both), *sides), self.dtype)
        held = dataset.read(both, window=window, out=out)
        opaque = [(band > 0)[None] for band in held[count:]]
        if self.together:
            equal = (band == value for band, value in zip(held, self.together, strict=True))
            opaque.append(~reduce(and_, equal)[None])
        if self.masks:
            opaque.append(self._asked(dataset, window, shape))
        valid = reduce(and_, opaque).transpose(1, 2, 0) if opaque else None
        return held[:count].transpose(1, 2, 0), valid

    def stored_in(self, dataset: Any) -> tuple[int, ...]:
        """The bands whose blocks have to be read: one of all where pixels are stored whole."""
        bands = (*self.data, *self.alpha)
        return bands[:1] if dataset.interleaving == Interleaving.pixel else bands

    def is_hole(self, dataset: Any, box: Box) -> bool:
        """Whether a GeoTIFF stores no block of these bands in a box, so that all its pixels are like the first."""
        if self.masks or dataset.driver != "GTiff":
            return False
        bands = self.stored_in(dataset)
        sides = dataset.block_shapes[0]
        axes = zip(box.start, box.stop, sides, strict=True)
        rows, columns = (range(a // side, -(-b // side)) for a, b, side in axes)
        blocks = itertools.product(bands, rows, columns)
        if any(
            dataset.get_tag_item(f"BLOCK_OFFSET_{x}_{y}", "TIFF", bidx=b) is not None
            for b, y, x in blocks
        ):
            return False
        # Where a part of the table of blocks can't be read, none of it has an offset; a read of it fails.
        for b, y, x in itertools.product(bands, rows, {*columns[::_OF_A_PAGE], columns[-1]}):
            corner = ((i * side, i * side + 1) for i, side in zip((y, x), sides, strict=True))
            dataset.read(b, window=tuple(corner))
        return True

    def only(self, indices: Sequence[int]) -> Bands | None:
        """Those of these data bands; None where the validity of one depends on all."""
        if self.together:
            return None
        masks = self.masks if len(self.masks) < 2 else tuple(self.masks[i] for i in indices)
        return replace(
            self,
            data=tuple(self.data[i] for i in indices),
            nodata=tuple(self.nodata[i] for i in indices),
            masks=masks if any(masks) else (),
        )

    def _asked(self, dataset: Any, window: Any, shape: tuple[int, ...] | None) -> np.ndarray:
        """bool ``(C or 1, y, x)``: GDAL's masks of the bands in ``masks``."""
        asked = [
            dataset.read_masks(band, window=window, out_shape=shape) != 0 if band else None
            for band in self.masks
        ]
        every = next(np.ones_like(mask) for mask in asked if mask is not None)
        return np.stack([every if mask is None else mask for mask in asked])


def roles(name: str, dataset: Any, option: AlphaOption) -> tuple[Bands, AlphaBands | None]:
    """The bands of a raster of format ``name`` by role, and those marked as alpha, if any."""
    marked = [b for b, c in zip(dataset.indexes, dataset.colorinterp, strict=True)
              if c == ColorInterp.alpha]  # fmt: skip
    marked = [] if len(marked) == dataset.count else marked
    marks, fixed = _marks(name, dataset, marked)
    reading: AlphaReading = (marks or "data") if option == "auto" else option
    alpha = tuple(marked) if reading == "mask" else ()
    data = tuple(b for b in dataset.indexes if b not in alpha)
    dtype = np.result_type(*(dataset.dtypes[b - 1] for b in data))
    bands = _validity(dataset, data, alpha, dtype)
    if not marked:
        return bands, None
    return bands, AlphaBands(
        names=tuple(f"band {b}" for b in marked),
        reading=reading,
        marks=marks,
        fixed=fixed or option != "auto",
        otherwise=dataset.count - (0 if alpha else len(marked)),
        indices=() if alpha else tuple(b - 1 for b in marked),
    )


def _marks(
    name: str, dataset: Any, marked: Sequence[int]
) -> tuple[AlphaReading | Literal[""], bool]:
    """How a file says that its alpha is to be read, ``data``, ``mask`` or empty, and whether that
    is beyond doubt.

    GDAL marks the fourth of four 8-bit bands as alpha by default, and other writers do so in other types.
    So that mark alone says little, and nothing where GDAL's mask does not use the band.
    """
    names = {b: dataset.descriptions[b - 1] or "" for b in marked}
    named = [name for b, name in names.items() if not _is_number(name, b)]
    if any(not _ALPHA_NAME.fullmatch(name) for name in named):
        return "data", True
    structures = [dataset.tags(ns="IMAGE_STRUCTURE"), *(
        dataset.tags(b, ns="IMAGE_STRUCTURE") for b in marked)]  # fmt: skip
    told = any({"ALPHA", "SOURCE_COLOR_SPACE"} & {*structure} for structure in structures)
    usual = [*dataset.colorinterp] == _DEFAULT_OF_FOUR
    if named or told or name == "png" or not usual:
        return "mask", True
    used = any(MaskFlags.alpha in flags for flags in dataset.mask_flag_enums)
    return "" if used else "data", False


def _is_number(name: str, band: int) -> bool:
    """Whether a name is but the number of the band, from 1 or 0: ``B8`` of the fourth is a name."""
    match = _NO_NAME.fullmatch(name)
    return match is not None and match[1] in ("", f"{band}", f"{band - 1}")


def _validity(
    dataset: Any, data: tuple[int, ...], alpha: tuple[int, ...], dtype: np.dtype
) -> Bands:
    every, tags, kinds = dataset.mask_flag_enums, _nodata_tags(dataset), dataset.dtypes
    flags = [frozenset(every[b - 1]) for b in data]
    together = _together(dataset, (*data, *alpha))
    nodata: list[Nodata] = []
    masks = []
    for b, flag in zip(data, flags, strict=True):
        own, kind = tags[b - 1], np.dtype(kinds[b - 1])
        ranges = () if together else _ranges(own, kind)
        asks = ranges is None and MaskFlags.nodata in flag
        masks.append(b if asks or not flag & _COMPARED else 0)
        nodata.append(() if asks else exactly(own, kind) if ranges is None else ranges)
    if all(flag == {MaskFlags.per_dataset} for flag in flags):
        masks = masks[:1]
    return Bands(data, alpha, dtype, tuple(nodata), together, tuple(masks) if any(masks) else ())


def _nodata_tags(dataset: Any) -> Sequence[float | None]:
    """The nodata of each band. rasterio has it as a double, which can't hold 64 bits; a VRT can."""
    if not {"int64", "uint64"} & {*dataset.dtypes}:
        return dataset.nodatavals  # type: ignore[no-any-return]
    with MemoryFile(ext=".vrt") as file:
        copy(dataset, file.name, driver="VRT")
        text = file.read().decode("utf-8", "replace")
    bands = re.findall(
        r'<VRTRasterBand[^>]* band="\d+"[^>]*>(.*?)</VRTRasterBand>', text, re.DOTALL
    )
    tags = (re.search("<NoDataValue>([^<]*)</NoDataValue>", band) for band in bands)
    return [None if tag is None else _whole(tag[1]) for tag in tags]


def _whole(text: str) -> float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _together(dataset: Any, bands: tuple[int, ...]) -> tuple[Any, ...]:
    """The values of ``NODATA_VALUES``, where GDAL takes them: one for each band, of one type."""
    texts = dataset.tags().get("NODATA_VALUES", "").split()
    if len(texts) != dataset.count or len({*dataset.dtypes}) > 1:
        return ()
    dtype = np.dtype(dataset.dtypes[0])
    values = tuple(stored_nodata(_number(texts[b - 1], dtype), dtype) for b in bands)
    return () if None in values else values


def _number(text: str, dtype: np.dtype) -> float:
    """As C reads it: the number that a text begins with, else 0, without its fraction for integers of up
    to 32 bits."""
    start = re.match(r"[+-]?(nan|inf|(\d+\.?\d*|\.\d+)(e[+-]?\d+)?)", text, re.IGNORECASE)
    value = float(start[0]) if start else 0.0
    whole = dtype.kind in "iu" and dtype.itemsize < 8 and np.isfinite(value)
    return float(int(value)) if whole else value


@lru_cache(64)
def _ranges(nodata: float | None, dtype: np.dtype) -> Nodata | None:
    """The values that GDAL takes for ``nodata``; None where only GDAL can say.

    GDAL drops the fraction of integers, and in floats it counts as equal what differs in the last bits.
    """
    if nodata is None:
        return None
    if not (isinstance(nodata, int) or np.isfinite(nodata)):
        return ()
    if dtype.kind == "f" and dtype.itemsize > 2:
        value = stored_nodata(nodata, dtype)
        return () if value is None else ((_last_equal(value, -np.inf), _last_equal(value, np.inf)),)
    if dtype.kind == "f" or nodata != int(nodata):
        return None
    return exactly(nodata, dtype)


def _last_equal(value: Any, towards: float) -> Any:
    """The value furthest ``towards`` an end of its type that GDAL calls equal (its ARE_REAL_EQUAL)."""
    dtype, kind = value.dtype, f"i{value.dtype.itemsize}"
    step = 1 if towards > 0 else -1

    def at(k: int) -> Any:
        """The k-th float from ``value`` on; floats in order are integers in order."""
        bits = int(value.view(kind))
        place = (bits if bits >= 0 else -(bits & np.iinfo(kind).max)) + step * k
        sign = 0 if place >= 0 else np.iinfo(kind).min
        return np.array(sign + abs(place), kind).view(dtype)[()]

    def equal(other: Any) -> bool:
        with np.errstate(all="ignore"):
            tolerance = 2 * (dtype.type(_EPSILON) * np.abs(value + other))
            close = np.abs(value - other) < tolerance
        return bool(np.isfinite(other) and (value == other or close))

    low, high = 0, 1
    while equal(at(high)):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if equal(at(middle)) else (low, middle)
    return at(low)
