"""Arrivals of DICOM: which series lie in the folders and zips of a hot folder, and when each is whole.

One arrival is one series. Its place is a folder, with all below it, or a zip in the hot folder; it is looked into once
it has kept still. Loose DICOM files are first moved into a folder of their series, so that a slice that comes later
gets to the others.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from seg_batch.batch.watch.arrivals import TEMPORARY, FolderListing, Glance, Settling, glance_at
from seg_batch.batch.watch.stack_arrivals import SINGLE_FILES, StackArrivals
from seg_batch.core.errors import InputError
from seg_batch.core.registry.formats import names_folder
from seg_batch.core.run_files import NAME_BYTES, RECEIVING, hidden_beside, named, shortened
from seg_batch.core.units import counted
from seg_batch.io.dicom.arriving import folder_of_series, loose_series, told_instances
from seg_batch.io.dicom.series import Series
from seg_batch.io.dicom.survey import called, survey, why_aside
from seg_batch.io.dicom.tree import is_zip, tree_at

_PLACE_BYTES = 120  # of the name of a place that are kept in the name of an arrival


@dataclass(frozen=True)
class SeriesArrival:
    """A series in a hot folder. ``place``: the name of its folder or zip; ``key``: of the series there, empty for a place
    that can't be looked into; ``alone``: whether it has that to itself; ``passed``: why the place is passed over, if it is;
    ``stem``: the place without the ending of a zip."""

    place: str
    key: str
    glance: Glance
    alone: bool
    passed: str = ""
    stem: str = ""

    @property
    def name(self) -> str:
        """What the arrival is called: nothing of a header gets into a path."""
        if not self.key:
            return self.place
        return f"{shortened(self.place, NAME_BYTES - _PLACE_BYTES)}@{_digest([self.key])[:12]}"

    @property
    def id(self) -> str:
        """The name of the image in outputs."""
        stem = self.stem or self.place
        return stem if self.alone else named(stem, f"_{_digest([self.key])[:8]}")


@dataclass(frozen=True)
class _Looked:
    """What was seen in a place when its files were in this ``state``: series by name, what others wait for, and a line
    for the user, if any."""

    state: Glance
    found: dict[str, SeriesArrival]
    lacking: dict[str, str]
    note: str = ""


class SeriesArrivals:
    """Series and, of all else, what ``stack`` says. ``apart``: folders that hold no arrivals, though they lie in the
    hot one; ``holds``: of the name of a place, why it is not whole yet (empty: it broke off); ``marker``: the ending of the file that
    declares a place whole; ``choice``: the number or UID of the only series that are taken."""

    def __init__(
        self,
        folder: Path,
        settle_s: float,
        stack: StackArrivals = SINGLE_FILES,
        *,
        apart: Collection[Path] = (),
        holds: Callable[[str], str] = lambda place: "",
        marker: str | None = None,
        choice: str | None = None,
    ) -> None:
        self._folder, self._choice = folder, choice
        self.stack, self._marker, self.holds = stack, marker, holds
        self._apart = [path.resolve() for path in apart]
        self._places, self._loose = Settling(settle_s), Settling(settle_s)
        self._looked: dict[str, _Looked] = {}
        self._no_dicom: dict[str, Glance] = {}

    def of(self, name: str) -> SeriesArrival | None:
        """The series that has arrived under this name; None for another image."""
        return next((p.found[name] for p in self._looked.values() if name in p.found), None)

    def id_of(self, name: str) -> str | None:
        """The name of the image in outputs, where it is not that of the file."""
        series = self.of(name)
        return self.stack.id_of(name) if series is None else series.id

    def key_of(self, name: str) -> str | None:
        """The key of the series; None for another image."""
        series = self.of(name)
        return series.key or None if series is not None else None

    def files(self, name: str) -> tuple[str, ...]:
        """The names of the files of an arrival, or of the folder or zip that it lies in."""
        series = self.of(name)
        return self.stack.files(name) if series is None else (series.place,)

    def beside(self, name: str) -> dict[str, Glance]:
        """The other series in the same place, which move with this one, also those that are not whole."""
        if (series := self.of(name)) is None:
            return {}
        place = self._looked[series.place]
        others = {other: each.glance for other, each in place.found.items() if other != name}
        return {**others, **dict.fromkeys(place.lacking, (0, 0, 0))}

    def glance(self, folder: Path, name: str) -> Glance | None:
        if (series := self.of(name)) is None:
            return self.stack.glance(folder, name)
        looked, path = self._looked[series.place], folder / series.place
        if (now := place_state(path)) is None:
            return None
        if now != looked.state:  # another series, or this one
            looked = self._arrivals(path, now)
        return looked.found[name].glance if name in looked.found else None

    def grouped(self, seen: FolderListing) -> FolderListing:
        """The same with the series in it."""
        folder = self._folder
        seen, gathered = self._without_loose(folder, self.stack.grouped(seen))
        states = self._states(folder, seen)
        still = {*self._places.settled(states, time.monotonic()), *gathered}
        images, waiting, kept = dict(seen.images), dict(seen.waiting), set[str]()
        for place, state in states.items():
            if why := self._why_held(folder / place):
                waiting[place] = state, why
            elif place in still or (self._marker and place + self._marker in seen.others):
                images.update(self._look(folder, place, state, waiting))
                kept.update(name for name in images if name not in seen.images)
        for place in self._looked.keys() - states.keys():
            del self._looked[place]
        arrived = [one for looked in self._looked.values() for one in looked.found.values()]
        passed = {one.name: one.passed for one in arrived if one.passed and one.name in kept}
        notes = tuple(filter(None, (looked.note for looked in self._looked.values())))
        return replace(
            seen,
            images=images,
            waiting=waiting,
            still=frozenset(kept),
            passed=passed,
            notes=notes,
        )

    def _states(self, folder: Path, seen: FolderListing) -> dict[str, Glance]:
        """The folders and zips that may hold series."""
        states = {}
        for name in sorted(seen.others):
            path = folder / name
            if names_folder(name.lower()) or not is_place(path):
                continue
            if self._is_apart(path) or (state := place_state(path)) is None:
                continue
            if self._no_dicom.get(name) != state:
                states[name] = state
        return states

    def _why_held(self, path: Path) -> str:
        note = hidden_beside(path, RECEIVING)
        if not note.exists():
            return ""
        return self.holds(path.name) or (
            f"{path.name} broke off while it was received, so slices may be missing: send it again, or remove {note}"
        )

    def _is_apart(self, path: Path) -> bool:
        real = path.resolve()
        return any(other.is_relative_to(real) for other in self._apart)

    def _look(
        self, folder: Path, place: str, state: Glance, waiting: dict[str, tuple[Glance, str]]
    ) -> dict[str, Glance]:
        """The series of a place that are whole; headers are read where it has changed."""
        if place not in self._looked or self._looked[place].state != state:
            looked = self._arrivals(folder / place, state)
            if not (looked.found or looked.lacking or looked.note):
                self._no_dicom[place] = state
            self._looked[place] = looked
        looked = self._looked[place]
        waiting.update({name: (state, why) for name, why in looked.lacking.items()})
        return {name: series.glance for name, series in looked.found.items()}

    def _arrivals(self, path: Path, state: Glance) -> _Looked:
        """What lies at a path. Series that are none to be segmented unasked are passed over."""
        try:
            series = survey(path).series
        except InputError:  # it is refused with the reason, as an image is
            return _Looked(state, {path.name: SeriesArrival(path.name, "", state, True)}, {})
        if (choice := self._choice) is None:
            volumes = [one for one in series if not why_aside(one)]
            if series and not volumes:
                why = ", ".join(sorted({why_aside(one) for one in series}))
                return _Looked(
                    state, {path.name: SeriesArrival(path.name, "", state, True, why)}, {}
                )
            return self._whole(path, state, series, volumes)
        volumes = called(series, choice)
        if len(volumes) > 1:  # it is refused with the reason, as predict does
            asked = SeriesArrival(path.name, choice, state, True)
            return _Looked(state, {asked.name: asked}, {})
        if series and not volumes:
            note = f"{path.name} holds no series that --series names: it is left where it is"
            return _Looked(state, {}, {}, note)
        return self._whole(path, state, series, volumes)

    def _whole(
        self, path: Path, state: Glance, series: Sequence[Series], volumes: Sequence[Series]
    ) -> _Looked:
        """Those of the volumes that are whole, and what the others wait for. ``series``: all at the path."""
        here = Counter(uid for uid, _ in {(s.facts.uid, e.file) for s in series for e in s.slices})
        found, lacking = dict[str, SeriesArrival](), dict[str, str]()
        for one in volumes:
            arrival = SeriesArrival(
                path.name, one.key, _glance(one), len(volumes) == 1, stem=_stem(path)
            )
            if (lacks := told_instances(path, one) - here[one.facts.uid]) > 0:
                lacking[arrival.name] = (
                    f"{arrival.name} waits for {counted(lacks, 'file')} that its header tells of"
                )
            else:
                found[arrival.name] = arrival
        return _Looked(state, found, lacking)

    def _without_loose(
        self, folder: Path, seen: FolderListing
    ) -> tuple[FolderListing, frozenset[str]]:
        """The same after loose slices were moved into folders of their series, and the names of these folders. The slices of
        a series move together, once all of them have kept still. A marker declares each file an image of its own."""
        if self._marker is not None:
            return seen, frozenset()
        candidates = loose_series(folder, [*seen.images, *seen.others])
        glances = {name: seen.images.get(name) or glance_at(folder / name) for name in candidates}
        known = {name: glance for name, glance in glances.items() if glance is not None}
        slices = defaultdict[str, list[str]](list)
        for name in sorted(known):
            slices[candidates[name]].append(name)
        states = {uid: _state([(n, *known[n]) for n in names]) for uid, names in slices.items()}
        homes = set[str]()
        for uid in self._loose.settled(states, time.monotonic()):
            home = folder / folder_of_series(uid)
            home.mkdir(exist_ok=True)
            for name in slices[uid]:
                if not os.path.lexists(home / name):
                    os.rename(folder / name, home / name)
            homes.add(home.name)
        images = {name: glance for name, glance in seen.images.items() if name not in known}
        seen = replace(seen, images=images, others=(seen.others - known.keys()) | homes)
        return seen, frozenset(homes)

    def markers(self, name: str, marker: str | None) -> set[str]:
        series = self.of(name)
        if series is None:
            return self.stack.markers(name, marker)
        return set() if marker is None else {series.place + marker}

    def marker(self, folder: Path, name: str, marker: str | None) -> Glance | None:
        series = self.of(name)
        if series is None:
            return self.stack.marker(folder, name, marker)
        return None if marker is None else glance_at(folder / (series.place + marker))

    def declared(self, seen: FolderListing, marker: str) -> list[str]:
        series = {name: one for name in seen.images if (one := self.of(name)) is not None}
        others = replace(seen, images={n: g for n, g in seen.images.items() if n not in series})
        ours = [name for name, one in series.items() if one.place + marker in seen.others]
        return sorted([*self.stack.declared(others, marker), *ours])


def is_place(path: Path) -> bool:
    """Whether series may lie there: a folder or zip."""
    try:
        return path.is_dir() or is_zip(path)
    except OSError:
        return False


def _stem(path: Path) -> str:
    return path.name if path.is_dir() else path.stem


def place_state(path: Path) -> Glance | None:
    """Bytes and a digest of the names, sizes and times of all files, so that each change shows; None while a
    file in it is being written, or it is gone."""
    try:
        if path.is_dir():
            members = [(m.name, m.bytes, m.stamp) for m in tree_at(path).members()]
        else:
            info = path.stat()
            members = [("", info.st_size, info.st_mtime_ns)]
    except (OSError, InputError):
        return None
    if any(name.lower().endswith(TEMPORARY) for name, _, _ in members):
        return None
    return _state(members)


def _state(members: Sequence[tuple[Any, ...]]) -> Glance:
    """Of names, bytes and whatever else changes."""
    return sum(each[1] for each in members), _number(members), len(members)


def _glance(series: Series) -> Glance:
    files = sorted({(each.file, each.bytes, each.stamp) for each in series.slices})
    return sum(size for _, size, _ in files), _number(files), len(files)


def _digest(values: Iterable[object]) -> str:
    return hashlib.sha256(repr(list(values)).encode("utf-8", "surrogateescape")).hexdigest()


def _number(values: Iterable[object]) -> int:
    return int(_digest(values)[:15], 16)
