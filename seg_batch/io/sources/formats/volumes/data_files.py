"""The files that a header names for its voxels: beside it, and nowhere else.

A header comes from anywhere. What it names is read in the name of whoever opens it, so a path out of the folder
of the header is never followed.
"""

from __future__ import annotations

import re
import stat
from pathlib import Path

from seg_batch.core.errors import InputError
from seg_batch.core.registry.formats import voxel_endings
from seg_batch.core.units import with_commas

_MOST_FILES = 20_000
_PATTERN = re.compile(r"(.*%[0-9]*[du].*?)\s+(-?\d+)\s+(-?\d+)\s+([1-9]\d*)(?:\s+\d+)?\s*")
_NUMBER = re.compile(r"%0?\d{0,2}[du]")


def data_file(path: Path, name: str) -> Path:
    """The file ``name`` beside the header at ``path``; ``InputError`` where it is not there or leads elsewhere."""
    plain = name.removeprefix("./")
    if not plain or plain in (".", "..") or set(plain) & set("/\\\0"):
        raise InputError(
            f"{path}: its voxels are said to lie in {name[:200]!r}: only a file in the folder of the header is "
            "read; move it there and name it alone"
        )
    found = path.with_name(plain)
    try:
        inside = found.resolve().parent == path.parent.resolve()
        is_file = stat.S_ISREG(found.stat().st_mode)
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"{path}: its voxels lie in {plain[:200]!r}, which can't be read beside it "
            f"({getattr(error, 'strerror', None) or error}); give both files together"
        ) from error
    if not inside:
        raise InputError(
            f"{path}: {plain[:200]!r}, where its voxels lie, is a link to another folder; put the file itself "
            "beside the header"
        )
    if not is_file or found.resolve() == path.resolve():
        raise InputError(
            f"{path}: {plain[:200]!r}, where its voxels should lie, is no file of data; mend the header"
        )
    return found


def only_data_file(path: Path, name: str) -> Path:
    """The one file of a header; ``InputError`` where another has the header's own name: a header that was renamed with
    its voxels names those of another image."""
    found = data_file(path, name)
    own = [path.with_name(path.stem + ending) for ending in voxel_endings(path.suffix)]
    if found not in own and (other := next((file for file in own if file.exists()), None)):
        raise InputError(
            f"{path}: its header names {found.name[:200]!r} for its voxels, and {other.name[:200]!r} lies beside it: one of the "
            "two was renamed; correct the name in the header, or move the file that is not meant away"
        )
    return found


def listed_files(path: Path, names: list[str]) -> tuple[Path, ...]:
    """The files of a list, in its order."""
    if not 0 < len(names) <= _MOST_FILES:
        raise InputError(
            f"{path}: its voxels lie in {with_commas(len(names))} files, of which 1 to "
            f"{with_commas(_MOST_FILES)} are read; join them"
        )
    return tuple(data_file(path, name) for name in names)


def numbered_names(path: Path, text: str) -> list[str] | None:
    """The names that ``slice%03d.raw 1 100 1`` stands for; None where it is no such pattern."""
    if (found := _PATTERN.fullmatch(text)) is None:
        return None
    pattern, (first, last, step) = found[1], map(int, found.groups()[1:])
    numbers = range(first, last + 1, step)
    if len(_NUMBER.findall(pattern)) != 1 or pattern.count("%") != 1 or len(numbers) > _MOST_FILES:
        raise InputError(
            f"{path}: the names of its files of voxels {text[:200]!r} can't be told; list them"
        )
    return [pattern % n for n in numbers]
