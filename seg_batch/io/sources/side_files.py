"""The files beside an image that belong to it: GDAL reads them as part of it, or they travel with it.

GDAL takes the names of a folder without regard to case while it holds at most 1000 files, and tries
them in small and in capital letters where it holds more. So does ``side_files``.
"""

from __future__ import annotations

import os
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice, product
from pathlib import Path

from seg_batch.core.registry.formats import FORMATS, split, voxel_endings

_LISTED = 1000  # GDAL_READDIR_LIMIT_ON_OPEN
_HEAD_BYTES = 4096
_MOST_HELD = 200_000  # names of one folder
_SETTLED_NS = 5_000_000_000

# After the whole name of an image, also one after the other: ``a.tif.msk.aux.xml``.
AUXILIARY, MASK, OVERVIEWS = ".aux.xml", ".msk", ".ovr"
_AFTER_NAME = (AUXILIARY, MASK, OVERVIEWS)
_CHAIN = re.compile(r"(\.aux\.xml|\.msk|\.ovr)+")
# After its stem: metadata of satellites, which may hold RPCs; world files too.
_RPCS = (".rpb", ".rpc", "_rpc.txt")
_READ = (*_RPCS, ".imd", ".pvl", ".pass", "_metadata.txt", "_metadata.xml", "_mtl.txt")
# After its stem, read by GDAL where they begin so.
_READ_IF = {
    ".xml": re.compile(b"<isd>"),
    ".aux": re.compile(b"EHFA_HEADER_TAG"),
    ".tab": re.compile(rb'(?i)type\s+"?raster'),  # vector tables of MapInfo have this ending, too
}
# The same, read beside one of others.
_READ_WITH = {".xml": {".imd", ".rpb"}, ".txt": {".rpc"}, ".eph": {".rpc"}}
_READ_MAYBE = {*_READ_IF, *_READ_WITH}
# After its stem, read by other programs: they only travel.
_TRAVEL = (".prj", ".qpj")
_TRAVEL_WITH_VOLUMES = (".json", ".bval", ".bvec")
_PACKED = (".gz", ".bz2")  # after the ending of voxels beside a header
_FOREIGN_IMAGES = (".jp2", ".bmp", ".gif", ".webp", ".img", ".vrt", ".ecw", ".sid", ".ntf", ".bil")
# ``RPC_X.XML`` of ``IMG_X_R1C1.TIF`` and others like it.
_VENDOR = tuple(product(("rpc", "dim", "hdr"), (".xml", ".txt")))
_VENDOR_BEGINS = tuple({begin for begin, _ in _VENDOR})
_TILE = re.compile(r"_r\d+c\d+$")
_LANDSAT_BAND, _LANDSAT = re.compile(r"_b.*$"), "_mtl.txt"  # one for all bands of a scene


@dataclass(frozen=True, order=True)
class SideFile:
    """A file beside an image. ``ending``: what follows the stem or the whole name of the image, in small
    letters. ``is_read``: GDAL reads it as part of the image; ``counts``: it may change pixels, place or
    validity, which overviews can't."""

    name: str
    ending: str
    is_read: bool = True

    @property
    def is_read_if(self) -> bool:
        """Whether GDAL reads it only after a look into it or beside another."""
        return self.ending in _READ_MAYBE

    @property
    def counts(self) -> bool:
        return self.is_read and OVERVIEWS not in self.ending

    @property
    def is_world(self) -> bool:
        """Whether it gives the place in the way of ESRI or MapInfo."""
        return self.ending.endswith("w") or self.ending in (".wld", ".tab")

    @property
    def is_after_name(self) -> bool:
        """Whether it can belong to one image only, whose whole name it begins with."""
        return _CHAIN.fullmatch(self.ending) is not None


def side_files(path: Path, names: Iterable[str] | None = None) -> list[SideFile]:
    """The side files of an image that exist now, in the order of their names. ``names``: those in its
    folder, where they are known; else the folder is looked at."""
    names = _names_beside(path) if names is None else names
    sides = sides_of(path.name, names)
    endings = {side.ending for side in sides}
    return sorted(side for side in sides if _is_read(path, side, endings))


def sides_of(image: str, names: Iterable[str]) -> list[SideFile]:
    """The side files of an image among ``names``, by names alone."""
    stem = _stem(image.lower())[0]
    begins = (_scene(stem), *_VENDOR_BEGINS) if _of_vendors(stem) else _scene(stem)
    near = (name for name in names if name.lower().startswith(begins))
    return [side for name in near if (side := side_of(image, name)) is not None]


def side_of(image: str, name: str) -> SideFile | None:
    """What the file ``name`` is to the image of this name beside it, by the names alone."""
    low, whole = name.lower(), image.lower()
    stem, ending = _stem(whole)
    is_raster = ending not in _of_volumes()
    if low.startswith(whole) and _CHAIN.fullmatch(low, len(whole)):
        return SideFile(name, low[len(whole) :], is_raster)
    if low.startswith(stem):
        rest = low[len(stem) :]
        if rest in voxel_endings(ending):
            return SideFile(name, rest)
        if is_raster and (rest in _READ or rest in _READ_MAYBE or rest in _world(ending)):
            return SideFile(name, rest)
        if rest in (_TRAVEL if is_raster else _TRAVEL_WITH_VOLUMES):
            return SideFile(name, rest, is_read=False)
    if is_raster and low == _scene(stem) + _LANDSAT:
        return SideFile(name, _LANDSAT)
    return SideFile(name, low[:3] + low[-4:]) if low in _of_vendors(stem) else None


def lacks_voxels(image: str, sides: Iterable[SideFile]) -> str:
    """The name of a file that an image waits for: a header's voxels, where none of its side files holds them. Empty
    where nothing is lacking."""
    stem, ending = _stem(image)
    wanted = voxel_endings(ending)
    here = wanted and any(side.ending in wanted for side in sides)
    return "" if here or not wanted else stem + wanted[0]


def side_files_of(images: Iterable[str], names: Iterable[str]) -> dict[str, list[SideFile]]:
    """The side files among ``names`` of each of ``images``, by names alone. What goes by the stem may
    belong to several images."""
    by_name: dict[str, list[str]] = defaultdict(list)
    for image in images:
        stem = _stem(image.lower())[0]
        for key in {image.lower(), stem, _scene(stem)}:
            by_name[key].append(image)
    sides: dict[str, list[SideFile]] = defaultdict(list)
    for name in names:
        for image in {i for base in _bases(name.lower()) for i in by_name.get(base, ())}:
            if (side := side_of(image, name)) is not None:
                sides[image].append(side)
    return sides


def renamed(side: SideFile, image: str, new: str) -> str:
    """The name of a side file of ``image`` once the image is called ``new``."""
    if side.is_after_name:
        return new + side.name[len(image) :]
    old_stem, new_stem = _stem(image)[0], _stem(new)[0]
    if side.name.lower().startswith(old_stem.lower()):
        return new_stem + side.name[len(old_stem) :]
    if side.ending == _LANDSAT:
        return side.name  # a scene's, whatever its bands are called
    return side.name[:3] + new_stem[3:] + side.name[-4:]


def others_of(side: SideFile, image: str, names: Iterable[str]) -> list[str]:
    """The images among ``names`` besides ``image`` that a side file may belong to; none where its name
    begins with that of ``image`` to the letter."""
    if side.is_after_name and side.name.startswith(image):
        return []
    images = (name for name in names if name not in (image, side.name) and is_image_name(name))
    return sorted(name for name in images if side_of(name, side.name) is not None)


def is_image_name(name: str) -> bool:
    """Whether a name ends as those of images do, also of formats that are not read here."""
    return bool(split(name)[1]) or name.lower().endswith(_FOREIGN_IMAGES)


@cache
def _of_volumes() -> frozenset[str]:
    forms = [form for form in FORMATS.values() if form.kind == "volume"]
    return frozenset(e for form in forms for e in (*form.endings, *form.shared_endings))


def _stem(image: str) -> tuple[str, str]:
    stem, ending = split(image)
    return (stem, ending) if ending else os.path.splitext(image)


def _scene(stem: str) -> str:
    """The stem of a band of Landsat, in small letters, without the name of the band."""
    return _LANDSAT_BAND.sub("", stem)


def _world(ending: str) -> set[str]:
    """The endings of world files of an image with this ending: ``.tfw`` and ``.tifw`` of ``.tif``."""
    return {".wld", *({f".{ending[1]}{ending[-1]}w", f"{ending}w"} if len(ending) > 2 else ())}


def _of_vendors(stem: str) -> set[str]:
    if not stem.startswith("img"):
        return set()
    rests = {stem[3:], _TILE.sub("", stem[3:])}
    return {f"{kind}{rest}{ending}" for kind, ending in _VENDOR for rest in rests}


def _bases(low: str) -> Iterator[str]:
    """The names and stems of images that a file of this name may belong to."""
    base = low
    while base.endswith(_AFTER_NAME):
        base = base.removesuffix(next(end for end in _AFTER_NAME if base.endswith(end)))
        yield base
    yield os.path.splitext(low)[0]
    if low.endswith(_PACKED):
        yield os.path.splitext(os.path.splitext(low)[0])[0]
    if low.startswith(_VENDOR_BEGINS):
        yield f"img{low[3:-4]}"
    yield from (low.removesuffix(end) for end in _READ if end[0] == "_" and low.endswith(end))


def _is_read(path: Path, side: SideFile, endings: set[str]) -> bool:
    """Whether it is a file, and begins as one must that is read only then. ``endings``: of all that
    lie beside the image."""
    at, wanted = path.with_name(side.name), _READ_IF.get(side.ending)
    if not at.is_file():
        return False
    if not side.is_read_if or endings & _READ_WITH.get(side.ending, set()):
        return True
    if wanted is None:
        return False
    try:
        with at.open("rb") as file:
            return wanted.search(file.read(_HEAD_BYTES)) is not None
    except OSError:
        return False


def _names_beside(path: Path) -> list[str]:
    """The names in the folder of an image; of those in a large one only the ones that GDAL tries."""
    folder = os.path.dirname(os.path.abspath(path))
    if (known := _large.names(folder)) is not None:
        return [name for name in _tried(path.name) if name in known]
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in islice(entries, _LISTED + 1)]
    except OSError:  # it may be entered, but not listed
        names = []
    if 0 < len(names) <= _LISTED:
        return names
    _large.look(folder)
    return [name for name in _tried(path.name) if os.path.lexists(os.path.join(folder, name))]


class _LargeFolders:
    """The names in a large folder, which are looked up for each of its thousands of images: those of the last folder, while it
    does not change. Any thread may ask."""

    def __init__(self) -> None:
        self._held: tuple[str, int, frozenset[str]] = ("", 0, frozenset())

    def names(self, folder: str) -> frozenset[str] | None:
        """None where they are not known."""
        there, changed, names = self._held
        return names if there == folder and changed == _changed(folder) else None

    def look(self, folder: str) -> None:
        """Take the names in; not where the folder changed just now, for its time may stay the same at the next change, nor
        where they are very many."""
        before = _changed(folder)
        if before is None or abs(time.time_ns() - before) < _SETTLED_NS:
            return
        try:
            with os.scandir(folder) as entries:
                names = frozenset(entry.name for entry in islice(entries, _MOST_HELD + 1))
        except OSError:
            return
        if len(names) <= _MOST_HELD and _changed(folder) == before:
            self._held = folder, before, names


_large = _LargeFolders()


def _changed(folder: str) -> int | None:
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return None


def _tried(image: str) -> Iterator[str]:
    stem, ending = _stem(image)
    after_stem = {
        *_READ,
        *_READ_MAYBE,
        *_TRAVEL,
        *_TRAVEL_WITH_VOLUMES,
        *_world(ending.lower()),
        *voxel_endings(ending),
    }
    twice = (a + b for a, b in product((MASK, OVERVIEWS), _AFTER_NAME))
    for base, endings in ((image, (*_AFTER_NAME, *twice)), (stem, sorted(after_stem))):
        for end in endings:
            yield from dict.fromkeys((base + end, base + end.upper()))
    if (scene := stem[: len(_scene(stem.lower()))]) != stem:
        yield from (scene + _LANDSAT, scene + _LANDSAT.upper(), scene + "_MTL.txt")
    for name in sorted(_of_vendors(stem.lower())):
        yield from (name, name.upper())
