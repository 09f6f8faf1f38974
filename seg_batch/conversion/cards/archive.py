"""Folders and zip files that hold a model with its card. Nothing outside of them is ever read."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from seg_batch.core.errors import InputError
from seg_batch.core.files import translate_os_errors
from seg_batch.core.units import show_bytes
from seg_batch.io.archive import Member, members, path_inside

MOST_BYTES = 16 << 30  # unpacked
ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz")


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """The folder of an archive while the context lasts; anything else as it is."""
    if not path.name.lower().endswith(ENDINGS) or not path.is_file():
        yield path
        return
    with TemporaryDirectory(prefix="segbatch-") as temporary:
        folder = Path(temporary) / "content"
        folder.mkdir()
        with translate_os_errors(path), path.open("rb") as file:
            room = min(MOST_BYTES, shutil.disk_usage(folder).free // 2)
            for member in members(file, str(path), room):
                room -= _extract(member, folder, room, path)
        inside = list(folder.iterdir())
        yield inside[0] if len(inside) == 1 and inside[0].is_dir() else folder


def _extract(member: Member, folder: Path, room: int, path: Path) -> int:
    """Write one file; its size in bytes, counted as it comes. InputError for a link, or a path that leads outside."""
    parts = path_inside(member, str(path))
    if member.kind == "folder" or not parts:
        return 0
    target = folder.joinpath(*parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with target.open("xb") as file:
        for chunk in member.chunks():
            written += len(chunk)
            if written > room:
                raise InputError(
                    f"{path} unpacks to more than there is room for, {show_bytes(room)}: is it the right file?"
                )
            file.write(chunk)
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
