"""Arrivals of DICOM: which series lie in the folders and zips of a hot folder, and when each is whole.

One arrival is one series. Its place is a folder, with all below it, or a zip in the hot folder; it is looked into once
it has kept still. Loose DICOM files are first moved into a folder of their series, so that a slice that comes later
gets to the others.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from seg_batch.batch.watch.arrivals import TEMPORARY, FolderListing, Glance, Settling, glance_at
from seg_batch.batch.watch.stack_arrivals import SINGLE_FILES, StackArrivals
from seg_batch.core.errors import InputError
from seg_batch.core.registry.formats import names_folder
from seg_batch.core.run_files import NAME_BYTES, RECEIVING, hidden_beside, named, shortened
from seg_batch.core.units import counted
from seg_batch.io.dicom.arriving import folder_of_series, loose_series, told_instances
from seg_batch.io.dicom.series import Series
from seg_batch.io.dicom.survey import survey
from seg_batch.io.dicom.tree import tree_at

_PLACE_BYTES = 120  # of the name of a place that are kept in the name of an arrival
_ZIP = ".zip"


@dataclass(frozen=True)
class SeriesArrival:
    """A series in a hot folder. ``place``: the name of its folder or zip; ``key``: of the series there, empty for a place
    that can't be looked into; ``alone``: whether it has that to itself."""

    place: str
    key: str
    glance: Glance
    alone: bool

    @property
    def name(self) -> str:
        """What the arrival is called: nothing of a header gets into a path."""
        if not self.key:
            return self.place
        return f"{shortened(self.place, NAME_BYTES - _PLACE_BYTES)}@{_digest([self.key])[:12]}"

    @property
    def id(self) -> str:
        """The name of the image in outputs."""
        stem = self.place.removesuffix(_ZIP)
        return stem if self.alone else named(stem, f"_{_digest([self.key])[:8]}")


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
        self._looked: dict[str, tuple[Glance, dict[str, SeriesArrival], dict[str, str]]] = {}
        self._no_dicom: dict[str, Glance] = {}

    def of(self, name: str) -> SeriesArrival | None:
        """The series that has arrived under this name; None for another image."""
        return next((found[name] for _, found, _ in self._looked.values() if name in found), None)

    def id_of(self, name: str) -> str | None:
        return self.stack.id_of(name) if self.of(name) is None else None

    def files(self, name: str) -> tuple[str, ...]:
        """The names of the files of an arrival, or of the folder or zip that it lies in."""
        series = self.of(name)
        return self.stack.files(name) if series is None else (series.place,)

    def beside(self, name: str) -> dict[str, Glance]:
        """The other series in the same place, which move with this one, also those that are not whole."""
        if (series := self.of(name)) is None:
            return {}
        _, found, waiting = self._looked[series.place]
        others = {other: each.glance for other, each in found.items() if other != name}
        return {**others, **dict.fromkeys(waiting, (0, 0, 0))}

    def glance(self, folder: Path, name: str) -> Glance | None:
        if (series := self.of(name)) is None:
            return self.stack.glance(folder, name)
        state, found, _ = self._looked[series.place]
        path = folder / series.place
        if (now := place_state(path)) is None:
            return None
        if now != state:  # another series, or this one
            found, _ = self._arrivals(path)
        return found[name].glance if name in found else None

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
        return replace(seen, images=images, waiting=waiting, still=frozenset(kept))

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
        if place not in self._looked or self._looked[place][0] != state:
            found, lacking = self._arrivals(folder / place)
            if not found and not lacking:
                self._no_dicom[place] = state
            self._looked[place] = state, found, lacking
        _, found, lacking = self._looked[place]
        waiting.update({name: (state, why) for name, why in lacking.items()})
        return {name: series.glance for name, series in found.items()}

    def _arrivals(self, path: Path) -> tuple[dict[str, SeriesArrival], dict[str, str]]:
        """By their names the series at a path, and what others wait for. Localisers and single slices are none beside
        others."""
        try:
            series = survey(path).series
        except InputError:
            unread = SeriesArrival(path.name, "", place_state(path) or (0, 0, 0), True)
            return {path.name: unread}, {}  # it is refused with the reason, as an image is
        here = Counter(uid for uid, _ in {(s.facts.uid, e.file) for s in series for e in s.slices})
        volumes = [one for one in series if not one.aside and len(one.slices) > 1] or series
        if (choice := self._choice) is not None:
            names = ((one, (one.key, one.facts.uid, str(one.facts.number))) for one in series)
            volumes = [one for one, known in names if choice in known]
        found, lacking = dict[str, SeriesArrival](), dict[str, str]()
        for one in volumes:
            arrival = SeriesArrival(path.name, one.key, _glance(one), len(volumes) == 1)
            if (lacks := told_instances(path, one) - here[one.facts.uid]) > 0:
                lacking[arrival.name] = (
                    f"{arrival.name} waits for {counted(lacks, 'file')} that its header tells of"
                )
            else:
                found[arrival.name] = arrival
        return found, lacking

    def _without_loose(
        self, folder: Path, seen: FolderListing
    ) -> tuple[FolderListing, frozenset[str]]:
        """The same after loose DICOM files that have kept still were moved into folders of their series, and these.
        A marker declares each file an image of its own."""
        if self._marker is not None:
            return seen, frozenset()
        candidates = loose_series(folder, [*seen.images, *seen.others])
        glances = {name: seen.images.get(name) or glance_at(folder / name) for name in candidates}
        known = {name: glance for name, glance in glances.items() if glance is not None}
        homes = set[str]()
        for name in self._loose.settled(known, time.monotonic()):
            home = folder / folder_of_series(candidates[name])
            home.mkdir(exist_ok=True)
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
    return path.suffix.lower() == _ZIP or path.is_dir()


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
    return sum(size for _, size, _ in members), _number(members), len(members)


def _glance(series: Series) -> Glance:
    files = sorted({(each.file, each.bytes, each.stamp) for each in series.slices})
    return sum(size for _, size, _ in files), _number(files), len(files)


def _digest(values: Iterable[object]) -> str:
    return hashlib.sha256(repr(list(values)).encode("utf-8", "surrogateescape")).hexdigest()


def _number(values: Iterable[object]) -> int:
    return int(_digest(values)[:15], 16)
