"""The files of a place: a folder with all below it, a zip, or one file.

Nothing is followed out of a place: symbolic links in it are set aside, as is all that is no regular file.
"""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from seg_batch.core.errors import InputError
from seg_batch.io.dicom.first_bytes import HEAD_BYTES, begins_dicom, is_index

MOST_FILES = 1_000_000
ZIP = (b"PK\x03\x04", b"PK\x05\x06")
# Deflate makes at most 1032 bytes of one. Files that unpack to more than this, by more than the ratio, are set aside.
_BOMB_BYTES, _BOMB_RATIO = 256 << 20, 200
_MOST_UNPACKED = 16 << 30
_READ = 1 << 15  # bytes at a time: most headers


@dataclass(frozen=True, slots=True)
class Member:
    """A file of a place: its name below the root (empty: the root itself), bytes, and time of change in ns
    (of a zip: its CRC). ``aside``: why it is not to be opened; empty where it may be."""

    name: str
    bytes: int
    stamp: int
    aside: str = ""


class Tree:
    """The files of a place, sorted by name within each folder. ``names``: of the only files that count; empty: all."""

    def __init__(self, root: str | Path, names: tuple[str, ...] = ()) -> None:
        self.root, self.names = Path(root), names

    def members(self) -> Iterator[Member]:
        """``OSError`` where the place can't be read at all; InputError where it holds too many files."""
        if not self.root.is_dir():
            yield _member(self.root, "")
            return
        paths = (str(self.root / name) for name in self.names) if self.names else _files(self.root)
        start = len(os.path.join(self.root, ""))
        for count, path in enumerate(paths):
            self.require_few(count)
            yield _member(Path(path), path[start:])

    def require_few(self, count: int) -> None:
        if count >= MOST_FILES:
            raise InputError(
                f"{self.root}: holds more than {MOST_FILES} files; name the folders in it one by one"
            )

    def open(self, name: str) -> BinaryIO:
        """A seekable file."""
        return (self.root / name if name else self.root).open("rb", buffering=_READ)


class Zip(Tree):
    """The files in a zip archive; each is unpacked as it is read, and never onto disk."""

    @cached_property
    def _archive(self) -> zipfile.ZipFile:
        return zipfile.ZipFile(self.root)

    def members(self) -> Iterator[Member]:
        seen, only = set[str](), set(self.names)
        infos = (info for info in self._archive.infolist() if not info.is_dir())
        for count, info in enumerate(sorted(infos, key=lambda info: info.filename)):
            self.require_few(count)
            if only and info.filename not in only:
                continue
            aside = "named twice in the zip" if info.filename in seen else _why_aside(info)
            seen.add(info.filename)
            yield Member(info.filename, info.file_size, info.CRC, aside)

    def open(self, name: str) -> BinaryIO:
        try:
            return self._archive.open(name)  # type: ignore[return-value]
        except (NotImplementedError, RuntimeError, zipfile.BadZipFile) as error:
            raise OSError(0, f"{error}") from None


def _member(path: Path, name: str) -> Member:
    """A file as it is now; nothing is opened, since to open a pipe would wait for its writer."""
    if name and path.is_symlink():
        return Member(name, 0, 0, "a symbolic link, which is not followed")
    try:
        info = path.stat()
    except OSError as error:
        if not name:
            raise
        return Member(name, 0, 0, f"can't be read ({error.strerror})")
    if stat.S_ISDIR(info.st_mode):  # _files yields only those that can't be listed
        return Member(name, 0, 0, "a folder that can't be listed")
    aside = "" if stat.S_ISREG(info.st_mode) else "no regular file"
    return Member(name, info.st_size, info.st_mtime_ns, aside)


def _why_aside(info: zipfile.ZipInfo) -> str:
    name, unix = PurePosixPath(info.filename.replace("\\", "/")), info.external_attr >> 16
    if name.is_absolute() or ".." in name.parts or "\0" in info.filename:
        return "its name leads out of the zip"
    if info.flag_bits & 1:
        return "encrypted"
    if unix and stat.S_IFMT(unix) not in (0, stat.S_IFREG):
        return "no regular file"
    ratio = info.file_size / max(1, info.compress_size)
    if info.file_size > _MOST_UNPACKED or (info.file_size > _BOMB_BYTES and ratio > _BOMB_RATIO):
        return "unpacks to far more than it takes in the zip"
    return ""


def holds_dicom(path: Path) -> bool:
    """Whether a file of a folder or zip begins as DICOM does. ``OSError`` where it can't be read."""
    tree = tree_at(path)
    try:
        return any(_begins(tree, member) for member in tree.members())
    except zipfile.BadZipFile:
        return False


def why_no_dicom(path: Path) -> str:
    """Why nothing in a zip is read, and what to do; one line without the path."""
    try:
        asides = [member.aside for member in Zip(path).members()]
    except zipfile.BadZipFile:
        return "a damaged zip archive, perhaps cut short; copy it again from its origin"
    if asides and all(asides):
        return f"a zip archive of which nothing is read ({asides[0]}); unpack it first, if you trust it"
    return "a zip archive without DICOM in it, which is not read; unpack it first"


def _begins(tree: Tree, member: Member) -> bool:
    if member.aside:
        return False
    try:
        with tree.open(member.name) as file:
            return begins_dicom(file.read(HEAD_BYTES))
    except (OSError, zipfile.BadZipFile, EOFError):
        return False


def is_zip(path: Path) -> bool:
    """Whether a file is a zip, by its first bytes. ``OSError`` where it can't be read."""
    info = path.stat()
    return stat.S_ISREG(info.st_mode) and _begins_zip(path, info.st_size, info.st_mtime_ns)


@lru_cache(maxsize=1 << 12)
def _begins_zip(path: Path, size: int, mtime_ns: int) -> bool:
    with path.open("rb") as file:
        return file.read(4) in ZIP


def tree_at(path: str | Path, names: tuple[str, ...] = ()) -> Tree:
    """The files at ``path``; at a DICOMDIR, those of its folder, since the index may name files that are gone, elsewhere, or
    fewer than there are. ``names``: of the only files that count; empty: all."""
    path = Path(path)
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        if head[:4] in ZIP:
            return Zip(path, names)
        if is_index(head):
            return Tree(path.parent, names)
    return Tree(path, names)


def _files(root: Path) -> Iterator[str]:
    """All that is no folder, below the root; folders that can't be listed, too. Files of a folder come before those
    deeper."""
    folders = [str(root)]
    while folders:
        folder = folders.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            if folder == str(root):
                raise
            yield folder
            continue
        inner = [e for e in entries if e.is_dir(follow_symlinks=False)]
        yield from (e.path for e in entries if not e.is_dir(follow_symlinks=False))
        folders += [e.path for e in reversed(inner)]
