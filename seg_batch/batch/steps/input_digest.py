"""A digest of the files that a step names and no step makes: the step depends on them."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from seg_batch.config.workflow.parts import ID
from seg_batch.config.workflow.steps import AnyStep
from seg_batch.io.sinks.product import digest
from seg_batch.io.sources.identity import side_identity
from seg_batch.io.sources.side_files import AUXILIARY, OVERVIEWS, side_files

READ_BYTES = 16 << 20  # larger files, and all files in folders, go in by size and modification time


def digest_of(step: AnyStep, made: Collection[str]) -> str:
    """SHA-256 in hex. ``made``: the results of steps, which have digests of their own."""
    sides = {side for text in strings_in(step.model_dump(mode="json")) for side in text.split("=")}
    sha256 = hashlib.sha256()
    for path in sorted(filter(os.path.isabs, sides)):
        pattern = path.replace(ID, "*")
        for name in [path] if os.path.lexists(path) else sorted(glob.glob(pattern, recursive=True)):
            for line in _file_lines(name, made):
                sha256.update(os.fsencode(line))
    return sha256.hexdigest()


def _file_lines(path: str, made: Collection[str]) -> Iterator[str]:
    if any(is_within(path, result) for result in made):
        return
    if os.path.isdir(path):
        yield from _folder_lines(path, made)
        return
    if path.lower().endswith((AUXILIARY, OVERVIEWS)):
        yield from _line_in_folder(path)
    elif os.path.isfile(path) and os.path.getsize(path) <= READ_BYTES:
        yield f"{path} {digest(Path(path))}\n"
    else:
        yield _stamp(path)
    for side in side_files(Path(path)):
        if side.counts:
            yield from _line_in_folder(os.path.join(os.path.dirname(path), side.name))


def _folder_lines(path: str, made: Collection[str]) -> Iterator[str]:
    """A line per file, without hidden ones, overviews, and what viewers write into an ``.aux.xml``."""
    for folder, names, files in os.walk(path):
        apart = [n for n in names if any(is_within(os.path.join(folder, n), r) for r in made)]
        names[:] = sorted(n for n in names if not n.startswith(".") and n not in apart)
        for name in sorted(files):
            if not name.startswith("."):
                yield from _line_in_folder(os.path.join(folder, name))


def _line_in_folder(path: str) -> Iterator[str]:
    if path.lower().endswith(AUXILIARY):
        with suppress(OSError):
            if known := side_identity(Path(path)):
                yield f"{path} {known}\n"
    elif not path.lower().endswith(OVERVIEWS):
        yield _stamp(path)


def _stamp(path: str) -> str:
    try:
        info = os.stat(path)
    except OSError:
        return f"{path} gone\n"
    return f"{path} {info.st_size} {info.st_mtime_ns}\n"


def strings_in(plain: Any) -> Iterator[str]:
    """All strings in a JSON value."""
    if isinstance(plain, str):
        yield plain
    elif isinstance(plain, dict | list):
        for value in plain.values() if isinstance(plain, dict) else plain:
            yield from strings_in(value)


def is_within(path: str, folder: str) -> bool:
    """Whether ``path`` is the folder or inside it."""
    return path == folder or path.startswith(f"{folder}/")
