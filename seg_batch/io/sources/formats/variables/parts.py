"""Which image of a file is meant, and which driver reads it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from seg_batch.core.errors import InputError
from seg_batch.io.sources.formats.raster_opening import Opening, opened

_BESIDE = re.compile(
    r"(?i)(^|/)(lat|lon|latitude|longitude|nav_lat|nav_lon|xlat|xlong)$|_?(bnds|bounds)$"
)
_LISTED = 12
_CF_ENDINGS = (".nc", ".nc4", ".cdf")


def opening_of(path: Path, name: str, part: str) -> tuple[Opening, str]:
    """How the image ``part`` of a file is opened, and its name; ``InputError`` that lists them where it is not told which."""
    if any(letter in str(path) for letter in '"\\') or '"' in part:
        raise InputError(
            f"{path}: GDAL can't be told of a name with a quote in it: rename the file"
        )
    whole = Opening(path, name, "netCDF" if name == "netcdf" else "HDF5")
    with opened(whole) as dataset:
        names, tags, is_image = _names(dataset), dataset.tags(), dataset.count > 0
    is_netcdf = name == "netcdf" or _is_netcdf(path, tags)
    driver, mark = ("netCDF", "NETCDF") if is_netcdf else ("HDF5Image", "HDF5")
    if not part:
        part = _only(path, names, is_image)
    if not part:  # the one image of a file, of which the driver does not tell the name
        return Opening(path, name, driver if driver == "netCDF" else "HDF5"), ""
    part = part.lstrip("/") if "/" not in part.lstrip("/") else f"/{part.lstrip('/')}"
    if name == "hdf5":
        _require_own(path, part, names, is_netcdf)
    where = path.absolute()
    inside = f"//{part.lstrip('/')}" if driver == "HDF5Image" else part
    return Opening(path, name, driver, f'{mark}:"{where}":{inside}'), part


def _names(dataset: Any) -> list[str]:
    """Those of the images in it, without slashes before them."""
    found = (re.fullmatch(r'[^:]*:".*":(.*)', text) for text in dataset.subdatasets)
    return sorted(match[1].lstrip("/") for match in found if match)


def _is_netcdf(path: Path, tags: dict[str, str]) -> bool:
    """Whether an HDF5 file is one of netCDF-4, by its conventions or its name."""
    keys = {key.rsplit("#")[-1] for key in tags}
    return bool(keys & {"Conventions", "_NCProperties"}) or path.name.lower().endswith(_CF_ENDINGS)


def _only(path: Path, names: list[str], is_image: bool) -> str:
    if not names:
        if is_image:
            return ""
        raise InputError(
            f"{path}: holds no array of two axes or three, so no image; give another file"
        )
    images = [name for name in names if not _BESIDE.search(name)] or names
    if len(images) == 1:
        return images[0]
    listed = ", ".join(images[:_LISTED]) + ", ..." * (len(images) > _LISTED)
    raise InputError(
        f"{path}: holds {len(images)} images ({listed}); name one, like {path}:{images[0]}"
    )


def _require_own(path: Path, part: str, names: list[str], is_netcdf: bool) -> None:
    """``InputError`` unless the dataset lies in this file, netCDF would follow a link to another; and, where it is no
    variable of netCDF, unless it has two axes or three: of four, the driver of HDF5 reads zeros."""
    seen = Opening(path, "hdf5", "HDF5Image", f'HDF5:"{path.absolute()}"://{part.lstrip("/")}')
    try:
        with opened(seen) as dataset:
            fits = is_netcdf or _is_flat(path, part, names, dataset)
    except InputError:
        there = f"it holds {', '.join(names[:_LISTED])}" if names else "name the file alone"
        raise InputError(f"{path}: there is no image {part} in it; {there}") from None
    if not fits:
        raise InputError(
            f"{path}: {part} has not two axes or three, as an image of HDF5 has; name another, or write one step of it"
        )


def _is_flat(path: Path, part: str, names: list[str], dataset: Any) -> bool:
    if names:  # of two axes and of three
        return part.lstrip("/") in names
    other = Opening(path, "hdf5", "netCDF", f'NETCDF:"{path.absolute()}":{part}')
    try:
        with opened(other) as seen:
            return bool((seen.count, seen.shape) == (dataset.count, dataset.shape))
    except InputError:  # of a type that netCDF does not know
        return True
