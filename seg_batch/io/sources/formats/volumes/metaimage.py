"""MetaImage: where its voxels lie, and where they are, as ITK's MetaIO reads them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seg_batch.core.errors import InputError
from seg_batch.core.georef import VolumeGeoref
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
    numbers,
)
from seg_batch.io.sources.formats.volumes.layout import (
    RAS_OF_LPS,
    Encoding,
    VolumeLayout,
    checked,
    placed,
    whole_affine,
)

_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2",
    "MET_INT": "i4", "MET_UINT": "u4", "MET_LONG": "i4", "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_MATRIX = ("TransformMatrix", "Rotation", "Orientation")
_ORIGIN = ("Offset", "Origin", "Position")
_UNITS = {"mm": ("mm", 1.0), "um": ("micron", 1.0), "cm": ("mm", 10.0)}


@dataclass(frozen=True)
class MetaHeader:
    """``fields`` by name; ``names``: the lines of a list of files; ``stop``: the byte after the header."""

    path: Path
    fields: dict[str, str]
    names: list[str]
    stop: int

    def needed(self, name: str) -> str:
        if name not in self.fields:
            raise fault(self.path, f"lacks the field {name}")
        return self.fields[name]

    def one_of(self, names: tuple[str, ...]) -> tuple[str, str] | None:
        """The field that is there of several for the same thing."""
        return next(((n, self.fields[n]) for n in names if n in self.fields), None)

    def says(self, name: str) -> bool:
        return self.fields.get(name, "")[:1].upper() in ("T", "1", "Y")


def read_metaimage(path: Path) -> VolumeLayout:
    """The layout of a ``.mha`` or ``.mhd``; ``InputError`` in one line."""
    header = read_header(path)
    if header.fields.get("ObjectType", "Image").lower() != "image":
        raise fault(
            path,
            f"is of a MetaIO {header.fields['ObjectType'][:40]!r}",
            "give a file with an image",
        )
    lengths = axis_lengths(path, header.needed("NDims"), "DimSize", header.needed("DimSize"))
    if not 2 <= len(lengths) <= 4:
        raise fault(path, f"declares {len(lengths)} axes, and 2 to 4 are read", "extract a volume")
    (components,) = integers(
        path, "ElementNumberOfChannels", header.fields.get("ElementNumberOfChannels", "1"), 1
    )
    if components < 1:
        raise fault(path, f"declares {components} channels")
    files = _files(header)
    encoding, offset = _data(header, files)
    georef, oddities = _place(header, len(lengths))
    i, j, k = (*lengths, 1)[:3]
    volumes = lengths[3] if len(lengths) == 4 else 1
    return checked(
        VolumeLayout(
            path, files, (k, j, i), volumes, components, _dtype(header), encoding, offset, georef,
            0, oddities,
        )
    )  # fmt: skip


def read_header(path: Path) -> MetaHeader:
    """The fields as texts, up to the one that says where the voxels lie."""
    start, at, fields = header_start(path), 0, dict[str, str]()
    while (stop := start.find(b"\n", at)) >= 0:
        line, at = start[at:stop].decode("utf-8", "replace").strip(), stop + 1
        name, equals, value = (part.strip() for part in line.partition("="))
        if not line:
            continue
        if not equals or re.fullmatch(r"[A-Za-z][\w .\[\]()-]*", name) is None:
            raise fault(path, f"has the line {line[:80]!r}, which is no field")
        if name in fields:
            raise fault(path, f"has the field {name} twice")
        fields[name] = value
        if name == "ElementDataFile":
            names = start[at:].decode("utf-8", "replace").split("\n")
            is_list = value.upper().startswith("LIST")
            return MetaHeader(path, fields, [n.strip() for n in names if n.strip()] if is_list else [], at)  # fmt: skip
    if len(start) == HEADER_BYTES:
        raise endless(path)
    name, _, value = (p.strip() for p in start[at:].decode("utf-8", "replace").partition("="))
    if name != "ElementDataFile":
        raise fault(path, "does not say where its voxels lie (ElementDataFile)", "copy it again")
    return MetaHeader(path, {**fields, name: value}, [], len(start))


def _dtype(header: MetaHeader) -> np.dtype:
    name = header.needed("ElementType").upper()
    if name not in _TYPES:
        raise fault(header.path, f"has the type {name[:40]!r}, which is not read", "convert it")
    swapped = header.says("BinaryDataByteOrderMSB") or header.says("ElementByteOrderMSB")
    dtype = np.dtype(_TYPES[name])
    return dtype.newbyteorder(">" if swapped else "<") if dtype.itemsize > 1 else dtype


def _files(header: MetaHeader) -> tuple[Path, ...]:
    path, name = header.path, header.needed("ElementDataFile")
    if name.upper() == "LOCAL":
        return (path,)
    if re.fullmatch(r"LIST(\s+\d+[a-zA-Z]?)?", name, re.IGNORECASE):
        return listed_files(path, header.names)
    if (names := numbered_names(path, name)) is not None:
        return listed_files(path, names)
    return (only_data_file(path, name),)


def _data(header: MetaHeader, files: tuple[Path, ...]) -> tuple[Encoding, int]:
    """The encoding, and the byte of a file at which its data begins."""
    path = header.path
    if "BinaryData" in header.fields and not header.says("BinaryData"):
        raise fault(path, "says that its voxels are text", "write it anew as binary data")
    (skip,) = integers(path, "HeaderSize", header.fields.get("HeaderSize", "0"), 1)
    packed = header.says("CompressedData")
    if skip < -1 or (packed and skip):
        raise fault(path, f"has a HeaderSize of {skip}")
    if skip == -1:
        return "raw", -1
    start = header.stop if files == (path,) else 0
    return ("deflate" if packed else "raw"), start + skip


def _place(header: MetaHeader, rank: int) -> tuple[VolumeGeoref, tuple[str, ...]]:
    """ITK's: directions in the rows of the matrix, the offset as the centre of the first voxel, in LPS+."""
    told: list[str] = []
    spatial = min(rank, 3)
    sizes = np.array(_sizes(header, rank, told)[:spatial])
    matrix = _matrix(header, rank, told)
    origin = _origin(header, rank, told)
    unit = header.fields.get("DistanceUnits", "mm").lower()
    if unit not in _UNITS and unit not in ("?", ""):
        told.append(f"its unit of length {unit[:40]!r} is not known: millimetres are assumed")
    word, factor = _UNITS.get(unit, ("mm", 1.0))
    if (word, factor) != ("mm", 1.0):
        told.append(f"units of length are {unit}, not millimetres")
    affine = whole_affine(matrix[:spatial, :spatial].T * sizes, origin[:spatial])
    affine[:spatial] *= factor
    georef, lines = placed(header.path, RAS_OF_LPS @ affine, word)
    _refuse_functions(header)
    if any(numbers(header.path, "CenterOfRotation", header.fields.get("CenterOfRotation", "0"))):
        told.append("its CenterOfRotation is not used, as in ITK")
    return georef, (*told, *lines)


def _sizes(header: MetaHeader, rank: int, told: list[str]) -> list[float]:
    """Of the voxels, above 0."""
    fields, path = header.fields, header.path
    if "ElementSpacing" in fields:
        sizes = numbers(path, "ElementSpacing", fields["ElementSpacing"], rank)
        if min(sizes) <= 0:
            raise fault(path, f"has voxels of a size not above 0 ({fields['ElementSpacing'][:80]})")
        return sizes
    if "ElementSize" in fields:
        raise fault(
            path,
            "has an ElementSize and no ElementSpacing, which other programs read as voxels of 1 mm",
            "add the ElementSpacing",
        )
    told.append("it does not state the size of its voxels: 1 mm is assumed")
    return [1.0] * rank


def _matrix(header: MetaHeader, rank: int, told: list[str]) -> np.ndarray:
    if (found := header.one_of(_MATRIX)) is None:
        told.append(
            "it states no directions: its axes are taken as left, posterior and superior, as in ITK"
        )
        return np.eye(rank)
    matrix = np.array(numbers(header.path, *found, rank * rank)).reshape(rank, rank)
    if rank == 4 and (matrix[3, :3].any() or matrix[:3, 3].any()):
        raise fault(header.path, "turns time into space", "extract one volume first")
    return matrix


def _origin(header: MetaHeader, rank: int, told: list[str]) -> np.ndarray:
    if (found := header.one_of(_ORIGIN)) is None:
        told.append("it states no origin: 0 is assumed")
        return np.zeros(rank)
    return np.array(numbers(header.path, *found, rank))


def _refuse_functions(header: MetaHeader) -> None:
    """Values that only some programs scale are no values to go by."""
    names = ("ElementToIntensityFunctionSlope", "ElementToIntensityFunctionOffset")
    for name, plain in zip(names, (1.0, 0.0), strict=True):
        if numbers(header.path, name, header.fields.get(name, str(plain)), 1) != [plain]:
            raise InputError(
                f"{header.path}: its header scales voxels ({name}), which ITK does not do; apply it and write "
                "the file anew, or remove the field and give --scale and --offset"
            )
