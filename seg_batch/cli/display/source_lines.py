"""What ``inspect`` says of a file, as JSON-ready values and as lines of text."""

from __future__ import annotations

import math
from contextlib import closing
from typing import Any

from seg_batch.cli.display.rows import by, rows
from seg_batch.cli.display.values import (
    model_rows,
    spacing_facts,
    spacing_rows,
    value_facts,
    value_rows,
)
from seg_batch.config.image_options.grid import GridOptions
from seg_batch.config.image_options.scene import AS_FILES, SceneOptions
from seg_batch.core.errors import InputError
from seg_batch.core.georef import crs_name, georef_to_json
from seg_batch.inference.bundles import Model, installed_bundles
from seg_batch.inference.fit.choice import judge
from seg_batch.inference.fit.look import taken
from seg_batch.inference.fit.verdict import Verdict
from seg_batch.io.sources import corner_warnings, open_source
from seg_batch.io.sources.protocol import Source
from seg_batch.io.sources.sample import Sample
from seg_batch.io.sources.views.open_view import View


def source_facts(
    path: str, volume: int | None, series: str | None = None, scene: SceneOptions = AS_FILES
) -> dict[str, Any]:
    """Geometry, channels, values and warnings of a file, and which installed models it fits."""
    with closing(open_source(path, volume=volume, series=series, scene=scene)) as source:
        info = source.info
        warnings = [*info.warnings, *corner_warnings(source)]
        try:
            seen = taken(source)
        except InputError as error:  # the header can be read, and is shown
            seen = Sample.nothing(len(info.channels))
            warnings.append(error.message)
        verdicts = judge(source, installed_bundles(), seen)
    return {
        "input": info.path,
        "format": info.format,
        "kind": info.kind,
        "extent": list(info.extent),
        "channels": list(info.channels),
        "dtype": info.dtype,
        "nodata": [v if v is None or math.isfinite(v) else str(v) for v in info.nodata],
        "chunk": list(info.chunk),
        "georef": georef_to_json(info.georef),
        "facts": info.facts,
        "spacing": spacing_facts(info),
        "values": value_facts(info, seen),
        "models": {
            m.name: {**verdict.to_json(), "resampled": _resampled(source, m, verdict)}
            for m, verdict in verdicts
        },
        "warnings": warnings,
    }


def _resampled(source: Source, model: Model, verdict: Verdict) -> str | None:
    """From which voxels to which a file comes for a model that takes it; None where it stays as it is."""
    if verdict.outcome == "does not fit":
        return None
    grid = View(source, model.card, GridOptions()).grid
    return grid.words if grid else None


def source_lines(facts: dict[str, Any]) -> str:
    nodata = ", ".join("none" if n is None else f"{float(n):g}" for n in facts["nodata"])
    lines = [
        ("file", f"{facts['input']}  ({facts['format']})"),
        ("kind", f"{facts['kind']}, {by(facts['extent'])} voxels, {facts['dtype']}"),
        ("channels", f"{len(facts['channels'])}: {', '.join(facts['channels'])}"),
        ("nodata", nodata or "none"),
        *_georef_rows(facts["georef"]),
        *spacing_rows(facts["spacing"]),
        *value_rows(facts["values"]),
        *facts["facts"].items(),
        *model_rows(facts["models"]),
        *(("warning", text) for text in facts["warnings"]),
    ]
    return rows(lines)


def _georef_rows(georef: dict[str, Any]) -> list[tuple[str, Any]]:
    if georef["kind"] == "raster":
        name = crs_name(georef["crs_wkt"])
        return [("crs", name), ("transform", ", ".join(f"{v:g}" for v in georef["transform"]))]
    affine = "; ".join(" ".join(f"{v:g}" for v in row) for row in georef["affine"][:3])
    codes = f"sform {georef['sform_code']}, qform {georef['qform_code']}"
    return [("affine", affine), ("codes", codes), ("units", georef["units"])]
