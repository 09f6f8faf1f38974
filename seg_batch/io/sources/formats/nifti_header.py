"""A NIfTI header, of one file or of a pair, checked: shape, dtype, place and scaling of the voxels.

nibabel parses the header. The voxels are read by our own reader, since a memory-mapped volume
counts as memory and would grow with the extent.
"""

from __future__ import annotations

import logging
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.nifti1 import Nifti1PairHeader, unit_codes, xform_codes
from nibabel.nifti2 import Nifti2PairHeader
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Shape
from seg_batch.core.georef import SAME_PLACE, Affine16, VolumeGeoref, voxel_distance
from seg_batch.core.units import show_bytes
from seg_batch.io.sources.formats.volumes.data_files import data_file
from seg_batch.io.sources.gzip_members import GZIP, gzip_head

_HEAD_BYTES = 1024
_VOXELS = (".img", ".img.gz", ".IMG", ".IMG.GZ")  # of a pair, after its stem
_DEFLATE_RATIO = 1040  # deflate can't do better than 1032 : 1
_LARGEST = 1e30  # of an affine: beyond it, products of its numbers overflow
_ULP = 2.0**-23  # of a part of a quaternion
_CIFTI_INTENTS = range(3000, 3100)
# nibabel logs what it mends in a header; the warnings of ``georef_warnings`` take its place.
_SILENT = logging.Logger("nifti")
_SILENT.addHandler(logging.NullHandler())


@dataclass(frozen=True)
class NiftiLayout:
    """Where the voxels of a NIfTI file lie. ``data``: the file that holds them. ``shape`` is ``(k, j, i)`` of one volume, ``dtype``
    as stored (maybe big-endian), ``offset`` and ``stop_bytes`` count in the uncompressed file."""

    header: Any
    data: Path
    shape: Shape
    volumes: int
    dtype: np.dtype
    offset: int
    compressed: bool
    oddities: tuple[str, ...] = ()  # fields that others take otherwise, one sentence each

    @property
    def volume_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def stop_bytes(self) -> int:
        """Size of the uncompressed file, as far as it holds voxels."""
        return self.offset + self.volumes * self.volume_bytes


def read_layout(path: Path) -> NiftiLayout:
    """Parse and check the header of a ``.nii`` or ``.nii.gz``; ``InputError`` in one line."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    head = gzip_head(path, _HEAD_BYTES) if head.startswith(GZIP) else head
    is_pair = is_half(head)
    data = _voxels_of(path) if is_pair else path
    with data.open("rb") as file:
        compressed = file.read(len(GZIP)) == GZIP
    header, oddities = _parse(path, head)
    shape, volumes = _shape(path, header)
    offset = int(header["vox_offset"]) or (0 if is_pair else header.sizeof_hdr + 4)
    dtype = _dtype(path, header)
    layout = NiftiLayout(header, data, shape, volumes, dtype, offset, compressed, oddities)
    if not is_pair and len(head) <= offset and len(head) < _HEAD_BYTES:
        raise InputError(f"{path}: a NIfTI header without voxels; give the file with its data")
    real, needed = data.stat().st_size, layout.stop_bytes
    if needed > real * (_DEFLATE_RATIO if compressed else 1):
        raise InputError(
            f"{path}: its header declares {show_bytes(needed)} of voxels, but the file of "
            f"{show_bytes(real)} can't hold them: it is cut short or its header is damaged; "
            "copy it again from its origin"
        )
    return layout


def is_half(head: bytes) -> bool:
    """Whether these are the first 348 or more bytes of the header of a pair."""
    return head[344:348] == b"ni1\0" or head[4:8] == b"ni2\0"


def _voxels_of(path: Path) -> Path:
    """The file with the voxels of a pair, beside its header."""
    stem = re.sub(r"\.hdr(\.gz)?$", "", path.name, flags=re.IGNORECASE)
    names = [stem + end for end in _VOXELS]
    if stem == path.name:
        raise InputError(
            f"{path}: the header of a pair of .hdr and .img under another name, so that its voxels can't be "
            "found; give it its name back"
        )
    found = next((name for name in names if path.with_name(name).exists()), None)
    if found is None:
        raise InputError(
            f"{path}: the header of a pair without its voxels ({names[0]}), which should lie beside it; give "
            "both files together"
        )
    return data_file(path, found)


def _parse(path: Path, head: bytes) -> tuple[Any, tuple[str, ...]]:
    """The header as nibabel mends it, and what of that others take otherwise."""
    kinds: tuple[Any, Any] = (nibabel.Nifti1Header, nibabel.Nifti2Header)
    if is_half(head):
        kinds = Nifti1PairHeader, Nifti2PairHeader
    kind = kinds[head[4:8] in (b"n+2\0", b"ni2\0")]
    try:
        header = kind(head[: kind.sizeof_hdr], check=False)  # extensions may be of any length
        oddities = _oddities(header)
        header.check_fix(logger=_SILENT, error_level=40)
    except (HeaderDataError, WrapStructError, ValueError) as error:
        raise InputError(f"{path}: a damaged NIfTI header ({error}); copy it again") from error
    if int(header["intent_code"]) in _CIFTI_INTENTS:
        raise InputError(
            f"{path}: a CIFTI file, whose rows are brain ordinates and not places in a volume; "
            "extract a volume first (wb_command -cifti-separate)"
        )
    return header, oddities


def _oddities(header: Any) -> tuple[str, ...]:
    """Fields of a header as it is stored that nibabel changes and ITK does not."""
    told = []
    if (header["pixdim"][1:4] < 0).any():
        told.append(
            "voxel sizes below 0 in pixdim count without their sign, as in nibabel; ITK mirrors those axes"
        )
    for name in ("sform", "qform"):
        code = int(header[f"{name}_code"])
        if code not in xform_codes.value_set():
            told.append(
                f"the code {code} of the {name} has no meaning: the {name} is not used, as in nibabel; "
                "other programs may use it"
            )
    if int(header["vox_offset"]) == 0 and header.is_single:
        told.append(
            f"the header does not say where voxels begin: byte {header.sizeof_hdr + 4} is taken"
        )
    return tuple(told)


def _shape(path: Path, header: Any) -> tuple[Shape, int]:
    """``(k, j, i)`` and the number of volumes; a 2-D image is a volume of one slice."""
    try:
        shape = tuple(int(n) for n in header.get_data_shape())
    except HeaderDataError as error:
        raise InputError(f"{path}: a damaged NIfTI header ({error}); copy it again") from error
    if len(shape) < 2 or min(shape) < 1:
        raise InputError(
            f"{path}: a NIfTI header with the shape {shape}, which holds no image; "
            "give a 2-D, 3-D or 4-D image"
        )
    i, j, k = (*shape, 1)[:3]
    volumes = [n for n in shape[3:] if n > 1]
    if len(volumes) > 1:
        raise InputError(
            f"{path}: a NIfTI image of {len(shape)} dimensions {shape}; extract one 3-D volume first"
        )
    return (k, j, i), math.prod(volumes)


def _dtype(path: Path, header: Any) -> np.dtype:
    dtype = header.get_data_dtype()
    if dtype.kind in "iuf" and dtype.itemsize <= 8:
        return dtype
    what = "complex" if dtype.kind == "c" else "RGB" if dtype.fields else str(dtype)
    raise InputError(
        f"{path}: {what} voxels, which a model can't take as one number each; "
        "convert to a real quantity (its magnitude, one colour, float64) first"
    )


def scaling(layout: NiftiLayout) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """``scale, offset`` of the one channel, or None twice: slope 0 or NaN means "as stored"."""
    slope, inter = float(layout.header["scl_slope"]), float(layout.header["scl_inter"])
    if slope == 0 or not math.isfinite(slope):
        return None, None
    inter = inter if math.isfinite(inter) else 0.0
    return (None, None) if (slope, inter) == (1.0, 0.0) else ((slope,), (inter,))


def volume_georef(header: Any) -> VolumeGeoref:
    """The georeference in a nibabel NIfTI header; for inputs and for products that are read back.

    ``units`` is nibabel's word: ``mm``, ``meter``, ``micron`` or ``unknown``. A qform that can't
    be computed, or is not finite, is None. Raises ``ValueError`` when the
    affine in force can't be inverted.
    """
    sform, sform_code = header.get_sform(coded=True)
    try:
        with np.errstate(all="ignore"):  # what overflows is not finite, and is judged below
            qform, qform_code = header.get_qform(coded=True)
    except (HeaderDataError, ValueError):  # a quaternion longer than 1
        qform, qform_code = None, int(header["qform_code"])
    if qform is not None and not np.isfinite(qform).all():
        qform = None
    if sform is not None:
        affine = sform
    elif qform_code:
        affine = qform
    else:
        affine = header.get_base_affine()
    if affine is None or not is_invertible(affine):
        raise ValueError(f"{'sform' if sform is not None else 'qform'} is singular")

    def tuples(matrix: np.ndarray) -> Affine16:
        return tuple(map(tuple, np.asarray(matrix, float).tolist()))

    return VolumeGeoref(
        affine=tuples(affine),
        sform=None if sform is None else tuples(sform),
        sform_code=int(sform_code or 0),
        qform=None if qform is None else tuples(qform),
        qform_code=int(qform_code or 0),
        units=_unit(header),
    )


def _unit(header: Any) -> str:
    """nibabel's word for the unit of length. The three bits of it have values without a meaning, for which
    nibabel has an error, and the two bits above those of the unit of time count for nothing."""
    code = int(header["xyzt_units"]) & 7
    return str(unit_codes.label[code]) if code in unit_codes.value_set() else "unknown"


def is_invertible(affine: np.ndarray) -> bool:
    """Finite, and its three axes span a volume (judged free of their lengths)."""
    affine = np.asarray(affine, np.float64)
    if not (np.abs(affine) < _LARGEST).all():  # nor is what is no number
        return False
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if (lengths == 0).any():
        return False
    return bool(abs(np.linalg.det(affine[:3, :3] / lengths)) > 1e-6)


def georef_warnings(georef: VolumeGeoref, extent: Shape, header: Any) -> list[str]:
    """Oddities of a volume's georeference, one sentence each."""
    warnings = []
    if not (georef.sform_code or georef.qform_code):
        warnings.append("neither sform nor qform is set: orientation is a guess from voxel sizes")
    elif georef.qform_code and georef.qform is None:
        warnings.append("the qform is damaged: the sform alone is used")
    elif georef.qform_code and georef.sform_code:
        warnings += _disagreement(georef, extent, header)
    elif georef.sform_code:
        warnings += _other_sizes(georef, extent, header["pixdim"][1:4])
    if georef.units == "unknown":
        warnings.append("units of length are not stated: millimetres are assumed")
    elif georef.units != "mm":
        warnings.append(f"units of length are {georef.units}, not millimetres")
    return warnings + skew_warnings(georef.matrix)


def _disagreement(georef: VolumeGeoref, extent: Shape, header: Any) -> list[str]:
    """Every program takes the sform where both are one place. Else ITK takes the qform, unless the code
    of the sform is 1 (scanner)."""
    assert georef.qform is not None
    apart = voxel_distance(georef, replace(georef, affine=georef.qform), extent)
    if apart <= max(SAME_PLACE, _rounding(georef, extent, header)):
        return []
    itk = "" if georef.sform_code == 1 else ", while ITK takes the qform"
    return [
        f"sform and qform place voxels up to {apart:.3g} voxels apart: the sform is taken, as nibabel "
        f"does{itk}"
    ]


def _rounding(georef: VolumeGeoref, extent: Shape, header: Any) -> float:
    """Voxels by which a qform may differ from an sform only because a quaternion is kept in single
    precision: near half turns its last digit is a turn by 0.05 degrees. 0 where origins or voxel sizes
    differ, too."""
    sform, qform = (np.array(m, np.float64) for m in (georef.sform, georef.qform))
    origin = np.linalg.norm(np.linalg.solve(sform[:3, :3], (qform - sform)[:3, 3]))
    lengths = np.linalg.norm(sform[:3, :3], axis=0)
    grown = np.abs(np.linalg.norm(qform[:3, :3], axis=0) / lengths - 1) * extent[::-1]
    if max(origin, grown.max()) > SAME_PLACE:
        return 0.0
    real = math.sqrt(max(0.0, 1 - sum(float(header[f"quatern_{part}"]) ** 2 for part in "bcd")))
    angle = 2 * min(_ULP / max(real, _ULP), math.sqrt(2 * _ULP))
    return float(angle * np.linalg.norm(lengths * extent[::-1]) / lengths.min())


def _other_sizes(georef: VolumeGeoref, extent: Shape, pixdim: np.ndarray) -> list[str]:
    """A line where the voxel sizes beside an sform are others than its own."""
    sizes, own = np.abs(pixdim.astype(np.float64)), np.array(georef.spacing[::-1])
    apart = float((np.abs(sizes - own) / own * np.array(extent[::-1])).max())
    if apart <= SAME_PLACE:
        return []
    stated, taken = (" x ".join(f"{size:.6g}" for size in each) for each in (sizes, own))
    return [
        f"voxel sizes are {stated} in pixdim and {taken} in the sform, up to {apart:.3g} voxels apart over "
        "the extent: those of the sform are taken"
    ]


def skew_warnings(matrix: np.ndarray) -> list[str]:
    """Oblique and sheared axes, in degrees."""
    axes = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    oblique = float(np.degrees(nibabel.affines.obliquity(matrix)).max())
    between = np.abs((axes.T @ axes)[np.triu_indices(3, 1)]).max()
    shear = float(np.degrees(np.arcsin(min(1.0, between))))
    angles = (("oblique", oblique), ("sheared", shear))
    return [f"axes are {what} by {by:.1f} degrees" for what, by in angles if by > 0.1]
