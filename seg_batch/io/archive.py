"""What lies in a ``.zip``, ``.tar`` or ``.tar.gz``, whoever made it: its members, read piece by piece."""

from __future__ import annotations

import gzip
import os
import re
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal

from seg_batch.core.errors import InputError, SegbatchError
from seg_batch.core.files import translate_os_errors
from seg_batch.core.text import visible
from seg_batch.core.units import show_bytes

MOST_MEMBERS = 1000
CHUNK_BYTES = 1 << 18
# A directory of a zip, an extended header of a tar: readers take them whole, whatever size they claim.
_MOST_AT_ONCE = 1 << 20
_SLACK_BYTES = MOST_MEMBERS * 4096  # headers between the files of a tar


@dataclass(frozen=True)
class Member:
    """A file or folder in an archive, by the name that it has there; ``chunks()`` of its bytes."""

    name: str
    kind: Literal["file", "folder", "link", "device"]
    chunks: Callable[[], Iterator[bytes]]


@dataclass(frozen=True)
class Limit:
    """How large a file may be, and what to do where it is larger."""

    bytes: int
    remedy: str = "if it should be, allow more with --max-size"

    def require(self, size: int, what: object) -> None:
        """InputError for a larger size."""
        if size > self.bytes:
            raise InputError(f"{what} is larger than {show_bytes(self.bytes)}: {self.remedy}")


def members(file: IO[bytes], where: str, most_bytes: int) -> Iterator[Member]:
    """All members, in the order of the archive; each is read before the next one is asked for.

    InputError (one line, which begins with ``where``) for what is no sound archive, or has too much in it.
    """
    file.seek(0)
    head = file.read(512)
    file.seek(0)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        found = _in_zip(file, where)
    elif head.startswith(b"\x1f\x8b"):
        found = _in_tar(gzip.GzipFile(fileobj=file), where, most_bytes)
    elif head[257:262] == b"ustar":
        found = _in_tar(file, where, most_bytes)
    else:
        page = head.lstrip().startswith(b"<")
        what = (
            "it is a web page, so give the address of the file itself" if page else "pack it as one"
        )
        raise InputError(f"{where} is no .zip, .tar or .tar.gz: {what}")
    for count, member in enumerate(found):
        if count == MOST_MEMBERS:
            raise InputError(
                f"{where} holds more than {MOST_MEMBERS} files, and a model has a few: pack it alone"
            )
        yield member


def path_inside(member: Member, where: str) -> tuple[str, ...]:
    """The path of a member, which stays inside and is no link; InputError otherwise."""
    name = visible(member.name[:200])
    if member.kind not in ("file", "folder"):
        raise InputError(
            f"{where}: {name} is a {member.kind}, which may lead anywhere: pack plain files"
        )
    parts = PurePosixPath(member.name).parts  # without "."
    outside = (
        member.name.startswith("/") or ".." in parts or re.search(r"[\\:\x00-\x1f]", member.name)
    )
    if outside:
        raise InputError(
            f"{where}: the path {name} leads outside of the bundle: pack it with plain names"
        )
    if any(len(part.encode("utf-8", "replace")) > 200 for part in parts):
        raise InputError(f"{where}: {name[:60]}... is too long a name: shorten it")
    return parts


def write_member(member: Member, folder: Path, most: Limit, where: str) -> int:
    """Write it below ``folder`` unless it is a folder itself; its size in bytes, counted as it comes.

    InputError as of ``path_inside``, for one that is there already, in other letters too, or under a file, and for more
    than ``most``; OutputError where the disk refuses.
    """
    parts, name = path_inside(member, where), f"{where}: {visible(member.name)}"
    if member.kind == "folder" or not parts:
        return 0
    target, written = folder.joinpath(*parts), 0
    with translate_os_errors(target):
        above = [path for path in target.parents if path.is_relative_to(folder)]
        clashes = any(path.is_file() for path in above)
        if not clashes:
            target.parent.mkdir(parents=True, exist_ok=True)
            clashes = target.name.lower() in map(str.lower, os.listdir(target.parent))
        if clashes:
            raise InputError(
                f"{name} is in it twice, or a file and a folder have one name: have it packed anew"
            )
        with target.open("xb") as file:
            for chunk in member.chunks():
                written += len(chunk)
                most.require(written, name)
                file.write(chunk)
    return written


def _in_zip(file: IO[bytes], where: str) -> Iterator[Member]:
    with _sound(where):
        archive = zipfile.ZipFile(Bounded(file))  # type: ignore[arg-type]
        infos = archive.infolist()
    for info in infos:
        if info.flag_bits & 1:
            raise InputError(f"{where}: {info.filename} is encrypted: pack it without a password")

        def opened(info: zipfile.ZipInfo = info) -> Any:
            return archive.open(info)

        yield Member(info.filename, _zip_kind(info), _reader(opened, where))


def _zip_kind(info: zipfile.ZipInfo) -> Literal["file", "folder", "link", "device"]:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "link"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "device"
    return "folder" if info.is_dir() else "file"


def _in_tar(file: Any, where: str, most_bytes: int) -> Iterator[Member]:
    bounded = Bounded(file, most_bytes + _SLACK_BYTES)
    with _sound(where):
        archive = tarfile.TarFile(fileobj=bounded)  # type: ignore[arg-type]
    while True:
        with _sound(where):
            info = archive.next()
        if info is None:
            return

        def opened(info: tarfile.TarInfo = info) -> Any:
            return archive.extractfile(info)

        yield Member(info.name, _tar_kind(info), _reader(opened, where))


def _tar_kind(info: tarfile.TarInfo) -> Literal["file", "folder", "link", "device"]:
    if info.issym() or info.islnk():
        return "link"
    if info.isdir():
        return "folder"
    plain = info.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not info.issparse()
    return "file" if plain else "device"


def _reader(opened: Callable[[], Any], where: str) -> Callable[[], Iterator[bytes]]:
    def chunks() -> Iterator[bytes]:
        with _sound(where):
            file = opened()
        with file:
            while True:
                with _sound(where):
                    chunk = file.read(CHUNK_BYTES)
                if not chunk:
                    return
                yield chunk

    return chunks


class Bounded:
    """A file of which no reader takes much at once, nor anything beyond ``most_bytes``."""

    mode = "rb"

    def __init__(self, file: Any, most_bytes: int | None = None) -> None:
        self._file, self._most = file, most_bytes
        self.tell, self.seekable, self.close = file.tell, file.seekable, lambda: None

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence == 0:
            self._require(offset)
        return self._file.seek(offset, whence)

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(min(size, _MOST_AT_ONCE + 1) if size >= 0 else _MOST_AT_ONCE + 1)
        if len(data) > _MOST_AT_ONCE:
            raise ValueError("a header in it is far too large")
        self._require(self._file.tell())
        return data

    def _require(self, offset: int) -> None:
        if self._most is not None and offset > self._most:
            raise ValueError(f"it unpacks to more than {show_bytes(self._most)}; see --max-size")


@contextmanager
def _sound(where: str) -> Iterator[None]:
    """Whatever a reader of archives raises, as InputError of one line."""
    try:
        yield
    except SegbatchError:
        raise
    except Exception as error:  # of many types: they parse what strangers wrote
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{where} is no sound archive ({reason}): get it again, or have it packed anew"
        ) from None
