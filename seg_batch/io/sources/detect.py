"""The format of a file by its first bytes: never by its name, never by a library's guess.

GDAL opens files of many formats under any name; a ``.tif`` may be a VRT that makes it read other files.
So the bytes decide, and the driver is pinned to them.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

from seg_batch.config.image_options.scene import AS_FILES, SceneOptions
from seg_batch.core.errors import InputError
from seg_batch.core.files import file_of, require_local_input
from seg_batch.core.privacy.addresses import is_remote
from seg_batch.core.registry.formats import FORMATS, Format
from seg_batch.io.sources.foreign import foreign
from seg_batch.io.sources.formats.remote import remote_image
from seg_batch.io.sources.gzip_members import GZIP, GZIP_ERRORS, gzip_head
from seg_batch.io.sources.protocol import remedy_of

_HEAD_BYTES = 1024
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")


def detect(path: str | Path, scene: SceneOptions = AS_FILES) -> str:
    """The name of the format among ``FORMATS``; else ``InputError``. ``scene``: how remote files may be read."""
    if is_remote(path):
        return remote_image(str(path), scene).form.name
    require_local_input(path)
    path = file_of(path)
    if _is_folder(path):
        return _directory(path)
    head = _head(path)
    if head.startswith(GZIP):
        return _gzip(path)
    if name := _first(lambda form: form.matches(head)):
        return name
    if head.startswith(_ZIP):
        return _zip(path)
    raise InputError(f"{path}: {foreign(path, head)}")


def _first(fits: Callable[[Format], bool]) -> str | None:
    return next((form.name for form in FORMATS.values() if fits(form)), None)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror}); check the path") from error


def _head(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # to open a pipe would wait for its writer
            raise InputError(f"{path}: no regular file, so it can't be an image; check the path")
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"{path}: can't be read ({reason}); {remedy_of(error)}") from error
    if not head:
        raise InputError(f"{path}: the file is empty; copy it again from its origin")
    return head


def _directory(path: Path) -> str:
    try:
        names = {entry.name for entry in path.iterdir()}
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror}); {remedy_of(error)}") from error
    if name := _first(lambda form: bool(names & set(form.metadata))):
        return name
    if name := _holding(path):
        return name
    raise InputError(
        f"{path}: a folder that is no Zarr store and holds no DICOM; give the files in it one by one"
    )


def _zip(path: Path) -> str:
    from seg_batch.io.dicom.tree import why_no_dicom

    if name := _holding(path):
        return name
    raise InputError(f"{path}: {why_no_dicom(path)}")


def _holding(path: Path) -> str | None:
    """The format of images that a folder or archive holds."""
    try:
        return _first(lambda form: form.holds(path))
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror}); {remedy_of(error)}") from error


def _gzip(path: Path) -> str:
    try:
        head = gzip_head(path, _HEAD_BYTES)
    except GZIP_ERRORS as error:
        raise InputError(f"{path}: a damaged gzip file ({error}); copy it again") from error
    if name := _first(lambda form: form.gzipped and form.matches(head)):
        return name
    raise InputError(f"{path}: inside the gzip: {foreign(path, head)}")
