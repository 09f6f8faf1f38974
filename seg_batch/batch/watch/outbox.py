"""What is to be sent: a file for each product and place, on disk until that has taken it, and what was sent.

A product is noted before its arrival is logged as done, so that a kill between the two loses nothing. What was sent is
noted with its SOP instance, so that nothing is sent twice knowingly.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from seg_batch.config.workflow.dicom_addresses import Destination
from seg_batch.core.files import read_json, write_json
from seg_batch.core.run_files import OUTBOX, SENT
from seg_batch.core.units import counted
from seg_batch.io.dicom.network.sending import SendError, sop_uid_of

_PAUSES_S = (1.0, 4.0, 16.0, 60.0, 300.0)  # after each failure
_LAST_TRIES = 3  # of each, where nothing else is left to do


@dataclass
class _Waiting:
    product: Path
    sop_uid: str
    to: Destination
    tries: int = 0
    due: float = 0.0
    given_up: bool = False

    def is_there(self) -> bool:
        """False where the product was removed, or replaced, which is noted by itself."""
        return sop_uid_of(self.product) == self.sop_uid


class Outbox:
    """``folder``: of a watch; ``places``: each gets all products; ``send``: raises ``SendError``. Used as a context: a thread
    sends meanwhile."""

    def __init__(
        self,
        folder: Path,
        places: Sequence[Destination],
        send: Callable[[Path, Destination], None],
        say: Callable[[str], None],
    ) -> None:
        self._folder, self._places, self._send, self._say = folder / OUTBOX, places, send, say
        self._log = folder / SENT
        self._wake, self._ended, self._told = threading.Condition(), False, False
        self._sent = _keys_in(self._log)
        self._waiting: dict[str, _Waiting] = {}
        self._thread = threading.Thread(target=self._work, name="segbatch-sending", daemon=True)

    def __enter__(self) -> Outbox:
        if self._places:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._take_up()
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """What is being sent is finished; the rest waits on disk."""
        with self._wake:
            self._ended = True
            self._wake.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def unsent(self) -> int:
        with self._wake:
            return len(self._waiting)

    def _take_up(self) -> None:
        """What an earlier process has left."""
        places = {str(place): place for place in self._places}
        for path in sorted(self._folder.glob("*.json")):
            note = read_json(path)
            try:
                to, waiting = places.get(note["to"]), (Path(note["product"]), str(note["sop_uid"]))
            except (TypeError, KeyError):
                continue
            if path.stem in self._sent:
                path.unlink(missing_ok=True)
            elif to is not None:
                self._waiting[path.stem] = _Waiting(*waiting, to)
            else:
                self._say(f"{waiting[0]} was to be sent to {note['to']}, which is no longer named")

    def add(self, products: Iterable[Path]) -> None:
        """Note those of the products that are DICOM. Returns when that is on disk."""
        if not self._places:
            return
        found = [(path, uid) for path in products if (uid := sop_uid_of(path)) is not None]
        for path, uid in found:
            for to in self._places:
                key = hashlib.sha256(f"{uid}\n{to}".encode()).hexdigest()[:32]
                with self._wake:
                    if key in self._sent or key in self._waiting:
                        continue
                    note = {"product": str(path), "sop_uid": uid, "to": str(to)}
                    write_json(self._folder / f"{key}.json", note)
                    self._waiting[key] = _Waiting(path, uid, to)
                    self._wake.notify_all()
        if not found and not self._told:
            self._told = True
            self._say(
                "nothing to send: none of the products is DICOM; ask for one in the workflow or with -o or --also"
            )

    def drain(self, stop: threading.Event) -> None:
        """Wait until all is sent, was given up, or was tried a few times."""
        while not stop.is_set():
            with self._wake:
                left = [
                    w for w in self._waiting.values() if not w.given_up and w.tries < _LAST_TRIES
                ]
            if not left:
                return
            stop.wait(0.05)

    def _work(self) -> None:
        while True:
            with self._wake:
                if self._ended:
                    return
                key, pause = self._next()
                if key is None:
                    self._wake.wait(pause)
                    continue
                waiting = self._waiting[key]
            self._try(key, waiting)

    def _next(self) -> tuple[str | None, float | None]:
        """What is due, or for how long there is nothing."""
        now = time.monotonic()
        later = [(w.due, key) for key, w in self._waiting.items() if not w.given_up]
        if not later:
            return None, None
        due, key = min(later)
        return (key, 0.0) if due <= now else (None, due - now)

    def _try(self, key: str, waiting: _Waiting) -> None:
        try:
            if self._delivered(waiting):
                self._note_sent(key, waiting)
                self._say(f"sent {waiting.product.name} to {waiting.to}")
            else:
                self._say(
                    f"{waiting.product} is gone or another one now, and is not sent to {waiting.to}"
                )
            (self._folder / f"{key}.json").unlink(missing_ok=True)
            with self._wake:
                del self._waiting[key]
        except SendError as error:
            self._failed(waiting, error)
        except Exception as error:
            self._failed(waiting, SendError(f"{type(error).__name__}: {error}", passes=True))

    def _delivered(self, waiting: _Waiting) -> bool:
        """False where the product is no longer there, also where it was replaced while it was sent: a refusal is of another."""
        if not waiting.is_there():
            return False
        try:
            self._send(waiting.product, waiting.to)
        except SendError as error:
            if error.passes or waiting.is_there():
                raise
            return False
        return True

    def _failed(self, waiting: _Waiting, error: SendError) -> None:
        with self._wake:
            pause = _PAUSES_S[min(waiting.tries, len(_PAUSES_S) - 1)]
            waiting.tries, waiting.due = waiting.tries + 1, time.monotonic() + pause
            waiting.given_up = not error.passes
            first = waiting.tries == 1
        if first or waiting.given_up:
            then = "it is tried again" if error.passes else "it is tried again after the next start"
            self._say(f"{waiting.product.name} was not sent to {waiting.to}: {error.why}; {then}")

    def _note_sent(self, key: str, waiting: _Waiting) -> None:
        note = {
            "key": key,
            "product": str(waiting.product),
            "to": str(waiting.to),
            "t": round(time.time(), 3),
        }
        with self._log.open("ab") as file:
            file.write(json.dumps(note).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._sent.add(key)

    def left(self) -> str:
        """What is still to be sent, in words."""
        return f"{counted(self.unsent, 'product')} still to be sent: the next start tries again"


def _keys_in(log: Path) -> set[str]:
    """What was sent; a line that a kill has torn tells of nothing, and is ended."""
    found, lines = set[str](), log.read_bytes() if log.exists() else b""
    if lines and not lines.endswith(b"\n"):
        with log.open("ab") as file:
            file.write(b"\n")
    for line in lines.splitlines():
        try:
            found.add(str(json.loads(line)["key"]))
        except (ValueError, KeyError, TypeError):
            continue
    return found
