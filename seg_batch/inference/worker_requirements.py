"""The requirements of a run on its workers, and the memory gate (a semaphore of bytes) of a worker.

A plan promises the memory of a process for blocks of its own input (law 5). Where blocks of different
inputs meet in one process, each waits in ``ROOM`` until its share fits beside the running ones.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from seg_batch.core.errors import SegbatchError
from seg_batch.core.files import file_of
from seg_batch.core.privacy.addresses import is_remote
from seg_batch.core.registry.engines import info_of
from seg_batch.executors import IN_FLIGHT, WorkerRequirements
from seg_batch.inference.bundles import Model
from seg_batch.inference.costs import BASE_BYTES
from seg_batch.inference.loading.named import named_model
from seg_batch.inference.plan import Plan
from seg_batch.inference.request import Request, engine_of
from seg_batch.io.sources.side_files import side_files

MOST_FOLDERS = 16  # that are tried on every worker before a run of many inputs
MOST_PIECES = 16  # of a mosaic


def requirements_of(
    model: Model, plan: Plan, *, inputs: Iterable[str | Path], outputs: Iterable[str | Path]
) -> WorkerRequirements:
    """Those of a prediction: ``inputs`` are files that are read, ``outputs`` folders written to."""
    return replace(
        _of_model(model, plan.engine, plan.precision),
        memory_bytes=plan.promised_bytes,
        inputs=_with_side_files(inputs),
        outputs=tuple(map(str, outputs)),
    )


def shared_requirements(requests: Iterable[Request]) -> WorkerRequirements:
    """Those of many predictions in one pool: all folders written to and all models named; the first
    input stands for the others. Their memory, and what is wrong with one, is known when they are
    prepared: see ``require_memory``."""
    requests = list(requests)
    needs = WorkerRequirements(
        inputs=_with_side_files(p for r in requests[:1] for p in some_files(r)),
        outputs=tuple(dict.fromkeys(str(_folder(request)) for request in requests))[:MOST_FOLDERS],
    )
    for request in {repr(request.model): request for request in requests}.values():
        if request.model is not None:
            with suppress(SegbatchError):
                model = named_model(request.model)
                engine = engine_of(model, request.options)
                needs = _joined(needs, _of_model(model, engine.engine, engine.precision))
    return needs


def some_files(request: Request) -> tuple[str, ...]:
    """The files of an input; of many pieces of a mosaic a few, evenly spread: the others lie beside them."""
    files = request.files
    return files[:: -(-len(files) // MOST_PIECES)] if request.mosaic else files


def _with_side_files(inputs: Iterable[str | Path]) -> tuple[str, ...]:
    """The files, each with those beside it that may change what is read of it."""
    paths = [file_of(path) for path in inputs if not is_remote(path)]
    sides = {path: side_files(path) if os.path.isfile(path) else [] for path in paths}
    beside = [str(p.with_name(side.name)) for p in paths for side in sides[p] if side.counts]
    return (*map(str, paths), *beside)


def _folder(request: Request) -> Path:
    if request.output is None:
        return Path.cwd()
    path = Path(request.output).absolute()
    return path if request.many or path.is_dir() else path.parent


def _joined(needs: WorkerRequirements, more: WorkerRequirements) -> WorkerRequirements:
    return replace(
        needs,
        libraries=tuple(dict.fromkeys((*needs.libraries, *more.libraries))),
        weights=tuple(dict.fromkeys((*needs.weights, *more.weights))),
        on_gpu=needs.on_gpu or more.on_gpu,
        mixed=needs.mixed or more.mixed,
    )


def _of_model(model: Model, engine: str, precision: str) -> WorkerRequirements:
    """Those of the engine and the weights; a function comes with its task and needs nothing."""
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


class MemoryGate:
    """Bytes held in this process. A block may enter an empty gate however much it needs: the plan
    checked that it fits alone."""

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
        """``taking`` the bytes of a block and its model, within what the plan allows a process."""
        share = max(0, plan.promised_bytes - BASE_BYTES) // min(IN_FLIGHT, plan.blocks)
        return self.taking(share, plan.memory_bytes - BASE_BYTES)


ROOM = MemoryGate()
