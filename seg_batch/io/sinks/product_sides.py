"""Side files beside products: those of an earlier output go with it, foreign ones are refused.

What a writer leaves beside the product in its ``.part`` folder is a part of the product. GDAL likes to
leave an ``.aux.xml`` there, so writers call ``drop_side_files`` before they add what is to be kept.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

from seg_batch.core.errors import OutputError
from seg_batch.core.georef import Georef, RasterGeoref
from seg_batch.core.registry.formats import names_folder
from seg_batch.io.sources.identity import side_identity
from seg_batch.io.sources.side_files import SideFile, others_of, side_files

_RPCS = (".rpb", ".rpc", "_rpc.txt", ".xml", "rpc.xml", "rpc.txt")


def drop_side_files(part: Path) -> None:
    """Remove all side files of a file that has just been written in a ``.part`` folder."""
    for side in side_files(part):
        part.with_name(side.name).unlink(missing_ok=True)


def left_side_files(path: Path) -> list[Path]:
    """The side files that go with an earlier output at ``path``: those that GDAL would read as part of
    the next one and that belong to no other image. RPCs of a satellite are never an output's, and a world
    file without an output is somebody else's."""
    if path.is_dir():
        return []
    world = path.exists()
    sides = (
        s for s in side_files(path) if s.is_read and (s.is_after_name or (s.is_world and world))
    )
    return [path.with_name(side.name) for side in sides if not _others(side, path)]


def require_no_foreign_side_files(path: Path, georef: Georef) -> None:
    """OutputError where a file that is no earlier output's would be read as part of a raster at ``path``."""
    if not isinstance(georef, RasterGeoref) or names_folder(path.name.lower()):
        return
    unplaced = georef.transform == RasterGeoref().transform
    for side in side_files(path):
        others = _others(side, path)
        is_read = side.is_after_name or (side.is_world and unplaced)
        kept = others or (side.is_world and not path.exists())
        if (is_read and kept and side.counts) or side.ending in _RPCS:
            of = f", which is of {others[0]}," if others else ""
            raise OutputError(
                f"{path.with_name(side.name)}{of} would be read as part of {path.name}, too, and "
                "change it: move it away, or use another output"
            )


def _others(side: SideFile, path: Path) -> list[str]:
    """The other images beside an output that one of its side files may belong to."""
    if side.is_after_name and side.name.startswith(path.name):
        return []
    return others_of(side, path.name, os.listdir(path.absolute().parent))


def side_digests(path: Path) -> dict[str, Any]:
    """The identities of the side files of a product that may change how it is read, by name."""
    sides = (side for side in side_files(path) if side.counts)
    known = {side.name: side_identity(path.with_name(side.name)) for side in sides}
    return {name: identity for name, identity in known.items() if identity is not None}


def side_file_changes(path: Path, ours: dict[str, Any]) -> list[str]:
    """A line for each side file by which a product at ``path`` is read otherwise than it was written:
    of ``ours`` those that changed or are gone; foreign ones unless they make no difference."""
    if path.is_dir():
        return []
    present = side_digests(path)
    changed = [
        f"{name} has changed" for name in ours if present.get(name, ours[name]) != ours[name]
    ]
    gone = [f"{name} is gone" for name in ours if name not in present]
    foreign = sorted(present.keys() - ours.keys())
    if foreign and not ours and is_read_alone(path):
        foreign = []
    return [*changed, *gone, *(f"{name} changes how it is read" for name in foreign)]


def is_read_alone(path: Path) -> bool:
    """Whether a raster is read with the files beside it as it is without them."""
    return _reading(path) == _reading(path, GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR")


def _reading(path: Path, **options: str) -> tuple[Any, ...]:
    """All that side files may change of a raster that is a product."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    from seg_batch.io.sources.formats.raster_georef import raster_georef

    try:
        with (
            warnings.catch_warnings(),
            rasterio.Env(**options),
            rasterio.open(path, driver="GTiff") as file,
        ):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            indexes = [i for i, c in zip(file.indexes, file.colorinterp, strict=True) if c == 2]
            return (
                raster_georef(file),
                repr(file.nodatavals),
                file.mask_flag_enums,
                (file.scales, file.offsets, file.descriptions, file.colorinterp),
                [file.colormap(i) for i in indexes],
            )
    except (RasterioError, ValueError) as error:
        return (str(error),)
