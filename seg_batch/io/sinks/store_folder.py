"""The folder of a work store, for code that does not open its arrays.

::

    labels/c/...       chunks of an array
    post-<try>/        labels after a postprocessing step; ``labels`` stay as predicted
    done/<block>.json  one marker per finished block: its receipt, checksum and fingerprint
    done/idle.json     the blocks that are all fill, of which no chunk was written
    done/steps.json    the finished steps, and the array with the map after the last of them
    done/exported.json sha256 of every product made from the store
    done/lock          locked by the run that is writing
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from seg_batch.core.errors import BusyError, OutputError
from seg_batch.core.files import file_lock, read_json, translate_os_errors, write_json
from seg_batch.core.run_files import PARTIAL

ATTRIBUTES = "segbatch"
STEP = "post-"  # prefix of the maps after a step
DONE = "done"
_PREDICTED = {"labels", "probabilities"}
_LOCK, _STEPS, _EXPORTED, _IDLE = "lock", "steps.json", "exported.json", "idle.json"


class StoreFolder:
    """A store by its path alone; it need not exist."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def lock_file(self) -> Path:
        return self.path / DONE / _LOCK

    def attributes(self) -> dict[str, Any]:
        """What a store says of itself (``StoreSpec`` as JSON); empty where there is none."""
        group = read_json(self.path / "zarr.json")
        attributes = group.get("attributes") if isinstance(group, dict) else None
        ours = attributes.get(ATTRIBUTES) if isinstance(attributes, dict) else None
        return ours if isinstance(ours, dict) else {}

    def chunks(self, name: str) -> Path:
        """The folder of an array's chunks."""
        return self.path / name / "c"

    def has_map(self, name: str) -> bool:
        return (self.path / name).exists()

    def marker(self, block: str) -> Path:
        """The file whose presence means that the block of this name is done."""
        return self.path / DONE / f"{block}.json"

    def markers(self) -> Iterator[Path]:
        """All existing markers, with any fingerprint."""
        return (self.path / DONE).glob("*.*.json")

    def idle(self, digest: str) -> dict[str, Any]:
        """The receipts of the blocks that were done without a task, by name, where this is the fingerprint of them."""
        noted = read_json(self.path / DONE / _IDLE)
        if not isinstance(noted, dict) or noted.get("fingerprint") != digest:
            return {}
        return {name: {**noted["shared"], **own} for name, own in noted["blocks"].items()}

    def write_idle(self, digest: str, shared: dict[str, Any], blocks: dict[str, Any]) -> None:
        """Store them; ``shared``: what all have."""
        noted = {"fingerprint": digest, "shared": shared, "blocks": blocks}
        write_json(self.path / DONE / _IDLE, noted)

    def note_steps(self, steps: dict[str, Any]) -> None:
        """Store which steps are done; see ``inference.postprocess_run``."""
        with translate_os_errors(self.path):
            write_json(self.path / DONE / _STEPS, steps)

    def steps(self) -> dict[str, Any]:
        """The last argument of ``note_steps``; empty when there is none, or it is unreadable."""
        steps = read_json(self.path / DONE / _STEPS)
        return steps if isinstance(steps, dict) else {}

    def remember(self, sha256: str) -> None:
        """Note a product before it is moved into place, so that it is known as ours after a crash."""
        with translate_os_errors(self.path):
            write_json(self.path / DONE / _EXPORTED, [*self.exported(), sha256])

    def exported(self) -> list[str]:
        """sha256 of every product made from this store; none where there is no store."""
        return list(read_json(self.path / DONE / _EXPORTED) or [])

    def is_held(self) -> bool | None:
        """Whether a run has the lock; None where no run ever had it."""
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
        """Whether a worker that outlived its run wrote it where the store had been: it has chunks and
        nothing else, since stores are created and removed whole."""
        names = {path.name for path in self.path.iterdir()} if self.path.is_dir() else set()
        return bool(names) and names <= _PREDICTED

    def sweep(self) -> None:
        """Remove the partial files of writers that were killed."""
        for partial in self.path.rglob(f"*{PARTIAL}"):
            partial.unlink(missing_ok=True)


def left_behind(with_probabilities: bool, folder: str, names: Collection[str]) -> set[str]:
    """The names in one of the store's folders that do not belong to a product, for ``copytree``."""
    partial = {name for name in names if name.endswith(PARTIAL)}
    if "labels" not in names:
        return partial
    maps = {name for name in names if name.startswith(STEP)}
    return partial | maps | {DONE} | (set() if with_probabilities else {"probabilities"})
