"""The polygons of a finished map, written and held against it."""

from __future__ import annotations

from pathlib import Path

from seg_batch.core.georef import RasterGeoref
from seg_batch.io.sinks.polygons.check import check_polygons
from seg_batch.io.sinks.polygons.choice import Choice
from seg_batch.io.sinks.polygons.records import Records
from seg_batch.io.sinks.polygons.strips import Strips, kept_probabilities
from seg_batch.io.sinks.polygons.vector_file import Driver, write_records
from seg_batch.io.sinks.spec import ProductSpec, Read


def write_polygons(part: Path, driver: Driver, spec: ProductSpec, read: Read, again: Read) -> None:
    """OutputError for what can't be made, DamagedError where it does not read back as the map."""
    choice = Choice.of(spec, part.name)
    assert isinstance(spec.georef, RasterGeoref)
    with kept_probabilities(spec.probabilities_at) as scores:
        strips = Strips(spec, choice, read, scores)
        records = Records(strips.parts(), choice.classes, scores is not None)
        write_records(part, driver, records, spec.georef.crs_wkt)
    check_polygons(part, driver, spec, choice, records, strips.counts, again)
