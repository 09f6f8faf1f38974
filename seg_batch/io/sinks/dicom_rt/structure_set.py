"""The dataset of a structure set: regions, their colours and codes, and the series that they refer to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import (
    PYDICOM_IMPLEMENTATION_UID,
    UID,
    ImplicitVRLittleEndian,
    RTStructureSetStorage,
)

from seg_batch.core.versions import package_version
from seg_batch.io.dicom.series import Slice
from seg_batch.io.sinks.dicom_seg.header import MAKER, patient_and_study, set_times
from seg_batch.io.sinks.dicom_seg.origin import Origin
from seg_batch.io.sinks.dicom_seg.segments import Segment, concept
from seg_batch.io.sinks.dicom_seg.texts import cut, uid_of
from seg_batch.io.sinks.dicom_seg.usable import UTF8
from seg_batch.io.sources.formats.dicom_seg import LABEL

_NUMBER = 2000  # added to the number of the source's series
_STUDY = "1.2.840.10008.3.1.2.3.1"  # the class of what stands for a study (PS3.3 C.8.8.5)
_CONTOUR_DATA = Tag(0x3006, 0x0050)


@dataclass
class Region:
    """A segment with the items of its contours."""

    segment: Segment
    contours: list[Dataset] = field(default_factory=list)

    def add(self, data: bytes, instance: Dataset) -> None:
        item = Dataset()
        item.ContourImageSequence = [instance]
        item.ContourGeometricType = "CLOSED_PLANAR"
        item.NumberOfContourPoints = (data.count(b"\\") + 1) // 3
        # As bytes, which implicit VR has no word for: each of many numbers would become an object.
        item.add(DataElement(_CONTOUR_DATA, "OB", data))
        self.contours.append(item)


def instance_of(origin: Origin, at: Slice) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = origin.series.facts.sop_class
    item.ReferencedSOPInstanceUID = at.sop_uid
    if at.frame is not None:
        item.ReferencedFrameNumber = at.frame + 1
    return item


def structure_set(
    origin: Origin,
    regions: Sequence[Region],
    instances: Iterable[Dataset],
    texts: dict[str, str],
    made_of: Sequence[str],
) -> FileDataset:
    """``made_of``: what its UIDs follow from, besides the series; ``instances``: of all slices."""
    instance = UID(uid_of("structures", origin.series.key, *made_of))
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = RTStructureSetStorage
    meta.MediaStorageSOPInstanceUID = instance
    meta.TransferSyntaxUID = ImplicitVRLittleEndian  # in explicit ones a contour has 64 KiB at most
    meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    data: Any = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    first = origin.first_header()
    for element in patient_and_study(first):
        data.add(element)
    data.SpecificCharacterSet = UTF8
    data.SOPClassUID, data.SOPInstanceUID = RTStructureSetStorage, instance
    data.StudyInstanceUID = origin.series.facts.study_uid
    data.SeriesInstanceUID = uid_of("structure series", origin.series.key, *made_of)
    data.SeriesNumber = _NUMBER + max(0, origin.series.facts.number or 0) % 1_000_000
    data.Modality, data.Manufacturer, data.ManufacturerModelName = "RTSTRUCT", MAKER, MAKER
    data.OperatorsName, data.SoftwareVersions = "", package_version()
    data.SeriesDescription = texts["series"]
    data.InstanceNumber = 1
    data.StructureSetLabel = "SEGMENTATION"
    data.StructureSetDescription = texts["content"]
    set_times(data, first)
    data.StructureSetDate, data.StructureSetTime = data.ContentDate, data.ContentTime
    del data.ContentDate, data.ContentTime
    data.ApprovalStatus = "UNAPPROVED"
    data.FrameOfReferenceUID = origin.frame_of_reference
    data.PositionReferenceIndicator = str(first.get("PositionReferenceIndicator", "") or "")
    data.ReferencedFrameOfReferenceSequence = [_frame_of_reference(origin, instances)]
    _set_regions(data, origin, regions)
    return data  # type: ignore[no-any-return]


def _frame_of_reference(origin: Origin, instances: Iterable[Dataset]) -> Dataset:
    series, study, frame = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = origin.series.facts.uid
    series.ContourImageSequence = list(instances)
    study.ReferencedSOPClassUID = _STUDY
    study.ReferencedSOPInstanceUID = origin.series.facts.study_uid
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID = origin.frame_of_reference
    frame.RTReferencedStudySequence = [study]
    return frame


def _set_regions(data: Any, origin: Origin, regions: Sequence[Region]) -> None:
    structures, contours, observations = [], [], []
    for number, region in enumerate(regions, 1):
        info = region.segment.info
        name = cut(info.name) or f"class {info.id}"
        one, lines, seen = Dataset(), Dataset(), Dataset()
        one.ROINumber, one.ROIName = number, name
        one.ReferencedFrameOfReferenceUID = origin.frame_of_reference
        one.ROIDescription, one.ROIGenerationAlgorithm = LABEL.format(info.id), "AUTOMATIC"
        lines.ReferencedROINumber, lines.ROIDisplayColor = number, list(info.colour)
        lines.ContourSequence = region.contours
        seen.ObservationNumber = seen.ReferencedROINumber = number
        seen.ROIObservationLabel = name[:16].strip()
        seen.RTROIInterpretedType = seen.ROIInterpreter = ""
        if info.code:
            seen.RTROIIdentificationCodeSequence = [concept(info.code.type)]
        structures.append(one)
        contours.append(lines)
        observations.append(seen)
    data.StructureSetROISequence = structures
    data.ROIContourSequence = contours
    data.RTROIObservationsSequence = observations
