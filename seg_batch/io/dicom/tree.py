"""The files of a place: a folder with all below it, a zip, or one file."""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from seg_batch.core.errors import InputError

MOST_FILES = 1_000_000
_PREAMBLE = 128  # bytes before the magic ones
ZIP = (b"PK\x03\x04", b"PK\x05\x06")


@dataclass(frozen=True, slots=True)
class Member:
    """A file of a place: its name below the root (empty: the root itself), bytes, and time of change in ns
    (of a zip: its CRC)."""

    name: str
    bytes: int
    stamp: int


class Tree:
    """The files of a place, sorted by name. Symbolic links that lead out of a folder are left out."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def members(self) -> Iterator[Member]:
        if not self.root.is_dir():
            info = self.root.stat()
            yield Member("", info.st_size, info.st_mtime_ns)
            return
        inside = os.path.realpath(self.root)
        for count, path in enumerate(_files(self.root, inside)):
            if count == MOST_FILES:
                raise InputError(
                    f"{self.root}: holds more than {MOST_FILES} files; name the folders in it one by one"
                )
            info = path.stat()
            if stat.S_ISREG(info.st_mode):
                yield Member(str(path.relative_to(self.root)), info.st_size, info.st_mtime_ns)

    def open(self, name: str) -> BinaryIO:
        """A seekable file."""
        return (self.root / name if name else self.root).open("rb")


class Zip(Tree):
    """The files in a zip archive; each is unpacked as it is read."""

    def members(self) -> Iterator[Member]:
        with zipfile.ZipFile(self.root) as archive:
            for info in sorted(archive.infolist(), key=lambda info: info.filename):
                if not info.is_dir():
                    yield Member(info.filename, info.file_size, info.CRC)

    def open(self, name: str) -> BinaryIO:
        with zipfile.ZipFile(self.root) as archive:
            return archive.open(name)  # type: ignore[return-value]


def holds_dicom(path: Path) -> bool:
    """Whether a file of a folder or zip begins as DICOM does. ``OSError`` where it can't be read."""
    tree = tree_at(path)
    try:
        return any(_begins(tree, member) for member in tree.members())
    except zipfile.BadZipFile:
        return False


def _begins(tree: Tree, member: Member) -> bool:
    if member.bytes <= _PREAMBLE:
        return False
    with tree.open(member.name) as file:
        return file.read(_PREAMBLE + 4)[_PREAMBLE:] == b"DICM"


def tree_at(path: str | Path) -> Tree:
    """The files at ``path``."""
    path = Path(path)
    if path.is_file():
        with path.open("rb") as file:
            if file.read(4) in ZIP:
                return Zip(path)
    return Tree(path)


def _files(folder: Path, inside: str) -> Iterator[Path]:
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.is_symlink() and not _is_below(entry.path, inside):
            continue
        if entry.is_dir():
            if not entry.is_symlink():
                yield from _files(Path(entry.path), inside)
        else:
            yield Path(entry.path)


def _is_below(path: str, inside: str) -> bool:
    return os.path.realpath(path).startswith(os.path.join(inside, ""))
