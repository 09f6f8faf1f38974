"""One coordinator per run folder: a lease with a fencing token, on any shared file system.

::

    lock/7.json     the lease with token 7: its owner, and whether it was released

The highest token is valid. Only the owner writes the file of its lease, and touches it as a
heartbeat every few seconds. When the newest lease is released or its owner is dead, a process takes
over by creating the next number exclusively: of several racers exactly one succeeds. No file is
renamed or removed before that, so a racer can't remove the lease that another has just won. An
owner that was suspended finds a higher token than its own and stops before it writes anything more.
Tokens continue from the highest in the journal, so the ``lock`` folder may be removed.

The process of an owner is not visible from another host, or after a reboot. Such an owner is alive
while its heartbeat is heard, and dead after ``LIMIT_S`` of silence. An age is the difference of two
times given by the file system, so the clocks of hosts need not agree.
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

from seg_batch.core.errors import FULL, BusyError, DiskFullError, OutputError, StoreError
from seg_batch.core.units import whole_s

LIMIT_S = 60.0  # an owner without a heartbeat for so long counts as dead
BEATS = 6  # heartbeats within the limit
LOOKS = 60  # polls of another owner's heartbeat within the limit
NAME = "lock"


@dataclass(frozen=True)
class Owner:
    """The owner of a lease. ``place``: boot id and pid namespace, within which ``pid`` and ``started``
    (clock ticks at its start) identify one process; empty where unknown. ``token``: a unique name."""

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
        """Whether this process can see its process. Copies of a machine have other host names."""
        return bool(self.place) and (self.host, self.place) == (os.uname().nodename, _place())

    def is_gone(self) -> bool:
        """True when it has certainly ended."""
        return self.is_visible() and _started(self.pid) != self.started

    def wake(self) -> None:
        """Resume a suspended owner on this host, so that it finds out that it lost its lease."""
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
    """Clock ticks at which a process began; None when it has ended, as a zombie too."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


@dataclass(frozen=True)
class LeaseState:
    """The newest lease of a run folder, as any process reads it. ``number``: the fencing token;
    ``beat``: its last heartbeat by the clock of the file system; ``age_s``: seconds since then."""

    number: int
    owner: Owner
    age_s: float
    beat: float = 0.0

    def stale(self, limit_s: float) -> str | None:
        """Why its owner counts as dead; None when it does not."""
        if self.owner.is_gone():
            return "its process is gone"
        if self.age_s > limit_s:
            return f"it was last heard of {whole_s(self.age_s)} ago"
        return None


def holder(folder: Path) -> LeaseState | None:
    """The newest lease of the run in ``folder``; None when there never was one."""
    return _newest_lease(folder / NAME, time.time())


def _newest_lease(lock: Path, now: float) -> LeaseState | None:
    """``now``: seconds by the clock of the file system."""
    while number := max(_numbers(lock), default=0):
        try:
            # ``fstat`` of the open file: NFS caches the attributes of names.
            with (lock / f"{number}.json").open("rb") as file:
                text, beat = file.read(), os.fstat(file.fileno()).st_mtime
        except FileNotFoundError:
            continue  # a racer that lost has removed its file
        return LeaseState(number, _owner(text), max(0.0, now - beat), beat)
    return None


def _numbers(lock: Path) -> list[int]:
    """The tokens of the leases that have a file."""
    try:
        stems = [name.removesuffix(".json") for name in os.listdir(lock)]
    except FileNotFoundError:
        return []
    return [int(stem) for stem in stems if stem.isdigit()]


def _owner(text: bytes) -> Owner:
    """Unknown where the file is unreadable: it is being written, or its writer died."""
    try:
        return Owner(**json.loads(text))
    except (ValueError, TypeError):
        return Owner()


def _now(lock: Path) -> float:
    with tempfile.TemporaryFile(dir=lock) as file:
        return os.fstat(file.fileno()).st_mtime


class Lease:
    """A run folder held by this process. ``number``: the fencing token; ``taken_over``: the former
    owner where it was dead, ``why``: how that was known; both None when the folder was free."""

    def __init__(
        self, path: Path, handle: int, owner: Owner, earlier: LeaseState | None, why: str | None
    ) -> None:
        self.number = int(path.stem)
        self.owner = owner
        self.taken_over = earlier.owner if earlier and why else None
        self.why = why
        self._path, self._handle = path, handle

    def check(self) -> None:
        """StoreError when the lease was lost; then the caller must not write anything more."""
        held = _newest_lease(self._path.parent, 0.0)
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
        """Send a heartbeat: touch the open file, since another one may have its name by now."""
        os.utime(self._handle)

    def release(self) -> None:
        """Release the lease, so that the next owner need not wait."""
        text = json.dumps(asdict(replace(self.owner, released=True)))
        part = self._path.with_name(f".{self.owner.token}")
        with suppress(OSError, StoreError):  # without it the next owner waits for the timeout
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
    min_token: int = 0,
) -> Iterator[Lease]:
    """Hold the lease of the run in ``folder``.

    BusyError, naming the owner, when another one is alive: its process runs, or its heartbeat is
    heard. For a heartbeat this waits ``limit_s`` at most, and ``say`` gets a line about it.
    ``on_lost`` is called once, from a thread, with the reason, when another process took over while
    this one was suspended. ``min_token``: the highest fencing token in the journal.
    """
    lease = _take(folder / NAME, limit_s, say, min_token)
    over = threading.Event()
    beating = threading.Thread(
        target=_beat, args=(lease, over, limit_s / BEATS, on_lost), daemon=True, name="heartbeat"
    )
    beating.start()
    try:
        yield lease
    finally:
        over.set()
        beating.join()
        lease.release()


def _beat(
    lease: Lease, over: threading.Event, every_s: float, on_lost: Callable[[str], None]
) -> None:
    while not over.wait(every_s):
        try:
            lease.check()
            lease.beat()
        except StoreError as error:
            on_lost(error.message)
            return
        except OSError:
            continue  # a transient error of the disk: the next heartbeat may succeed


def _take(lock: Path, limit_s: float, say: Callable[[str], None], min_token: int) -> Lease:
    try:
        lock.mkdir(parents=True, exist_ok=True)
        earlier = _newest_lease(lock, _now(lock))
        why = None
        if earlier is not None and not earlier.owner.released:
            why = earlier.stale(limit_s) or _wait_for_heartbeat(lock, earlier, limit_s, say)
        lease = _create(lock, earlier, why, min_token)
    except OSError as error:
        kind = DiskFullError if error.errno in FULL else OutputError
        raise kind(
            f"can't write {lock} ({error.strerror}), so the run could have two owners: make room or check "
            "the disk, or use another folder"
        ) from error
    if lease.taken_over is not None:
        lease.taken_over.wake()
    return lease


def _wait_for_heartbeat(
    lock: Path, earlier: LeaseState, limit_s: float, say: Callable[[str], None]
) -> str | None:
    """Wait for the heartbeat of an owner whose process is not visible: BusyError when it comes,
    else why the owner counts as dead. None when it released the lease meanwhile."""
    if earlier.owner.is_visible():
        raise _busy(lock, earlier)
    say(
        f"{lock.parent} belongs to {earlier.owner}, heard of {whole_s(earlier.age_s)} ago: "
        f"waiting for its next heartbeat, {whole_s(limit_s - earlier.age_s)} at most"
    )
    held: LeaseState | None = earlier
    while held and (held.number, held.beat) == (earlier.number, earlier.beat):
        if why := held.stale(limit_s):
            return why
        time.sleep(limit_s / LOOKS)
        held = _newest_lease(lock, _now(lock))
    if held and held.number == earlier.number and held.owner.released:
        return None
    raise _busy(lock, held)


def _create(lock: Path, earlier: LeaseState | None, why: str | None, min_token: int = 0) -> Lease:
    number, owner = max(earlier.number if earlier else 0, min_token) + 1, Owner.here()
    path = lock / f"{number}.json"
    try:
        handle = _create_file(path, owner)
    except FileExistsError:
        raise _busy(lock, _newest_lease(lock, _now(lock))) from None
    try:
        # There were successors since ``earlier`` was read.
        if max(_numbers(lock), default=0) != number:
            raise _busy(lock, _newest_lease(lock, _now(lock)))
    except BaseException:
        os.close(handle)
        path.unlink(missing_ok=True)
        raise
    for older in _numbers(lock):
        if older < number:
            (lock / f"{older}.json").unlink(missing_ok=True)
    return Lease(path, handle, owner, earlier, why)


def _create_file(path: Path, owner: Owner) -> int:
    """Create the file of a lease atomically: a kill leaves none, or one that names its owner.
    Returns its descriptor; FileExistsError for all racers but one."""
    part = path.with_name(f".{owner.token}")
    handle = os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
    try:
        os.write(handle, json.dumps(asdict(owner)).encode())
        os.fsync(handle)
        try:
            os.link(part, path)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links: the file is empty for a moment
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
            os.replace(part, path)
    except BaseException:
        os.close(handle)
        raise
    finally:
        part.unlink(missing_ok=True)
    return handle


def _busy(lock: Path, held: LeaseState | None) -> BusyError:
    who = f"{held.owner}, heard of {whole_s(held.age_s)} ago" if held else "another process"
    return BusyError(
        f"{lock.parent} belongs to another segbatch run ({who}), and two would mix their work: "
        "wait for it, or stop it first"
    )
