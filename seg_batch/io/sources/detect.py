"""The format of a file by its first bytes: never by its name, never by a library's guess.

GDAL opens files of many formats under any name; a ``.tif`` may be a VRT that makes it read other files.
So the bytes decide, and the driver is pinned to them.
"""

from __future__ import annotations

import gzip
import re
import stat
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from seg_batch.core.errors import InputError
from seg_batch.core.registry.formats import FORMATS, Format
from seg_batch.core.text import either

_HEAD_BYTES = 1024
_GZIP = b"\x1f\x8b"

# Formats that are known and not read: first bytes, name, remedy.
_FOREIGN = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 or netCDF-4 file", "convert it to GeoTIFF, NIfTI or Zarr"),
    (b"CDF\x01", "a netCDF file", "convert it to GeoTIFF or Zarr"),
    (b"CDF\x02", "a netCDF file", "convert it to GeoTIFF or Zarr"),
    (b"PK\x03\x04", "a zip archive", "unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", "unpack it first"),
    (b"BZh", "a bzip2 archive", "unpack it first"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 file", "convert it with gdal_translate -of COG"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 file", "convert it with gdal_translate -of COG"),
    (b"GRIB", "a GRIB file", "convert it with gdal_translate -of COG"),
    (b"GIF8", "a GIF image", "convert it to PNG or TIFF"),
    (b"BM", "a BMP image", "convert it to PNG or TIFF"),
    (b"NRRD", "an NRRD volume", "convert it to NIfTI"),
    (b"ObjectType", "a MetaImage volume", "convert it to NIfTI"),
    (b"%PDF", "a PDF", "give the {readable} it was made from"),
)


def detect(path: str | Path) -> str:
    """The name of the format among ``FORMATS``; else ``InputError``."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", str(path)) or str(path).startswith("/vsi"):
        raise InputError(f"{path}: remote input is not read; copy it here first and give its path")
    path = Path(path)
    if _is_folder(path):
        return _directory(path)
    head = _head(path)
    if head.startswith(_GZIP):
        return _gzip(path)
    if name := _first(lambda form: form.matches(head)):
        return name
    raise InputError(f"{path}: {_foreign(head)}")


def _first(fits: Callable[[Format], bool]) -> str | None:
    return next((form.name for form in FORMATS.values() if fits(form)), None)


def _readable() -> str:
    return either([form.title for form in FORMATS.values()])


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
        raise InputError(f"{path}: can't be read ({reason}); check its permissions") from error
    if not head:
        raise InputError(f"{path}: the file is empty; copy it again from its origin")
    return head


def _directory(path: Path) -> str:
    try:
        names = {entry.name for entry in path.iterdir()}
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror})") from error
    if name := _first(lambda form: bool(names & set(form.metadata))):
        return name
    if any(name.lower().endswith((".dcm", ".ima")) for name in names):
        raise InputError(
            f"{path}: a folder of DICOM files, which are not read; convert it with dcm2niix first"
        )
    raise InputError(f"{path}: a folder, and not a Zarr store; give the files in it one by one")


def _gzip(path: Path) -> str:
    try:
        with gzip.open(path) as file:
            head = file.read(_HEAD_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        reason = f"({error})" if str(error) else ""
        raise InputError(f"{path}: a damaged gzip file {reason}; copy it again") from error
    if name := _first(lambda form: form.gzipped and form.matches(head)):
        return name
    raise InputError(f"{path}: inside the gzip: {_foreign(head)}")


def _foreign(head: bytes) -> str:
    """What a file is that can't be read, and what to do."""
    for magic, what, remedy in _FOREIGN:
        if head.startswith(magic):
            return f"{what}, which is not read; {remedy.format(readable=_readable())}"
    if head[128:132] == b"DICM":
        return "a DICOM file, which is not read; convert the series with dcm2niix first"
    if head[344:348] == b"ni1\0" or head[4:8] == b"ni2\0":
        return "half of a NIfTI .hdr/.img pair; convert the pair to one .nii file"
    if len(head) >= 4 and 348 in struct.unpack("<i", head[:4]) + struct.unpack(">i", head[:4]):
        return (
            "an Analyze header (or a damaged NIfTI one), which has no affine; convert it to NIfTI"
        )
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"<VRTDataset"):
        return (
            "a GDAL VRT, which would read other files in its name; "
            "make a real GeoTIFF of it with gdal_translate"
        )
    if b"<GIFTI" in head:
        return "a GIFTI surface, not a volume; give a NIfTI volume"
    if start.startswith(b"<"):
        return f"XML or HTML text, not an image; give a {_readable()} file"
    if all(byte >= 32 or byte in b"\t\r\n" for byte in head):
        return f"text, not an image; give a {_readable()} file"
    return f"unknown format (it begins with {head[:8].hex(' ')}); give a {_readable()} file"
