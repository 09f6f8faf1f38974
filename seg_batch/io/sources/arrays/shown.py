"""An image as a table of HTML, as notebooks show it."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

from seg_batch.core.georef import RasterGeoref, crs_name

_MOST = 12  # of channels and of warnings
_WORDS = 300  # characters of one cell


def info_html(info: Any) -> str:
    """Of a ``SourceInfo`` one row for each fact; what a file says is text in it, never HTML."""
    rows = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th>'
        f'<td style="text-align:left">{escape(_short(text))}</td></tr>'
        for name, text in _rows(info)
    )
    return f"<table><caption>{escape(_short(info.path))}</caption>{rows}</table>"


def source_html(source: Any) -> str:
    """The same of an open source; for its class."""
    return info_html(source.info)


def _short(text: str) -> str:
    return text if len(text) <= _WORDS else text[:_WORDS] + " ..."


def _rows(info: Any) -> Iterator[tuple[str, str]]:
    yield "format", f"{info.format}, a {info.kind}"
    yield "extent", " x ".join(map(str, info.extent))
    yield "type", info.dtype
    if isinstance(info.georef, RasterGeoref):
        yield "CRS", crs_name(info.georef.crs_wkt) if info.georef.crs_wkt else "none"
        a, b, _, d, e, _ = info.georef.transform
        yield "pixel", f"{(a * a + d * d) ** 0.5:.6g} x {(b * b + e * e) ** 0.5:.6g}"
    else:
        yield "voxel", " x ".join(f"{side:.4g}" for side in info.georef.spacing_mm) + " mm"
    yield f"channels ({len(info.channels)})", _listed(info.channels)
    values = list(dict.fromkeys(value for value in info.nodata if value is not None))
    yield "nodata", _listed([f"{value:g}" for value in values]) or "none"
    for line in info.warnings[:_MOST]:
        yield "warning", line


def _listed(words: Any) -> str:
    return ", ".join(map(str, words[:_MOST])) + ", ..." * (len(words) > _MOST)
