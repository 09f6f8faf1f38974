"""Tables beside a map: the sizes of its classes, and their names and colours for viewers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seg_batch.core.registry.formats import ProductFormat
from seg_batch.io.sinks.spec import ProductSpec, Read


def _write_sizes(
    part: Path, store: Any, spec: ProductSpec, read: Read, again: Read, labels: str
) -> None:
    if spec.further.zones is not None:
        from seg_batch.io.sinks.tables.zone_sizes import write_zone_sizes

        write_zone_sizes(part, spec, read)
        return
    from seg_batch.io.sinks.tables.class_sizes import write_class_sizes

    write_class_sizes(part, spec, read)


def _write_itk_snap(
    part: Path, store: Any, spec: ProductSpec, read: Read, again: Read, labels: str
) -> None:
    from seg_batch.io.sinks.tables.class_colours import write_itk_snap

    write_itk_snap(part, spec)


def _write_slicer(
    part: Path, store: Any, spec: ProductSpec, read: Read, again: Read, labels: str
) -> None:
    from seg_batch.io.sinks.tables.class_colours import write_slicer

    write_slicer(part, spec)


def _write_qgis(
    part: Path, store: Any, spec: ProductSpec, read: Read, again: Read, labels: str
) -> None:
    from seg_batch.io.sinks.tables.qgis_style import write_qgis_style

    write_qgis_style(part, spec)


def _write_attribute_table(
    part: Path, store: Any, spec: ProductSpec, read: Read, again: Read, labels: str
) -> None:
    from seg_batch.io.sinks.tables.attribute_table import write_attribute_table

    write_attribute_table(part, spec)


SIZES = ProductFormat(
    name="sizes",
    kinds=("raster", "volume"),
    endings=(".csv",),
    write=_write_sizes,
    holds_labels=False,
    settings=("zones", "zone_field", "fractional"),
)
ITK_SNAP = ProductFormat(
    name="itk-snap",
    kinds=("volume",),
    endings=(".label",),
    write=_write_itk_snap,
    holds_labels=False,
)
SLICER = ProductFormat(
    name="slicer",
    kinds=("volume",),
    endings=(".ctbl",),
    write=_write_slicer,
    holds_labels=False,
)
QGIS = ProductFormat(
    name="qgis",
    kinds=("raster",),
    endings=(".qml",),
    write=_write_qgis,
    holds_labels=False,
)
ATTRIBUTE_TABLE = ProductFormat(
    name="attribute table",
    kinds=("raster",),
    endings=(".tif.aux.xml",),
    write=_write_attribute_table,
    holds_labels=False,
)
