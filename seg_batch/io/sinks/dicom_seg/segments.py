"""Which segments a segmentation has: one for each class that occurs, except the background.

A segment without a voxel is none: viewers list it, and some stop at it. Where nothing but background was found, the
first class stays, since a segmentation has at least one segment.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Container, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.color import CIELabColor
from highdicom.seg import SegmentDescription
from highdicom.sr import CodedConcept

from seg_batch.config.card import ClassInfo
from seg_batch.config.card_parts.codes import parts_of
from seg_batch.io.sinks.dicom_seg.texts import cut, hashed
from seg_batch.io.sinks.spec import ProductSpec
from seg_batch.io.sources.formats.dicom_seg import LABEL

_OURS = "99SEGBATCH"  # the scheme of codes of classes whose card has none
_CATEGORY = f"{_OURS} class Class of a segmentation model"
_PLAIN = re.compile(r"[\w.-]{1,16}", re.ASCII)
_MISSING = "not predicted"
_GREY = (128, 128, 128)


@dataclass(frozen=True)
class Segment:
    """``number``: in the file; ``label``: in the store."""

    number: int
    info: ClassInfo

    @property
    def label(self) -> int:
        return self.info.id


def segments_of(
    classes: Sequence[ClassInfo], background: int | None, labels: Container[int], *, as_map: bool
) -> tuple[Segment, ...]:
    """The segments of ``labels``, in order. In a label map their numbers are the labels where these leave 0 to the
    background; else they count from 1 (PS3.3 C.8.20.4)."""
    others = sorted((c for c in classes if c.id != background), key=lambda c: c.id)
    here = [c for c in others if c.id in labels] or others[:1]
    kept = as_map and all(c.id for c in here)
    return tuple(Segment(c.id if kept else n, c) for n, c in enumerate(here, 1))


def segments_for(spec: ProductSpec, labels: Set[int]) -> tuple[Segment, ...]:
    """The segments of a product, with one for voxels that were not predicted."""
    known = {c.id for c in spec.classes} | {spec.background}
    classes = (*spec.classes, *map(_not_predicted, sorted(labels - known)))
    return segments_of(classes, spec.background, labels, as_map=spec.seg == "labelmap")


def _not_predicted(label: int) -> ClassInfo:
    """The class of voxels whose block failed."""
    return ClassInfo(id=label, name=_MISSING, colour=_GREY)


def numbers_of(segments: Sequence[Segment]) -> np.ndarray:
    """The segment number of each label; 0 for the background."""
    numbers = np.zeros(1 << 16, np.uint16)
    for segment in segments:
        numbers[segment.label] = segment.number
    return numbers


def description(
    segment: Segment, algorithm: AlgorithmIdentificationSequence, tracking: str
) -> SegmentDescription:
    """``tracking``: a UID."""
    info, code = segment.info, segment.info.code
    name = cut(info.name) or f"class {info.id}"
    category = concept(code.category if code else _CATEGORY)
    what = concept(code.type if code else _own_code(name))
    made = SegmentDescription(
        segment_number=segment.number,
        segment_label=name,
        segmented_property_category=category,
        segmented_property_type=what,
        algorithm_type="AUTOMATIC",
        algorithm_identification=algorithm,
        tracking_id=name,
        tracking_uid=tracking,
        display_color=CIELabColor.from_rgb(*info.colour),
    )
    made.SegmentDescription = LABEL.format(info.id)
    if code and code.modifier:
        of_type: Any = made.SegmentedPropertyTypeCodeSequence[0]
        of_type.SegmentedPropertyTypeModifierCodeSequence = [concept(code.modifier)]
    return made


def concept(code: str) -> CodedConcept:
    """``code``: as in a card."""
    scheme, value, meaning = parts_of(code)
    return CodedConcept(value, scheme, meaning)


def _own_code(name: str) -> str:
    """A code of our own, equal for equal names."""
    value = name if _PLAIN.fullmatch(name) else hashed(name)[:16]
    return f"{_OURS} {value} {name}"


def algorithm_of(tags: dict[str, str], version: str) -> AlgorithmIdentificationSequence:
    """The model as an algorithm: its names, and the hash of its weights as its version."""
    weights = tags.get("SEGBATCH_WEIGHTS", "")
    if len(weights) > 64:  # of several models
        weights = hashlib.sha256(weights.encode()).hexdigest()
    named = {key: text for key, text in tags.items() if key.startswith("SEGBATCH_")}
    named.pop("SEGBATCH_INPUT", None)
    made = AlgorithmIdentificationSequence(
        name=cut(tags.get("SEGBATCH_MODEL", "")) or "segbatch",
        family=CodedConcept("123110", "DCM", "Artificial Intelligence"),
        version=weights or cut(version),
        source="segbatch",
    )
    made[0].AlgorithmParameters = cut("; ".join(f"{k}={v}" for k, v in named.items()), 10240)
    return made
