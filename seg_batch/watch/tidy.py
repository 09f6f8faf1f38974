"""What is done with an arrival that is dealt with: moved away, or marked where it lies.

Both may be done twice, and again after a kill at any moment: the book has noted the fate before.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from seg_batch.errors import OutputError
from seg_batch.verbs.outputs import split
from seg_batch.watch.arrivals import DONE, FAILED, Fate, Look, stem


@dataclass(frozen=True)
class Tidying:
    """Where arrivals of one hot folder go. ``done_to``, ``failed_to``: folders, or None: a small file
    ``<name>.segbatch-done`` or ``.segbatch-failed`` beside the image says what became of it."""

    folder: Path
    done_to: Path | None = None
    failed_to: Path | None = None
    marker: str | None = None

    def require_folders(self) -> None:
        """Make the folders; OutputError unless a rename can take a file there in one step."""
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

    def finish(self, fate: Fate, seen: Look) -> None:
        """Move or mark the image unless that is done; OSError when the folder refuses."""
        target = self.done_to if fate.fate == "done" else self.failed_to
        mark = fate.name + (DONE if fate.fate == "done" else FAILED)
        if target is not None:
            self._move(fate, target, seen)
        elif mark not in seen.others:
            write_mark(self.folder / mark, fate)

    def _move(self, fate: Fate, target: Path, seen: Look) -> None:
        """What goes along goes first: after a kill the image is still there to be moved."""
        free = _free(target / fate.name)
        if fate.why:
            write_mark(target / (free.name + FAILED), fate)
        if self.marker is not None:  # else it would declare the next file of this name complete
            for text in {fate.name + self.marker, stem(fate.name) + self.marker} & seen.others:
                os.replace(self.folder / text, target / (free.name + self.marker))
        os.rename(self.folder / fate.name, free)


def _free(path: Path) -> Path:
    """``path``, or ``scan-2.nii.gz`` and so on where that is taken."""
    name, end = split(path)
    tried, n = path, 1
    while os.path.lexists(tried):
        n += 1
        tried = path.with_name(f"{name}-{n}{end}")
    return tried


def write_mark(path: Path, fate: Fate) -> None:
    """What became of an image, for people and scripts."""
    told = {"fate": fate.fate, "why": fate.why, "output": fate.output, "t": fate.t}
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    os.replace(part, path)
