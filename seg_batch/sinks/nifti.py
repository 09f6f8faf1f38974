"""NIfTI with the input's header geometry, written slab by slab along its last axis.

Our arrays are ``(z, y, x)``, the file's ``(k, j, i)`` with ``i`` fastest: a slab's bytes in C
order are the file's bytes. A ``.nii.gz`` is a row of gzip members, one per slab, which every
reader joins; members are compressed in threads, and carry no time, so that bytes repeat.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import nibabel
import numpy as np

from seg_batch.errors import DamagedError
from seg_batch.geometry import Box
from seg_batch.georef import VolumeGeoref, differences
from seg_batch.machine import cores
from seg_batch.sinks.spec import ProductSpec
from seg_batch.sources.nifti_header import volume_georef

SLAB_BYTES = 16 << 20
LARGEST_NIFTI1_AXIS = 32767
INTENT_LABEL = 1002
COMMENT = 6
Read = Callable[[Box], np.ndarray]


def boxes(spec: ProductSpec) -> Iterator[Box]:
    """Slabs of whole planes along ``z``, small enough to hold a few."""
    z, y, x = spec.extent
    thick = max(1, SLAB_BYTES // (y * x * np.dtype(spec.dtype).itemsize))
    return (Box((a, 0, 0), (min(a + thick, z), y, x)) for a in range(0, z, thick))


def write_nifti(part: Path, spec: ProductSpec, read: Read, *, compress: bool) -> int:
    """Write ``part``; ``read(box)`` gives ``(z, y, x)`` labels or ``(classes, z, y, x)``.
    Returns the CRC of the voxels as they lie in the file."""
    crc = 0
    with part.open("wb") as file, ThreadPoolExecutor(cores()) as threads:
        squeeze = _member if compress else bytes
        file.write(squeeze(_head(spec)))
        pieces = _pieces(spec, read)
        while group := list(islice(pieces, cores())):
            for piece, packed in zip(group, threads.map(squeeze, group), strict=True):
                crc = zlib.crc32(piece, crc)
                file.write(packed)
    return crc


def _member(data: bytes) -> bytes:
    return gzip.compress(data, 6, mtime=0)


def _pieces(spec: ProductSpec, read: Read) -> Iterator[bytes]:
    """The voxels in file order; the class axis of probabilities is the slowest."""
    for band in range(spec.bands):
        for box in boxes(spec):
            values = read(box)
            yield np.ascontiguousarray(values[band] if spec.is_probabilities else values).tobytes()


def _header(spec: ProductSpec) -> nibabel.Nifti1Header:
    """The input's header where there is one, with the voxels' meaning changed to labels."""
    large = max(spec.extent) > LARGEST_NIFTI1_AXIS
    kind = nibabel.Nifti2Header if large else nibabel.Nifti1Header
    if spec.like is not None:
        source = nibabel.load(spec.like).header
        kind = kind if large or source.sizeof_hdr == 348 else nibabel.Nifti2Header
        header = kind.from_header(source, check=False)
        _keep_place(header, source)
    else:
        header = kind()
        _place(header, spec)
    shape = tuple(reversed(spec.extent))
    header.set_data_shape((*shape, spec.bands) if spec.is_probabilities else shape)
    header.set_data_dtype(spec.dtype)
    header.set_slope_inter(1 / 255 if spec.is_probabilities else 1, 0)
    header["cal_min"] = header["cal_max"] = 0
    header["intent_code"] = 0 if spec.is_probabilities else INTENT_LABEL
    header["descrip"] = spec.tags.get("SEGBATCH_VERSION", "segbatch").encode()[:79]
    return header


def _keep_place(header: nibabel.Nifti1Header, source: nibabel.Nifti1Header) -> None:
    """Bit for bit what the input says of its place: nibabel would work the quaternion out anew."""
    names = "pixdim qform_code sform_code quatern_b quatern_c quatern_d qoffset_x qoffset_y"
    for name in f"{names} qoffset_z srow_x srow_y srow_z xyzt_units".split():
        header[name] = source[name]
    header["pixdim"][4:] = 1


def _place(header: nibabel.Nifti1Header, spec: ProductSpec) -> None:
    georef = spec.georef
    assert isinstance(georef, VolumeGeoref)
    header.set_data_shape(tuple(reversed(spec.extent)))
    header.set_zooms(tuple(np.sqrt((georef.matrix[:3, :3] ** 2).sum(0))))
    header.set_sform(np.array(georef.sform or georef.affine), georef.sform_code or 1)
    header.set_xyzt_units(georef.units if georef.units in ("mm", "meter", "micron") else None)


def _head(spec: ProductSpec) -> bytes:
    """Header, one extension with the provenance, and padding up to the voxels."""
    header = _header(spec)
    header = header.as_byteswapped("<")
    text = json.dumps({**spec.tags, "classes": {c.id: c.name for c in spec.classes}})
    length = -(-(len(text) + 8) // 16) * 16
    header["vox_offset"] = header.sizeof_hdr + 4 + length
    header["magic"] = b"n+1" if header.sizeof_hdr == 348 else header["magic"]
    extension = np.array([length, COMMENT], "<i4").tobytes() + text.encode().ljust(
        length - 8, b"\0"
    )
    return bytes(header.binaryblock + b"\x01\0\0\0" + extension)


def check_nifti(part: Path, spec: ProductSpec, crc: int) -> None:
    """DamagedError unless the closed file reads back: shape, geometry with codes, every voxel."""
    with part.open("rb") as raw:
        compressed = raw.read(2) == b"\x1f\x8b"
    with gzip.open(part) if compressed else part.open("rb") as file:
        image = nibabel.Nifti2Image if _is_nifti2(spec) else nibabel.Nifti1Image
        header = image.header_class.from_fileobj(file, check=False)
        file.seek(int(header["vox_offset"]))
        found = 0
        while piece := file.read(SLAB_BYTES):
            found = zlib.crc32(piece, found)
    wrong = differences(spec.georef, volume_georef(header), 1e-6)
    if tuple(header.get_data_shape()[:3]) != tuple(reversed(spec.extent)):
        wrong.append(f"shape: {tuple(reversed(spec.extent))} became {header.get_data_shape()}")
    if found != crc:
        wrong.append("voxels differ")
    if wrong:
        raise DamagedError(
            f"{part} does not read back as it was written ({'; '.join(wrong[:3])}): the work store "
            "is kept; check the disk and run the same command again"
        )


def _is_nifti2(spec: ProductSpec) -> bool:
    return _header(spec).sizeof_hdr == 540
