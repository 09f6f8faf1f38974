"""Which series lie in a place, told apart by what their headers say. Each header is read once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from seg_batch.core.errors import InputError
from seg_batch.io.dicom.header import NotAnImageError, read_header
from seg_batch.io.dicom.series import Other, Series, SeriesFacts, Slice
from seg_batch.io.dicom.tree import Member, Tree, tree_at

_SAME_DIRECTION = 4  # decimals of direction cosines


@dataclass(frozen=True)
class Survey:
    """The series of a place, by number and UID, and the files that are no slices of a volume."""

    series: tuple[Series, ...]
    others: tuple[Other, ...]


def survey(path: str | Path) -> Survey:
    """The series at a folder, zip or file; that of a place as it was is remembered. ``InputError`` where it can't be read."""
    tree = tree_at(path)
    try:
        members = tuple(tree.members())
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror}); check the path") from error
    return _surveyed(tree.root.absolute(), members)


@lru_cache(maxsize=4)
def _surveyed(root: Path, members: tuple[Member, ...]) -> Survey:
    tree, others = tree_at(root), list[Other]()
    groups: dict[tuple[object, ...], tuple[SeriesFacts, list[Slice]]] = {}
    for member in members:
        try:
            facts, slices = _header(tree, member)
        except NotAnImageError as error:
            others.append(Other(member.name, str(error)))
            continue
        for each in slices:
            group = (*facts.group, _direction(each))
            groups.setdefault(group, (facts, []))[1].append(each)
    return Survey(tuple(_keyed(groups.values())), tuple(others))


def _header(tree: Tree, member: Member) -> tuple[SeriesFacts, list[Slice]]:
    try:
        with tree.open(member.name) as file:
            return read_header(file, member)
    except OSError as error:
        raise NotAnImageError(f"can't be read ({error.strerror})") from None


def _direction(each: Slice) -> tuple[float, ...]:
    return tuple(round(value, _SAME_DIRECTION) + 0.0 for value in each.orientation or ())


def _keyed(groups: Iterable[tuple[SeriesFacts, list[Slice]]]) -> list[Series]:
    """The series sorted by number and UID, and several of one UID numbered."""
    ordered = sorted(groups, key=lambda group: (group[0].number or 0, group[0].uid))
    series, seen = list[Series](), dict[str, int]()
    for facts, slices in ordered:
        seen[facts.uid] = count = seen.get(facts.uid, 0) + 1
        series.append(Series(facts.uid + (f"#{count}" if count > 1 else ""), facts, tuple(slices)))
    return series


def series_at(path: str | Path, choice: str | None = None) -> Series:
    """The series of a place: the only one, or that which ``choice`` names by its key or its number. ``InputError``
    where that is none or not one, with what is there."""
    seen = survey(path).series
    if not seen:
        raise InputError(f"{path}: no DICOM image there; give a folder that holds a series")
    if choice is None:
        chosen = list(seen)
    else:
        chosen = [one for one in seen if choice in (one.key, str(one.facts.number))]
    if len(chosen) == 1:
        return chosen[0]
    listed = "; ".join(f"{one.facts.number}: {one.key}, {one.facts.modality}" for one in seen[:5])
    what = f"no series {choice}" if choice else f"{len(seen)} series"
    raise InputError(f"{path}: {what}; choose one with --series N or UID ({listed})")
