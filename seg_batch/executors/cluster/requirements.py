"""What a run needs of its workers, and the facts that a worker reports. No Dask here.

Every worker is checked before the work, and a worker that joins later before its first task:
``mismatch(worker_facts(needs), needs)`` is None, or the reason why it may not take part.
"""

from __future__ import annotations

import hashlib
import os
import platform
import socket
import time
import uuid
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from seg_batch.core import files, hardware
from seg_batch.core.registry.engines import engine_on
from seg_batch.core.units import bytes_to_write, show_bytes

BASE = ("segbatch", "python", "dask", "distributed", "numpy")  # these agree in every run
LATE_S = 5.0  # how long a network file system may take to show a new file elsewhere
_HEAD = 1 << 16  # bytes of an input by which it is known again

type Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class WorkerRequirements:
    """What every worker must have.

    ``libraries``: names whose versions must equal those of this process, beside ``BASE``. ``weights``:
    path and sha256 of each model. ``memory_bytes``: planned for one process; 0: not checked.
    ``on_gpu``: the engine uses a GPU where there is one; ``mixed``: it computes in half precision.
    Both make the bytes of a result depend on the device. ``inputs`` and ``outputs``: paths to read,
    and folders to write in. ``preflight.check_workers`` fills in the other fields.
    """

    libraries: tuple[str, ...] = ()
    weights: Pairs = ()
    memory_bytes: int = 0
    on_gpu: bool = False
    mixed: bool = False
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    versions: Pairs = ()
    identities: Pairs = ()
    device: str = ""
    probe: str = ""


def required_versions(names: tuple[str, ...]) -> Pairs:
    """Installed versions, by name; ``"none"`` for what is not installed."""
    return tuple((name, _version(name)) for name in names)


def _version(name: str) -> str:
    if name == "python":
        return ".".join(platform.python_version_tuple()[:2])
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def device(needs: WorkerRequirements) -> str:
    """The device that a network uses here, as far as the bytes of its result depend on it."""
    if needs.on_gpu and hardware.gpus():
        return "GPU"
    if needs.mixed:
        return "CPU with bfloat16" if hardware.has_bfloat16() else "CPU without bfloat16"
    return "CPU"


def identity(path: str) -> str:
    """What identifies a file on another host: its size and the hash of its beginning."""
    try:
        if os.path.isdir(path):
            return "a folder"
        with open(path, "rb") as file:
            head = hashlib.sha256(file.read(_HEAD)).hexdigest()[:12]
        return f"{os.path.getsize(path)} bytes beginning {head}"
    except OSError:
        return "nothing"


def weights_sha256(path: str) -> str:
    """sha256 of a model's files; ``"nothing"`` where they can't be read."""
    try:
        return files.sha256(Path(path))
    except OSError:
        return "nothing"


def worker_facts(needs: WorkerRequirements) -> dict[str, Any]:
    """What this process has of what is needed, as plain values, which other versions can read."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "versions": dict(required_versions(tuple(name for name, _ in needs.versions))),
        "weights": {path: weights_sha256(path) for path, _ in needs.weights},
        "inputs": {path: identity(path) for path, _ in needs.identities},
        "outputs": {folder: _probed(Path(folder), needs.probe) for folder in needs.outputs},
        "device": device(needs),
        "gpus": hardware.gpus(),
        "cores": hardware.cores(),
        "free_bytes": free_bytes(),
        "rss_bytes": rss_bytes(),
    }


def _probed(folder: Path, probe: str) -> str:
    """Read the coordinator's probe file in ``folder`` and write one; its name, or ``""`` on failure.
    Without a probe: the name of the folder if it exists."""
    if not probe:
        return str(folder) if folder.is_dir() else ""
    if read_when_visible(folder / probe) != probe:
        return ""
    own = folder / f"{probe}-{uuid.uuid4().hex}"
    try:
        own.write_text(own.name)
    except OSError:
        return ""
    return own.name


def read_when_visible(path: Path) -> str:
    """The text of a small file that may take ``LATE_S`` to appear, or ``""``."""
    deadline = time.monotonic() + LATE_S
    while True:
        try:
            return path.read_text()
        except OSError:
            if time.monotonic() > deadline or not path.parent.is_dir():
                return ""
            time.sleep(0.1)


def rss_bytes() -> int:
    """Resident memory of this process."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def free_bytes() -> int:
    """Free memory of this host, or of the control group of this job when that is smaller."""
    return max(0, min([hardware.available_bytes(), *_cgroups_free()]))


def _cgroups_free() -> list[int]:
    """Free bytes of each group with a limit that holds this process (cgroup v2)."""
    try:
        own = Path("/proc/self/cgroup").read_text().strip().rpartition("::")[2].lstrip("/")
    except OSError:
        return []
    root = Path("/sys/fs/cgroup")
    free = []
    for group in [root / own, *(root / own).parents]:
        if not group.is_relative_to(root):
            break
        try:
            limit = int((group / "memory.max").read_text())
            used = int((group / "memory.current").read_text())
            stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):
            continue
        free.append(limit - used + int(stat.get("inactive_file", 0)))
    return free


def mismatch(seen: dict[str, Any], needs: WorkerRequirements) -> str | None:
    """Why a worker with these facts can't do the work, as text after its name; None when it can."""
    for name, wanted in needs.versions:
        if (has := seen["versions"].get(name)) != wanted:
            what = f"has no {name}" if has == "none" else f"runs {name} {has}"
            return (
                f"{what}, this is {wanted}, so blocks could differ: install one version everywhere"
            )
    for path, wanted in needs.weights:
        if (has := seen["weights"].get(path)) != wanted:
            what = "does not see" if has == "nothing" else f"has other weights ({str(has)[:12]}) at"
            return f"{what} {path}, needed are {wanted[:12]}: {_SHARE}"
    for path, wanted in needs.identities:
        if (has := seen["inputs"].get(path)) != wanted:
            what = "does not see" if has == "nothing" else f"sees another file ({has}) at"
            return f"{what} {path}: {_SHARE}"
    for folder in needs.outputs:
        if not seen["outputs"].get(folder):
            return f"does not see what is written to {folder}, or can't write there: {_SHARE}"
    if needs.device and seen["device"] != needs.device:
        return (
            f"computes on a {seen['device']} and others on a {needs.device}, so blocks would "
            f"differ: use workers of one kind, or --engine {engine_on(gpu=False)} --precision float32"
        )
    return None


_SHARE = "put model, input and output on a file system that all workers share"


def out_of_memory(needed: int, seen: dict[str, Any], beside: int, limit: int) -> str | None:
    """Why ``needed`` bytes each for ``beside`` workers on one host exceed the free memory in the facts
    ``seen``; None when they fit. ``limit``: Dask's limit for each worker (0: none)."""
    free = seen["free_bytes"] // beside + seen["rss_bytes"]
    free = min(free, limit) if limit else free
    if needed <= free:
        return None
    return (
        f"has {show_bytes(free)} of memory free and the plan needs {show_bytes(needed)} per worker: "
        f"use --memory {bytes_to_write(int(free * 0.9))} (in a workflow limits.memory), larger "
        "workers, or fewer on one host"
    )
