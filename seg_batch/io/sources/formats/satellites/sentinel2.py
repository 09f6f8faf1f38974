"""Sentinel-2, levels 1C and 2A: a SAFE folder, a zip of one, or the metadata file in it.

Reflectance is ``(DN + offset) / quantification`` by the metadata, whose offset is -1000 from processing baseline 04.00
on and 0 before. DN 0 is no data.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from seg_batch.core.errors import InputError
from seg_batch.io.sources.formats.satellites.band_file import Band
from seg_batch.io.sources.formats.satellites.product import Product
from seg_batch.io.sources.formats.satellites.tree import Tree, names_in_zip
from seg_batch.io.sources.formats.satellites.xml import all_named, parsed, text_of
from seg_batch.io.sources.protocol import Source

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

METADATA = ("MTD_MSIL2A.xml", "MTD_MSIL1C.xml")
SATURATED = 65535
# Name -> common name and centre in micrometres, in the order of band_id.
BANDS = {
    "B01": ("coastal", 0.4427), "B02": ("blue", 0.4927), "B03": ("green", 0.5598), "B04": ("red", 0.6646),
    "B05": ("rededge071", 0.7041), "B06": ("rededge075", 0.7405), "B07": ("rededge078", 0.7828),
    "B08": ("nir", 0.8328), "B8A": ("nir08", 0.8647), "B09": ("nir09", 0.9451), "B10": ("cirrus", 1.3735),
    "B11": ("swir16", 1.6137), "B12": ("swir22", 2.2024),
}  # fmt: skip
_MARKED = re.compile(r"(?:([^/]+)/)?(MTD_MSIL(?:1C|2A)\.xml)")
_IMAGE = re.compile(
    r"GRANULE/([^/]+)/IMG_DATA/(?:R\d\dm/)?[^/]*_(B(?:0[1-9]|1[0-2]|8A)|SCL|AOT|WVP)(?:_(10|20|60)m)?\.jp2"
)
_MASK = re.compile(r"GRANULE/([^/]+)/QI_DATA/(?:MSK_)?(CLDPRB|SNWPRB)_(20|60)m\.jp2")
_GRANULE = re.compile(r"GRANULE/([^/]+)/.+")


def is_safe_zip(path: Path) -> bool:
    """Whether a zip holds a product."""
    return any(map(_MARKED.fullmatch, names_in_zip(path)))


def open_sentinel2(path: Path) -> Source:
    """The image of a product. ``InputError`` where it holds several granules, or is incomplete."""
    root = path.parent if path.name in METADATA and path.is_file() else path
    tree = Tree.of(root)
    marks = [match for match in map(_MARKED.fullmatch, tree.names) if match]
    if len(marks) != 1:
        listed = ", ".join(match[0] for match in marks[:4]) or "none"
        raise InputError(
            f"{root}: a product has one file MTD_MSIL1C.xml or MTD_MSIL2A.xml, and there is {listed}: give the .SAFE "
            "folders in it one by one"
        )
    within = f"{marks[0][1]}/" if marks[0][1] else ""
    xml = parsed(tree.text(marks[0][0]), f"{root}: {marks[0][2]}")
    inside = {name[len(within) :]: name for name in tree.names if name.startswith(within)}
    _require_one_granule(root, inside)
    scaled, level = _numbers(root, xml), text_of(xml, "PROCESSING_LEVEL").removeprefix("Level-")
    found = dict(_found(inside))
    bands = [
        Band(name, found[name], common, length, *scaled[name], nodata=0)
        for name, (common, length) in BANDS.items()
        if name in found
    ]
    lacks = [n for n in BANDS if n not in found and not (n == "B10" and level == "2A")]
    warnings = (
        [f"its folder lacks {', '.join(lacks)}: only part of the product is here"] if lacks else []
    )
    return Product(
        format="sentinel2",
        tree=tree,
        bands=bands,
        quality={name: Band(name, file) for name, file in found.items() if name not in BANDS},
        metadata=[marks[0][0]],
        facts={
            "product": text_of(xml, "PRODUCT_URI"),
            "level": level,
            "baseline": text_of(xml, "PROCESSING_BASELINE"),
            "saturated": SATURATED,
        },
        warnings=tuple(warnings),
    ).open()


def _require_one_granule(root: Path, inside: Mapping[str, str]) -> None:
    granules = sorted({match[1] for match in map(_GRANULE.fullmatch, inside) if match})
    if len(granules) > 1:
        shown = ", ".join(granules[:4]) + ", ..." * (len(granules) > 4)
        raise InputError(
            f"{root}: holds {len(granules)} granules ({shown}), each a scene of its own: give products of one granule, "
            "as they are delivered since December 2016"
        )


def _found(inside: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Name and file of each band, the finest that is there."""
    finest = dict[str, tuple[int, str]]()
    for name, file in inside.items():
        if match := _IMAGE.fullmatch(name) or _MASK.fullmatch(name):
            place = int(match[3] or 0), file
            finest[match[2]] = min(place, finest.get(match[2], place))
    return ((name, file) for name, (_, file) in sorted(finest.items()))


def _numbers(root: Path, xml: Element) -> dict[str, tuple[float, float]]:
    """Scale and offset of each band: ``DN * scale + offset`` is reflectance."""
    names = {
        each.get("bandId", ""): _name(each.get("physicalBand", ""))
        for each in all_named(xml, "Spectral_Information")
    } or {str(k): name for k, name in enumerate(BANDS)}
    level = "BOA" if text_of(xml, "BOA_QUANTIFICATION_VALUE") else "RADIO"
    quantity = "BOA_QUANTIFICATION_VALUE" if level == "BOA" else "QUANTIFICATION_VALUE"
    whole = _number(root, quantity, text_of(xml, quantity))
    if whole <= 0:
        raise InputError(
            f"{root}: its metadata say {quantity} {whole:g}; copy it again from its origin"
        )
    added = dict.fromkeys(BANDS, 0.0)
    offsets = [*all_named(xml, f"{level}_ADD_OFFSET")]
    for each in offsets:
        name = names.get(each.get("band_id", ""), "")
        if name in added:
            added[name] = _number(root, f"{level}_ADD_OFFSET", each.text or "")
    _require_offsets(root, xml, len(offsets))
    return {name: (1 / whole, offset / whole) for name, offset in added.items()}


def _require_offsets(root: Path, xml: Element, count: int) -> None:
    """From baseline 04.00 on there are offsets, without which every value would be off by 0.1."""
    baseline = text_of(xml, "PROCESSING_BASELINE")
    if not count and re.fullmatch(r"\d\d\.\d\d", baseline) and "04.00" <= baseline < "99":
        raise InputError(
            f"{root}: is of processing baseline {baseline}, whose metadata name an offset for each band, and there is none; "
            "copy it again from its origin"
        )


def _name(physical: str) -> str:
    """``B1`` as the names of files have it."""
    return f"B0{physical[1]}" if re.fullmatch(r"B\d", physical) else physical


def _number(root: Path, name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(
            f"{root}: its metadata say no {name}, without which no value has a meaning; copy it again from its origin"
        )
    return value
