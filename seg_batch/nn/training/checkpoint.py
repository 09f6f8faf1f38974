"""Checkpoints of a training: all variables and the loop's state, so that a kill costs minutes.

::

    checkpoint-00000200.npz     variables, as 0, 1, 2, ...; no pickles
    checkpoint-00000200.json    state, marks of the training, sha256 of the arrays and its own

Both files are replaced atomically, the JSON last, so a checkpoint exists whole or not at all. The
newest two are kept. A checkpoint that does not match its hashes is named in a warning and not used.
"""

import hashlib
import json
import os
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.core import files
from seg_batch.core.errors import InputError, StoreError
from seg_batch.core.files import flush, translate_os_errors, write_json
from seg_batch.core.run_files import CHECKPOINT, PARTIAL

KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in memory: the step, the loop's state (JSON values), the variables' values."""

    step: int
    state: dict[str, Any]
    values: tuple[np.ndarray, ...]


class Checkpoints:
    """The checkpoints in a folder, of the training that `marks` describe.

    `marks` are named hashes of everything that decides a training; other marks are refused.
    """

    def __init__(self, folder: Path, marks: Mapping[str, str]) -> None:
        self.folder, self.marks = folder, dict(marks)
        with translate_os_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def write(self, step: int, state: Mapping[str, Any], values: Sequence[np.ndarray]) -> None:
        """Write a checkpoint durably; remove all but the newest two. Raises OutputError (disk)."""
        arrays, notes = self._paths(step)
        beside = arrays.with_suffix(PARTIAL)
        with translate_os_errors(arrays):
            with beside.open("wb") as file:
                np.savez(file, allow_pickle=False, **{str(i): v for i, v in enumerate(values)})
            flush(beside)
            os.replace(beside, arrays)
            body = {"step": step, "marks": self.marks, "state": dict(state)}
            body["arrays_sha256"] = files.sha256(arrays)
            write_json(notes, {"body": body, "sha256": mark(body)})
        self._sweep(step)

    def read(self) -> Checkpoint | None:
        """The newest valid checkpoint; None if the folder has none.

        Warns of each damaged one. Raises InputError if all are damaged, StoreError if the newest
        valid one is of another training.
        """
        steps = self._steps()
        for step in steps:
            try:
                return self._read(step)
            except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
                reason = str(error) or type(error).__name__
                warnings.warn(
                    f"the checkpoint {self._paths(step)[1]} is damaged ({reason}) and not used",
                    stacklevel=2,
                )
        if steps:
            raise InputError(
                f"no checkpoint in {self.folder} can be read, so this training can't go on: remove "
                "the folder and train from the start"
            )
        return None

    def _read(self, step: int) -> Checkpoint:
        arrays, notes = self._paths(step)
        saved = json.loads(notes.read_text(encoding="utf-8"))
        body = saved["body"]
        if saved["sha256"] != mark(body):
            raise ValueError("its JSON is not what was written")
        self._require_same(notes, body["marks"])
        if body["arrays_sha256"] != files.sha256(arrays):
            raise ValueError(f"{arrays.name} is not what was written")
        for name, sha256 in body["state"].get("files", {}).items():
            if files.sha256(self.folder / name) != sha256:
                raise ValueError(f"{name} is not what was written")
        with np.load(arrays, allow_pickle=False) as file:
            values = tuple(file[str(i)] for i in range(len(file.files)))
        return Checkpoint(int(body["step"]), body["state"], values)

    def _require_same(self, notes: Path, theirs: Mapping[str, str]) -> None:
        differing = [k for k in {**self.marks, **theirs} if self.marks.get(k) != theirs.get(k)]
        if differing:
            raise StoreError(
                f"{notes} is of a training with another {' and another '.join(differing)}, so this one "
                "can't go on from it: remove the folder, or use another, or train as before"
            )

    def _steps(self) -> list[int]:
        """Newest first."""
        names = [p.stem.partition("-")[2] for p in self.folder.glob(f"{CHECKPOINT}*.json")]
        return sorted((int(name) for name in names if name.isdecimal()), reverse=True)

    def _sweep(self, newest: int) -> None:
        """Remove all but the last two checkpoints up to `newest`; later ones are damaged or outdated."""
        steps = [step for step in self._steps() if step <= newest][:KEPT]
        kept = {path.name for step in steps for path in self._paths(step)}
        for step in steps:
            kept.update(self._files(step))
        for pattern in (f"{CHECKPOINT}*", f"*{PARTIAL}", "partial-*", "best-*"):
            for path in self.folder.glob(pattern):
                if path.name not in kept:
                    path.unlink(missing_ok=True)

    def _files(self, step: int) -> Iterable[str]:
        """Names of the files in a checkpoint's state; none if it is damaged."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            saved = json.loads(self._paths(step)[1].read_text(encoding="utf-8"))
            return list(saved["body"]["state"].get("files", {}))
        return []

    def _paths(self, step: int) -> tuple[Path, Path]:
        stem = f"{CHECKPOINT}{step:08d}"
        return self.folder / f"{stem}.npz", self.folder / f"{stem}.json"


def mark(*parts: Any) -> str:
    """A hash of JSON values and arrays."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).data)
        else:
            digest.update(json.dumps(part, sort_keys=True).encode())
    return digest.hexdigest()
