"""A segmentation of a series, written in bounded memory and read back before it counts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom

from seg_batch.config.card import ClassInfo
from seg_batch.core.geometry import Box
from seg_batch.core.versions import package_version
from seg_batch.io.sinks.dicom_seg import frames
from seg_batch.io.sinks.dicom_seg.check import check_seg
from seg_batch.io.sinks.dicom_seg.header import Identity, seg_dataset, texts_of
from seg_batch.io.sinks.dicom_seg.origin import origin_of
from seg_batch.io.sinks.dicom_seg.segments import (
    Segment,
    algorithm_of,
    description,
    numbers_of,
    segments_for,
)
from seg_batch.io.sinks.dicom_seg.texts import uid_of
from seg_batch.io.sinks.dicom_seg.usable import refusing
from seg_batch.io.sinks.spec import ProductSpec, Read
from seg_batch.io.sources.formats.dicom_seg import BACKGROUND


def write_seg(part: Path, spec: ProductSpec, read: Read, again: Read, ending: str) -> None:
    """Write and check ``part``; ``read`` is called once for each box, ``again`` as often as needed.

    OutputError where the labels can't be said to lie on the slices of a series, DamagedError when the file does not
    read back.
    """
    origin = origin_of(spec.image, spec.extent, spec.georef, ending)
    boxes = frames.slabs(spec.extent, spec.chunk, np.dtype(spec.dtype).itemsize)
    there, digest = _survey(read, boxes)
    segments = segments_for(spec, {int(label) for plane in there for label in plane})
    as_map, numbers = spec.seg == "labelmap", numbers_of(segments)
    tags = spec.tags
    background = BACKGROUND.format(spec.background) if spec.background else ""
    texts, algorithm = texts_of(tags, background), algorithm_of(tags, package_version())
    identity = Identity(tags.get("SEGBATCH_FINGERPRINT", ""), digest)
    described = [
        description(one, algorithm, uid_of(origin.series.key, identity.run, digest, str(one.label)))
        for one in segments
    ]
    present = None if as_map else _present(there, segments)
    with refusing(origin.path, ending), part.open("wb") as file:
        data, order = seg_dataset(origin, segments, described, present, identity, texts)
        pydicom.dcmwrite(file, data, enforce_file_format=True)

    def numbered(box: Box) -> np.ndarray:
        values: np.ndarray = numbers[again(box)]
        return values

    if as_map:
        dtype = np.dtype("uint8" if data.BitsAllocated == 8 else "uint16")
        frames.append_map(part, numbered, [plane for plane, _ in order], boxes, dtype)
    else:
        frames.append_bits(part, numbered, order, boxes)
    check_seg(part, origin, again, boxes)


def prove_seg(spec: ProductSpec, ending: str) -> list[str]:
    """Before any work: OutputError unless a header can be made of the series, which is tried of one slice; what the user is
    to know of it."""
    origin = origin_of(spec.image, spec.extent, spec.georef, ending)
    segments = segments_for(replace(spec, classes=(ClassInfo(id=1, name="any"),)), {1})
    algorithm, texts = algorithm_of({}, package_version()), texts_of({}, "")
    described = [description(one, algorithm, uid_of("tried")) for one in segments]
    with refusing(origin.path, ending):
        data, _ = seg_dataset(
            origin.of_one_slice(), segments, described, None, Identity("", ""), texts
        )
        pydicom.dcmwrite(BytesIO(), data, enforce_file_format=True)
    return origin.warnings


def _survey(read: Read, boxes: Sequence[Box]) -> tuple[list[np.ndarray], str]:
    """Which labels each plane has, and a digest of all."""
    total, there = hashlib.sha256(), list[np.ndarray]()
    for box in boxes:
        labels = np.ascontiguousarray(read(box))
        total.update(labels)
        there += [np.flatnonzero(np.bincount(plane.reshape(-1))) for plane in labels]
    return there, total.hexdigest()


def _present(there: list[np.ndarray], segments: Sequence[Segment]) -> np.ndarray:
    """Which segments each plane has frames of: those that are there, and the first on a plane that has none, so that
    every slice of the source has its place in the file."""
    labels = [one.label for one in segments]
    present = np.array([np.isin(labels, plane) for plane in there])
    present[~present.any(1), 0] = True
    return present
