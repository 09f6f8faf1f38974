"""The volumes of a series that holds several: times, echoes, diffusion weightings. Slices at one place are told apart
by what their headers say of them, never by the order of files."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from seg_batch.core.errors import InputError
from seg_batch.core.units import counted
from seg_batch.io.dicom.geometry import normal_of
from seg_batch.io.dicom.one_series.evenness import ONE_PLACE_MM
from seg_batch.io.dicom.series import Series, Slice

# What may tell volumes apart, the surest first, with its words.
_MARKS = {
    "temporal": "time point",
    "echo": "echo",
    "echo_number": "echo number",
    "diffusion": "diffusion weighting",
    "trigger_ms": "trigger time",
    "kind": "frame type",
    "stack": "stack",
    "acquisition": "acquisition",
    "indices": "dimension index",
    "moment": "time of acquisition",
    "content": "time of content",
}
_TOGETHER = 3  # marks at most
# What slices that were made one after the other differ by anyway: it tells nothing of those at one place alone, which may
# be the places of a stack that were taken away.
_PASSING = {"acquisition", "moment", "content"}


@dataclass(frozen=True)
class Volumes:
    """``series``: one for each volume, in the order of what tells them apart, which ``by`` names; ``values``: of each."""

    series: tuple[Series, ...]
    by: str = ""
    values: tuple[str, ...] = ()


def volumes_of(path: object, series: Series) -> Volumes:
    """The volumes of a series: one where no two slices lie at one place. Where no mark tells apart those that do, all
    slices are one, which ``geometry.placed`` refuses. ``InputError`` where volumes lack slices."""
    places = _places(series.slices)
    count = max(places, default=-1) + 1
    if count == len(series.slices) or count == 0:
        return Volumes((series,))
    uneven: InputError | None = None
    known = [mark for mark in _MARKS if count > 1 or mark not in _PASSING]
    for size in range(1, _TOGETHER + 1):
        for marks in itertools.combinations(known, size):
            groups = _grouped(series.slices, marks)
            if len(groups) < 2:
                continue
            if _all_whole(groups, places, count):
                return _sorted(series, marks, groups)
            if size == 1:
                uneven = uneven or _shortfall(path, marks[0], groups, places, count)
    phases = _phases(series.slices, places)
    if len(phases) > 1 and _all_whole(phases, places, count):
        return _sorted(series, ("trigger_ms",), phases)
    if uneven is not None:
        raise uneven
    return Volumes((series,))


def _phases(slices: tuple[Slice, ...], places: list[int]) -> dict[tuple[Any, ...], list[int]]:
    """Slices by the rank of their trigger time among those of their place, under the middle of these times: heart
    beats differ from place to place. None where two of a place have one time."""
    at = defaultdict[int, list[tuple[float, int]]](list)
    for n, one in enumerate(slices):
        if one.marks.trigger_ms is None:
            return {}
        at[places[n]].append((one.marks.trigger_ms, n))
    if any(len({time for time, _ in each}) < len(each) for each in at.values()):
        return {}
    ranks = defaultdict[int, list[tuple[float, int]]](list)
    for each in at.values():
        for rank, timed in enumerate(sorted(each)):
            ranks[rank].append(timed)
    middle = {rank: sorted(each)[len(each) // 2][0] for rank, each in ranks.items()}
    if len(set(middle.values())) < len(middle):
        return {}
    return {(middle[rank],): [n for _, n in each] for rank, each in ranks.items()}


def _places(slices: tuple[Slice, ...]) -> list[int]:
    """The number of the place of each slice, counted along the normal of the first; none where one has no place."""
    if any(one.position is None or one.orientation is None for one in slices):
        return []
    along = np.array([one.position for one in slices]) @ normal_of(slices[0])
    order = np.argsort(along, kind="stable")
    steps = np.diff(along[order]) > ONE_PLACE_MM
    numbers = np.empty(len(slices), int)
    numbers[order] = np.concatenate([[0], np.cumsum(steps)])
    return [int(number) for number in numbers]


def _grouped(slices: tuple[Slice, ...], marks: tuple[str, ...]) -> dict[tuple[Any, ...], list[int]]:
    groups: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for n, one in enumerate(slices):
        groups[tuple(getattr(one.marks, mark) for mark in marks)].append(n)
    return groups


def _all_whole(groups: dict[tuple[Any, ...], list[int]], places: list[int], count: int) -> bool:
    return all(
        len(members) == count and len({places[n] for n in members}) == count
        for members in groups.values()
    )


def _shortfall(
    path: object, mark: str, groups: dict[tuple[Any, ...], list[int]], places: list[int], count: int
) -> InputError | None:
    """The error for volumes of which most are whole, and some lack slices."""
    singly = all(len({places[n] for n in m}) == len(m) for m in groups.values())
    sizes = Counter(len(members) for members in groups.values())
    if not singly or sizes[count] * 2 <= len(groups):
        return None
    key, members = next((k, m) for k, m in sorted(groups.items(), key=_key) if len(m) < count)
    return InputError(
        f"{path}: a series of {counted(len(groups), 'volume')} by {_MARKS[mark]}, of which {_MARKS[mark]} {_shown(key)} has "
        f"{len(members)} of {counted(count, 'slice')}: slices are missing; copy the series again from its origin"
    )


def _sorted(
    series: Series, marks: tuple[str, ...], groups: dict[tuple[Any, ...], list[int]]
) -> Volumes:
    ordered = sorted(groups.items(), key=_key)
    volumes = tuple(
        replace(series, slices=tuple(series.slices[n] for n in members)) for _, members in ordered
    )
    by = " and ".join(_MARKS[mark] for mark in marks)
    return Volumes(volumes, by, tuple(_shown(key) for key, _ in ordered))


def _key(group: tuple[tuple[Any, ...], Any]) -> tuple[Any, ...]:
    """What sorts values of which some are missing."""
    return tuple((value is not None, _comparable(value)) for value in group[0])


def _comparable(value: Any) -> Any:
    return 0 if value is None else value


def _shown(key: Iterable[Any]) -> str:
    return ", ".join(_words(value) for value in key)


def _words(value: Any) -> str:
    if value is None or value == ():
        return "not said"
    if isinstance(value, tuple):
        return " ".join(_words(part) for part in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
