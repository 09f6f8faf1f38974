"""Maps as polygons, made with ``--also``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from seg_batch.core.registry.formats import ProductFormat
from seg_batch.io.sinks.spec import ProductSpec, Read


def _write(
    driver: Any, part: Path, store: Any, spec: ProductSpec, read: Read, again: Read, labels: str
) -> None:
    from seg_batch.io.sinks.polygons.write import write_polygons

    write_polygons(part, driver, spec, read, again)


def _prove(spec: ProductSpec, name: str) -> list[str]:
    from seg_batch.io.sinks.polygons.choice import Choice

    Choice.of(spec, name)
    return []


def _format(name: str, driver: str, *endings: str) -> ProductFormat:
    return ProductFormat(
        name=name,
        kinds=("raster",),
        endings=endings[:1],
        aliases=endings[1:],
        write=partial(_write, driver),
        prove=_prove,
        holds_labels=False,
        settings=("simplify", "min_area", "polygons"),
    )


GEOPACKAGE = _format("geopackage", "GPKG", ".gpkg")
FLATGEOBUF = _format("flatgeobuf", "FlatGeobuf", ".fgb")
GEOPARQUET = _format("geoparquet", "Parquet", ".parquet", ".geoparquet")
