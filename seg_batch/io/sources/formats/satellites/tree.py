"""The files of a product: those of a folder, or of a zip that is read where it lies."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from seg_batch.core.errors import InputError
from seg_batch.core.files import files_in
from seg_batch.io.sources.identity import file_identity, raster_identity

MOST_FILES = 20_000
_NAME_BYTES = 1024
_METADATA_BYTES = 32 << 20
_DAMAGED = (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError)


@dataclass(frozen=True)
class Tree:
    """``root``: a folder or a zip; ``names``: of its files, sorted, with slashes, below ``root``."""

    root: Path
    names: tuple[str, ...]
    is_zip: bool

    @classmethod
    def of(cls, root: Path) -> Tree:
        """InputError for more files than a product has, and for a zip that is damaged or whose names lead out of it."""
        is_zip = not root.is_dir()
        names = _in_zip(root) if is_zip else _in_folder(root)
        return cls(root, tuple(sorted(names)), is_zip)

    def text(self, name: str) -> bytes:
        """The content of a file of metadata. InputError where it is larger than any is, or can't be read."""
        try:
            if self.is_zip:
                with zipfile.ZipFile(self.root) as archive, archive.open(name) as file:
                    content = file.read(_METADATA_BYTES + 1)
            else:
                with (self.root / name).open("rb") as file:
                    content = file.read(_METADATA_BYTES + 1)
        except (*_DAMAGED, KeyError) as error:
            raise InputError(
                f"{self.root}: {name} can't be read ({error}); copy it again from its origin"
            ) from error
        if len(content) > _METADATA_BYTES:
            raise InputError(
                f"{self.root}: {name} is far larger than metadata are, so it is damaged"
            )
        return content

    def place(self, name: str) -> str:
        """What GDAL opens for a file."""
        root = str(self.root.absolute())
        return f"/vsizip/{{{root}}}/{name}" if self.is_zip else os.path.join(root, name)

    def identity(self, names: Iterable[str]) -> dict[str, Any]:
        """What a resumed run compares of these files: their number, bytes and newest time, and one digest of what is said
        of each alone."""
        if self.is_zip:
            return file_identity(self.root)
        each = {n: raster_identity(self.root / n, [n.rsplit("/", 1)[-1]]) for n in sorted(names)}
        digest = hashlib.sha256(json.dumps(each, sort_keys=True).encode())
        return {
            "files": len(each),
            "size": sum(known["size"] for known in each.values()),
            "mtime_ns": max(known["mtime_ns"] for known in each.values()),
            "sha256_files": digest.hexdigest(),
        }


def names_in_zip(path: Path) -> tuple[str, ...]:
    """The names in a zip, as far as a look tells; empty where it is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            return tuple(archive.namelist()[:MOST_FILES])
    except _DAMAGED:
        return ()


def _in_folder(root: Path) -> Iterator[str]:
    for count, path in enumerate(files_in(root)):
        _require_few(root, count)
        yield path.relative_to(root).as_posix()


def _in_zip(root: Path) -> Iterator[str]:
    try:
        with zipfile.ZipFile(root) as archive:
            infos = archive.infolist()
    except _DAMAGED as error:
        raise InputError(
            f"{root}: a damaged zip ({error}); copy it again from its origin"
        ) from error
    _require_few(root, len(infos))
    if set("{}") & set(str(root.absolute())):
        raise InputError(f"{root}: GDAL can't open a zip with a brace in its path: rename it")
    seen = set[str]()
    for info in infos:
        name = info.filename
        parts = PurePosixPath(name.replace("\\", "/")).parts
        out = name.startswith("/") or ".." in parts or "\0" in name or "\\" in name
        if out or len(os.fsencode(name)) > _NAME_BYTES:
            raise InputError(
                f"{root}: a name in this zip leads out of it or is no name of a product: unpack it yourself "
                "and look at what it holds"
            )
        if info.flag_bits & 1:
            raise InputError(f"{root}: the zip is encrypted: unpack it and give the folder")
        if name in seen:
            raise InputError(f"{root}: the zip holds {name} twice; copy it again from its origin")
        seen.add(name)
        if not info.is_dir():
            yield name


def _require_few(root: Path, count: int) -> None:
    if count >= MOST_FILES:
        raise InputError(
            f"{root}: holds more than {MOST_FILES} files, which no scene of a satellite does"
        )
