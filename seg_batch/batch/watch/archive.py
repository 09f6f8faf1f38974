"""Archiving of arrivals whose outcome is known: each is moved away, or marked beside the image.

Both are idempotent and repeated after a kill: the outcome is in the arrival log before. A move
takes two steps, since no file system can move a file only if it is unchanged: the image is renamed
to a hidden name, compared with what was segmented, and then moved, or given its name back.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from seg_batch.batch.watch.arrivals import ArrivalOutcome, FolderListing, glance_at, marker_names
from seg_batch.core.errors import OutputError
from seg_batch.core.hardware import here, is_running
from seg_batch.core.run_files import MARKED_DONE, MARKED_FAILED, MOVING, PART, RESERVED
from seg_batch.inference.outputs import split_output

UNKNOWN_S = 60  # for which a reservation without the name of a process is valid


@dataclass(frozen=True)
class Archive:
    """Where arrivals of one hot folder go. ``done_to``, ``failed_to``: folders; where None, a small
    file ``<name>.segbatch-done`` or ``.segbatch-failed`` beside the image states its outcome."""

    folder: Path
    done_to: Path | None = None
    failed_to: Path | None = None
    marker: str | None = None

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
            _remove_stale(target)
        _remove_stale(self.folder)
        for hidden in self.folder.glob(f".*{MOVING}"):
            try:
                self._put_back(hidden)
            except OSError as error:
                why = (
                    f"{hidden} can't have its name back ({error.strerror}), and would never be seen"
                )
                raise OutputError(f"{why}: rename it, or check the permissions") from error

    def is_archived(self, outcome: ArrivalOutcome, seen: FolderListing) -> bool:
        """Whether the image is marked and may stay where it is."""
        return self._target(outcome) is None and _mark(outcome) in seen.others

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
            (self.folder / (name + mark)).unlink(missing_ok=True)

    def _target(self, outcome: ArrivalOutcome) -> Path | None:
        return self.done_to if outcome.fate == "done" else self.failed_to

    def _move(self, outcome: ArrivalOutcome, target: Path) -> None:
        """Move the image, unless another file has replaced it: that is a new arrival."""
        hidden = self.folder / f".{outcome.name}{MOVING}"
        if os.path.lexists(hidden):
            self._put_back(hidden)
        os.rename(self.folder / outcome.name, hidden)
        try:
            if glance_at(hidden) == outcome.glance:
                self._move_on(outcome, hidden, target)
        finally:
            if os.path.lexists(hidden):
                self._put_back(hidden)

    def _move_on(self, outcome: ArrivalOutcome, hidden: Path, target: Path) -> None:
        """Move the marks first: after a kill the image is still there to be moved."""
        with reserved_name(target / outcome.name) as free:
            if outcome.why:
                write_mark(target / (free.name + MARKED_FAILED), outcome)
            if self.marker is not None:  # else it would declare the next file of this name complete
                for text in marker_names(outcome.name, self.marker):
                    if os.path.lexists(self.folder / text):
                        os.replace(self.folder / text, target / (free.name + self.marker))
            os.rename(hidden, free)

    def _put_back(self, hidden: Path) -> None:
        name = hidden.name.removesuffix(MOVING).removeprefix(".")
        with reserved_name(self.folder / name) as free:
            os.rename(hidden, free)


@contextmanager
def reserved_name(path: Path) -> Iterator[Path]:
    """``path``, or ``scan-2.nii.gz`` and so on where that exists, reserved while the block lasts.

    A hidden name beside it reserves it: a hard link is refused for the files of other users, on
    some file systems, and for folders.
    """
    name, end = split_output(path)
    tried, n = path, 1
    while True:
        hidden = tried.with_name(f".{tried.name}{RESERVED}")
        if _reserve(hidden):
            if not os.path.lexists(tried):  # checked under the reservation
                break
            hidden.unlink()
        n += 1
        tried = path.with_name(f"{name}-{n}{end}")
    try:
        yield tried
    finally:
        hidden.unlink(missing_ok=True)


def _reserve(hidden: Path) -> bool:
    """Create a symbolic link to the name of this process, which is atomic. On a file system without
    links, create an empty file."""
    try:
        os.symlink(here(), hidden)
    except FileExistsError:
        return False
    except OSError:
        try:
            os.close(os.open(hidden, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        except FileExistsError:
            return False
    return True


def _remove_stale(folder: Path) -> None:
    """Remove reservations of ended processes of this machine. One that can't be removed only keeps
    a name from being used."""
    for hidden in folder.glob(f".*{RESERVED}"):
        with suppress(OSError):
            if hidden.is_symlink():
                host, _, pid = os.readlink(hidden).rpartition(":")
                ours = host == here().rpartition(":")[0] and pid.isdigit()
                dead = ours and not is_running(int(pid))
            else:
                dead = time.time() - hidden.stat().st_mtime > UNKNOWN_S
            if dead:
                hidden.unlink()


def _mark(outcome: ArrivalOutcome) -> str:
    return outcome.name + (MARKED_DONE if outcome.fate == "done" else MARKED_FAILED)


def write_mark(path: Path, outcome: ArrivalOutcome) -> None:
    """Write the outcome of an image into a small JSON file, for people and scripts."""
    plain = {"fate": outcome.fate, "why": outcome.why, "output": outcome.output, "t": outcome.t}
    part = path.with_name(f".{path.name}{PART}")
    part.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
    os.replace(part, path)
