"""Slices made into series, told apart by what their headers say.

One SeriesInstanceUID is one series, unless its slices differ in

1. what kind of image they are (ImageType, colour), or their frame of reference;
2. their direction, by more than a degree;
3. their acquisition, where acquisitions do not make one stack: see ``_stacks``.

Echoes and points in time that repeat the same positions stay together: they are the volumes of one 4-D series.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from seg_batch.io.dicom.series import Series, SeriesFacts, Slice

Read = tuple[SeriesFacts, Slice]

_SAME_DIRECTION = 0.02  # of a direction cosine: about a degree
_EVEN = 0.02  # part of a step by which slices of a stack may lie elsewhere
_NEAR_STEPS = (
    3  # acquisitions farther apart than this lie elsewhere; nearer ones lack slices between them
)
_SAME_MM = 0.01
# Kinds of objects (PS3.4 B.5) whose pixels are no image of a patient to be segmented.
_NO_IMAGES = {
    "SEG": "a segmentation",
    "RTDOSE": "a dose",
    "RTIMAGE": "a projection",
    "SM": "a slide",
    "ES": "a film of an endoscope",
    "XC": "a photograph",
}
_SCOUTS = {"LOCALIZER", "SCOUT", "TOPOGRAM"}


def grouped(read: Iterable[Read]) -> list[Series]:
    """The series, sorted by number and UID; several of one UID are numbered in their key."""
    by_uid = defaultdict[str, list[Read]](list)
    for each in read:
        by_uid[each[0].uid].append(each)
    series = [one for uid in sorted(by_uid) for one in _of_uid(uid, by_uid[uid])]
    return sorted(series, key=lambda one: (one.facts.number is None, one.facts.number or 0))


def _of_uid(uid: str, read: Sequence[Read]) -> list[Series]:
    parts = [
        stack for kind in _kinds(read) for part in _directions(kind) for stack in _stacks(part)
    ]
    parts.sort(key=_by_content)
    fault = _two_owners(read)
    return [
        Series(
            uid + (f"#{n}" if len(parts) > 1 else ""),
            part[0][0],
            tuple(each for _, each in part),
            aside=why_aside(part[0][0]) or _without_place(part),
            fault=fault,
        )
        for n, part in enumerate(parts, start=1)
    ]


def _by_content(part: Sequence[Read]) -> tuple[object, ...]:
    """An order that stays the same where files are renamed or come to a part."""
    facts, first = part[0]
    direction = tuple(round(value, 1) for value in first.orientation or ())
    acquisition = min(each.marks.acquisition or 0 for _, each in part)
    return (facts.image_type, facts.frame_of_reference, direction, acquisition, first.file)


def why_aside(facts: SeriesFacts) -> str:
    """Why a series of images is none to be segmented; empty where it is one."""
    if _SCOUTS & set(facts.image_type):
        return "a localiser"
    if what := _NO_IMAGES.get(facts.modality):
        return what
    if facts.samples != 1 or facts.photometric in ("RGB", "PALETTE COLOR"):
        return "colour"
    return ""


def _two_owners(read: Sequence[Read]) -> str:
    """Why slices of one UID are not of one series; nothing of a patient is said."""
    for name, values in (
        ("patients", {facts.patient for facts, _ in read}),
        ("studies", {facts.study_uid for facts, _ in read}),
    ):
        if len(values) > 1:
            return f"files of {len(values)} {name} have this one series UID; separate them"
    return ""


def _without_place(part: Sequence[Read]) -> str:
    placed = any(each.position is not None for _, each in part)
    return "" if placed else "without a place in the patient"


def _kinds(read: Sequence[Read]) -> list[list[Read]]:
    kinds = defaultdict[tuple[object, ...], list[Read]](list)
    for facts, each in read:
        kind = (facts.image_type, facts.frame_of_reference, facts.samples, facts.modality)
        kinds[kind].append((facts, each))
    return list(kinds.values())


def _directions(read: Sequence[Read]) -> list[list[Read]]:
    """Apart by direction; each slice goes to the first direction that it has, so that noise makes no groups."""
    found: list[tuple[tuple[float, ...], list[Read]]] = []
    for each in read:
        direction = each[1].orientation or ()
        home = next((group for known, group in found if _same(known, direction)), None)
        if home is None:
            found.append((direction, home := []))
        home.append(each)
    return [group for _, group in found]


def _same(a: Sequence[float], b: Sequence[float]) -> bool:
    return len(a) == len(b) and all(abs(x - y) < _SAME_DIRECTION for x, y in zip(a, b, strict=True))


def _stacks(read: list[Read]) -> list[list[Read]]:
    """Slices of one direction, apart by acquisition where these are not of one stack.

    Acquisitions are one stack where together they are evenly spaced, repeat the same positions, or where each
    begins within three steps of the end of another (a gap there is a missing slice). Those that overlap, or lie
    farther apart, are series of their own.
    """
    by_acquisition = defaultdict[int | None, list[Read]](list)
    for each in read:
        by_acquisition[each[1].marks.acquisition].append(each)
    if len(by_acquisition) == 1 or any(not (s.orientation and s.position) for _, s in read):
        return [read]
    stacks: list[list[Read]] = []
    for part in sorted(by_acquisition.values(), key=lambda part: float(_along(part)[0])):
        home = next((stack for stack in stacks if _is_one(stack, part)), None)
        if home is None:
            stacks.append(list(part))
        else:
            home += part
    return [read] if _is_even(_along(read)) else stacks


def _along(read: Sequence[Read]) -> np.ndarray:
    """The different positions along the normal, in mm, sorted."""
    rows, columns = np.split(np.array(read[0][1].orientation), 2)
    normal = np.cross(rows, columns)
    at = np.sort(np.array([each.position for _, each in read]) @ normal)
    different: np.ndarray = at[np.concatenate([[True], np.diff(at) > _SAME_MM])]
    return different


def _is_even(at: np.ndarray) -> bool:
    steps = np.diff(at)
    return bool(len(steps) and (np.abs(steps - np.median(steps)) <= _EVEN * np.median(steps)).all())


def _is_one(stack: Sequence[Read], part: Sequence[Read]) -> bool:
    a, b = _along(stack), _along(part)
    if len(a) == len(b) and np.abs(a - b).max() <= _SAME_MM:
        return True
    if _is_even(_along([*stack, *part])):
        return True
    steps = np.concatenate([np.diff(a), np.diff(b)])
    between = b[0] - a[-1]
    return bool(len(steps) and 0 < between <= _NEAR_STEPS * np.median(steps) * (1 + _EVEN))


def interned(facts: SeriesFacts, each: Slice, known: dict[object, object]) -> Read:
    """The same with values that it has in common with earlier ones held once."""
    return known.setdefault(facts, facts), replace(  # type: ignore[return-value]
        each,
        orientation=known.setdefault(each.orientation, each.orientation),  # type: ignore[arg-type]
        pixel_mm=known.setdefault(each.pixel_mm, each.pixel_mm),  # type: ignore[arg-type]
    )
