"""One coordinator per run folder, on any file system that several hosts share.

::

    lock/7.json     tenure 7: who holds the run, or held it and let go

The highest number rules. A tenure's file is written by its owner alone, who touches it every few
seconds. Whoever finds the newest tenure let go, or its owner dead, creates the next number, and
exclusively: of any number of racers exactly one succeeds. Nothing is renamed or removed on the
way, so nobody can take away by mistake what another has just won. An owner that was suspended
finds a higher number than its own and stops before it writes anything more. Numbers go on where the
lines of the journal are, so a ``lock`` folder may be removed.

An owner that can't be seen from here, since it is on another host, or was on this one before it was
started anew, is watched: it lives if its heartbeat is heard, and is dead if it is silent for too long.
Ages are differences of two times that the file system itself gave, so clocks need not agree.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from seg_batch.core.errors import BusyError, OutputError, StoreError
from seg_batch.core.units import whole_s

LIMIT_S = 60.0  # an owner not heard of for so long is taken to be dead
BEATS = 6  # heartbeats within the limit
LOOKS = 60  # at an owner's heartbeat within the limit
NAME = "lock"


@dataclass(frozen=True)
class Owner:
    """Who holds a run. ``place``: the running system and its process namespace, within which a pid
    and the ``started`` clock ticks of its start name one process; empty where that is unknown."""

    host: str = "an unknown host"
    pid: int = 0
    place: str = ""
    started: str = ""
    token: str = ""
    released: bool = False

    @classmethod
    def here(cls) -> Owner:
        pid = os.getpid()
        return cls(os.uname().nodename, pid, _place(), _started(pid) or "", uuid.uuid4().hex)

    def is_visible(self) -> bool:
        """Whether its process would be seen from here. Copies of a machine have other names."""
        return bool(self.place) and (self.host, self.place) == (os.uname().nodename, _place())

    def is_gone(self) -> bool:
        """True when it certainly runs no more."""
        return self.is_visible() and _started(self.pid) != self.started

    def wake(self) -> None:
        """Let an owner that was suspended here find out that it is one no more."""
        if self.is_visible() and not self.is_gone():
            with suppress(OSError):
                os.kill(self.pid, signal.SIGCONT)

    def __str__(self) -> str:
        return f"pid {self.pid} on {self.host}" if self.pid else "a process that left no name"


def _place() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """Clock ticks at which a process began; None when it has ended, waited for or not."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


@dataclass(frozen=True)
class LeaseState:
    """The newest tenure of a run folder, as anybody finds it. ``beat``: when it was last heard of, by
    the clock of the file system; ``age_s``: seconds since then."""

    number: int
    owner: Owner
    age_s: float
    beat: float = 0.0

    def stale(self, limit_s: float) -> str | None:
        """Why its owner is taken to be dead; None when it is not."""
        if self.owner.is_gone():
            return "its process is gone"
        if self.age_s > limit_s:
            return f"it was last heard of {whole_s(self.age_s)} ago"
        return None


def holder(folder: Path) -> LeaseState | None:
    """Who holds the run in ``folder`` or held it last; None when nobody ever did."""
    return _newest(folder / NAME, time.time())


def _newest(room: Path, now: float) -> LeaseState | None:
    """``now``: seconds by the clock of the file system."""
    while number := _highest(room):
        try:
            with (room / f"{number}.json").open("rb") as file:  # opened: no cached attributes
                text, beat = file.read(), os.fstat(file.fileno()).st_mtime
        except FileNotFoundError:
            continue  # of one who came too late and withdrew
        return LeaseState(number, _owner(text), max(0.0, now - beat), beat)
    return None


def _highest(room: Path) -> int:
    try:
        names = os.listdir(room)
    except FileNotFoundError:
        return 0
    stems = [name.removesuffix(".json") for name in names]
    return max((int(stem) for stem in stems if stem.isdigit()), default=0)


def _owner(text: bytes) -> Owner:
    """Not known where the file does not read: it is being written, or its writer died in it."""
    try:
        return Owner(**json.loads(text))
    except (ValueError, TypeError):
        return Owner()


def _now(room: Path) -> float:
    with tempfile.TemporaryFile(dir=room) as file:
        return os.fstat(file.fileno()).st_mtime


class Lease:
    """A run folder held by this process. ``taken_over``: whose run it was, ``why``: what was wrong
    with that one; both None when the folder was free."""

    def __init__(
        self, path: Path, handle: int, owner: Owner, earlier: LeaseState | None, why: str | None
    ) -> None:
        self.number = int(path.stem)
        self.owner = owner
        self.taken_over = earlier.owner if earlier and why else None
        self.why = why
        self._path, self._handle = path, handle

    def check(self) -> None:
        """StoreError when the run is no longer ours: write nothing more."""
        held = _newest(self._path.parent, 0.0)
        if held is None or held.number < self.number:
            raise StoreError(
                f"{self._path} was removed, so this run may have another owner and stops: run the "
                "same command again to resume"
            )
        if held.number > self.number:
            raise StoreError(
                f"{held.owner} has taken over this run, since it was not heard of for too long; "
                "nothing more is written here"
            )

    def beat(self) -> None:
        """Tell all others that this owner lives; touches our own file, whatever now has its name."""
        os.utime(self._handle)

    def release(self) -> None:
        """Let go, so that the next one need not wait."""
        text = json.dumps(asdict(replace(self.owner, released=True)))
        part = self._path.with_name(f".{self.owner.token}")
        with suppress(OSError, StoreError):  # a dead owner is as good as one that let go
            self.check()
            part.write_text(text, encoding="utf-8")
            os.replace(part, self._path)
        part.unlink(missing_ok=True)
        os.close(self._handle)


def leave(message: str) -> None:
    """End this process at once: its threads may be about to write."""
    print(f"segbatch: {message}", file=sys.stderr, flush=True)
    os._exit(StoreError.status)


@contextmanager
def acquire(
    folder: Path,
    *,
    limit_s: float = LIMIT_S,
    on_lost: Callable[[str], None] = leave,
    say: Callable[[str], None] = lambda line: None,
    floor: int = 0,
) -> Iterator[Lease]:
    """Be the one coordinator of the run in ``folder``.

    BusyError, naming the owner, when another one is alive: its process is, or a heartbeat of it is
    heard. For that one waits, ``limit_s`` at most, and ``say`` is told so. ``on_lost`` is called once,
    from a thread, with the reason, when the run was taken over while this process was suspended.
    ``floor``: the highest number of a tenure that the journal knows of.
    """
    tenure = _take(folder / NAME, limit_s, say, floor)
    over = threading.Event()
    beating = threading.Thread(
        target=_beat, args=(tenure, over, limit_s / BEATS, on_lost), daemon=True, name="heartbeat"
    )
    beating.start()
    try:
        yield tenure
    finally:
        over.set()
        beating.join()
        tenure.release()


def _beat(
    tenure: Lease, over: threading.Event, every_s: float, on_lost: Callable[[str], None]
) -> None:
    while not over.wait(every_s):
        try:
            tenure.check()
            tenure.beat()
        except StoreError as error:
            on_lost(error.message)
            return
        except OSError:
            continue  # a disk that stumbles: the next beat may succeed


def _take(room: Path, limit_s: float, say: Callable[[str], None], floor: int) -> Lease:
    try:
        room.mkdir(parents=True, exist_ok=True)
        earlier = _newest(room, _now(room))
        why = None
        if earlier is not None and not earlier.owner.released:
            why = earlier.stale(limit_s) or _silent(room, earlier, limit_s, say)
        tenure = _begin(room, earlier, why, floor)
    except OSError as error:
        raise OutputError(
            f"can't write {room} ({error.strerror}), so the run could have two owners: check the "
            "disk, or use another folder"
        ) from error
    if tenure.taken_over is not None:
        tenure.taken_over.wake()
    return tenure


def _silent(
    room: Path, earlier: LeaseState, limit_s: float, say: Callable[[str], None]
) -> str | None:
    """Why an owner that can't be seen is dead, once that is known; BusyError once it is heard of."""
    if earlier.owner.is_visible():
        raise _busy(room, earlier)
    say(
        f"{room.parent} belongs to {earlier.owner}, heard of {whole_s(earlier.age_s)} ago: "
        f"waiting for its next heartbeat, {whole_s(limit_s - earlier.age_s)} at most"
    )
    held: LeaseState | None = earlier
    while held and (held.number, held.beat) == (earlier.number, earlier.beat):
        if why := held.stale(limit_s):
            return why
        time.sleep(limit_s / LOOKS)
        held = _newest(room, _now(room))
    if held and held.number == earlier.number and held.owner.released:
        return None
    raise _busy(room, held)


def _begin(room: Path, earlier: LeaseState | None, why: str | None, floor: int = 0) -> Lease:
    number, owner = max(earlier.number if earlier else 0, floor) + 1, Owner.here()
    path = room / f"{number}.json"
    try:
        handle = _claim(path, owner)
    except FileExistsError:
        raise _busy(room, _newest(room, _now(room))) from None
    try:
        if _highest(room) != number:  # what was newest when we looked has had successors since
            raise _busy(room, _newest(room, _now(room)))
    except BaseException:
        os.close(handle)
        path.unlink(missing_ok=True)
        raise
    for name in os.listdir(room):
        stem = name.removesuffix(".json")
        if stem.isdigit() and int(stem) < number:
            (room / name).unlink(missing_ok=True)
    return Lease(path, handle, owner, earlier, why)


def _claim(path: Path, owner: Owner) -> int:
    """Create the file of a tenure, whole: a kill leaves none or one that names its owner. Returns it
    open; FileExistsError for all but one."""
    part = path.with_name(f".{owner.token}")
    handle = os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
    try:
        os.write(handle, json.dumps(asdict(owner)).encode())
        os.fsync(handle)
        try:
            os.link(part, path)
        except FileExistsError:
            raise
        except OSError:  # a file system without links: for a moment the file is empty
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
            os.replace(part, path)
    except BaseException:
        os.close(handle)
        raise
    finally:
        part.unlink(missing_ok=True)
    return handle


def _busy(room: Path, held: LeaseState | None) -> BusyError:
    who = f"{held.owner}, heard of {whole_s(held.age_s)} ago" if held else "another process"
    return BusyError(
        f"{room.parent} belongs to another segbatch run ({who}), and two would mix their work: "
        "wait for it, or stop it first"
    )
