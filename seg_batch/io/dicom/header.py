"""One DICOM file, as far as its header: the planes that it holds, or why it is no image."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import lru_cache
from typing import BinaryIO

from pydicom.datadict import tag_for_keyword
from pydicom.uid import UID

from seg_batch.io.dicom.one_file.enhanced import frames
from seg_batch.io.dicom.one_file.moments import moment, seconds
from seg_batch.io.dicom.one_file.part10 import UNDEFINED, DamagedError, Parsed, parsed
from seg_batch.io.dicom.one_file.values import Values
from seg_batch.io.dicom.series import Marks, PixelFormat, Radiopharmacy, SeriesFacts, Slice
from seg_batch.io.dicom.tree import Member

# What pixels are, and where.
PIXEL_KEYWORDS = (
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
)
_KEYWORDS = (
    *PIXEL_KEYWORDS[:-2],
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "Modality",
    "SeriesDescription",
    "SeriesNumber",
    "InstanceNumber",
    "PatientID",
    "ImageType",
    "Manufacturer",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "TemporalPositionIdentifier",
    "EchoTime",
    "EchoNumbers",
    "ConvolutionKernel",
    "DiffusionBValue",
    "DiffusionGradientOrientation",
    "TriggerTime",
    "AcquisitionNumber",
    "AcquisitionDateTime",
    "AcquisitionDate",
    "AcquisitionTime",
    "ContentDate",
    "ContentTime",
    "SeriesDate",
    "SeriesTime",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "DimensionIndexSequence",
    "Units",
    "SUVType",
    "DecayCorrection",
    "CorrectedImage",
    "PatientWeight",
    "RadiopharmaceuticalInformationSequence",
)
_TAGS = tuple(tag for keyword in _KEYWORDS if (tag := tag_for_keyword(keyword)) is not None)
# Stored as images are, but labels of them, doses, or pictures of a screen.
_NO_IMAGES = {
    "1.2.840.10008.5.1.4.1.1.66.4": "a segmentation",
    "1.2.840.10008.5.1.4.1.1.66.7": "a segmentation",
    "1.2.840.10008.5.1.4.1.1.481.2": "a dose",
}

DAMAGED = "damaged"  # how the reason begins of a file that may be a slice


class NotAnImageError(ValueError):
    """A file that is no slice of a volume; the message says why."""


def read_header(file: BinaryIO, member: Member) -> tuple[SeriesFacts, list[Slice]]:
    """The facts of its series and its planes; ``NotAnImageError`` where it has none."""
    try:
        read = parsed(file, _TAGS)
        if read is None:
            raise NotAnImageError("not DICOM")
        return _read(read, member)
    except (NotAnImageError, OSError):
        raise
    except MemoryError:
        raise NotAnImageError(f"{DAMAGED} (its header takes more memory than there is)") from None
    except DamagedError as error:
        raise NotAnImageError(f"{DAMAGED} ({error})"[:200]) from None
    except Exception as error:  # pydicom converts values as they are asked for
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise NotAnImageError(f"{DAMAGED} ({reason[:120]})") from None


def _read(read: Parsed, member: Member) -> tuple[SeriesFacts, list[Slice]]:
    values = Values(read.header)
    sop_class = values.text("SOPClassUID") or read.sop_class
    what = _NO_IMAGES.get(sop_class)
    if what or "Rows" not in read.header or "Columns" not in read.header:
        if not what and (_is_of_images(sop_class) or _is_of_images(read.sop_class or sop_class)):
            raise DamagedError("its header ends before its pixels")
        raise NotAnImageError(what or f"no image ({values.text('Modality') or 'of no modality'})")
    pixels = _format(values, read)
    plane = _plane(values, member, pixels)
    count = values.whole("NumberOfFrames", decides=True) or 1
    if "PerFrameFunctionalGroupsSequence" in read.header:
        slices = frames(values, plane, count)
    elif count > 1:
        raise NotAnImageError(f"{count} frames without a place each ({values.text('Modality')})")
    else:
        slices = [plane]
    fault = _shortage(read, slices, member)
    if fault:
        slices = [_with_fault(each, fault) for each in slices]
    return _facts(values, read, slices[0]), slices


def _is_of_images(sop_class: str) -> bool:
    """Whether a file of this class has pixels; one that says no class was cut off before it."""
    return not sop_class or "Image Storage" in UID(sop_class).name


def _facts(values: Values, read: Parsed, first: Slice) -> SeriesFacts:
    pixels = first.format
    measures = values.item("SharedFunctionalGroupsSequence").item("PixelMeasuresSequence")
    return SeriesFacts(
        uid=values.text("SeriesInstanceUID"),
        sop_class=values.text("SOPClassUID"),
        study_uid=values.text("StudyInstanceUID"),
        frame_of_reference=values.text("FrameOfReferenceUID"),
        modality=values.text("Modality"),
        description=values.text("SeriesDescription"),
        number=values.whole("SeriesNumber"),
        image_type=values.texts("ImageType"),
        manufacturer=values.text("Manufacturer"),
        kernel=values.text("ConvolutionKernel"),
        transfer_syntax=read.syntax,
        thickness_mm=values.number("SliceThickness") or measures.number("SliceThickness"),
        between_mm=values.number("SpacingBetweenSlices") or measures.number("SpacingBetweenSlices"),
        bits_allocated=pixels.bits_allocated,
        bits_stored=pixels.bits_stored,
        signed=pixels.signed,
        photometric=pixels.photometric,
        samples=pixels.samples,
        padding=pixels.padding,
        padding_limit=pixels.padding_limit,
        radiopharmacy=_radiopharmacy(values),
        patient=hashlib.sha256(values.text("PatientID").encode("utf-8", "replace")).hexdigest()[
            :16
        ],
    )


def _format(values: Values, read: Parsed) -> PixelFormat:
    bits = values.whole("BitsAllocated", decides=True) or 16
    stored = values.whole("BitsStored", decides=True) or bits
    high = values.whole("HighBit")
    return _interned(
        PixelFormat(
            bits_allocated=bits,
            bits_stored=stored,
            high_bit=stored - 1 if high is None else high,
            signed=bool(values.whole("PixelRepresentation", decides=True)),
            samples=values.whole("SamplesPerPixel", decides=True) or 1,
            photometric=values.text("PhotometricInterpretation").upper() or "MONOCHROME2",
            floating=read.pixels is not None and read.pixels.keyword != "PixelData",
            padding=values.whole("PixelPaddingValue"),
            padding_limit=values.whole("PixelPaddingRangeLimit"),
            table=values.has("ModalityLUTSequence"),
        )
    )


@lru_cache(maxsize=64)
def _interned(pixels: PixelFormat) -> PixelFormat:
    """The same value for all slices of a series."""
    return pixels


def _plane(values: Values, member: Member, pixels: PixelFormat) -> Slice:
    slope = values.number("RescaleSlope", decides=True)
    plane = Slice(
        file=member.name,
        frame=None,
        sop_uid=values.text("SOPInstanceUID"),
        number=values.whole("InstanceNumber"),
        rows=values.whole("Rows", decides=True) or 0,
        columns=values.whole("Columns", decides=True) or 0,
        position=values.numbers("ImagePositionPatient", 3, decides=True),
        orientation=values.numbers("ImageOrientationPatient", 6, decides=True),
        pixel_mm=values.numbers("PixelSpacing", 2, decides=True),
        slope=1.0 if slope is None else slope,
        intercept=values.number("RescaleIntercept", decides=True) or 0.0,
        bytes=member.bytes,
        stamp=member.stamp,
        format=pixels,
        marks=_marks(values),
        fault="",
    )
    return _with_fault(plane, "; ".join(values.faults)) if values.faults else plane


def _with_fault(plane: Slice, fault: str) -> Slice:
    return plane if plane.fault else replace(plane, fault=fault)


def _marks(values: Values) -> Marks:
    b, direction = (
        values.number("DiffusionBValue"),
        values.numbers("DiffusionGradientOrientation", 3),
    )
    return Marks(
        temporal=values.whole("TemporalPositionIdentifier"),
        echo=values.number("EchoTime"),
        echo_number=values.whole("EchoNumbers"),
        diffusion=() if b is None else (b, *(direction or ())),
        trigger_ms=values.number("TriggerTime"),
        acquisition=values.whole("AcquisitionNumber"),
        moment=moment(values.text("AcquisitionDateTime"))
        or moment(values.text("AcquisitionDate") + values.text("AcquisitionTime")),
        content=seconds(values.text("ContentTime")),
    )


def _radiopharmacy(values: Values) -> Radiopharmacy | None:
    if not values.has("Units") and not values.has("RadiopharmaceuticalInformationSequence"):
        return None
    given = values.item("RadiopharmaceuticalInformationSequence")
    series = moment(values.text("SeriesDate") + values.text("SeriesTime"))
    time = given.text("RadiopharmaceuticalStartTime")
    return Radiopharmacy(
        units=values.text("Units").upper(),
        decay_correction=values.text("DecayCorrection").upper(),
        corrected=values.texts("CorrectedImage"),
        weight_kg=values.number("PatientWeight"),
        dose_bq=given.number("RadionuclideTotalDose"),
        half_life_s=given.number("RadionuclideHalfLife"),
        injected=moment(given.text("RadiopharmaceuticalStartDateTime"))
        or moment(values.text("SeriesDate") + time if time else ""),
        dated=given.has("RadiopharmaceuticalStartDateTime"),
        series_moment=series,
        suv_type=values.text("SUVType").upper(),
    )


def _shortage(read: Parsed, slices: list[Slice], member: Member) -> str:
    """Why its pixels can't be whole, by sizes alone; empty where they may be."""
    if read.pixels is None:
        return "it has no pixel data"
    if UID(read.syntax).is_encapsulated or read.pixels.bytes == UNDEFINED:
        return ""
    pixels = slices[0].format
    words = -(-pixels.bits_allocated // 8)
    need = slices[0].rows * slices[0].columns * pixels.samples * words * len(slices)
    end = read.file.seek(0, 2) if UID(read.syntax).is_deflated else member.bytes
    there = end - read.pixels.first
    if min(read.pixels.bytes, there) < need:
        return f"its pixels are cut short: {max(0, min(read.pixels.bytes, there))} of {need} bytes are there"
    return ""
