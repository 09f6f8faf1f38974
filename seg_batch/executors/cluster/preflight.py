"""Before any work every worker is asked once what it has; one that does not fit refuses the run.

Paths are tried in both directions: each worker must read a file that was written here beside the
output, and here the file must be read that each worker wrote.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from seg_batch.core.errors import ClusterError, OutputError
from seg_batch.core.hardware import existing, is_running
from seg_batch.core.run_files import PROBE
from seg_batch.core.versions import package_version
from seg_batch.executors.cluster.requirements import (
    BASE,
    WorkerRequirements,
    identity,
    mismatch,
    out_of_memory,
    read_soon,
    required_versions,
    worker_facts,
)
from seg_batch.executors.pool import Pool

type Answers = dict[str, dict[str, Any]]  # worker -> its facts


def check_workers(pool: Pool, needs: WorkerRequirements) -> tuple[WorkerRequirements, Answers]:
    """The needs with everything settled, and what each worker said of itself.

    Raises ClusterError, in one line that names a worker, what it has and what is needed.
    """
    settled = replace(
        needs,
        versions=required_versions((*BASE, *needs.libraries)),
        identities=tuple((path, identity(path)) for path in needs.inputs),
        outputs=tuple(dict.fromkeys(str(existing(Path(f))) for f in needs.outputs)),
    )
    with _probing(settled.outputs) as probe:
        asked = replace(settled, probe=probe if settled.outputs else "")
        answers = _answers(pool, asked)
        devices = Counter(found["device"] for found in answers.values())
        settled = replace(settled, device=devices.most_common(1)[0][0])  # all must have that one
        for worker, found in answers.items():
            if why := mismatch(found, settled) or _unseen(found, asked):
                raise ClusterError(f"worker {worker} {why}")
    if needs.memory_bytes:
        _require_free(pool, needs.memory_bytes, answers)
    return settled, answers


def require_memory(pool: Pool, needed_bytes: int) -> None:
    """ClusterError where a worker has less free memory than one process is promised to take."""
    _require_free(pool, needed_bytes, _answers(pool, WorkerRequirements()))


def require_same_scheduler(client: Any) -> None:
    """ClusterError when a scheduler that was there before us has other versions: it reads each task."""
    here, address = dict(required_versions(BASE)), client.scheduler.address
    try:
        there = dict(client.run_on_scheduler(required_versions, BASE))
    except Exception as error:  # of whatever its Python makes of ours
        client.close(timeout=2)
        raise ClusterError(
            f"the Dask scheduler at {address} can't run segbatch ({type(error).__name__}: {error}): "
            f"install segbatch {package_version()} there, too"
        ) from None
    for name, wanted in here.items():
        if there.get(name) != wanted:
            client.close(timeout=2)
            raise ClusterError(
                f"the Dask scheduler at {address} has {name} {there.get(name)}, where {wanted} is "
                "needed: give it the same environment"
            )


def latecomer_requirements(needs: WorkerRequirements) -> WorkerRequirements:
    """What a worker must have that comes when the run is under way: of the inputs the folders, for
    what is done may have been moved away since."""
    folders = dict.fromkeys(os.path.dirname(path) or "." for path, _ in needs.identities)
    return replace(needs, identities=tuple((folder, identity(folder)) for folder in folders))


def _answers(pool: Pool, needs: WorkerRequirements) -> Answers:
    found: Answers = {}
    for worker, answer in pool.answers(worker_facts, needs).items():
        if isinstance(answer, ImportError):
            raise ClusterError(
                f"worker {worker} can't import segbatch ({answer}): install segbatch "
                f"{package_version()} on the workers"
            )
        if isinstance(answer, TimeoutError):
            raise ClusterError(
                f"worker {worker} does not answer, so nothing is known of it: end it, or look "
                "whether its disk or network hangs"
            )
        if isinstance(answer, Exception):
            why = f"{type(answer).__name__}: {answer}"
            raise ClusterError(f"worker {worker} can't be asked what it has ({why}): restart it")
        found[worker] = answer
    return found


def _require_free(pool: Pool, needed: int, answers: Answers) -> None:
    beside = Counter(found["host"] for found in answers.values())
    limits = pool.memory_limits()
    for worker, found in answers.items():
        if why := out_of_memory(needed, found, beside[found["host"]], limits.get(worker, 0)):
            raise ClusterError(f"worker {worker} {why}")


@contextmanager
def _probing(folders: tuple[str, ...]) -> Iterator[str]:
    """A file of that name and content in each folder; it and those of the workers are removed."""
    probe = f"{PROBE}{os.getpid()}_{socket.gethostname()}_{uuid.uuid4().hex}"
    try:
        for folder in folders:
            try:
                Path(folder, probe).write_text(probe)
            except OSError as error:
                raise OutputError(
                    f"{folder} can't be written ({error.strerror}): choose another output"
                ) from error
        yield probe
    finally:
        for folder in folders:
            for path in Path(folder).glob(f"{PROBE}*"):
                if path.name.startswith(probe) or _is_orphan(path.name):
                    path.unlink(missing_ok=True)


def _is_orphan(probe: str) -> bool:
    """Whether its coordinator was killed on this machine, and could not remove it."""
    pid, _, rest = probe.removeprefix(PROBE).partition("_")
    here = rest.rpartition("_")[0] == socket.gethostname()
    return here and pid.isdigit() and not is_running(int(pid))


def _unseen(found: dict[str, Any], needs: WorkerRequirements) -> str | None:
    """Why what a worker wrote beside the output can't be trusted to arrive here."""
    for folder, name in found["outputs"].items():
        if needs.probe and read_soon(Path(folder, name)) != name:
            return (
                f"writes to a {folder} that is another one here: put the output on a file system "
                "that all workers share"
            )
    return None
