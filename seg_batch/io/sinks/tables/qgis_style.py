"""The style of a map in QGIS, which loads ``<map>.qml`` with ``<map>.tif``."""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import quoteattr

from seg_batch.core.text import visible
from seg_batch.io.sinks.spec import ProductSpec
from seg_batch.io.sinks.tables.text import write_checked


def write_qgis_style(part: Path, spec: ProductSpec) -> None:
    """Each class by its name and colour; no data is clear."""
    entries = "".join(
        f'          <paletteEntry value="{c.id}" label={quoteattr(visible(c.name))} '
        f'color="{"#{:02x}{:02x}{:02x}".format(*c.colour)}" alpha="255"/>\n'
        for c in sorted(spec.classes, key=lambda c: c.id)
    )
    write_checked(
        part,
        "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
        '<qgis version="3.28" styleCategories="Symbology">\n  <pipe>\n'
        '    <rasterrenderer type="paletted" band="1" opacity="1" alphaBand="-1" nodataColor="">\n'
        f"        <colorPalette>\n{entries}        </colorPalette>\n"
        "    </rasterrenderer>\n  </pipe>\n</qgis>\n",
    )
