"""Many maps seen as one, in GDAL and every GIS: a VRT over the GeoTIFFs of a run, which holds no pixel itself."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import numpy as np
import rasterio
from rasterio.errors import RasterioError

from seg_batch.io.sources.crs import same_crs
from seg_batch.io.sources.formats.raster_georef import raster_georef

_KINDS = {"uint8": "Byte", "uint16": "UInt16"}
_SAME_SIZE = 1e-6  # of a pixel's side


def together(maps: Iterable[Path], folder: Path, name: str) -> dict[str, bytes]:
    """``name -> content`` of a VRT in ``folder`` for each CRS and pixel size that several of the ``maps`` share: ``name.vrt``,
    then ``name_2.vrt``. Maps without a CRS, rotated ones and what is no GeoTIFF are left out. A later map lies on an earlier
    one, its nodata is clear."""
    groups = dict[tuple[Any, ...], list[_Map]]()
    for path in maps:
        known = _opened(path)
        if known is not None:
            groups.setdefault(_key(known, groups), []).append(known)
    several = [group for group in groups.values() if len(group) > 1]
    names = [f"{name}.vrt", *(f"{name}_{k}.vrt" for k in range(2, len(several) + 1))]
    return {
        name: _vrt(group, folder.absolute()) for name, group in zip(names, several, strict=False)
    }


class _Map:
    """The facts of a map that its VRT repeats."""

    def __init__(self, path: Path, file: Any) -> None:
        self.path, self.shape = path.absolute(), file.shape
        self.crs, self.transform = raster_georef(file).crs_wkt, file.transform
        self.dtype, self.nodata = file.dtypes[0], file.nodata
        colours: dict[int, tuple[int, ...]] = defaultdict(lambda: (0, 0, 0, 0))
        if file.colorinterp[0] == rasterio.enums.ColorInterp.palette:
            colours.update(file.colormap(1))
        self.colours = colours

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Of ``x`` and ``y`` where the map begins, and where it ends."""
        t, (height, width) = self.transform, self.shape
        return t.c, t.f, t.c + t.a * width, t.f + t.e * height


def _opened(path: Path) -> _Map | None:
    try:
        with rasterio.open(path, driver="GTiff") as file:
            known = _Map(path, file)
    except (RasterioError, OSError):
        return None
    turned = known.transform.b or known.transform.d
    return None if turned or not known.crs or known.dtype not in _KINDS else known


def _key(known: _Map, groups: Iterable[tuple[Any, ...]]) -> tuple[Any, ...]:
    """That of a group with the same CRS, size of pixels and type of values, else a new one."""
    t = known.transform
    for key in groups:
        crs, a, e, dtype, nodata = key
        sizes = np.allclose((t.a, t.e), (a, e), rtol=_SAME_SIZE, atol=0)
        if sizes and (dtype, nodata) == (known.dtype, known.nodata) and same_crs(crs, known.crs):
            return key
    return known.crs, t.a, t.e, known.dtype, known.nodata


def _vrt(group: list[_Map], folder: Path) -> bytes:
    first = group[0]
    a, e = first.transform.a, first.transform.e
    x0, y0, x1, y1 = np.array([known.bounds for known in group]).T
    x, y = (min(x0) if a > 0 else max(x0)), (min(y0) if e > 0 else max(y0))
    width = round(max(abs(x1 - x)) / abs(a))
    height = round(max(abs(y1 - y)) / abs(e))
    root = Element("VRTDataset", {"rasterXSize": str(width), "rasterYSize": str(height)})
    SubElement(root, "SRS").text = first.crs
    SubElement(root, "GeoTransform").text = ", ".join(map(repr, map(float, (x, a, 0, y, 0, e))))
    band = SubElement(root, "VRTRasterBand", {"dataType": _KINDS[first.dtype], "band": "1"})
    if first.nodata is not None:
        SubElement(band, "NoDataValue").text = f"{first.nodata:g}"
    _colours(band, first)
    for known in group:
        _source(band, known, folder, (known.transform.c - x) / a, (known.transform.f - y) / e)
    indent(root)
    return bytes(tostring(root, encoding="utf-8"))


def _colours(band: Element, first: _Map) -> None:
    if not first.colours:
        return
    SubElement(band, "ColorInterp").text = "Palette"
    table = SubElement(band, "ColorTable")
    for value in range(max(first.colours) + 1):
        parts = map(str, first.colours[value])
        SubElement(table, "Entry", dict(zip(("c1", "c2", "c3", "c4"), parts, strict=True)))


def _source(band: Element, known: _Map, folder: Path, column: float, row: float) -> None:
    height, width = map(str, known.shape)
    source = SubElement(band, "ComplexSource" if known.nodata is not None else "SimpleSource")
    name = SubElement(source, "SourceFilename", {"relativeToVRT": "1"})
    name.text = os.path.relpath(known.path, folder)
    SubElement(source, "SourceBand").text = "1"
    size = {"xSize": width, "ySize": height}
    SubElement(source, "SrcRect", {"xOff": "0", "yOff": "0", **size})
    SubElement(source, "DstRect", {"xOff": f"{column:.6f}", "yOff": f"{row:.6f}", **size})
    if known.nodata is not None:
        SubElement(source, "NODATA").text = f"{known.nodata:g}"
