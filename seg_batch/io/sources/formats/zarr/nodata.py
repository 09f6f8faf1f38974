"""Which stored values of a Zarr array mean "nothing here", as xarray and GDAL read it.

The attributes ``_FillValue`` and ``missing_value`` of the array itself, one value or a list each. Its own fill
value, which is that of chunks that were never written, too:

- v2: it is xarray's and GDAL's ``_FillValue``, 0 as well, and replaces the attribute of that name
- v3: where no attribute says more and GDAL has written the array, it is nodata; else it is data, as in xarray
- OME-Zarr, and arrays of this package: it is data
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from seg_batch.io.sources.formats.zarr.axes import ZarrImage, multiscales
from seg_batch.io.sources.valid_mask import Nodata, stored_nodata

_SAYS = {"_FillValue", "missing_value"}


def dtype_as_read(image: ZarrImage) -> np.dtype:
    """The type of the values: that of the array, or what ``_Unsigned`` makes of it; bool is uint8."""
    dtype = np.dtype(image.array.dtype).newbyteorder("=")
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    unsigned = str(image.array.attrs.get("_Unsigned", "")).lower()
    kind = {("i", "true"): "u", ("u", "false"): "i"}.get((dtype.kind, unsigned))
    return dtype if kind is None else np.dtype(f"{kind}{dtype.itemsize}")


def zarr_nodata(image: ZarrImage) -> tuple[Nodata, tuple[str, ...]]:
    """The values, of the type that is read, and a line where the fill value of the array is one of them and
    its writer may not have meant that: 0 is the default of several."""
    attributes, array = dict(image.array.attrs), image.array
    stored, dtype = np.dtype(array.dtype), dtype_as_read(image)
    fill = _fill(image, attributes)
    names = ["missing_value"]
    if fill is None or array.metadata.zarr_format == 3:
        names.append("_FillValue")
    given = [value for name in names for value in _listed(attributes.get(name))]
    values = [_value(value, stored, dtype) for value in given]
    if fill is None:
        return _exactly(values), _unsaid(image, attributes)
    replaced = array.metadata.zarr_format == 2 and "_FillValue" in attributes
    line = f"{fill}, the array's fill value, counts as nodata, as in xarray and GDAL"
    line += ", and not its attribute _FillValue" if replaced else ""
    nodata = _exactly([*values, _value(fill, stored, dtype)])
    return nodata, (line,) if replaced or not fill else ()


def _unsaid(image: ZarrImage, attributes: Mapping[str, Any]) -> tuple[str, ...]:
    """A line where GDAL would take a fill value for nodata, and xarray does not; about a default of 0 only
    where the axes are named as GDAL names them."""
    fill = image.array.fill_value
    plain = image.array.metadata.zarr_format == 3 and not _SAYS & attributes.keys()
    is_default = not fill and not _named_by_gdal(image)
    if not plain or _stays_data(image) or is_default or fill != fill:
        return ()
    return (f"{fill}, the array's fill value, counts as data: say _FillValue if it is nodata",)


def _named_by_gdal(image: ZarrImage) -> bool:
    return image.axes.names[-2:] == ("Y", "X")


def _stays_data(image: ZarrImage) -> bool:
    """Whether the array is of OME-Zarr or of this package, whose fill values are data."""
    group = image.group
    return bool(image.ome) or (
        group is not None and ("segbatch" in group.attrs or bool(multiscales(group)))
    )


def _fill(image: ZarrImage, attributes: Mapping[str, Any]) -> Any:
    """The fill value of the array where it is nodata, else None."""
    if _stays_data(image):
        return None
    if image.array.metadata.zarr_format == 2:
        return image.array.fill_value
    says = _SAYS & attributes.keys()
    return image.array.fill_value if _by_gdal(image, attributes) and not says else None


def _by_gdal(image: ZarrImage, attributes: Mapping[str, Any]) -> bool:
    """Whether GDAL has written the array: by its attributes, or else by its names of axes.

    Names alone don't tell a default of 0 from nodata.
    """
    crs = attributes.get("_CRS")
    whole = isinstance(crs, dict) and {"wkt", "projjson"} <= crs.keys()
    if whole or "COLOR_INTERPRETATION" in attributes:
        return True
    # rioxarray copies AREA_OR_POINT from any raster.
    marked = bool(image.array.fill_value) or "AREA_OR_POINT" in attributes
    return _named_by_gdal(image) and marked


def _listed(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        yield from value
    elif value is not None:
        yield value


def _exactly(values: list[Any]) -> Nodata:
    return tuple((value, value) for value in dict.fromkeys(values) if value is not None)


def _value(value: Any, stored: np.dtype, dtype: np.dtype) -> Any:
    """A value of an attribute as it is read; None where no value equals it."""
    number = _number(value, stored)
    if stored.kind in "iu" and stored != dtype and np.isfinite(number) and number == int(number):
        bits = np.array(int(number) % (1 << 8 * stored.itemsize), f"u{stored.itemsize}")
        number = bits.astype(dtype).item()
    return stored_nodata(number, dtype)


def _number(value: Any, stored: np.dtype) -> int | float:
    """A number of JSON or its text; hexadecimal bits; eight bytes in base64, as xarray writes floats of v3;
    NaN, which no value equals, for anything else."""
    if isinstance(value, np.generic):
        value = value.item()
    if not isinstance(value, str):
        return value if isinstance(value, int | float) else math.nan
    kinds: tuple[Callable[[str], int | float], ...] = (
        int,
        float,
        lambda text: np.frombuffer(
            int(text, 16).to_bytes(stored.itemsize, "little"), stored.newbyteorder("<")
        )[0].item(),
        lambda text: struct.unpack("<d", base64.b64decode(text))[0],
    )
    for read in kinds:
        with suppress(ValueError, OverflowError, struct.error):
            number: int | float = read(value)
            return number
    return math.nan
