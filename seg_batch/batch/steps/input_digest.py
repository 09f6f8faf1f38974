"""The files that a step names and no step makes, as one digest: of one that was changed, the step has to
be done again."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from seg_batch.config.workflow.steps import AnyStep
from seg_batch.io.sinks.product import digest

READ_BYTES = 16 << 20  # a larger file, and one in a folder, is known by its size and time


def digest_of(step: AnyStep, made: Collection[str]) -> str:
    """``made``: the results of steps, which are known otherwise."""
    sides = {side for text in texts(step.model_dump(mode="json")) for side in text.split("=")}
    found = hashlib.sha256()
    for path in sorted(filter(os.path.isabs, sides)):
        for name in [path] if os.path.lexists(path) else sorted(glob.glob(path, recursive=True)):
            for line in _known_by(name, made):
                found.update(os.fsencode(line))
    return found.hexdigest()


def _known_by(path: str, made: Collection[str]) -> Iterator[str]:
    if any(within(path, one) for one in made):
        return
    if os.path.isdir(path):
        yield from _known_in(path, made)
    elif os.path.isfile(path) and os.path.getsize(path) <= READ_BYTES:
        yield f"{path} {digest(Path(path))}\n"
    else:
        yield _stamp(path)


def _known_in(path: str, made: Collection[str]) -> Iterator[str]:
    """Of the files in a folder; not of hidden ones and those that GDAL leaves beside an image."""
    for folder, names, files in os.walk(path):
        apart = [n for n in names if any(within(os.path.join(folder, n), one) for one in made)]
        names[:] = sorted(n for n in names if not n.startswith(".") and n not in apart)
        for name in sorted(files):
            if not name.startswith(".") and not name.endswith(".aux.xml"):
                yield _stamp(os.path.join(folder, name))


def _stamp(path: str) -> str:
    try:
        info = os.stat(path)
    except OSError:
        return f"{path} gone\n"
    return f"{path} {info.st_size} {info.st_mtime_ns}\n"


def texts(plain: Any) -> Iterator[str]:
    """All texts in a value of JSON."""
    if isinstance(plain, str):
        yield plain
    elif isinstance(plain, dict | list):
        for value in plain.values() if isinstance(plain, dict) else plain:
            yield from texts(value)


def within(path: str, folder: str) -> bool:
    """Whether it is the folder, or lies in it."""
    return path == folder or path.startswith(f"{folder}/")
