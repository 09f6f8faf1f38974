"""Coordinate reference systems as WKT: which of two are one, and the length of their unit."""

from __future__ import annotations

import json
import os
from functools import lru_cache
from typing import Any

from rasterio import _env
from rasterio.crs import CRS
from rasterio.env import PROJDataFinder
from rasterio.errors import CRSError, RasterioError

# Options of GDAL. rasterio gets and gives the CRS of a file as text, by default as WKT 1, which has no
# words for some projections and confuses the units of prime meridians.
WHOLE_CRS = {"OSR_WKT_FORMAT": "WKT2_2019"}
_SWAPPED = ["north", "east"]  # the order of many definitions; coordinates in files are always x, y


def _name_proj_data() -> None:
    """Tell PROJ where rasterio keeps its data. GDAL asks PROJ for the names of units without telling
    it so, and PROJ then prints that its database is missing, for each file in kilometres."""
    if not {"PROJ_DATA", "PROJ_LIB"} & os.environ.keys() and PROJDataFinder().search_wheel():
        os.environ["PROJ_DATA"] = os.pathsep.join(_env.get_proj_data_search_paths())


_name_proj_data()


def whole_crs(usual: Any, whole: Any) -> Any:
    """The CRS of a file, read as rasterio usually does, which keeps all codes, and with ``WHOLE_CRS``."""
    return usual if usual and usual.equals(whole, ignore_axis_order=True) else whole


def crs_wkt(crs: Any) -> str | None:
    """A rasterio CRS as text that reads back as the same: WKT 1, which most programs read, where that
    can express it, else WKT 2. None for no CRS."""
    if not crs:
        return None
    wkt = str(crs.to_wkt())
    try:
        kept = CRS.from_wkt(wkt).equals(crs, ignore_axis_order=True)
    except CRSError:
        kept = False
    return wkt if kept else str(crs.to_wkt(version="WKT2_2019"))


def crs_options(wkt: str | None) -> dict[str, str]:
    """GDAL's options under which a CRS of this text is written whole. As WKT 2 some lose their code."""
    return {} if not wkt or wkt.partition("[")[0].endswith("CS") else WHOLE_CRS


@lru_cache(1024)
def same_crs(a: str | None, b: str | None) -> bool:
    """Whether two CRSs, given as WKT, give all coordinates the same place.

    They do if PROJ calls them equivalent: method, parameters, units, datum, ellipsoid and prime
    meridian are the same. Names and codes of the CRS do not count, nor the order of its axes, since
    coordinates in files are always east and north.
    """
    if a == b or not (a and b):
        return a == b or not (a or b)
    try:
        first, second = CRS.from_wkt(a), CRS.from_wkt(b)
        return first.equals(second, ignore_axis_order=True) or _east_first(first).equals(
            _east_first(second), ignore_axis_order=True
        )
    except (CRSError, RasterioError, ValueError):
        return False


def _east_first(crs: Any) -> Any:
    """The CRS with its axes in the order of coordinates in files."""
    return CRS.from_user_input(json.dumps(_ordered(crs.to_dict(projjson=True))))


def _ordered(value: Any) -> Any:
    """PROJJSON with each pair of axes north, east turned round."""
    if isinstance(value, list):
        axes = [item.get("direction") for item in value[:2] if isinstance(item, dict)]
        value = [*value[1::-1], *value[2:]] if axes == _SWAPPED else value
        return [_ordered(item) for item in value]
    if isinstance(value, dict):
        return {key: _ordered(item) for key, item in value.items()}
    return value


def metres_per_unit(crs: Any) -> float | None:
    """Length of one unit of a projected CRS in metres; None where a unit is an angle or unknown."""
    try:
        return float(crs.linear_units_factor[1]) if crs and crs.is_projected else None
    except (CRSError, RasterioError):
        return None
