"""A name planted in all that an image says of itself, and a search for it in all that was written."""

from __future__ import annotations

import base64
import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import nibabel
import numpy as np
import rasterio
from numcodecs import zstd
from pydicom.uid import generate_uid

from tests.support.dicom_files import series_of, write_series
from tests.support.files import address_raster, address_volume, damaged, write_raster

NAME = "Zebulon"  # in the names of files and folders, and in headers
BORN, SCANNED = "19480229", "20170613"
UIDS = tuple(
    map(str, (generate_uid() for _ in range(4)))
)  # of two series, a study, a frame of reference
TOKENS = (NAME, BORN, SCANNED, "1948-02-29", "2017-06-13", "Quagmire", *UIDS)
_BLOB = re.compile(rb"base64,([A-Za-z0-9+/=]{16,})")


def write_planted_nifti(path: Path, shape: tuple[int, int, int] = (12, 11, 10)) -> Path:
    image = nibabel.Nifti1Image(address_volume(shape), np.diag([1.5, 1.0, 2.0, 1.0]))
    for field, width in (("descrip", 80), ("aux_file", 24), ("db_name", 18), ("intent_name", 16)):
        image.header[field] = f"{NAME} {BORN}".encode()[: width - 1]
    text = f"{NAME} scanned {SCANNED} for Dr. Quagmire".encode()
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", text))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.to_filename(path)
    return path


def write_planted_dicom(folder: Path, *, only: list[int] | None = None, uid: str = UIDS[3]) -> Path:
    tags = {
        "PatientName": f"{NAME}^Mary",
        "PatientID": f"{NAME}-{BORN}",
        "PatientBirthDate": BORN,
        "StudyDate": SCANNED,
        "SeriesDate": SCANNED,
        "StudyDescription": f"for Dr. Quagmire, {NAME}",
        "SeriesDescription": f"{NAME} thorax",
        "ReferringPhysicianName": "Quagmire^Dr",
    }
    study = {"study_uid": UIDS[1], "frame_of_reference": UIDS[2]}
    series = series_of((6, 11, 12), tags=tags, uid=uid, **study)
    write_series(folder, series, names=lambda k: f"{NAME}_{k:03}", only=only)
    return folder


def write_planted_scene(path: Path, *, damage: bool = False) -> Path:
    """A GeoTIFF; one of its tiles of 256 pixels can't be read where it is to be damaged."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if damage:
        return damaged(path)
    write_raster(path, address_raster((120, 110), 1, "uint8"))
    with rasterio.open(path, "r+") as file:
        file.update_tags(TIFFTAG_ARTIST=NAME, TIFFTAG_DATETIME="2017:06:13 10:11:12", patient=NAME)
        file.set_band_description(1, f"{NAME} band")
    return path


def everything_in(root: Path, leave_out: Iterable[Path] = ()) -> Iterator[tuple[str, bytes]]:
    """Paths below ``root`` and contents of files, as they are and unpacked."""
    left_out = tuple(map(str, leave_out))
    for path in sorted(root.rglob("*")):
        if str(path).startswith(left_out) if left_out else False:
            continue
        where = str(path.relative_to(root))
        yield f"the name {where}", where.encode()
        if path.is_symlink():
            yield f"the link {where}", str(path.readlink()).encode()
        elif path.is_file():
            for data in _unpacked(path.read_bytes()):
                yield where, data


def _unpacked(data: bytes) -> Iterator[bytes]:
    yield data
    if data.startswith(b"\x1f\x8b"):
        yield from _unpacked(gzip.decompress(data))
    elif data.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                yield from _unpacked(archive.read(name))
    elif data.startswith(b"\x28\xb5\x2f\xfd"):
        yield from _unpacked(bytes(zstd.decompress(data)))
    elif data[:1] == b"\x78":
        try:
            yield zlib.decompress(data)
        except zlib.error:
            return
    for blob in _BLOB.findall(data):
        yield from _unpacked(base64.b64decode(blob + b"=="))


def planted_in(data: bytes, tokens: Iterable[str] = TOKENS) -> list[str]:
    """The tokens that are there: in any spelling of letters, as UTF-8 or UTF-16, in hex or base64."""
    small, found = data.lower(), []
    for token in tokens:
        plain = token.lower().encode()
        forms = [plain, token.lower().encode("utf-16-le"), token.lower().encode("utf-16-be")]
        forms.append(plain.hex().encode())
        exact = [token.encode(), token.lower().encode(), token.upper().encode()]
        coded = [_base64_core(b" " * at + each) for each in exact for at in range(3)]
        if any(form in small for form in forms) or any(code in data for code in coded):
            found.append(token)
    return found


def _base64_core(padded: bytes) -> bytes:
    """The letters of base64 that hang on the token alone, wherever it begins in three bytes."""
    blanks = len(padded) - len(padded.lstrip(b" "))
    coded = base64.b64encode(padded).rstrip(b"=")
    return coded[-(-blanks * 8 // 6) : len(padded) * 8 // 6]


def leaks(root: Path, leave_out: Iterable[Path] = (), *printed: str) -> list[str]:
    """Where a planted token stands below ``root``, without ``leave_out``, or in what was printed."""
    said = ((f"printed: {text[:200]}", text.encode("utf-8", "replace")) for text in printed)
    places = [*everything_in(root, leave_out), *said]
    return [f"{found} in {where}" for where, data in places if (found := planted_in(data))]
