"""Archiving of arrivals whose outcome is known: each is moved away, or marked beside the image.

Both are idempotent and repeated after a kill: the outcome is in the arrival log before. A move
takes two steps, since no file system can move a file only if it is unchanged: the image is gathered
with its side files, compared with what was segmented, and then moved, or given its name back.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from seg_batch.batch.watch.arrivals import ArrivalOutcome, FolderListing
from seg_batch.batch.watch.move import (
    complete,
    gather,
    give_back,
    hand_over,
    remove_stale,
    reserved_name,
)
from seg_batch.batch.watch.series_arrivals import SeriesArrivals
from seg_batch.batch.watch.stack_arrivals import SINGLE_FILES, StackArrivals
from seg_batch.core.errors import OutputError
from seg_batch.core.run_files import (
    MARKED_DONE,
    MARKED_FAILED,
    MOVED,
    MOVING,
    PART,
    hidden_beside,
    path_beside,
)


@dataclass(frozen=True)
class Archive:
    """Where arrivals of one hot folder go. ``done_to``, ``failed_to``: folders; where None, a small
    file ``<name>.segbatch-done`` or ``.segbatch-failed`` beside the image states its outcome. ``stack``: which
    files are one image."""

    folder: Path
    done_to: Path | None = None
    failed_to: Path | None = None
    marker: str | None = None
    stack: StackArrivals | SeriesArrivals = SINGLE_FILES

    def require_folders(self) -> None:
        """Make the folders, and undo what a kill left: hidden names and reservations. OutputError
        where an atomic rename can't move a file there."""
        for target in filter(None, (self.done_to, self.failed_to)):
            try:
                target.mkdir(parents=True, exist_ok=True)
                here, there = self.folder.stat(), target.stat()
            except OSError as error:
                raise OutputError(f"can't make the folder {target} ({error.strerror})") from error
            if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino):
                raise OutputError(
                    f"{target} is the watched folder, where what is moved would arrive again: "
                    "name another one"
                )
            if here.st_dev != there.st_dev:
                raise OutputError(
                    f"{target} is on another file system than {self.folder}, and a move that is "
                    "killed would leave half a copy: name a folder on the same one"
                )
            remove_stale(target)
            self._complete(target)
        remove_stale(self.folder)
        for hidden in self.folder.glob(f".*{MOVING}"):
            try:
                give_back(hidden)
            except OSError as error:
                why = (
                    f"{hidden} can't have its name back ({error.strerror}), and would never be seen"
                )
                raise OutputError(f"{why}: rename it, or check the permissions") from error

    def is_archived(self, outcome: ArrivalOutcome, seen: FolderListing) -> bool:
        """Whether the image is marked and may stay where it is."""
        return not self.moves(outcome) and _mark(outcome) in seen.others

    def moves(self, outcome: ArrivalOutcome) -> bool:
        """Whether the image is moved, not marked."""
        return self._target(outcome) is not None

    def finish(self, outcome: ArrivalOutcome) -> None:
        """Move or mark the image; OSError when the folder refuses."""
        target = self._target(outcome)
        if target is None:
            write_mark(self.folder / _mark(outcome), outcome)
        else:
            self._move(outcome, target)

    def forget(self, name: str) -> None:
        """Remove the marks of an earlier arrival of this name; OSError as above."""
        for mark in (MARKED_DONE, MARKED_FAILED):
            path_beside(self.folder / name, mark).unlink(missing_ok=True)

    def _target(self, outcome: ArrivalOutcome) -> Path | None:
        return self.done_to if outcome.fate == "done" else self.failed_to

    def _complete(self, target: Path) -> None:
        """Complete the moves that a kill cut short."""
        for hidden in target.glob(f".*{MOVED}"):
            try:
                complete(hidden)
            except OSError as error:
                raise OutputError(
                    f"{hidden} holds an image that can't have its name ({error.strerror}): check the "
                    "permissions"
                ) from error

    def _move(self, outcome: ArrivalOutcome, target: Path) -> None:
        """Move the files of an image and their side files, unless others have replaced them: that is a new arrival."""
        files = [self.folder / name for name in self.stack.files(outcome.name)]
        hidden = hidden_beside(files[0], MOVING)
        if os.path.lexists(hidden):
            give_back(hidden)
        markers = self.stack.markers(outcome.name, self.marker)
        try:
            gathered = gather(files, markers)
            if self.stack.glance(gathered.parent, outcome.name) == outcome.glance:
                self._move_on(outcome, gathered, target, markers)
        finally:
            if os.path.lexists(hidden):
                give_back(hidden)

    def _move_on(
        self, outcome: ArrivalOutcome, gathered: Path, target: Path, markers: Collection[str]
    ) -> None:
        """Move the marks first: after a kill the image is still there to be moved."""
        with reserved_name(target / gathered.name, gathered) as free:
            if outcome.fate == "failed":
                write_mark(path_beside(free, MARKED_FAILED), outcome)
            for text in markers:  # else it would declare the next file of this name complete
                if os.path.lexists(self.folder / text):
                    os.replace(self.folder / text, path_beside(free, self.marker or ""))
            hand_over(gathered, free)


def _mark(outcome: ArrivalOutcome) -> str:
    mark = MARKED_DONE if outcome.fate == "done" else MARKED_FAILED
    return path_beside(Path(outcome.name), mark).name


def write_mark(path: Path, outcome: ArrivalOutcome) -> None:
    """Write the outcome of an image into a small JSON file, for people and scripts."""
    plain = {"fate": outcome.fate, "why": outcome.why, "output": outcome.output, "t": outcome.t}
    part = hidden_beside(path, PART)
    part.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
    os.replace(part, path)
