"""Writing and reading of exports in new processes.

An exported file has to work without the model in memory, so a new process that has only the file
reads it. Converters write to standard error from native code, keep memory and change TensorFlow's
state, so they run in a new process, too, without output.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.core.errors import InputError, SegbatchError
from seg_batch.core.text import without_colours
from seg_batch.nn.export.job import Exported, ExportJob

PACKAGE = "seg_batch.nn.export"


@dataclass(frozen=True)
class ModelRun:
    """The results of a model on real patches. ``seconds``: per patch, the median of single patches
    without the first. ``tensors`` and ``versions`` as in ``Exported``."""

    probabilities: np.ndarray
    seconds: float
    tensors: dict[str, Any]
    versions: dict[str, Any]


@dataclass(frozen=True)
class WrittenFile:
    """``facts``: the writer's, about its file. ``keras``: the reference of every comparison, the
    bundle's own model in float32, not folded, on the same patches."""

    facts: dict[str, Any]
    keras: ModelRun


def write(module: str, order: ExportJob, folder: Path, patches: np.ndarray) -> WrittenFile:
    """Write the order into ``folder``, and run the bundle's own model on ``patches``."""
    return _fresh(_write, f"{order.name} can't hold this model", module, order, folder, patches)


def run(module: str, path: Path, patches: np.ndarray, batch: int = 0) -> ModelRun:
    """Run the file at ``path`` on ``patches``; for a ``batch`` of 0, test the first two at once."""
    return _fresh(_run, f"{path.name} can't be run", module, path, patches, batch)


def _fresh[T](function: Callable[..., T], trouble: str, *arguments: Any) -> T:
    """``function(*arguments)`` in a new process; raises InputError (one line) for any failure."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(there, function, trouble, arguments), daemon=True)
    process.start()
    there.close()
    try:
        answer = here.recv()
    except EOFError:
        answer = InputError(
            f"{trouble}: its process died, perhaps for want of memory; free some and try again"
        )
    finally:
        process.terminate()  # it has sent its answer, or this process was interrupted
        process.join()
    if isinstance(answer, SegbatchError):
        raise answer
    result: T = answer
    return result


def _send(
    there: Connection, function: Callable[..., Any], trouble: str, arguments: tuple[Any, ...]
) -> None:
    """Send the function's result or error; exceptions of libraries, which may not pickle, become
    InputError."""
    _hush()
    try:
        there.send(function(*arguments))
    except SegbatchError as error:
        there.send(error)
    except Exception as error:
        there.send(
            InputError(
                f"{trouble} ({_reason(error)}): savedmodel, onnx and openvino take most networks"
            )
        )


def _reason(error: Exception) -> str:
    """The words of a converter in part; of the many lines of LiteRT's, the operations that it lacks."""
    text = " ".join(without_colours(str(error)).split())
    if lacking := sorted(set(re.findall(r"'(tfl?\.\w+)' op is neither", text))):
        return f"it has no form of {', '.join(lacking)}"
    return text[:300] or type(error).__name__


def _hush() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def _write(module: str, order: ExportJob, folder: Path, patches: np.ndarray) -> WrittenFile:
    from seg_batch.nn.export import keras_file
    from seg_batch.nn.loading import load_model

    facts = importlib.import_module(f"{PACKAGE}.{module}").write(order, folder)
    load_model(order.weights, sha256=order.sha256)  # refuses unsafe files
    return WrittenFile(facts, _predicted(keras_file.read(order.weights), patches, 1))


def _run(module: str, path: Path, patches: np.ndarray, batch: int) -> ModelRun:
    exported: Exported = importlib.import_module(f"{PACKAGE}.{module}").read(path)
    return _predicted(exported, patches, 1 if batch == 1 else 2)


def _predicted(exported: Exported, patches: np.ndarray, together: int) -> ModelRun:
    results = [exported.predict(patches[:together])]
    seconds = []
    for patch in [*patches[together:], patches[-1]]:
        start = time.perf_counter()
        results.append(exported.predict(patch[None]))
        seconds.append(time.perf_counter() - start)
    del results[-1]  # the last patch ran twice, so that even few patches give a time
    return ModelRun(
        np.concatenate(results), float(np.median(seconds)), exported.tensors, exported.versions
    )
