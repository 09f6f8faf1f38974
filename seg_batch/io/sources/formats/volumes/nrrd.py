"""NRRD: where its voxels lie (teem's definition of the format, version 5)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seg_batch.core.errors import InputError
from seg_batch.io.sources.formats.volumes.data_files import (
    listed_files,
    numbered_names,
    only_data_file,
)
from seg_batch.io.sources.formats.volumes.header_text import (
    HEADER_BYTES,
    axis_lengths,
    endless,
    fault,
    header_start,
    integers,
)
from seg_batch.io.sources.formats.volumes.layout import Encoding, VolumeLayout, checked
from seg_batch.io.sources.formats.volumes.nrrd_axes import axes_of
from seg_batch.io.sources.formats.volumes.nrrd_place import place_of

_TYPES = {
    "i1": "signed char|int8|int8_t",
    "u1": "uchar|unsigned char|uint8|uint8_t",
    "i2": "short|short int|signed short|signed short int|int16|int16_t",
    "u2": "ushort|unsigned short|unsigned short int|uint16|uint16_t",
    "i4": "int|signed int|int32|int32_t",
    "u4": "uint|unsigned int|uint32|uint32_t",
    "i8": "longlong|long long|long long int|signed long long|signed long long int|int64|int64_t",
    "u8": "ulonglong|unsigned long long|unsigned long long int|uint64|uint64_t",
    "f4": "float",
    "f8": "double",
}
_DTYPES = {name: code for code, names in _TYPES.items() for name in names.split("|")}
_ENCODINGS: dict[str, Encoding] = {
    "raw": "raw",
    "gz": "deflate",
    "gzip": "deflate",
    "bz2": "bzip2",
    "bzip2": "bzip2",
}
_OTHER_NAMES = {
    "datafile": "data file",
    "byteskip": "byte skip",
    "lineskip": "line skip",
    "axismins": "axis mins",
    "centerings": "centers",
}
_REPEATED_LINES = 100_000


@dataclass(frozen=True)
class NrrdHeader:
    """``fields``: by their names; ``keys``: key/value pairs; ``names``: the lines of a list of files;
    ``stop``: the byte after the header."""

    path: Path
    fields: dict[str, str]
    keys: dict[str, str]
    names: list[str]
    stop: int

    def needed(self, name: str) -> str:
        if name not in self.fields:
            raise fault(self.path, f"lacks the field {name!r}")
        return self.fields[name]


def read_nrrd(path: Path) -> VolumeLayout:
    """The layout of a ``.nrrd`` or ``.nhdr``; ``InputError`` in one line."""
    header = read_header(path)
    axes = axes_of(path, header.fields, _lengths(header))
    _refuse_layers(header)
    dtype = _dtype(header)
    encoding = _encoding(header)
    files = _files(header)
    offset, skip = _offsets(header, files, encoding)
    georef, oddities = place_of(path, header.fields, axes)
    return checked(
        VolumeLayout(
            path, files, axes.shape, axes.volumes, axes.components, dtype, encoding, offset, georef,
            skip, oddities,
        )
    )  # fmt: skip


def read_header(path: Path) -> NrrdHeader:
    """The fields and key/value pairs as texts; nothing of them is judged but their form."""
    start = header_start(path)
    if re.match(rb"NRRD000[1-5]\r?\n", start) is None:
        raise fault(path, f"begins with {start[:8]!r}, and not with NRRD0001 to NRRD0005")
    fields, keys, names = dict[str, str](), dict[str, str](), list[str]()
    at = start.index(b"\n") + 1
    while (stop := start.find(b"\n", at)) >= 0 or at < len(start):
        line = start[at : stop if stop >= 0 else len(start)].rstrip(b"\r")
        at = stop + 1 if stop >= 0 else len(start)
        if not line:
            return NrrdHeader(path, fields, keys, names, at)
        _take(path, line, fields, keys, names)
    if len(start) == HEADER_BYTES:
        raise endless(path)
    if "data file" not in fields:
        raise fault(path, "has no empty line behind it, and so no voxels", "copy it again")
    return NrrdHeader(path, fields, keys, names, at)


def _take(
    path: Path, line: bytes, fields: dict[str, str], keys: dict[str, str], names: list[str]
) -> None:
    """One line: a file of a list, a comment, a field, or a key with its value."""
    text = line.decode("utf-8", "replace").strip()
    if fields.get("data file", "").upper().startswith("LIST"):
        names.append(text)
        return
    if text.startswith("#"):
        return
    colon = text.find(":")
    if colon > 0 and text[colon : colon + 2] == ":=":
        keys[text[:colon]] = text[colon + 2 :]
        return
    if colon <= 0:
        raise fault(path, f"has the line {text[:80]!r}, which is no field")
    name = text[:colon].strip().lower()
    name = _OTHER_NAMES.get(name, name)
    if name in fields:
        raise fault(path, f"has the field {name!r} twice")
    fields[name] = text[colon + 1 :].strip()


def _lengths(header: NrrdHeader) -> list[int]:
    axes = header.needed("dimension")
    return axis_lengths(header.path, axes, "sizes", header.needed("sizes"))


def _refuse_layers(header: NrrdHeader) -> None:
    """A voxel of a segmentation with several layers has several labels; of those a model knows one."""
    layers = {value for key, value in header.keys.items() if re.fullmatch(r"Segment\d+_Layer", key)}
    if len(layers) > 1:
        raise InputError(
            f"{header.path}: a segmentation of {len(layers)} layers, whose segments overlap, so that voxels have "
            "several labels; export those that don't overlap as one labelmap (Slicer: Segmentations, Export)"
        )


def _dtype(header: NrrdHeader) -> np.dtype:
    name = " ".join(header.needed("type").lower().split())
    if name not in _DTYPES:
        raise fault(
            header.path,
            f"has the type {name[:40]!r}, which is no number of a known size",
            "convert it to one of 8 to 64 bits",
        )
    dtype = np.dtype(_DTYPES[name])
    if dtype.itemsize == 1:
        return dtype
    endian = header.needed("endian").lower()
    if endian not in ("little", "big"):
        raise fault(header.path, f"has the byte order {endian[:40]!r}, and not little or big")
    return dtype.newbyteorder("<" if endian == "little" else ">")


def _encoding(header: NrrdHeader) -> Encoding:
    name = header.needed("encoding").lower()
    if name not in _ENCODINGS:
        raise fault(
            header.path,
            f"has the encoding {name[:40]!r}, and raw, gzip and bzip2 are read",
            "write it as one of these (unu save -f nrrd -e gzip)",
        )
    return _ENCODINGS[name]


def _files(header: NrrdHeader) -> tuple[Path, ...]:
    path, name = header.path, header.fields.get("data file")
    if name is None:
        return (path,)
    if name.upper() == "LIST" or re.fullmatch(r"LIST \d+", name, re.IGNORECASE):
        return listed_files(path, [line for line in header.names if line])
    if (names := numbered_names(path, name)) is not None:
        return listed_files(path, names)
    return (only_data_file(path, name),)


def _offsets(header: NrrdHeader, files: tuple[Path, ...], encoding: Encoding) -> tuple[int, int]:
    """The byte at which data begins, and how many are passed over after decompression. Lines are skipped before it."""
    fields, path = header.fields, header.path
    (lines,) = integers(path, "line skip", fields.get("line skip", "0"), 1)
    (skip,) = integers(path, "byte skip", fields.get("byte skip", "0"), 1)
    if lines < 0 or skip < -1 or (skip == -1 and encoding != "raw"):
        raise fault(path, f"has a line skip of {lines} and a byte skip of {skip}")
    if skip == -1:
        return -1, 0
    start = header.stop if files == (path,) else 0
    start = {_after_lines(path, file, start, lines) for file in files}.pop() if lines else start
    return (start + skip, 0) if encoding == "raw" else (start, skip)


def _after_lines(path: Path, file: Path, start: int, lines: int) -> int:
    with file.open("rb") as data:
        data.seek(start)
        part = data.read(HEADER_BYTES)
    at = 0
    for _ in range(min(lines, _REPEATED_LINES)):
        if (at := part.find(b"\n", at) + 1) == 0:
            raise fault(path, f"skips {lines} lines, which are not there")
    return start + at
