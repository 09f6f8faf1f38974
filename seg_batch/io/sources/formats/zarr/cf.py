"""The CRS of a CF grid mapping that has parameters and no WKT, as PROJ's text."""

from __future__ import annotations

from typing import Any

import numpy as np

_ORIGIN = {"latitude_of_projection_origin": "lat_0", "longitude_of_projection_origin": "lon_0"}
_MERIDIAN = {"longitude_of_central_meridian": "lon_0"}
_PARALLELS = {"standard_parallel": "lat_1 lat_2"}
_TRUE_SCALE = {"standard_parallel": "lat_ts"}
_SCALE = {"scale_factor_at_projection_origin": "k_0"}
# By name of the mapping: PROJ's method, and its parameters by CF's names.
_METHODS: dict[str, tuple[str, dict[str, str]]] = {
    "latitude_longitude": ("longlat", {}),
    "albers_conical_equal_area": ("aea", {**_ORIGIN, **_MERIDIAN, **_PARALLELS}),
    "lambert_conformal_conic": ("lcc", {**_ORIGIN, **_MERIDIAN, **_PARALLELS}),
    "azimuthal_equidistant": ("aeqd", _ORIGIN),
    "lambert_azimuthal_equal_area": ("laea", _ORIGIN),
    "orthographic": ("ortho", _ORIGIN),
    "sinusoidal": ("sinu", _ORIGIN),
    "stereographic": ("stere", {**_ORIGIN, **_SCALE}),
    "mercator": ("merc", {**_ORIGIN, **_TRUE_SCALE, **_SCALE}),
    "lambert_cylindrical_equal_area": ("cea", {**_MERIDIAN, **_TRUE_SCALE}),
    "transverse_mercator": (
        "tmerc",
        {**_ORIGIN, **_MERIDIAN, "scale_factor_at_central_meridian": "k_0"},
    ),
    "polar_stereographic": (
        "stere",
        {**_ORIGIN, **_TRUE_SCALE, **_SCALE, "straight_vertical_longitude_from_pole": "lon_0"},
    ),
    "geostationary": (
        "geos",
        {**_ORIGIN, "perspective_point_height": "h", "sweep_angle_axis": "sweep"},
    ),
}
_ELLIPSOID = {
    "semi_major_axis": "a",
    "semi_minor_axis": "b",
    "inverse_flattening": "rf",
    "earth_radius": "R",
    "longitude_of_prime_meridian": "pm",
    "towgs84": "towgs84",
}
_FALSE = {"false_easting": "x_0", "false_northing": "y_0"}
_NAMES = ("horizontal_datum_name", "reference_ellipsoid_name", "geographic_crs_name")
_WGS84 = {"wgs84", "worldgeodeticsystem1984"}
_SIZED, _SHIFTED = {"semi_major_axis", "earth_radius"}, {"longitude_of_prime_meridian"}
_IGNORED = {"grid_mapping_name", "long_name", "GeoTransform", "crs_wkt", "spatial_ref", *_NAMES}
_IGNORED |= {"prime_meridian_name", "projected_crs_name", "comment", "_ARRAY_DIMENSIONS"}


def cf_statement(mapping: dict[str, Any]) -> str | None:
    """PROJ's text of a grid mapping; None where it is no mapping, or one whose words are not all known.
    Of a datum only WGS 84 is known by name, of others the ellipsoid."""
    method, terms = _METHODS.get(str(mapping.get("grid_mapping_name")), ("", {}))
    known = {**terms, **_FALSE, **_ELLIPSOID}
    names = {_letters(mapping.get(name, "")) for name in _NAMES} - {""}
    is_wgs84 = names <= _WGS84 and (bool(names) or not _SIZED & mapping.keys())
    other = mapping.keys() - known.keys() - _IGNORED
    if not method or other or not (is_wgs84 or _SIZED & mapping.keys()):
        return None
    if method == "lcc" and np.size(mapping.get("standard_parallel", ())) != 2:
        return None  # programs differ in what one parallel means
    stated = {key: mapping[key] for key in sorted(known.keys() & mapping.keys())}
    if is_wgs84:
        stated = {k: v for k, v in stated.items() if k not in _ELLIPSOID or k in _SHIFTED}
    if method == "merc" and "scale_factor_at_projection_origin" in stated:
        stated.pop("standard_parallel", None)  # the equator
    parts = [f"+proj={method}", *(_part(known[key], value) for key, value in stated.items())]
    parts += _pole(mapping) if mapping["grid_mapping_name"] == "polar_stereographic" else []
    return " ".join([*parts, "+datum=WGS84" if is_wgs84 else "", "+no_defs +type=crs"])


def _letters(name: Any) -> str:
    return "".join(letter for letter in str(name).lower() if letter.isalnum())


def _part(names: str, value: Any) -> str:
    """One parameter, or several that a list of numbers gives."""
    if names == "towgs84":
        return f"+towgs84={','.join(map(str, np.ravel(value).tolist()))}"
    if names == "rf" and float(value) == 0:
        return ""  # CF's inverse flattening of a sphere
    values = np.ravel(value).tolist() if not isinstance(value, str) else [value]
    return " ".join(f"+{name}={v}" for name, v in zip(names.split(), values, strict=False))


def _pole(mapping: dict[str, Any]) -> list[str]:
    """The pole of a polar stereographic mapping that tells only its parallel."""
    if "latitude_of_projection_origin" in mapping or "standard_parallel" not in mapping:
        return []
    return [f"+lat_0={90 if float(np.ravel(mapping['standard_parallel'])[0]) > 0 else -90}"]
