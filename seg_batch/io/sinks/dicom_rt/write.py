"""A structure set of a series, filled again and compared before it counts.

Its contours are held as text while it is written: about as much as the file is long, which has a limit.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from seg_batch.core.errors import OutputError
from seg_batch.core.geometry import Box
from seg_batch.core.registry.formats import PRODUCTS
from seg_batch.core.spells import spell
from seg_batch.core.units import show_bytes, with_commas
from seg_batch.io.sinks.dicom_rt.contours import fill, outlines
from seg_batch.io.sinks.dicom_rt.plane import Plane, require_apart
from seg_batch.io.sinks.dicom_rt.structure_set import Region, instance_of, structure_set
from seg_batch.io.sinks.dicom_seg.frames import slabs
from seg_batch.io.sinks.dicom_seg.header import texts_of
from seg_batch.io.sinks.dicom_seg.origin import USUAL, Origin, origin_of
from seg_batch.io.sinks.dicom_seg.segments import Segment, numbers_of, segments_for
from seg_batch.io.sinks.dicom_seg.usable import refusing
from seg_batch.io.sinks.spec import ProductSpec, Read, damaged

_SAME_MM = 1e-3
_MOST_POINTS = 250_000  # of a slice; of 100 organs some 20 000
_MOST_BYTES = 512 << 20  # of all contours, which are held


def write_structures(part: Path, spec: ProductSpec, read: Read, again: Read, ending: str) -> None:
    """Write and check ``part``. OutputError where the labels can't be said to lie on the slices of a series,
    DamagedError when the file does not read back."""
    origin = origin_of(spec.image, spec.extent, spec.georef, ending)
    boxes = slabs(spec.extent, spec.chunk, np.dtype(spec.dtype).itemsize)
    digest, found = hashlib.sha256(), set[int]()
    for box in boxes:
        labels = np.ascontiguousarray(read(box))
        digest.update(labels)
        found.update(np.flatnonzero(np.bincount(labels.reshape(-1))).tolist())
    segments = segments_for(spec, found)
    regions = _traced(origin, segments, again, boxes)
    instances = {one.sop_uid: instance_of(origin, one) for one in origin.series.slices}
    for item in instances.values():
        item.pop("ReferencedFrameNumber", None)
    run = spec.tags.get("SEGBATCH_FINGERPRINT", "")
    made_of = (run, digest.hexdigest())
    with refusing(origin.path, ending), part.open("wb") as file:
        data = structure_set(origin, regions, instances.values(), texts_of(spec.tags, ""), made_of)
        pydicom.dcmwrite(file, data, enforce_file_format=True)
    check_structures(part, origin, segments, again, boxes)


def prove_structures(spec: ProductSpec, ending: str) -> list[str]:
    """Before any work: OutputError unless a header can be made of the series, which is tried without contours; what the user
    is to know of it."""
    origin = origin_of(spec.image, spec.extent, spec.georef, ending)
    require_apart(origin, ending)
    with refusing(origin.path, ending):
        items = [instance_of(origin, origin.series.slices[0])]
        data = structure_set(origin, [], items, texts_of({}, ""), ())
        pydicom.dcmwrite(BytesIO(), data, enforce_file_format=True)
    return origin.warnings


def _traced(
    origin: Origin, segments: Sequence[Segment], read: Read, boxes: Sequence[Box]
) -> list[Region]:
    regions = {one.number: Region(one) for one in segments}
    numbers, held = numbers_of(segments), 0
    for box in boxes:
        for k, labels in enumerate(read(box), box.start[0]):
            at = origin.series.slices[k]
            plane, instance = Plane.of(at), instance_of(origin, at)
            lines = list(outlines(numbers[labels].astype(np.int32)))
            count = sum(len(line) for _, line in lines)
            if count > _MOST_POINTS:
                raise _too_much(
                    f"{with_commas(count)} points on slice {k}", with_commas(_MOST_POINTS)
                )
            for number, line in lines:
                text = plane.text(line)
                held += len(text)
                regions[number].add(text, instance)
            if held > _MOST_BYTES:
                raise _too_much(f"{show_bytes(held)} up to slice {k}", show_bytes(_MOST_BYTES))
    return list(regions.values())


def _too_much(found: str, most: str) -> OutputError:
    return OutputError(
        f"contours of these labels have {found}, and a structure set that programs can use has at most {most}: "
        f"use {PRODUCTS['dicom_seg'].endings[0]} or {USUAL}"
    )


@spell("check")
def check_structures(
    part: Path, origin: Origin, segments: Sequence[Segment], read: Read, boxes: Sequence[Box]
) -> None:
    """DamagedError unless the contours of the file, filled by centres of voxels, give the labels of the store."""
    try:
        wrong = _differences(pydicom.dcmread(part), origin, segments, read, boxes)
    except (OSError, ValueError, AttributeError, KeyError, IndexError) as error:
        raise damaged(part, [str(error)]) from error
    if wrong:
        raise damaged(part, wrong)


def _differences(
    data: Any, origin: Origin, segments: Sequence[Segment], read: Read, boxes: Sequence[Box]
) -> list[str]:
    numbers, lines = numbers_of(segments), _by_slice(data)
    for box in boxes:
        for k, labels in enumerate(read(box), box.start[0]):
            at = origin.series.slices[k]
            plane, expected = Plane.of(at), numbers[labels]
            filled = np.zeros_like(expected)
            here = lines.pop((at.sop_uid, at.frame), {})
            for number, texts in here.items():
                points = [plane.points(text) for text in texts]
                if max(beside for _, beside in points) > _SAME_MM:
                    return [f"contours of slice {k} lie beside it"]
                filled[fill(expected.shape, [one for one, _ in points])] = segments[
                    number - 1
                ].number
            if not np.array_equal(filled, expected):
                return [f"contours of slice {k} hold other voxels"]
    return [f"contours refer to {len(lines)} slices that are none of the series"] if lines else []


def _by_slice(data: Any) -> dict[tuple[str, int | None], dict[int, list[bytes]]]:
    """The texts of all contours by instance and frame, then by the number of their region."""
    lines: dict[Any, dict[int, list[bytes]]] = defaultdict(lambda: defaultdict(list))
    for region in data.ROIContourSequence:
        for item in region.get("ContourSequence", ()):
            of = item.ContourImageSequence[0]
            frame = of.get("ReferencedFrameNumber")
            key = str(of.ReferencedSOPInstanceUID), None if frame is None else int(frame) - 1
            lines[key][int(region.ReferencedROINumber)].append(item.get_item("ContourData").value)
    return lines
