"""Files that hold several rasters, by name: netCDF, HDF5, GRIB."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from seg_batch.core.errors import InputError
from seg_batch.core.registry.formats import Format

_CLASSIC = (b"CDF\x01", b"CDF\x02", b"CDF\x05")


def _open(
    name: str, path: Path, *, volume: int | None = None, staged: Path | None = None, part: str = ""
) -> Any:
    if name == "grib":
        from seg_batch.io.sources.formats.variables.grib import open_grib

        if volume is not None:
            raise InputError(
                f"{path}: a message of GRIB is one raster and has no volume {volume}; leave out --volume"
            )
        return open_grib(path, part)
    from seg_batch.io.sources.formats.variables.array import open_variable

    return open_variable(path, name, part, volume)


def _format(
    name: str,
    title: str,
    magic: tuple[bytes, ...],
    endings: tuple[str, ...],
    shared: tuple[str, ...] = (),
) -> Format:
    return Format(
        name=name,
        title=title,
        kind="raster",
        endings=endings,
        shared_endings=shared,
        matches=lambda head: head.startswith(magic),
        open=partial(_open, name),
        has_parts=True,
    )


NETCDF = _format("netcdf", "netCDF", _CLASSIC, (".nc", ".nc4", ".cdf"))
HDF5 = _format(
    "hdf5", "HDF5", (b"\x89HDF\r\n\x1a\n",), (), (".h5", ".hdf5", ".he5")
)  # networks have these endings, too
GRIB = _format("grib", "GRIB", (b"GRIB",), (".grib", ".grib2", ".grb", ".grb2"))
