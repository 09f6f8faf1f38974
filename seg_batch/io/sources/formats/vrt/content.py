"""The files that the XML of a VRT names, where it has nothing in it but what a mosaic or a stack of rasters needs.

What is not known is refused: scripts and expressions, raw files, inline datasets, options for opening, arrays.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from seg_batch.core.errors import InputError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_MOST_BYTES = 32 << 20
_DECLARED = re.compile(r"<!|<\?(?!xml\s)")  # document types, entities, sections and instructions
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_ENCODING = re.compile(r"<\?xml[^>]*encoding\s*=\s*[\"'](?!utf-?8|us-ascii|ascii)", re.IGNORECASE)
_PLACE = "VRTDataset SRS GeoTransform GCPList GCP Metadata MDI BlockXSize BlockYSize"
_BAND = (
    "VRTRasterBand ColorInterp NoDataValue HideNoDataValue Description UnitType Offset Scale CategoryNames Category "
    "ColorTable Entry Histograms HistItem HistMin HistMax BucketCount IncludeOutOfRange Approximate HistCounts "
    "MaskBand OverviewList Overview"
)
_SOURCE = (
    "SimpleSource ComplexSource SourceFilename SourceBand SourceProperties SrcRect DstRect NODATA UseMaskBand "
    "ScaleOffset ScaleRatio LUT ColorTableComponent Exponent SrcMin SrcMax DstMin DstMax Clamp"
)
_KNOWN = {*_PLACE.split(), *_BAND.split(), *_SOURCE.split()}
# GDAL takes an attribute of any name, in any case, for the element of that name.
_ATTRIBUTES = (
    "subClass rasterXSize rasterYSize dataAxisToSRSAxisMapping coordinateEpoch Projection Id Info Pixel Line X Y Z GCPZ domain "
    "format key dataType band blockXSize blockYSize c1 c2 c3 c4 name resampling relativeToVRT shared RasterXSize RasterYSize "
    "DataType BlockXSize BlockYSize xOff yOff xSize ySize"
)
_KNOWN_ATTRIBUTES = frozenset(_ATTRIBUTES.split())
_CLASSES = {"", "VRTSourcedRasterBand"}
_DOMAINS = {"", "IMAGE_STRUCTURE", "RPC"}


@dataclass(frozen=True)
class Named:
    """A source as the XML writes it."""

    text: str
    is_relative: bool


def named_in(path: Path) -> Iterator[Named]:
    """The sources of a VRT; ``InputError`` for what is in it besides."""
    for element in _root(path).iter():
        tag = element.tag
        if not isinstance(tag, str):  # a comment
            continue
        if tag not in _KNOWN:
            raise _refused(path, f"has <{tag}>")
        if unknown := set(element.keys()) - _KNOWN_ATTRIBUTES:
            raise _refused(path, f"has the attribute {min(unknown)} in <{tag}>")
        if element.get("subClass", "") not in _CLASSES:
            raise _refused(path, f"has a {element.get('subClass')}")
        if tag == "Metadata" and element.get("domain", "") not in _DOMAINS:
            raise _refused(path, f"has metadata of the domain {element.get('domain')}")
        if tag == "SourceFilename":
            yield Named(_plain(path, element), element.get("relativeToVRT", "0") == "1")


def _plain(path: Path, element: Element) -> str:
    """The name of a source, where GDAL reads the same one: it takes no comment for nothing, and keeps blanks."""
    text = element.text or ""
    if len(element) or text != text.strip():
        raise _refused(path, "has a name of a source with a comment or blanks around it")
    return text


def _refused(path: Path, what: str) -> InputError:
    return InputError(
        f"{path}: the VRT {what[:100]}, which is not read: only mosaics and stacks of files are; make a GeoTIFF of it with gdal_translate"
    )


def _root(path: Path) -> Element:
    from xml.etree import ElementTree

    with path.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise _refused(path, f"is larger than {_MOST_BYTES >> 20} MiB")
    try:
        text = content.decode("utf-8-sig")
        if _ENCODING.match(text) or _DECLARED.search(_COMMENT.sub("", text)):
            raise _refused(
                path, "declares a document type, an entity or another encoding than UTF-8"
            )
        parser = ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True))
        root = ElementTree.fromstring(text.encode(), parser)
    except (ElementTree.ParseError, ValueError, LookupError, RecursionError) as error:
        raise InputError(
            f"{path}: the XML of the VRT can't be read ({error}); make it anew with gdalbuildvrt"
        ) from error
    if root.tag != "VRTDataset":
        raise _refused(path, f"begins with <{root.tag}>")
    return root
