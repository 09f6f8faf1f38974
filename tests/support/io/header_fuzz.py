"""Damaged headers opened as ``inspect``, ``plan`` and ``predict`` do, in processes of limited memory and time."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import shutil
import signal
import traceback
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from seg_batch.cli.display.source_lines import source_facts, source_lines
from seg_batch.config.predict_options import PredictOptions
from seg_batch.core.errors import SegbatchError
from seg_batch.core.geometry import Box
from seg_batch.inference.request import Request, prepare
from seg_batch.io.sources import open_source
from tests.support.io.header_mutations import mutate

MOST_BYTES = 1 << 30
MOST_S = 2.0
_MOST_VOXELS = 1 << 20
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Outcome:
    """What became of one damaged file. ``fault``: empty, or why it is one of ours."""

    name: str
    word: str
    fault: str = ""


def outcomes(seeds: list[Path], numbers: Iterable[int], folder: Path) -> list[Outcome]:
    """One outcome for each number. Runs in a process, which is begun anew where an input kills it."""
    left, ended = list(numbers), list[Outcome]()
    context = multiprocessing.get_context("spawn")
    while left:
        here, there = context.Pipe(duplex=False)
        worker = context.Process(target=_work, args=(there, seeds, left, folder))
        worker.start()
        there.close()
        begun = None
        try:
            while True:
                if not here.poll(60):
                    worker.kill()
                message = here.recv()
                begun = message if isinstance(message, str) else None
                if isinstance(message, Outcome):
                    ended.append(message)
                    left.pop(0)
        except EOFError:
            worker.join()
        if begun is not None:
            why = (
                f"the process ended with {worker.exitcode}: more than {MOST_S} s of CPU, or a crash"
            )
            ended.append(Outcome(begun, "killed", why))
            left.pop(0)
        elif worker.exitcode and left:
            raise RuntimeError(f"the worker ended with {worker.exitcode} before its first input")
    return ended


def _work(there: Connection, seeds: list[Path], numbers: list[int], folder: Path) -> None:
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # ends the process, even within a library
    said = os.open(folder, os.O_TMPFILE | os.O_RDWR)
    os.dup2(said, 1)
    os.dup2(said, 2)
    base = int(Path("/proc/self/statm").read_text().split()[0]) * _PAGE
    resource.setrlimit(resource.RLIMIT_AS, (base + MOST_BYTES, base + MOST_BYTES))
    for number in numbers:
        path = mutate(seeds[number % len(seeds)], number, folder)
        there.send(path.name)
        signal.setitimer(signal.ITIMER_PROF, MOST_S)
        word, fault = _try(path, folder)
        signal.setitimer(signal.ITIMER_PROF, 0)
        if size := os.fstat(said).st_size:
            fault = fault or f"printed: {os.pread(said, 600, 0)!r}"
            os.ftruncate(said, 0)
            os.lseek(said, 0, os.SEEK_SET)
        del size
        there.send(Outcome(path.name, word, fault))
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    there.close()
    os._exit(0)


def _try(path: Path, folder: Path) -> tuple[str, str]:
    try:
        json.dumps(facts := source_facts(str(path), None))
        source_lines(facts)
        prepare(Request(str(path), f"{folder}/out/", "probe", PredictOptions(), many=True))
        with closing(open_source(path)) as source:
            source.read(_first_box(source.info.chunk, source.info.extent))
        return "ok", ""
    except SegbatchError as error:
        lines = error.message.count("\n") + 1
        fault = f"{lines} lines" if lines > 1 or len(error.message) > 1000 else ""
        return type(error).__name__, fault and f"{fault}: {error.message}"
    except BaseException as error:
        return "crash", "".join(traceback.format_exception(error))


def _first_box(chunk: tuple[int, ...], extent: tuple[int, ...]) -> Box:
    """The first chunk, halved until it is no more than a read of a block would be."""
    sides = [min(c, e) for c, e in zip(chunk, extent, strict=True)]
    while Box((0,) * len(sides), tuple(sides)).size > _MOST_VOXELS:
        sides[sides.index(max(sides))] //= 2
    return Box((0,) * len(sides), tuple(sides))
