"""Folders and zip files that hold a model with its card. Nothing outside of them is ever read."""

from __future__ import annotations

import shutil
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from seg_batch.core.errors import InputError
from seg_batch.core.units import show_bytes

MOST_FILES = 2000
MOST_BYTES = 16 << 30  # unpacked
_PIECE = 1 << 20


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """The folder of a zip file while the context lasts; anything else as it is."""
    if not zipfile.is_zipfile(path) or path.suffix.lower() != ".zip":
        yield path
        return
    with TemporaryDirectory(prefix="segbatch-") as temporary:
        folder = Path(temporary) / "content"
        folder.mkdir()
        _unpack(path, folder)
        inside = list(folder.iterdir())
        yield inside[0] if len(inside) == 1 and inside[0].is_dir() else folder


def _unpack(path: Path, folder: Path) -> None:
    """All files of a zip; InputError where it holds a link, a path outside, or too much."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > MOST_FILES:
                raise InputError(
                    f"{path} holds {len(members)} files, and a model has fewer than {MOST_FILES}: unpack what is needed"
                )
            room = min(MOST_BYTES, shutil.disk_usage(folder).free // 2)
            for member in members:
                room -= _extract(archive, member, folder, room, path)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise InputError(f"{path} can't be unpacked ({error}): fetch it again") from None


def _extract(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path, room: int, path: Path
) -> int:
    """Write one file; its size in bytes, counted as it comes."""
    name = PurePosixPath(member.filename.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or ":" in member.filename or not name.parts:
        raise InputError(
            f"{path} holds {member.filename!r}, a path outside of it: it was made to do harm, or by mistake"
        )
    mode = member.external_attr >> 16
    if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise InputError(
            f"{path} holds {member.filename!r}, a link or a device: put the file itself there"
        )
    target = folder / name
    if member.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        return 0
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with archive.open(member) as source, target.open("xb") as file:
        while piece := source.read(_PIECE):
            written += len(piece)
            if written > room:
                raise InputError(
                    f"{path} unpacks to more than there is room for, {show_bytes(room)}: is it the right file?"
                )
            file.write(piece)
    return written


def file_inside(folder: Path, name: str, whose: str) -> Path:
    """The file of that name in a folder; InputError where it is an address, lies outside or is not there."""
    if "://" in name:
        raise InputError(
            f"{whose} is at {name[:80]}, and nothing is fetched unasked: fetch it, put it beside the document and name "
            "it there"
        )
    path = folder / name
    inside = path.resolve().is_relative_to(folder.resolve())
    if not name or Path(name).is_absolute() or not inside:
        raise InputError(
            f"{whose} is {name!r}, outside of the folder of its document: put it inside"
        )
    if not path.is_file():
        raise InputError(f"{whose} is {name!r}, and {folder} has no such file: fetch it whole")
    return path
