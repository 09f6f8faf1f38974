"""An array of any library as one of xarray whose axes have names, with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.core.errors import InputError
from seg_batch.io.sources.formats.zarr.axes import role_of
from seg_batch.io.sources.protocol import chosen_volume

MAPPING = "spatial_ref"
_AXES = {2: ("y", "x"), 3: ("band", "y", "x")}
_WORDS = ("_FillValue", "missing_value", "scale_factor", "add_offset", "long_name", "units")


def is_array(value: Any) -> bool:
    """Whether it is an array: of numpy, dask or xarray, by what all have."""
    return hasattr(value, "shape") and hasattr(value, "dtype") and hasattr(value, "__getitem__")


def as_named(value: Any, crs: Any, transform: Any, volume: int | None) -> Any:
    """The ``xarray.DataArray`` whose axes are y and x, perhaps z, and perhaps one of channels before them.

    ``crs`` and ``transform``: of an array that has none, or other ones. ``volume``: along an axis of time of several steps.
    ``InputError`` for axes that are not told apart, and for values that are no real numbers.
    """
    import xarray as xr

    if not isinstance(value, xr.DataArray):
        if value.ndim not in _AXES:
            raise InputError(
                f"an array of shape {value.shape}: give (y, x) or (bands, y, x), or an xarray.DataArray, which names its axes"
            )
        value = xr.DataArray(value, dims=_AXES[value.ndim])
    if value.dtype.kind not in "iufb" or value.dtype.itemsize > 8:
        raise InputError(f"an array of {value.dtype}: give real numbers of up to eight bytes")
    if min(value.shape, default=0) < 1:
        raise InputError(f"an array of shape {value.shape} holds no pixel: give another")
    value = _arranged(value, volume)
    return _placed(value, crs, transform)


def _arranged(value: Any, volume: int | None) -> Any:
    roles = {str(name): role_of(str(name), size) for name, size in value.sizes.items()}
    for name, role in roles.items():
        if role in "t-":
            steps = value.sizes[name]
            value = value.isel(
                {name: chosen_volume(Path("the array"), f"{steps} steps of {name}", steps, volume)}
            )  # type: ignore[arg-type]
    kept = {role: name for name, role in roles.items() if role in "czyx"}
    if "?" in roles.values() or len(kept) != value.ndim or not {"y", "x"} <= kept.keys():
        raise InputError(
            f"an array with axes {tuple(roles)} of lengths {tuple(value.shape)}: rename them to y and x, and perhaps z, "
            "band or time, and choose one place along any other with isel"
        )
    if volume is not None and "t" not in roles.values():
        raise InputError(f"the array has no axis of time, so no volume {volume}: leave out volume")
    return value.transpose(*(kept[role] for role in "czyx" if role in kept))


def _placed(value: Any, crs: Any, transform: Any) -> Any:
    """The same with its place as attributes of one coordinate, ``spatial_ref``."""
    import xarray as xr

    stated = _mapping(value)
    if crs is not None:
        stated = {key: v for key, v in stated.items() if key == "GeoTransform"} | _of_crs(crs)
    if transform is not None:
        a, b, c, d, e, f = (float(number) for number in tuple(transform)[:6])
        stated["GeoTransform"] = f"{c!r} {a!r} {b!r} {f!r} {d!r} {e!r}"
        value = value.drop_vars([name for name in value.dims[-2:] if name in value.coords])
        if not (b or d):
            (y, x), (rows, columns) = value.dims[-2:], value.shape[-2:]
            centres = {y: f + e * (np.arange(rows) + 0.5), x: c + a * (np.arange(columns) + 0.5)}
            value = value.assign_coords(centres)
    value = value.drop_vars([_name(value)], errors="ignore")
    value.encoding = {**value.encoding, "grid_mapping": MAPPING}
    return value.assign_coords({MAPPING: xr.Variable((), 0, stated)}) if stated else value


def _name(value: Any) -> str:
    return str(value.encoding.get("grid_mapping") or value.attrs.get("grid_mapping") or MAPPING)


def _mapping(value: Any) -> dict[str, Any]:
    """What the array says of its CRS: as rioxarray and odc-geo write it, or else as stackstac does."""
    name = _name(value)
    if name in value.coords:
        return plain(value.coords[name].attrs)
    if "epsg" in value.coords and value.coords["epsg"].ndim == 0:
        return _of_crs(int(value.coords["epsg"]))
    return _of_crs(value.attrs["crs"]) if isinstance(value.attrs.get("crs"), str) else {}


def _of_crs(crs: Any) -> dict[str, Any]:
    from rasterio.crs import CRS
    from rasterio.errors import CRSError

    try:
        wkt = CRS.from_user_input(crs).to_wkt()
    except (CRSError, TypeError, ValueError) as error:
        raise InputError(f"crs={crs!r} is no CRS ({error}): give one like 'EPSG:32633'") from None
    return {"crs_wkt": wkt, "spatial_ref": wkt}


def plain(attributes: Any) -> dict[str, Any]:
    """Those that JSON can hold."""
    kept = {}
    for key, value in attributes.items():
        value = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
        try:
            json.dumps(value)
        except (TypeError, ValueError, RecursionError):
            continue
        kept[str(key)] = value
    return kept


def words(value: Any) -> dict[str, Any]:
    """What the attributes say of the values."""
    return {key: v for key, v in plain(value.attrs).items() if key in _WORDS}
