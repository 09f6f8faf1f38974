"""Landsat 4 to 9, Collection 2, levels 1 and 2: a folder of GeoTIFFs with ``*_MTL.txt``, ``.json`` or ``.xml``.

Values are ``DN * MULT + ADD`` by the metadata: reflectance, of level 2 temperature in kelvin, and of the thermal bands of
level 1 radiance. DN 0 is no data.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path

from seg_batch.core.errors import InputError
from seg_batch.io.sources.formats.satellites.band_file import Band
from seg_batch.io.sources.formats.satellites.product import Product
from seg_batch.io.sources.formats.satellites.tree import Tree
from seg_batch.io.sources.formats.satellites.xml import parsed
from seg_batch.io.sources.protocol import Source

Group = dict[str, str]

MTL = re.compile(r"[^/]+_MTL\.(?:txt|json|xml)")
FOLDER = re.compile(r"l[cote]0[4-9]_l[12][a-z]{2}_\d{6}_\d{8}_\d{8}_02_(t1|t2|rt)(\.tar)?")
_ROOT = "LANDSAT_METADATA_FILE"
_ORDER = (".json", ".txt", ".xml")  # of equals the first that is there
_OLI = {
    "1": ("coastal", 0.443), "2": ("blue", 0.482), "3": ("green", 0.561), "4": ("red", 0.655),
    "5": ("nir08", 0.865), "6": ("swir16", 1.609), "7": ("swir22", 2.201), "8": ("pan", None),
    "9": ("cirrus", 1.373), "10": ("lwir11", 10.9), "11": ("lwir12", 12.0),
}  # fmt: skip
_TM = {
    "1": ("blue", 0.485), "2": ("green", 0.56), "3": ("red", 0.66), "4": ("nir08", 0.835),
    "5": ("swir16", 1.65), "6": ("lwir", 11.45), "7": ("swir22", 2.215), "8": ("pan", None),
}  # fmt: skip
_BAND_KEY = re.compile(r"FILE_NAME_BAND_(ST_B)?(\d+)(_VCID_[12])?")
_QUALITY_KEY = re.compile(r"FILE_NAME_(?:QUALITY|ANGLE|CLOUD|ATMOSPHERIC|EMISSIVITY)_?\w*")
_QUALITY = re.compile(r"(QA_PIXEL|QA_RADSAT|SR_QA_AEROSOL|SR_CLOUD_QA|ST_QA|SR_ATMOS_OPACITY)$")


def holds_landsat(path: Path) -> bool:
    """Whether a folder has the metadata of a scene."""
    return path.is_dir() and any(MTL.fullmatch(entry.name) for entry in path.iterdir())


def open_landsat(path: Path) -> Source:
    """The image of a scene. ``InputError`` where the folder holds several, or its metadata are none of Collection 2."""
    root = path if path.is_dir() else path.parent
    tree = Tree.of(root)
    marks = [name for name in tree.names if MTL.fullmatch(name)]
    scenes = sorted({name.rsplit("_MTL.", 1)[0] for name in marks})
    if len(scenes) != 1:
        raise InputError(
            f"{root}: holds the metadata of {len(scenes)} scenes ({', '.join(scenes[:4])}): give one folder for each"
        )
    mark = min(marks, key=lambda name: _ORDER.index(name[name.rindex(".") :]))
    groups = _groups(tree.text(mark), f"{root}/{mark}")
    return _Scene(root, groups).product(tree, mark).open()


class _Scene:
    """The metadata of a scene, by group."""

    def __init__(self, root: Path, groups: Mapping[str, Group]) -> None:
        self.root, self.groups = root, groups
        self.contents = groups.get("PRODUCT_CONTENTS", {})
        self.level = self.contents.get("PROCESSING_LEVEL", "")
        if self.contents.get("COLLECTION_NUMBER", "").lstrip("0") != "2":
            raise InputError(
                f"{root}: its metadata are not those of a scene of Collection 2, whose values this reads: order the scene "
                "anew, or give its bands with --stack"
            )

    def product(self, tree: Tree, mark: str) -> Product:
        here = set(tree.names)
        bands = [band for band in map(self._band, self.contents) if band is not None]
        bands.sort(key=lambda band: (band.name.startswith("ST_"), *_order(band.name)))
        lacks = [band.name for band in bands if band.file not in here]
        there = [band for band in bands if band.file in here]
        warnings = (
            [f"its folder lacks {', '.join(lacks)}: only part of the scene is here"]
            if lacks
            else []
        )
        if self.level.startswith("L1"):
            warnings.append("reflectance of level 1 is not corrected for the elevation of the sun")
        return Product(
            format="landsat",
            tree=tree,
            bands=there,
            quality={n: Band(n, file) for n, file in self._quality.items() if file in here},
            metadata=[mark],
            facts={
                "product": self.contents.get("LANDSAT_PRODUCT_ID", ""),
                "level": self.level,
                "spacecraft": self._spacecraft,
                "saturated": 65535,
            },
            warnings=tuple(warnings),
        )

    @property
    def _spacecraft(self) -> str:
        return self.groups.get("IMAGE_ATTRIBUTES", {}).get("SPACECRAFT_ID", "")

    @property
    def _quality(self) -> dict[str, str]:
        """Name of each band of quality -> its file."""
        files = (self._file(key) for key in self.contents if _QUALITY_KEY.fullmatch(key))
        named = ((_QUALITY.search(file.rsplit(".", 1)[0]), file) for file in files)
        return {match[1]: file for match, file in named if match}

    def _file(self, key: str) -> str:
        """The name of a file. InputError where it leads out of the folder."""
        name = self.contents[key]
        if not re.fullmatch(r"[\w.-]{1,200}\.(?:tif|TIF|tiff|TIFF)", name, re.ASCII):
            raise InputError(
                f"{self.root}: its metadata name {name[:60]!r} as a file, which is none of a scene; get it from its origin"
            )
        return name

    def _band(self, key: str) -> Band | None:
        match = _BAND_KEY.fullmatch(key)
        if match is None:
            return None
        surface, number, mode = match[1] or "", match[2], match[3] or ""
        oli = self._spacecraft in ("LANDSAT_8", "LANDSAT_9")
        common, length = (_OLI if oli else _TM).get(number, ("", None))
        scale, offset = self._numbers(surface, number, mode)
        name = f"{surface or 'B'}{number}{mode}"
        return Band(name, self._file(key), common, length, scale, offset, nodata=0)

    def _numbers(self, surface: str, number: str, mode: str) -> tuple[float, float]:
        """MULT and ADD of a band, of the level of the scene: metadata of level 2 repeat those of level 1."""
        if surface:
            group, quantities = "LEVEL2_SURFACE_TEMPERATURE_PARAMETERS", ["TEMPERATURE"]
        elif self.level.startswith("L2"):
            group, quantities = "LEVEL2_SURFACE_REFLECTANCE_PARAMETERS", ["REFLECTANCE"]
        else:
            group, quantities = "LEVEL1_RADIOMETRIC_RESCALING", ["REFLECTANCE", "RADIANCE"]
        said, band = self.groups.get(group, {}), f"BAND_{surface}{number}{mode}"
        for quantity in quantities:
            keys = [f"{quantity}_{kind}_{band}" for kind in ("MULT", "ADD")]
            if keys[0] in said:
                scale, offset = (self._number(key, said.get(key, "")) for key in keys)
                return scale, offset
        raise self._lack(f"{quantities[0]}_MULT_{band}")

    def _number(self, key: str, text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise self._lack(key)
        return value

    def _lack(self, key: str) -> InputError:
        return InputError(
            f"{self.root}: its metadata say no {key}, without which the band has no meaning; copy it again from its origin"
        )


def _order(name: str) -> tuple[int, str]:
    number = re.search(r"\d+", name)
    return (int(number[0]) if number else 0, name)


def _groups(content: bytes, where: str) -> dict[str, Group]:
    """The groups of a file of metadata; where several have one name, the first."""
    start = content.lstrip()[:1]
    if start == b"<":
        root = parsed(content, where)
        pairs = [(g.tag, {v.tag: (v.text or "").strip() for v in g}) for g in root]
    elif start == b"{":
        pairs = _of_json(content, where)
    else:
        pairs = _of_odl(content.decode("utf-8", "replace"))
    groups = dict[str, Group]()
    for name, values in pairs:
        groups.setdefault(name, values)
    return groups


def _of_json(content: bytes, where: str) -> list[tuple[str, Group]]:
    try:
        root = json.loads(content)[_ROOT]
        return [(name, {k: str(v) for k, v in group.items()}) for name, group in root.items()]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{where} can't be read as JSON of a scene ({error}); copy it again from its origin"
        ) from error


def _of_odl(text: str) -> list[tuple[str, Group]]:
    """``GROUP = NAME`` ... ``KEY = VALUE`` ... ``END_GROUP = NAME``."""
    pairs, open_groups = list[tuple[str, Group]](), list[Group]()
    for line in text.splitlines():
        key, equals, value = (part.strip() for part in line.partition("="))
        if not equals:
            continue
        if key == "GROUP":
            pairs.append((value, {}))
            open_groups.append(pairs[-1][1])
        elif key == "END_GROUP":
            open_groups[-1:] = []
        elif open_groups:
            open_groups[-1].setdefault(key, value.strip('"'))
    return pairs
