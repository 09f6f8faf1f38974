"""What a run asks of the workers it is given, and what its blocks may hold there beside those of others.

A plan promises what a process needs for blocks of its own input (law 5). Where blocks of different
inputs meet in one process, each waits in ``ROOM`` until its share fits beside those that are being done.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

from seg_batch.core.errors import SegbatchError
from seg_batch.core.registry.engines import info_of
from seg_batch.executors import IN_FLIGHT, WorkerRequirements
from seg_batch.inference.bundles import Model
from seg_batch.inference.costs import BASE_BYTES
from seg_batch.inference.plan import Plan
from seg_batch.inference.request import Request, engine_of, named_model

MOST_FOLDERS = 16  # that are tried on every worker before a run of many inputs


def requirements_of(
    model: Model, plan: Plan, *, inputs: Iterable[str | Path], outputs: Iterable[str | Path]
) -> WorkerRequirements:
    """Those of a prediction: ``inputs`` are read as they stand, ``outputs`` are folders written to."""
    return replace(
        _of_model(model, plan.engine, plan.precision),
        memory_bytes=plan.promised_bytes,
        inputs=tuple(map(str, inputs)),
        outputs=tuple(map(str, outputs)),
    )


def shared_requirements(requests: Iterable[Request]) -> WorkerRequirements:
    """Those of many predictions in one pool: all folders written to and all models named; the first
    input stands for the others. What memory they take is known when they are prepared, as is what is
    wrong with one: see ``require_memory``."""
    found = list(requests)
    needs = WorkerRequirements(
        inputs=tuple(request.input for request in found[:1]),
        outputs=tuple(dict.fromkeys(str(_folder(request)) for request in found))[:MOST_FOLDERS],
    )
    for request in {repr(request.model): request for request in found}.values():
        if request.model is None:
            continue
        try:
            model = named_model(request.model)
            engine = engine_of(model, request.options)
        except SegbatchError:
            continue
        needs = _joined(needs, _of_model(model, engine.engine, engine.precision))
    return needs


def _folder(request: Request) -> Path:
    if request.output is None:
        return Path.cwd()
    path = Path(request.output).absolute()
    return path if request.many or path.is_dir() else path.parent


def _joined(one: WorkerRequirements, other: WorkerRequirements) -> WorkerRequirements:
    return replace(
        one,
        libraries=tuple(dict.fromkeys((*one.libraries, *other.libraries))),
        weights=tuple(dict.fromkeys((*one.weights, *other.weights))),
        on_gpu=one.on_gpu or other.on_gpu,
        mixed=one.mixed or other.mixed,
    )


def _of_model(model: Model, engine: str, precision: str) -> WorkerRequirements:
    """What computes it; a function comes with its task and needs nothing."""
    bundles = [member for member in model.all if member.path is not None]
    if not bundles:
        return WorkerRequirements()
    info = info_of(engine)
    return WorkerRequirements(
        libraries=info.needs(),
        weights=tuple((str(m.weights), m.card.weights_sha256) for m in bundles),
        on_gpu=info.uses_gpu,
        mixed=precision == "mixed",
    )


def share_bytes(plan: Plan) -> int:
    """What one block of the plan holds, its model included, beside what every process needs."""
    return max(0, plan.promised_bytes - BASE_BYTES) // min(IN_FLIGHT, plan.blocks)


class MemoryGate:
    """Bytes held in this process. Whoever finds it empty may enter, however much it needs: that it
    fits alone was checked when it was planned."""

    def __init__(self) -> None:
        self._held = 0
        self._changed = threading.Condition()

    @contextmanager
    def taking(self, size_bytes: int, limit_bytes: int) -> Iterator[None]:
        """Hold so many bytes, waiting until they fit within the limit."""
        with self._changed:
            self._changed.wait_for(lambda: not self._held or self._held + size_bytes <= limit_bytes)
            self._held += size_bytes
        try:
            yield
        finally:
            with self._changed:
                self._held -= size_bytes
                self._changed.notify_all()

    def for_block(self, plan: Plan) -> AbstractContextManager[None]:
        """``taking`` what a block of the plan needs, within what the plan allows a process."""
        return self.taking(share_bytes(plan), plan.memory_bytes - BASE_BYTES)


ROOM = MemoryGate()
