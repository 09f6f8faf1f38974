"""The header of a NIfTI product: geometry from the input's header, meaning from the product."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import nibabel
import numpy as np
from nibabel.spatialimages import HeaderDataError

from seg_batch.core.errors import OutputError
from seg_batch.core.georef import (
    SAME_PLACE,
    VolumeGeoref,
    georef_differences,
    voxel_distance,
)
from seg_batch.core.registry.formats import PRODUCTS
from seg_batch.core.text import visible
from seg_batch.io.sinks.spec import ProductSpec
from seg_batch.io.sources.formats.nifti_header import read_layout, volume_georef

LARGEST_NIFTI1_AXIS = 32767
INTENT_LABEL = 1002
COMMENT, NAMES = 6, 0  # codes of extensions; TotalSegmentator has that of names as 0
_FLOAT32 = 1e-6  # NIfTI-1 stores its matrices in float32
_PLACE = [
    "qform_code",
    "sform_code",
    "quatern_b",
    "quatern_c",
    "quatern_d",
    "qoffset_x",
    "qoffset_y",
    "qoffset_z",
    "srow_x",
    "srow_y",
    "srow_z",
    "xyzt_units",
]


def header_bytes(spec: ProductSpec) -> bytes:
    """Header, extensions, little-endian: of labels their names and colours first, where other programs look for them;
    then a comment with provenance and classes as JSON."""
    header = _header(spec).as_byteswapped("<")
    classes = {c.id: c.name for c in spec.classes}
    text = json.dumps({**spec.tags, "classes": classes}).encode()
    extensions = _extension(COMMENT, text)
    if not spec.is_probabilities:
        extensions = _extension(NAMES, label_table(spec), b" ") + extensions
    header["vox_offset"] = header.sizeof_hdr + 4 + len(extensions)
    return bytes(header.binaryblock + b"\x01\0\0\0" + extensions)


def _extension(code: int, content: bytes, filled: bytes = b"\0") -> bytes:
    length = -(-(len(content) + 8) // 16) * 16
    return np.array([length, code], "<i4").tobytes() + content.ljust(length - 8, filled)


def label_table(spec: ProductSpec) -> bytes:
    """The label table that TotalSegmentator writes, in the XML of Caret, and reads from the first extension. A name in CDATA ends at ``]]>``, which is parted."""
    rows = []
    for c in spec.classes:
        red, green, blue = (f"{value / 255:.6g}" for value in c.colour)
        name = (visible(c.name).strip() or f"class {c.id}").replace("]]>", "]]]]><![CDATA[>")
        rows.append(
            f'<Label Key="{c.id}" Red="{red}" Green="{green}" Blue="{blue}" '
            f'Alpha="{int(c.id != spec.background)}"><![CDATA[{name}]]></Label>\n'
        )
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<CaretExtension><VolumeInformation Index="0"><LabelTable>\n'
        f"{''.join(rows)}</LabelTable><StudyMetaDataLinkSet></StudyMetaDataLinkSet>"
        "<VolumeType><![CDATA[Label]]></VolumeType></VolumeInformation></CaretExtension>\n"
    )
    return text.encode()


def require_place(spec: ProductSpec) -> None:
    """OutputError unless the header holds the place of the voxels, which is tried."""
    if wrong := _lost(spec, _header):
        raise OutputError(
            f"NIfTI can't hold the place of the input ({'; '.join(wrong)}), so the map would lie "
            f"elsewhere: use a name that ends in {PRODUCTS['zarr'].endings[0]}, which holds it"
        )


def _lost(spec: ProductSpec, make: Callable[[ProductSpec], Any]) -> list[str]:
    """What of the place is not read back from the header that ``make`` makes."""
    try:
        return place_changes(spec, volume_georef(make(spec)))
    except (HeaderDataError, ValueError) as error:
        return [str(error)]


def place_changes(spec: ProductSpec, actual: VolumeGeoref) -> list[str]:
    """The differences between the place that a header should hold and the one it has."""
    expected = written_georef(spec)
    wrong = georef_differences(expected, actual, _FLOAT32)
    apart = voxel_distance(expected, actual, spec.extent)
    return wrong if apart <= SAME_PLACE else [*wrong, f"corners move by {apart:.3g} voxels"]


def _header(spec: ProductSpec) -> Any:
    """NIfTI-1 where it is large and exact enough, else NIfTI-2, which has double precision."""
    single = partial(_filled, double=False)
    return _filled(spec, double=spec.like is None and bool(_lost(spec, single)))


def _filled(spec: ProductSpec, *, double: bool) -> Any:
    """Geometry fields are the input's, bit for bit (on a finer grid: those that don't depend on it);
    fields for the meaning of values are ours; all others (dates, names, comments of the scan) are left
    out."""
    source = None if spec.like is None else read_layout(spec.like).header
    large = max(spec.extent) > LARGEST_NIFTI1_AXIS or (source and source.sizeof_hdr == 540)
    large = large or double
    header = nibabel.Nifti2Header() if large else nibabel.Nifti1Header()
    header["magic"] = b"n+2\0\r\n\x1a\n" if large else b"n+1\0"
    header.set_data_shape(_shape(spec, source))
    header.set_data_dtype(spec.dtype)
    if source is None:
        _place(header, written_georef(spec))
    else:
        _copy_place(header, source)
        _refine_place(header, source, spec)
    header.set_slope_inter(1 / 255 if spec.is_probabilities else 1, 0)
    header["intent_code"] = 0 if spec.is_probabilities else INTENT_LABEL
    header["descrip"] = spec.tags.get("SEGBATCH_VERSION", "segbatch").encode()[:79]
    return header


def _shape(spec: ProductSpec, source: Any) -> tuple[int, ...]:
    """``i, j, k`` and for probabilities the class; an image of one slice keeps its two axes."""
    shape = tuple(reversed(spec.extent))
    if spec.is_probabilities:
        return (*shape, spec.bands)
    flat = source and len(source.get_data_shape()) == 2 and shape[2] == 1
    return shape[:2] if flat else shape


def written_georef(spec: ProductSpec) -> VolumeGeoref:
    """The georeference that the header will hold. An affine without any code becomes an sform with code
    1 (scanner), unless it comes from a NIfTI header, whose voxel sizes are copied."""
    georef = spec.georef
    assert isinstance(georef, VolumeGeoref)
    if spec.like is not None or georef.sform_code or georef.qform_code:
        return georef
    return replace(georef, sform=georef.affine, sform_code=1)


def _copy_place(header: Any, source: Any) -> None:
    """Field by field: nibabel would recompute the quaternion."""
    for name in _PLACE:
        header[name] = source[name]
    header["pixdim"][:4] = source["pixdim"][:4]


def _refine_place(header: Any, source: Any, spec: ProductSpec) -> None:
    """Voxel sizes and origins of a grid finer than the input's; the rotation is unchanged."""
    coarse = (*source.get_data_shape()[:3], 1, 1)[:3]
    factors = np.array(spec.extent[::-1]) // np.array(coarse)
    if (factors == 1).all():
        return
    georef = spec.georef
    assert isinstance(georef, VolumeGeoref)
    header["pixdim"][1:4] = source["pixdim"][1:4] / factors
    if georef.qform is not None:
        origin = np.array(georef.qform)[:3, 3]
        header["qoffset_x"], header["qoffset_y"], header["qoffset_z"] = origin
    if georef.sform is not None:
        header["srow_x"], header["srow_y"], header["srow_z"] = np.array(georef.sform)[:3]


def _place(header: Any, georef: VolumeGeoref) -> None:
    """Geometry fields for an input that is no NIfTI."""
    header.set_xyzt_units(georef.units if georef.units in ("mm", "meter", "micron") else None)
    header["pixdim"][1:4] = georef.spacing[::-1]
    if georef.qform is not None and georef.qform_code:
        header.set_qform(np.array(georef.qform), georef.qform_code)
    if georef.sform is not None and georef.sform_code:
        header.set_sform(np.array(georef.sform), georef.sform_code)
