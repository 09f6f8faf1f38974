"""What is done with an arrival that is dealt with: moved away, or marked where it lies.

Both may be done twice, and again after a kill at any moment: the book has noted the fate before.
A move takes two steps, since nothing tells a file system to move what has not changed: the image is
set aside under a hidden name, looked at once more, and goes on only if it is what was segmented.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from seg_batch.batch.watch.arrivals import ArrivalOutcome, FolderListing, glance_at, markers
from seg_batch.core.errors import OutputError
from seg_batch.core.hardware import here, is_running
from seg_batch.core.run_files import MARKED_DONE, MARKED_FAILED, MOVING, PART, RESERVED
from seg_batch.inference.outputs import split_output

UNKNOWN_S = 60  # for which a reservation of nobody knows whom holds


@dataclass(frozen=True)
class Archive:
    """Where arrivals of one hot folder go. ``done_to``, ``failed_to``: folders, or None: a small file
    ``<name>.segbatch-done`` or ``.segbatch-failed`` beside the image says what became of it."""

    folder: Path
    done_to: Path | None = None
    failed_to: Path | None = None
    marker: str | None = None

    def require_folders(self) -> None:
        """Make the folders, put back what a kill left set aside, and forget what it had reserved;
        OutputError unless a rename can take a file there in one step."""
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
            _forget_dead(target)
        _forget_dead(self.folder)
        for aside in self.folder.glob(f".*{MOVING}"):
            try:
                self._put_back(aside)
            except OSError as error:
                why = (
                    f"{aside} can't have its name back ({error.strerror}), and would never be seen"
                )
                raise OutputError(f"{why}: rename it, or check the permissions") from error

    def is_tidy(self, fate: ArrivalOutcome, seen: FolderListing) -> bool:
        """Whether nothing is left to do: it is marked, and may stay where it is."""
        return self._target(fate) is None and _mark(fate) in seen.others

    def finish(self, fate: ArrivalOutcome) -> None:
        """Move or mark the image; OSError when the folder refuses."""
        target = self._target(fate)
        if target is None:
            write_mark(self.folder / _mark(fate), fate)
        else:
            self._move(fate, target)

    def forget(self, name: str) -> None:
        """Remove what an earlier arrival of this name is marked with; OSError as above."""
        for mark in (MARKED_DONE, MARKED_FAILED):
            (self.folder / (name + mark)).unlink(missing_ok=True)

    def _target(self, fate: ArrivalOutcome) -> Path | None:
        return self.done_to if fate.fate == "done" else self.failed_to

    def _move(self, fate: ArrivalOutcome, target: Path) -> None:
        """Unless another file has come in the place of the image: that one arrives."""
        aside = self.folder / f".{fate.name}{MOVING}"
        if os.path.lexists(aside):
            self._put_back(aside)
        os.rename(self.folder / fate.name, aside)
        try:
            if glance_at(aside) == fate.glance:
                self._move_on(fate, aside, target)
        finally:
            if os.path.lexists(aside):
                self._put_back(aside)

    def _move_on(self, fate: ArrivalOutcome, aside: Path, target: Path) -> None:
        """What goes along goes first: after a kill the image is still there to be moved."""
        with free_name(target / fate.name) as free:
            if fate.why:
                write_mark(target / (free.name + MARKED_FAILED), fate)
            if self.marker is not None:  # else it would declare the next file of this name complete
                for text in markers(fate.name, self.marker):
                    if os.path.lexists(self.folder / text):
                        os.replace(self.folder / text, target / (free.name + self.marker))
            os.rename(aside, free)

    def _put_back(self, aside: Path) -> None:
        name = aside.name.removesuffix(MOVING).removeprefix(".")
        with free_name(self.folder / name) as free:
            os.rename(aside, free)


@contextmanager
def free_name(path: Path) -> Iterator[Path]:
    """``path``, or ``scan-2.nii.gz`` and so on where that is taken; nobody else is given it within.

    Reserved by a hidden name beside it, since a hard link is refused for the files of other users,
    on some file systems, and for folders.
    """
    name, end = split_output(path)
    tried, n = path, 1
    while True:
        hidden = tried.with_name(f".{tried.name}{RESERVED}")
        if _reserve(hidden):
            if not os.path.lexists(tried):  # asked once it is ours
                break
            hidden.unlink()
        n += 1
        tried = path.with_name(f"{name}-{n}{end}")
    try:
        yield tried
    finally:
        hidden.unlink(missing_ok=True)


def _reserve(hidden: Path) -> bool:
    """As a link to the name of our process: a link is made in one step with what it says. Where a file
    system has none, as a file that says nothing."""
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


def _forget_dead(folder: Path) -> None:
    """Remove reservations of processes of this machine that are gone. One that another removes at the
    same time, or that can't be removed, only keeps a name from being used."""
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


def _mark(fate: ArrivalOutcome) -> str:
    return fate.name + (MARKED_DONE if fate.fate == "done" else MARKED_FAILED)


def write_mark(path: Path, fate: ArrivalOutcome) -> None:
    """What became of an image, for people and scripts."""
    told = {"fate": fate.fate, "why": fate.why, "output": fate.output, "t": fate.t}
    part = path.with_name(f".{path.name}{PART}")
    part.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    os.replace(part, path)
