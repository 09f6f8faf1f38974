"""Slices made into series, told apart by what their headers say.

One SeriesInstanceUID is one series, unless its slices differ in

1. what kind of image they are (ImageType, colour, reconstruction kernel), or their frame of reference;
2. their direction, by more than a degree;
3. their acquisition or their stack, where these do not make one stack: see ``_stacks``.

Kinds and directions that only together are one even stack are one series all the same: see ``_rejoined``.

Echoes and points in time that repeat the same positions stay together: they are the volumes of one 4-D series.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from seg_batch.io.dicom.geometry import normal_of
from seg_batch.io.dicom.one_series.evenness import (
    ONE_PLACE_MM,
    WHOLE_STEPS,
    lie_evenly,
    off_place_mm,
    usual_gap,
)
from seg_batch.io.dicom.series import Series, SeriesFacts, Slice

Read = tuple[SeriesFacts, Slice]

_SAME_DIRECTION = 0.02  # of a direction cosine: about a degree
_NEAR_STEPS = (
    3  # acquisitions farther apart than this lie elsewhere; nearer ones lack slices between them
)
_NEARLY = 0.1  # of a direction cosine: directions in which slices of one stack may be written
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
    parts = [part for kind in _kinds(read) for part in _directions(kind)]
    parts = [stack for part in _rejoined(parts) for stack in _stacks(part)]
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
    return (
        facts.image_type,
        facts.frame_of_reference,
        direction,
        acquisition,
        first.marks.stack,
        facts.kernel,
        first.file,
    )


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
        kind = (
            facts.image_type,
            facts.frame_of_reference,
            facts.samples,
            facts.modality,
            facts.kernel,
        )
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


def _rejoined(parts: list[list[Read]]) -> list[list[Read]]:
    """Parts of which one tag of some slices made several, joined where they have no place in common and are one even
    stack, or one that lacks slices. Parts at the same places are volumes, and two reconstructions stay two."""
    able = [part for part in parts if _is_able(part)]
    rest = [part for part in parts if not _is_able(part)]
    groups: list[list[list[Read]]] = []
    for part in sorted(able, key=lambda part: -len(part)):
        home = next((group for group in groups if _may_join(group[0], part)), None)
        if home is None:
            groups.append(home := [])
        home.append(part)
    return rest + [part for group in groups for part in _joined(group)]


def _is_able(part: Sequence[Read]) -> bool:
    return not why_aside(part[0][0]) and all(s.orientation and s.position for _, s in part)


def _may_join(a: Sequence[Read], b: Sequence[Read]) -> bool:
    (one, first), (other, second) = a[0], b[0]
    turned = np.abs(np.subtract(first.orientation or (), second.orientation or ())).max()
    return bool(
        turned < _NEARLY and (one.kernel == other.kernel or not (one.kernel and other.kernel))
    )


def _joined(group: list[list[Read]]) -> list[list[Read]]:
    """``group``: the largest part first."""
    if len(group) == 1:
        return group
    everything = [each for part in group for each in part]
    if len(everything) > 2 and _is_stack(everything):
        return [everything]
    stacks: list[list[Read]] = []
    for part in group:
        home = next((stack for stack in stacks if _completes(stack, part)), None)
        if home is None:
            stacks.append(list(part))
        else:
            home += part
    return stacks


def _completes(stack: Sequence[Read], part: Sequence[Read]) -> bool:
    both = [*stack, *part]
    if len(both) < 3:
        return False
    if _is_stack(both):
        return True
    if stack[0][0].frame_of_reference != part[0][0].frame_of_reference or _are_two(stack, part):
        return False
    at = _along(both)
    if len(at) < len(both):
        return False
    gaps = np.diff(at)
    steps = gaps / usual_gap(gaps)
    whole = np.abs(steps - np.round(steps)) < WHOLE_STEPS
    return bool((whole & (np.round(steps) <= _NEAR_STEPS)).all())


def _are_two(a: Sequence[Read], b: Sequence[Read]) -> bool:
    """Whether each is an even stack by itself, of another step: thin and thick slices."""
    if min(len(a), len(b)) < 3 or not (_is_even(a) and _is_even(b)):
        return False
    one, other = usual_gap(np.diff(_along(a))), usual_gap(np.diff(_along(b)))
    return abs(one - other) > off_place_mm(min(one, other))


def _is_stack(read: Sequence[Read]) -> bool:
    """Whether slices are one even stack, each at a place of its own."""
    return len(_along(read)) == len(read) and _is_even(read)


def _stacks(read: list[Read]) -> list[list[Read]]:
    """Slices of one direction, apart by acquisition and by stack where these are not of one.

    Acquisitions are one stack where together they are evenly spaced, repeat the same positions, or where each
    begins within three steps of the end of another (a gap there is a missing slice). Those that overlap, or lie
    farther apart, are series of their own. Stacks that a header numbers are apart by any gap.
    """
    if any(not (s.orientation and s.position) for _, s in read):
        return [read]
    by_stack = defaultdict[str, list[Read]](list)
    for each in read:
        by_stack[each[1].marks.stack].append(each)
    parts = _merged(list(by_stack.values()), near=False)
    return [stack for part in parts for stack in _by_acquisition(part)]


def _by_acquisition(read: list[Read]) -> list[list[Read]]:
    parts = defaultdict[int | None, list[Read]](list)
    for each in read:
        parts[each[1].marks.acquisition].append(each)
    return _merged(list(parts.values()), near=True)


def _merged(parts: list[list[Read]], *, near: bool) -> list[list[Read]]:
    everything = [each for part in parts for each in part]
    if len(parts) == 1 or _is_even(everything):
        return [everything]
    stacks: list[list[Read]] = []
    for part in sorted(parts, key=lambda part: float(_along(part)[0])):
        home = next((stack for stack in stacks if _is_one(stack, part, near=near)), None)
        if home is None:
            stacks.append(list(part))
        else:
            home += part
    return stacks


def _placed(read: Sequence[Read]) -> np.ndarray:
    """``(n, 3)``: one position of each place, in their order along the normal."""
    normal = normal_of(read[0][1])
    positions = np.array([each.position for _, each in read], float)
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    different = np.concatenate([[True], np.diff(along[order]) > ONE_PLACE_MM])
    found: np.ndarray = positions[order][different]
    return found


def _along(read: Sequence[Read]) -> np.ndarray:
    """The different positions along the normal, in mm, sorted."""
    along: np.ndarray = _placed(read) @ normal_of(read[0][1])
    return along


def _is_even(read: Sequence[Read]) -> bool:
    at = _placed(read)
    if len(at) < 2:
        return False
    return lie_evenly(at, usual_gap(np.diff(at @ normal_of(read[0][1]))))


def _is_one(stack: Sequence[Read], part: Sequence[Read], *, near: bool) -> bool:
    a, b = _along(stack), _along(part)
    if len(a) == len(b) and np.abs(a - b).max() <= ONE_PLACE_MM:
        return True
    if _is_even([*stack, *part]):
        return True
    steps = np.concatenate([np.diff(a), np.diff(b)])
    between = b[0] - a[-1]
    return bool(
        near and len(steps) and 0 < between <= (_NEAR_STEPS + WHOLE_STEPS) * np.median(steps)
    )


def interned(facts: SeriesFacts, each: Slice, known: dict[object, object]) -> Read:
    """The same with values that it has in common with earlier ones held once."""
    return known.setdefault(facts, facts), replace(  # type: ignore[return-value]
        each,
        orientation=known.setdefault(each.orientation, each.orientation),  # type: ignore[arg-type]
        pixel_mm=known.setdefault(each.pixel_mm, each.pixel_mm),  # type: ignore[arg-type]
    )
