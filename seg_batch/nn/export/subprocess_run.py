"""Writing and reading in processes of their own.

An exported file has to work where nothing of ours is loaded; so what reads it is a new process that
has only the file. Converters talk to standard error from native code, hold memory and leave
TensorFlow in odd states: they get a process of their own, too, silenced.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.core.errors import InputError, SegbatchError
from seg_batch.nn.export.job import Exported, ExportJob

ROOM = "seg_batch.nn.export"


@dataclass(frozen=True)
class ModelRun:
    """Real patches through a model: what it gave, how long a patch took (the median of one at a
    time, the first left out), what it says of itself."""

    probabilities: np.ndarray
    seconds: float
    tensors: dict[str, Any]
    versions: dict[str, Any]


@dataclass(frozen=True)
class WrittenFile:
    """What a writer has to say of its file, and what every file is measured against: the bundle's
    own model in float32, not folded, on the same patches."""

    facts: dict[str, Any]
    keras: ModelRun


def write(module: str, order: ExportJob, folder: Path, patches: np.ndarray) -> WrittenFile:
    """The order, written into ``folder``, and what the bundle's own model says of ``patches``."""
    return _fresh(_write, f"{order.name} can't hold this model", module, order, folder, patches)


def run(module: str, path: Path, patches: np.ndarray, batch: int = 0) -> ModelRun:
    """The file at ``path`` on ``patches``; ``batch`` 0: the first two at once, as it must be able to."""
    return _fresh(_run, f"{path.name} can't be run", module, path, patches, batch)


def _fresh[T](function: Callable[..., T], trouble: str, *arguments: Any) -> T:
    """``function(*arguments)`` in a new process; InputError in one line, whatever goes wrong."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_told, args=(there, function, trouble, arguments), daemon=True)
    process.start()
    there.close()
    try:
        found = here.recv()
    except EOFError:
        found = InputError(
            f"{trouble}: its process died, perhaps for want of memory; free some and try again"
        )
    finally:
        process.terminate()  # it has said all it had to say, or we were interrupted
        process.join()
    if isinstance(found, SegbatchError):
        raise found
    result: T = found
    return result


def _told(
    there: Connection, function: Callable[..., Any], trouble: str, arguments: tuple[Any, ...]
) -> None:
    """What the function returns, or its error: exceptions of libraries become ours, since theirs
    may not survive the way back."""
    _hush()
    try:
        there.send(function(*arguments))
    except SegbatchError as error:
        there.send(error)
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        there.send(
            InputError(f"{trouble} ({reason}): savedmodel, onnx and openvino take most networks")
        )


def _hush() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def _write(module: str, order: ExportJob, folder: Path, patches: np.ndarray) -> WrittenFile:
    from seg_batch.nn.export import keras_file
    from seg_batch.nn.loading import load_model

    facts = importlib.import_module(f"{ROOM}.{module}").write(order, folder)
    load_model(order.weights, sha256=order.sha256)  # refuses what may not be run
    return WrittenFile(facts, _predicted(keras_file.read(order.weights), patches, 1))


def _run(module: str, path: Path, patches: np.ndarray, batch: int) -> ModelRun:
    exported: Exported = importlib.import_module(f"{ROOM}.{module}").read(path)
    return _predicted(exported, patches, 1 if batch == 1 else 2)


def _predicted(exported: Exported, patches: np.ndarray, together: int) -> ModelRun:
    found = [exported.predict(patches[:together])]
    seconds = []
    for one in [*patches[together:], patches[-1]]:
        start = time.perf_counter()
        found.append(exported.predict(one[None]))
        seconds.append(time.perf_counter() - start)
    del found[-1]  # the last patch was predicted once more, so that there is a time for few, too
    return ModelRun(
        np.concatenate(found), float(np.median(seconds)), exported.tensors, exported.versions
    )
