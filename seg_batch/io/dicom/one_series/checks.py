"""What a series must be, besides its geometry, so that its slices are one volume: each refusal names a slice by its file
and its instance number, and nothing of a patient."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

import numpy as np
from pydicom.uid import (
    JPEG2000,
    UID,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from seg_batch.core.errors import InputError
from seg_batch.core.units import counted, show_bytes
from seg_batch.io.dicom.series import PixelFormat, Series, Slice

MOST_PLANE_BYTES = 256 << 20  # 8192 x 8192 of 4 bytes; a few bytes of JPEG can claim far more
_MONOCHROME = ("MONOCHROME1", "MONOCHROME2")
_DECODED = {
    RLELossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    JPEG2000Lossless,
    JPEG2000,
}
_BASELINE_BITS = 8  # of JPEG Extended, decoders read what baseline JPEG has, too
_UNIT = 0.01  # by which direction cosines may miss length 1 and a right angle: some are written with two decimals
_SAME = 1e-3  # of cosines, and relative of pixel sizes: rounding of decimal strings, and no turn that moves a voxel
_FURTHEST_MM, _LEAST_MM = 1e6, 1e-6  # pixels of a nanometre are finer than any microscope's
_SLOPES = (1e-20, 1e20)  # of a rescale; float32 holds what it makes of stored numbers
_MOST_INTERCEPT = 1e20


def named(one: Slice) -> str:
    """A slice in a message: its file, and its frame or instance number."""
    file = one.file or "the file"
    if one.frame is not None:
        return f"{file}, frame {one.frame + 1}"
    return f"{file} (instance {one.number})" if one.number is not None else file


def require_image(path: object, series: Series) -> None:
    """``InputError`` unless all slices are grey images of one size and one format with a place in the patient."""
    if not series.slices:
        raise InputError(f"{path}: a series without slices; copy it again from its origin")
    if reason := _mosaic(series) or _unread(series):
        raise InputError(f"{path}: {reason}")
    for one in series.slices:
        if reason := _fault(one):
            raise InputError(f"{path}: {named(one)}: {reason}")
    _require_one(path, series, "size", lambda s: f"{s.columns} x {s.rows} pixels")
    _require_one(path, series, "kind of stored numbers", lambda s: _stored(s.format))
    _require_one_direction(path, series)


def _mosaic(series: Series) -> str:
    """Why its planes are no slices; empty where they are. Siemens tiles all slices of a point in time into one plane."""
    if "MOSAIC" not in series.facts.image_type:
        return ""
    return (
        "a mosaic, whose planes show many slices side by side: export it from the scanner or its archive as single slices "
        "or as an enhanced file"
    )


def _unread(series: Series) -> str:
    """Why no decoder here takes the transfer syntax of a series; empty where one does."""
    syntax = UID(series.facts.transfer_syntax)
    if not syntax.is_transfer_syntax or not syntax.is_encapsulated or syntax in _DECODED:
        return ""
    if syntax == JPEGExtended12Bit and series.facts.bits_stored == _BASELINE_BITS:
        return ""
    return f"compressed as {syntax.name}, which no decoder here takes: uncompress it (dcmtk's dcmdjpeg, gdcmconv --raw)"


def _fault(one: Slice) -> str:
    """Why a slice can't be a plane of a volume, with the remedy; empty where it can."""
    if one.fault:
        return f"{one.fault}; copy the series again from its origin"
    return _pixel_fault(one) or _place_fault(one)


def _pixel_fault(one: Slice) -> str:
    pixels = one.format
    if pixels.samples != 1 or pixels.photometric not in _MONOCHROME:
        return (
            f"a colour image ({pixels.photometric}, {counted(pixels.samples, 'sample')} a pixel), whose numbers measure "
            "nothing; give a series of grey images"
        )
    if pixels.bits_allocated not in ((32, 64) if pixels.floating else (8, 16, 32)):
        return f"{pixels.bits_allocated} bits are allocated to a pixel, which no reader here takes; convert it"
    if not 0 < pixels.bits_stored <= pixels.high_bit + 1 <= pixels.bits_allocated:
        return (
            f"{pixels.bits_stored} bits stored below bit {pixels.high_bit + 1} of {pixels.bits_allocated} allocated contradict "
            "each other; its header is damaged"
        )
    if pixels.table:
        return (
            "its physical values come from a Modality LUT, which is not applied here; write the series anew with a rescale "
            "slope and intercept"
        )
    if not (math.isfinite(one.slope) and math.isfinite(one.intercept)) or one.slope == 0:
        return (
            f"its rescale slope is {one.slope:g}, which makes all values one; its header is damaged"
        )
    if not _SLOPES[0] <= abs(one.slope) <= _SLOPES[1] or abs(one.intercept) > _MOST_INTERCEPT:
        return (
            f"its rescale slope is {one.slope:g} and its intercept {one.intercept:g}, by which its values are none of a "
            "measure; its header is damaged"
        )
    plane = one.rows * one.columns * pixels.bits_allocated // 8
    if min(one.rows, one.columns) < 1 or plane > MOST_PLANE_BYTES:
        return (
            f"{one.columns} x {one.rows} pixels, where a slice has at least 1 x 1 and takes at most "
            f"{show_bytes(MOST_PLANE_BYTES)}; its header is damaged"
        )
    return ""


def _place_fault(one: Slice) -> str:
    parts = {
        "position": one.position,
        "orientation": one.orientation,
        "pixel spacing": one.pixel_mm,
    }
    if missing := [name for name, value in parts.items() if value is None]:
        return (
            f"no {' and no '.join(missing)}, so that its pixels have no place in the patient; give a series of "
            "cross-sectional images"
        )
    assert one.position is not None
    assert one.orientation is not None
    assert one.pixel_mm is not None
    if max(map(abs, one.position)) > _FURTHEST_MM:
        return f"its position is {one.position}, which is in no room; its header is damaged"
    if min(one.pixel_mm) < _LEAST_MM or max(one.pixel_mm) > _FURTHEST_MM:
        return f"its pixel spacing is {one.pixel_mm}; its header is damaged"
    rows, columns = np.split(np.array(one.orientation), 2)
    lengths = np.linalg.norm(rows), np.linalg.norm(columns)
    if max(abs(length - 1) for length in lengths) > _UNIT or abs(rows @ columns) > _UNIT:
        shown = "\\".join(f"{value:g}" for value in one.orientation)
        return f"its orientation is {shown}, which are no two directions at a right angle; its header is damaged"
    return ""


def _stored(pixels: PixelFormat) -> str:
    if pixels.floating:
        return f"{pixels.bits_allocated} bits, floating"
    return f"{pixels.bits_allocated} bits, {'signed' if pixels.signed else 'unsigned'}, {pixels.photometric}"


def _require_one(path: object, series: Series, what: str, of: Callable[[Slice], str]) -> None:
    counts = Counter(map(of, series.slices))
    if len(counts) == 1:
        return
    usual = counts.most_common(1)[0][0]
    odd = next(one for one in series.slices if of(one) != usual)
    raise InputError(
        f"{path}: slices of mixed {what}: most have {usual}, {named(odd)} has {of(odd)}; give a folder that holds "
        "one volume alone"
    )


def _require_one_direction(path: object, series: Series) -> None:
    first = series.slices[0]
    for one in series.slices[1:]:
        turned = np.abs(np.subtract(first.orientation or (), one.orientation or ())).max()
        if turned > _SAME:
            raise InputError(
                f"{path}: slices of mixed orientation: {named(one)} lies otherwise than {named(first)} (cosines differ "
                f"by {turned:.2g}); give a folder that holds one volume alone"
            )
        scaled = np.abs(np.divide(one.pixel_mm or (), first.pixel_mm or ()) - 1).max()
        if scaled > _SAME:
            raise InputError(
                f"{path}: slices of mixed pixel spacing: {_by(one)} mm in {named(one)} and {_by(first)} mm in "
                f"{named(first)}; give a folder that holds one volume alone"
            )


def _by(one: Slice) -> str:
    return " x ".join(f"{value:g}" for value in one.pixel_mm or ())
