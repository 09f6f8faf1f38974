"""All of a segmentation but its pixels.

highdicom makes it of stand-ins: one source image of a single voxel for each slice. It would hold the whole volume
several times, and reads every source header; the slices are known here already. Rows, columns, references and
pixels are put in afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from highdicom.seg import Segmentation, SegmentDescription
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, RLELossless
from pydicom.valuerep import DSfloat, format_number_as_ds

from seg_batch.core.versions import package_version
from seg_batch.io.dicom.series import Slice
from seg_batch.io.sinks.dicom_seg.origin import Origin
from seg_batch.io.sinks.dicom_seg.segments import Segment
from seg_batch.io.sinks.dicom_seg.texts import cut, uid_of
from seg_batch.io.sinks.dicom_seg.usable import UTF8

MAKER = "segbatch"
_NEEDED = (  # of type 1 or 2 in every image (PS3.3 C.7.1.1, C.7.2.1), and missing in many
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber"),
    *("StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
)
_DATE, _TIME = "19700101", "000000"
_NUMBER = 1000  # added to the number of the source's series


@dataclass(frozen=True)
class Identity:
    """What the UIDs of a file are made of. ``run``: the fingerprint; ``labels``: a digest of all labels."""

    run: str
    labels: str


def seg_dataset(
    origin: Origin,
    segments: Sequence[Segment],
    descriptions: Sequence[SegmentDescription],
    present: np.ndarray | None,
    identity: Identity,
    texts: dict[str, str],
) -> tuple[Dataset, list[tuple[int, int]]]:
    """The dataset without pixels, and plane and segment number of each frame (0 in a label map). ``present``: of a
    binary one, which segments each plane has frames of, ``(planes, segments)``; None: a label map."""
    labelmap = present is None
    series, names = origin.series, [f"1.2.{k + 1}" for k in range(len(origin.series.slices))]
    if present is None:
        values = np.zeros((len(names), 1, 1), np.uint16)
        values[0] = segments[0].number
    else:
        values = present[:, None, None, :].astype(np.uint8)
    made_of = (series.key, identity.run, *texts.values())
    data: Any = Segmentation(
        source_images=_stand_ins(origin, names),
        pixel_array=values,
        segmentation_type="LABELMAP" if labelmap else "BINARY",
        segment_descriptions=list(descriptions),
        series_instance_uid=uid_of("series", *made_of),
        series_number=_NUMBER + max(0, series.facts.number or 0) % 1_000_000,
        sop_instance_uid=uid_of("instance", *made_of, identity.labels),
        instance_number=1,
        manufacturer=MAKER,
        manufacturer_model_name=MAKER,
        software_versions=package_version(),
        device_serial_number=MAKER,
        content_label="SEGMENTATION",
        content_description=texts["content"],
        content_creator_name=f"{MAKER}^",
        series_description=texts["series"],
        transfer_syntax_uid=RLELossless if labelmap else ExplicitVRLittleEndian,
        omit_empty_frames=not labelmap,
        specific_character_set=UTF8,
    )
    data.SegmentsOverlap = "NO"
    data.Rows, data.Columns = origin.extent[1:]
    del data.PixelData
    set_times(data, origin.first_header())
    _set_dimensions(data, uid_of("dimensions", *made_of, identity.labels))
    _set_measures(data, origin)
    return data, _refer(data, origin, names)


def _stand_ins(origin: Origin, names: list[str]) -> list[Dataset]:
    """A source image of one voxel for each slice; the first has patient and study."""
    series, stand_ins = origin.series, list[Dataset]()
    for each, name in zip(series.slices, names, strict=True):
        data = Dataset()
        data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, name
        data.StudyInstanceUID = series.facts.study_uid
        data.SeriesInstanceUID = series.facts.uid
        data.FrameOfReferenceUID = origin.frame_of_reference
        data.Modality, data.Rows, data.Columns = series.facts.modality, 1, 1
        data.ImagePositionPatient = _texts(each.position)
        data.ImageOrientationPatient = _texts(series.slices[0].orientation)
        data.PixelSpacing, data.SliceThickness = _texts(series.slices[0].pixel_mm), "1"
        stand_ins.append(data)
    first = origin.first_header()
    for element in patient_and_study(first):
        stand_ins[0].add(element)
    for element in first:
        if element.tag not in stand_ins[0]:
            stand_ins[0].add(element)
    return stand_ins


def patient_and_study(first: Dataset) -> list[DataElement]:
    """What every instance of a study says of it, empty where the source does not say it."""
    empty = Dataset()
    for keyword in _NEEDED:
        setattr(empty, keyword, None)
    return [first.get(element.tag, element) for element in empty]


def _texts(values: Sequence[float] | None) -> list[str]:
    return [format_number_as_ds(float(value)) for value in values or ()]


def set_times(data: Any, first: Dataset) -> None:
    """The times are those of the source: a file that is made again has the same bytes. When it was made is in the
    report beside it."""
    for prefix, of in (
        ("Content", ("Content", "Series", "Study")),
        ("Series", ("Series", "Study")),
    ):
        date = next((d for p in of if (d := str(first.get(f"{p}Date", "") or ""))), _DATE)
        time = next((t for p in of if (t := str(first.get(f"{p}Time", "") or ""))), _TIME)
        setattr(data, f"{prefix}Date", date)
        setattr(data, f"{prefix}Time", time)
    for keyword in ("InstanceCreationDate", "InstanceCreationTime"):
        data.pop(keyword, None)
    for item in data.get("ContributingEquipmentSequence", ()):
        item.pop("ContributionDateTime", None)


def _set_dimensions(data: Any, uid: str) -> None:
    for item in (*data.DimensionIndexSequence, *data.DimensionOrganizationSequence):
        item.DimensionOrganizationUID = UID(uid)


def _set_measures(data: Any, origin: Origin) -> None:
    """Distances between rows and columns as the source has them, and between slices along the normal."""
    slices, facts = origin.series.slices, origin.series.facts
    rows, columns = np.split(np.array(slices[0].orientation), 2)
    along = [float(np.dot(np.cross(rows, columns), one.position or ())) for one in slices]
    between = facts.between_mm or facts.thickness_mm or 1.0
    if len(slices) > 1:
        between = (along[-1] - along[0]) / (len(slices) - 1)
    item = data.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    item.SpacingBetweenSlices = DSfloat(abs(between), auto_format=True)
    item.SliceThickness = DSfloat(facts.thickness_mm or abs(between), auto_format=True)


def _refer(data: Any, origin: Origin, names: list[str]) -> list[tuple[int, int]]:
    """Put the instances of the source in place of the stand-ins, in each frame its slice's."""
    items, shared = data.PerFrameFunctionalGroupsSequence, data.SharedFunctionalGroupsSequence[0]
    sources = [item.DerivationImageSequence[0].SourceImageSequence[0] for item in items]
    plane = {name: k for k, name in enumerate(names)}
    planes = [plane[source.ReferencedSOPInstanceUID] for source in sources]
    for source, k in zip(sources, planes, strict=True):  # frames of one plane share theirs
        _point(source, origin, origin.series.slices[k])
    numbers = []
    for item in items:
        home = item if "SegmentIdentificationSequence" in item else shared
        of = home.get("SegmentIdentificationSequence")
        numbers.append(int(of[0].ReferencedSegmentNumber) if of else 0)
    instances = []
    for uid in dict.fromkeys(one.sop_uid for one in origin.series.slices):
        item = Dataset()
        item.ReferencedSOPClassUID = origin.series.facts.sop_class
        item.ReferencedSOPInstanceUID = uid
        instances.append(item)
    data.SourceImageSequence = instances
    series = data.ReferencedSeriesSequence[0]
    series.ReferencedInstanceSequence = instances
    return list(zip(planes, numbers, strict=True))


def _point(source: Any, origin: Origin, at: Slice) -> None:
    source.ReferencedSOPClassUID = origin.series.facts.sop_class
    source.ReferencedSOPInstanceUID = at.sop_uid
    if at.frame is not None:
        source.ReferencedFrameNumber = at.frame + 1


def texts_of(tags: dict[str, str], background: str) -> dict[str, str]:
    """The descriptions of file and series, which say where a result is partial."""
    partial = tags.get("SEGBATCH_STATUS", "").upper() == "PARTIAL"
    mark = "PARTIAL RESULT" if partial else "complete"
    model = tags.get("SEGBATCH_MODEL", "")
    return {
        "content": cut("; ".join(filter(None, (background, mark)))),
        "series": cut(f"{'PARTIAL ' if partial else ''}segmentation by {model}"),
    }
