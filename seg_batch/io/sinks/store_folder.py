"""The folder of a work store, for whoever looks into it without opening the arrays.

::

    labels/c/...       chunks of an array
    post-<try>/        labels after a step that follows prediction; `labels` stay as predicted
    done/<block>.json  one marker per finished block: its receipt, checksum and fingerprint
    done/steps.json    the steps that were done, and where the map after the last of them lies
    done/exported.json sha256 of every product made of the store
    done/lock          held by the run that is writing
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from seg_batch.core.errors import BusyError, OutputError
from seg_batch.core.files import file_lock, read_json, translate_os_errors, write_json
from seg_batch.core.run_files import PARTIAL

STEP = "post-"  # how the names of maps after a step begin
DONE = "done"
_PREDICTED = {"labels", "probabilities"}
_LOCK, _STEPS, _EXPORTED = "lock", "steps.json", "exported.json"


class StoreFolder:
    """What is known of a store from its path alone; there may be none."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def lock_file(self) -> Path:
        return self.path / DONE / _LOCK

    def chunks(self, name: str) -> Path:
        """The folder of an array's chunks."""
        return self.path / name / "c"

    def has_map(self, name: str) -> bool:
        return (self.path / name).exists()

    def marker(self, block: str) -> Path:
        """The file that says that the block of this name is done."""
        return self.path / DONE / f"{block}.json"

    def markers(self) -> Iterator[Path]:
        """Those that there are, of whatever fingerprint."""
        return (self.path / DONE).glob("*.*.json")

    def note_steps(self, steps: dict[str, Any]) -> None:
        """Remember which steps are done; see ``inference.postprocess_run``."""
        with translate_os_errors(self.path):
            write_json(self.path / DONE / _STEPS, steps)

    def steps(self) -> dict[str, Any]:
        """What ``note_steps`` was told last; empty when nothing, or it does not read."""
        steps = read_json(self.path / DONE / _STEPS)
        return steps if isinstance(steps, dict) else {}

    def remember(self, sha256: str) -> None:
        """Note a product that is about to be moved into place: it is ours, even if we die now."""
        with translate_os_errors(self.path):
            write_json(self.path / DONE / _EXPORTED, [*self.exported(), sha256])

    def exported(self) -> list[str]:
        """sha256 of every product made of this store; none where there is no store."""
        return list(read_json(self.path / DONE / _EXPORTED) or [])

    def is_held(self) -> bool | None:
        """Whether somebody is at work in it; None where nobody has ever been."""
        if not self.lock_file.exists():
            return None
        try:
            with file_lock(self.lock_file, BusyError("")):
                return False
        except BusyError:
            return True
        except OutputError:
            return False

    def is_remnant(self) -> bool:
        """Whether it is what a worker that outlived its run wrote where the store had been: chunks and
        nothing else, for stores come and go whole."""
        names = {path.name for path in self.path.iterdir()} if self.path.is_dir() else set()
        return bool(names) and names <= _PREDICTED

    def sweep(self) -> None:
        """Remove what writers left that were killed between writing a file and moving it."""
        for partial in self.path.rglob(f"*{PARTIAL}"):
            partial.unlink(missing_ok=True)


def left_behind(with_probabilities: bool, folder: str, names: Collection[str]) -> set[str]:
    """Which of the names in one of its folders are no part of a product, as ``copytree`` asks."""
    working = {name for name in names if name.endswith(PARTIAL)}
    if "labels" not in names:
        return working
    working |= {name for name in names if name.startswith(STEP)}
    return working | {DONE} | (set() if with_probabilities else {"probabilities"})
