"""What ``inspect`` says of the values of a file, as JSON-ready values and as rows of text."""

from __future__ import annotations

from typing import Any

import numpy as np

from seg_batch.core.georef import RasterGeoref, VolumeGeoref
from seg_batch.core.units import share_in_line
from seg_batch.io.sources.areas.pixel_size import pixel_sides_m
from seg_batch.io.sources.protocol import SourceInfo
from seg_batch.io.sources.sample import Sample

PERCENTILES = (0, 1, 50, 99, 100)
MOST = 16  # channels that are shown


def value_facts(info: SourceInfo, seen: Sample) -> list[dict[str, Any]]:
    """Of each channel, from a thinned sample: name, mean, deviation, percentiles, share of nodata, and the unit
    that its values look like."""
    names = info.channels[: MOST if len(seen.values) else 0]
    return [_channel(name, seen.channel(n), len(seen.values)) for n, name in enumerate(names)]


def _channel(name: str, values: np.ndarray, looked_at: int) -> dict[str, Any]:
    nodata = 1 - len(values) / looked_at
    if not len(values):
        return {"name": name, "nodata": nodata}
    wide = values.astype(np.float64)
    percentiles = np.percentile(wide, PERCENTILES).tolist()
    return {
        "name": name,
        "mean": float(wide.mean()),
        "std": float(wide.std()),
        "percentiles": percentiles,
        "nodata": nodata,
        "looks_like": _likely_unit(percentiles, values),
    }


def _likely_unit(percentiles: list[float], values: np.ndarray) -> str:
    low, _, middle, high, _ = percentiles
    if low < -800 and (values < -800).mean() > 0.02 and high > 50:
        return "HU"
    if low >= -0.2 and high <= 2 and middle < 1 and (values != np.round(values)).any():
        return "reflectance 0 to 1"
    if low > -100 and high <= 30 and low < -5 and (values != np.round(values)).any():
        return "dB"
    whole = bool((values == np.round(values)).all())
    return "stored numbers" if whole and low >= 0 else "arbitrary"


def value_rows(channels: list[dict[str, Any]]) -> list[tuple[str, str]]:
    rows = []
    for each in channels:
        missing = f", {share_in_line(each['nodata'])} nodata" if each["nodata"] else ""
        if "percentiles" not in each:
            rows.append((f"values {each['name']}", "none"))
            continue
        low, first, middle, last, high = (f"{value:.5g}" for value in each["percentiles"])
        rows.append(
            (
                f"values {each['name']}",
                f"{low} to {high}, 98 % in {first} to {last}, median {middle}{missing}; looks like "
                f"{each['looks_like']}",
            )
        )
    return rows


def spacing_facts(info: SourceInfo) -> dict[str, Any]:
    """Voxel size and field of view in mm along ``z, y, x``, or pixel size in metres along ``y, x``."""
    georef = info.georef
    if isinstance(georef, VolumeGeoref):
        sizes = georef.spacing_mm
        views = [n * size for n, size in zip(info.extent, sizes, strict=True)]
        return {"spacing_mm": list(sizes), "field_of_view_mm": views}
    sides = pixel_sides_m(georef, info.extent) if isinstance(georef, RasterGeoref) else None
    return {"pixel_m": sides and list(sides)}


def spacing_rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    words = {
        "spacing_mm": ("voxel", "mm"),
        "field_of_view_mm": ("view", "mm"),
        "pixel_m": ("pixel", "m"),
    }
    return [
        (words[key][0], f"{' x '.join(f'{v:.4g}' for v in sizes)} {words[key][1]}")
        for key, sizes in facts.items()
        if sizes
    ]


def model_rows(models: dict[str, dict[str, Any]]) -> list[tuple[str, str]]:
    """A row for each model: its outcome, and the reasons."""
    rows = []
    for name, verdict in models.items():
        reasons = "; ".join(each["measure"] for each in verdict["findings"])
        if verdict["resampled"]:
            reasons = "; ".join(filter(None, (reasons, f"resampled {verdict['resampled']}")))
        rows.append((f"model {name}", f"{verdict['outcome']}{f': {reasons}' if reasons else ''}"))
    return rows
