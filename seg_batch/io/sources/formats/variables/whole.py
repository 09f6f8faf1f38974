"""Whether a file of variables is all there, and reads nothing but itself: by its first bytes, before GDAL opens it.

The library of classic netCDF reads fill values behind the end of a file that is cut short. That of HDF5 reads
any file of the machine that a dataset names as its external storage.
"""

from __future__ import annotations

import mmap
import re
import struct
from functools import lru_cache
from pathlib import Path
from typing import Any

from seg_batch.core.errors import InputError

_SIZES = (0, 1, 1, 2, 4, 4, 8, 1, 2, 4, 8, 8)  # bytes of a number of each type of classic netCDF
_MOST_ENTRIES = 100_000
_SIGNATURE = 8
_EXTERNAL = re.compile(
    rb"\x01\0{3}(?=(.{4})(.{8}))", re.DOTALL
)  # body of the message that lists external files
_DIMENSIONS, _VARIABLES, _ATTRIBUTES = 10, 11, 12


def cut_short(path: Path) -> InputError:
    return InputError(
        f"{path}: the file is cut short: values that its header promises are not there; copy it again from its origin"
    )


def require_whole_classic(path: Path) -> None:
    """``InputError`` where a variable of a classic netCDF file ends behind the end of the file."""
    with path.open("rb") as file:
        try:
            end = _Header(file).end()
        except (struct.error, OverflowError, ValueError, IndexError) as error:
            raise InputError(
                f"{path}: its netCDF header can't be read ({error}); copy it again from its origin"
            ) from error
    if end > path.stat().st_size:
        raise cut_short(path)


class _Header:
    """That of a classic file, read number by number."""

    def __init__(self, file: Any) -> None:
        self._file = file
        version = file.read(4)[3]
        self._count = ">q" if version == 5 else ">i"
        self._place = ">i" if version == 1 else ">q"

    def end(self) -> int:
        """The byte behind the last value of all variables."""
        records = self._number(self._count)
        lengths = [self._dimension() for _ in self._list(_DIMENSIONS)]
        self._skip_attributes()
        fixed, streamed = [0], list[tuple[int, int]]()
        for _ in self._list(_VARIABLES):
            begin, size, is_record = self._variable(lengths)
            if is_record:
                streamed.append((begin, size))
            else:
                fixed.append(begin + size)
        if records < 0 or not streamed:  # their number is told by the size of the file
            return max(fixed)
        step = sum(-(-size // 4) * 4 for _, size in streamed)
        step = streamed[0][1] if len(streamed) == 1 else step  # one alone is not padded
        last = max(begin + size for begin, size in streamed)
        return max(*fixed, last + step * (records - 1) if records else 0)

    def _number(self, kind: str) -> int:
        return int(struct.unpack(kind, self._file.read(struct.calcsize(kind)))[0])

    def _list(self, kind: int) -> range:
        found, count = self._number(">i"), self._number(self._count)
        if found not in (0, kind) or not 0 <= count <= _MOST_ENTRIES or (count and not found):
            raise ValueError("a list in it is damaged")
        return range(count)

    def _name(self) -> None:
        length = self._number(self._count)
        if not 0 <= length <= _MOST_ENTRIES:
            raise ValueError("a name in it is damaged")
        self._file.seek(-(-length // 4) * 4, 1)

    def _dimension(self) -> int:
        self._name()
        return self._number(self._count)

    def _skip_attributes(self) -> None:
        for _ in self._list(_ATTRIBUTES):
            self._name()
            kind, count = self._number(">i"), self._number(self._count)
            self._file.seek(-(-count * _SIZES[kind] // 4) * 4, 1)

    def _variable(self, lengths: list[int]) -> tuple[int, int, bool]:
        """Where it begins, its bytes (of one record), and whether it has records."""
        self._name()
        rank = self._number(self._count)
        if not 0 <= rank <= _MOST_ENTRIES:
            raise ValueError("a variable in it is damaged")
        sides = [lengths[self._number(self._count)] for _ in range(rank)]
        self._skip_attributes()
        size = _SIZES[self._number(">i")]
        self._number(self._count)  # its bytes, which large variables can't tell
        is_record = bool(sides) and sides[0] == 0
        for side in sides[is_record:]:
            size *= side
        return self._number(self._place), size, is_record


def require_whole_hdf5(path: Path) -> None:
    """``InputError`` where an HDF5 file is shorter than its first block says."""
    with path.open("rb") as file:
        head = file.read(64)
    end = _place_at(head, {0: 40, 1: 44}.get(head[_SIGNATURE], 28))
    if end > path.stat().st_size:
        raise cut_short(path)


def _place_at(head: bytes, at: int) -> int:
    """A number of the superblock, which must be of eight bytes."""
    wide = head[13] if head[_SIGNATURE] < 2 else head[9]
    if wide != 8 or len(head) < at + 8:
        return 0  # as hardly any writer has it: HDF5 itself checks it
    return int(struct.unpack_from("<Q", head, at)[0])


def require_own_values(path: Path) -> None:
    """``InputError`` where a dataset of an HDF5 file may have its values in other files."""
    stat = path.stat()
    if _names_others(path, stat.st_size, stat.st_mtime_ns):
        raise InputError(
            f"{path}: a dataset in it has its values in other files, which are not read in its name; write it anew "
            "as one file with h5repack"
        )


@lru_cache(64)
def _names_others(path: Path, size: int, time: int) -> bool:
    """Whether a list of external files is anywhere: it names the heap where their names are."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        head = content[:64]
        wide = head[13] if head[_SIGNATURE] < 2 else head[9]
        if wide != 8:
            return True
        base = _place_at(head, {0: 24, 1: 28}.get(head[_SIGNATURE], 12))
        heaps, at = set(), content.find(b"HEAP")
        while at >= 0:
            heaps.add(struct.pack("<Q", max(0, at - base)))
            at = content.find(b"HEAP", at + 4)
        return bool(heaps) and any(found[2] in heaps for found in _EXTERNAL.finditer(content))
