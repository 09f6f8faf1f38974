"""The profile of predictions, as a file: where the time went."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from seg_batch.core import events
from seg_batch.core.callbacks import Callback
from seg_batch.core.errors import OutputError
from seg_batch.core.files import require_local_output, translate_os_errors, write_text
from seg_batch.core.spells import Spell
from seg_batch.core.spells.trace import trace_of

_BEGINNING = b'[\n{"name": "process_name", "ph": "M", '  # of every file that is written here,
_NO_SPELLS = b"[\n\n]\n"  # but of this one


class Profile(Callback):
    """Collects the spells of predictions. ``keys``: those of the inputs of a run, by whose order they are
    numbered from 1; others are numbered as they end."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._numbers = {key: number for number, key in enumerate(keys, 1)}
        self._spells: list[tuple[int, Spell]] = []

    def on(self, event: events.Event) -> None:
        if isinstance(event, events.Profiled):
            key = event.key or str(len(self._numbers) + 1)
            number = self._numbers.setdefault(key, len(self._numbers) + 1)
            self._spells += [(number, each) for each in event.spells]

    def trace(self) -> list[dict[str, Any]]:
        return trace_of(self._spells)


@contextmanager
def profiled(
    path: str | Path | None, say: Callable[[str], None], keys: Iterable[str] = ()
) -> Iterator[Profile | None]:
    """The profile of what is done within, written to ``path`` at its end, also where it fails; None: none.

    OutputError before the work where it could not be written; afterwards ``say`` gets a line, since the work is done.
    """
    if path is None:
        yield None
        return
    require_profile_place(path)
    profile = Profile(keys)
    try:
        yield profile
    finally:
        try:
            require_profile_place(path)
            with translate_os_errors(Path(path)):
                write_text(Path(path), _as_text(profile.trace()))
        except OutputError as error:
            say(f"the profile is not written: {error.message}")


def _as_text(trace: list[dict[str, Any]]) -> str:
    return "[\n" + ",\n".join(map(json.dumps, trace)) + "\n]\n"


def require_profile_place(path: str | Path) -> None:
    """OutputError unless a profile can be written there: a file that is none, such as an image, is not replaced."""
    require_local_output(path)
    path = Path(path)
    with translate_os_errors(path):
        if path.is_dir():
            raise OutputError(f"--profile {path} is a folder: name a file in it, like trace.json")
        if not path.parent.is_dir():
            raise OutputError(f"--profile {path} has no folder: make {path.parent} first")
        if path.exists() and not _may_be_replaced(path):
            raise OutputError(
                f"--profile {path} is there already and is no profile: name another file"
            )
        with tempfile.TemporaryFile(dir=path.parent):
            pass


def _may_be_replaced(path: Path) -> bool:
    """Whether it is an empty file or a profile."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(len(_BEGINNING))
    return start in (b"", _NO_SPELLS, _BEGINNING)
