"""Folders and zip files that hold a model with its card. Nothing outside of them is ever read."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from seg_batch.core.errors import InputError
from seg_batch.io.archive import Limit, members, write_member

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
        with _opened(path) as file:
            room = min(MOST_BYTES, shutil.disk_usage(folder).free // 2)
            for member in members(file, str(path), room):
                most = Limit(room, "there is no room for it, is it the right file?")
                room -= write_member(member, folder, most, str(path))
        inside = list(folder.iterdir())
        yield inside[0] if len(inside) == 1 and inside[0].is_dir() else folder


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror}): let it be read") from None


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
