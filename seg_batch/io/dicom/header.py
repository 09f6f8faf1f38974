"""One DICOM file, as far as its header: the planes that it holds, or why it is no image."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, BinaryIO

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from seg_batch.io.dicom.series import SeriesFacts, Slice, Vector
from seg_batch.io.dicom.tree import Member

_TAGS = [
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "Modality",
    "SeriesDescription",
    "SeriesNumber",
    "InstanceNumber",
    "AcquisitionNumber",
    "PatientID",
    "ImageType",
    "Manufacturer",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "RescaleSlope",
    "RescaleIntercept",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
]


class NotAnImageError(ValueError):
    """A file that is no slice of a volume; the message says why."""


def read_header(file: BinaryIO, member: Member) -> tuple[SeriesFacts, list[Slice]]:
    """The facts of its series and its planes; ``NotAnImageError`` where it has none."""
    try:
        header = pydicom.dcmread(
            file, stop_before_pixels=True, specific_tags=list(_TAGS), force=True
        )
    except InvalidDicomError:
        raise NotAnImageError("not DICOM") from None
    except Exception as error:  # whatever a damaged file makes of the parser
        raise NotAnImageError(f"damaged ({type(error).__name__}: {error})"[:200]) from None
    if "Rows" not in header or "Columns" not in header:
        raise NotAnImageError(f"no image ({header.get('Modality', 'of no modality')})")
    return _facts(header), [_slice(header, member)]


def _facts(header: Dataset) -> SeriesFacts:
    return SeriesFacts(
        uid=str(header.get("SeriesInstanceUID", "")),
        sop_class=str(header.get("SOPClassUID", "")),
        study_uid=str(header.get("StudyInstanceUID", "")),
        frame_of_reference=str(header.get("FrameOfReferenceUID", "")),
        modality=str(header.get("Modality", "")),
        description=str(header.get("SeriesDescription", "")),
        number=_whole(header.get("SeriesNumber")),
        image_type=tuple(map(str, header.get("ImageType") or ())),
        manufacturer=str(header.get("Manufacturer", "")),
        transfer_syntax=str(getattr(header.file_meta, "TransferSyntaxUID", "")),
        thickness_mm=_number(header.get("SliceThickness")),
        between_mm=_number(header.get("SpacingBetweenSlices")),
        bits_allocated=_whole(header.get("BitsAllocated")) or 16,
        bits_stored=_whole(header.get("BitsStored")) or 16,
        signed=bool(_whole(header.get("PixelRepresentation"))),
        photometric=str(header.get("PhotometricInterpretation", "")),
        samples=_whole(header.get("SamplesPerPixel")) or 1,
        padding=_whole(header.get("PixelPaddingValue")),
        padding_limit=_whole(header.get("PixelPaddingRangeLimit")),
        patient=hashlib.sha256(str(header.get("PatientID", "")).encode()).hexdigest()[:16],
    )


def _slice(header: Dataset, member: Member) -> Slice:
    slope = _number(header.get("RescaleSlope"))
    return Slice(
        file=member.name,
        frame=None,
        sop_uid=str(header.get("SOPInstanceUID", "")),
        number=_whole(header.get("InstanceNumber")),
        rows=int(header.Rows),
        columns=int(header.Columns),
        position=_vector(header.get("ImagePositionPatient"), 3),
        orientation=_vector(header.get("ImageOrientationPatient"), 6),
        pixel_mm=_vector(header.get("PixelSpacing"), 2),
        slope=1.0 if slope is None else slope,
        intercept=_number(header.get("RescaleIntercept")) or 0.0,
        bytes=member.bytes,
        stamp=member.stamp,
        acquisition=_whole(header.get("AcquisitionNumber")),
    )


def _vector(value: Sequence[Any] | None, length: int) -> Vector | None:
    if value is None or isinstance(value, str) or len(value) != length:
        return None
    return tuple(float(number) for number in value)


def _number(value: Any) -> float | None:
    return None if value in (None, "") else float(value)


def _whole(value: Any) -> int | None:
    return None if value in (None, "") else int(value)
