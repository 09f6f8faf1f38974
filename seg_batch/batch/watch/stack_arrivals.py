"""Arrivals of several files: which files in a hot folder are one image, and when it is whole."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from seg_batch.batch.inputs.stacks import filled, matcher, stacked_cases
from seg_batch.batch.watch.arrivals import FolderListing, Glance, glance_at, marker_at, marker_names
from seg_batch.config.workflow.parts import ID
from seg_batch.core.errors import WorkflowError


@dataclass(frozen=True)
class StackArrivals:
    """``patterns``: names of the files of one image, with ``{id}``; empty: each image is a file. An arrival has
    the name of its first file."""

    patterns: tuple[str, ...] = ()

    @classmethod
    def of(cls, patterns: Sequence[str]) -> StackArrivals:
        """Of ``inputs.stack``, whose folders do not count. WorkflowError for patterns of more than names."""
        names = tuple(map(os.path.basename, patterns))
        folders = {os.path.dirname(pattern) for pattern in patterns}
        for name in names:
            if ID not in name or glob.has_magic(name):
                raise WorkflowError(
                    f"stack: {name[:80]!r} is no name of a file with {ID} for what the files of one image "
                    "share: write it"
                )
        if len(folders) > 1 or any(ID in folder for folder in folders):
            raise WorkflowError("stack: files arrive in one folder: write patterns of names only")
        return cls(names)

    def id_of(self, name: str) -> str | None:
        """The name of the image whose first file has this name, where it is not that of the file."""
        return matcher(self.patterns[0])(name) if self.patterns else None

    def key_of(self, name: str) -> str | None:
        """No series has arrived under any name."""
        return None

    def files(self, name: str) -> tuple[str, ...]:
        """The names of the files of an arrival."""
        case = self.id_of(name)
        return (name,) if case is None else tuple(filled(p, case) for p in self.patterns)

    def glance(self, folder: Path, name: str) -> Glance | None:
        """Of all files of an arrival in a folder; None where one is missing."""
        glances = [glance_at(folder / file) for file in self.files(name)]
        whole = [glance for glance in glances if glance is not None]
        return _sum(whole) if len(whole) == len(glances) else None

    def grouped(self, seen: FolderListing) -> FolderListing:
        """The same with one image for each case that is whole; what the others wait for is in ``waiting``."""
        if not self.patterns:
            return seen
        images, waiting = dict[str, Glance](), dict(seen.waiting)
        paths_of = {pattern: list(seen.images) for pattern in self.patterns}
        for case in stacked_cases(self.patterns, paths_of):
            names = [name for row in case.files.values() for name in row]
            glance = _sum([seen.images[name] for name in names])
            if (files := case.in_order(len(self.patterns))) is not None:
                images[files[0]] = glance
            else:
                lacks = set(self.files(filled(self.patterns[0], case.id))).difference(names)
                waiting[case.id] = glance, f"{case.id} waits for {' and '.join(sorted(lacks))}"
        return replace(seen, images=images, waiting=waiting)

    def beside(self, name: str) -> dict[str, Glance]:
        """Other arrivals that move with this one."""
        return {}

    def markers(self, name: str, marker: str | None) -> set[str]:
        """Names of the files that may declare an arrival complete: one for it, or one for each file."""
        if marker is None:
            return set()
        case = self.id_of(name)
        own = set() if case is None else {case + marker}
        return own.union(*(marker_names(file, marker) for file in self.files(name)))

    def marker(self, folder: Path, name: str, marker: str | None) -> Glance | None:
        """The newest marker of an arrival that is declared complete; None for one that is not."""
        if marker is None:
            return None
        case = self.id_of(name)
        if case is not None and (whole := glance_at(folder / (case + marker))) is not None:
            return whole
        each = [marker_at(folder / file, marker) for file in self.files(name)]
        known = [glance for glance in each if glance is not None]
        return max(known, key=lambda glance: glance[1]) if len(known) == len(each) else None

    def declared(self, seen: FolderListing, marker: str) -> list[str]:
        """Arrivals that are declared complete, by names alone."""
        return sorted(name for name in seen.images if self._is_declared(name, seen, marker))

    def _is_declared(self, name: str, seen: FolderListing, marker: str) -> bool:
        case = self.id_of(name)
        if case is not None and case + marker in seen.others:
            return True
        return all(marker_names(file, marker) & seen.others for file in self.files(name))


SINGLE_FILES = StackArrivals()


def _sum(glances: Sequence[Glance]) -> Glance:
    sizes, times, files = zip(*glances, strict=True)
    return sum(sizes), sum(times), sum(files)
