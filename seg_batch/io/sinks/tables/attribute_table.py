"""Names and colours of classes beside a GeoTIFF, where QGIS, ArcGIS and GDAL look for them: a raster attribute table in
``<product>.aux.xml``.

They are for the eye: the map is read in the same way with and without them. A CRS that the map itself can't hold is in that
file, too, and stays there.
"""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

from seg_batch.core.text import visible
from seg_batch.io.sinks.cog.place import placed
from seg_batch.io.sinks.spec import ProductSpec
from seg_batch.io.sinks.tables.text import write_checked

_EMPTY, _END = "<PAMDataset>\n</PAMDataset>\n", "</PAMDataset>"
_WHOLE, _TEXT = 0, 2  # types of columns
# Name, type and usage of each column, by GDAL's numbers of usages.
_COLUMNS = (
    ("VALUE", _WHOLE, 5),
    ("CLASS", _TEXT, 2),
    ("RED", _WHOLE, 6),
    ("GREEN", _WHOLE, 7),
    ("BLUE", _WHOLE, 8),
    ("ALPHA", _WHOLE, 9),
)


def write_attribute_table(part: Path, spec: ProductSpec) -> None:
    """The side file of the map, with the classes of ``spec``."""
    write_checked(part, (placed(spec).side_file or _EMPTY).replace(_END, _band(spec) + _END))


def _band(spec: ProductSpec) -> str:
    columns = "".join(
        f'      <FieldDefn index="{k}">\n        <Name>{name}</Name>\n        <Type>{kind}</Type>\n'
        f"        <Usage>{usage}</Usage>\n      </FieldDefn>\n"
        for k, (name, kind, usage) in enumerate(_COLUMNS)
    )
    rows = "".join(
        f'      <Row index="{k}">{"".join(f"<F>{escape(str(v))}</F>" for v in row)}</Row>\n'
        for k, row in enumerate(_rows(spec))
    )
    return (
        '  <PAMRasterBand band="1">\n    <GDALRasterAttributeTable tableType="thematic">\n'
        f"{columns}{rows}    </GDALRasterAttributeTable>\n  </PAMRasterBand>\n"
    )


def _rows(spec: ProductSpec) -> list[tuple[object, ...]]:
    by_id = sorted(spec.classes, key=lambda c: c.id)
    return [(c.id, visible(c.name), *c.colour, 255) for c in by_id]
