"""The plain copy of a series: its voxels in one file, what is known of them beside it."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box
from seg_batch.core.georef import georef_from_json, georef_to_json
from seg_batch.core.normalise import Pixels
from seg_batch.io.sources.formats.plain_boxes import PlainBoxes
from seg_batch.io.sources.protocol import SourceInfo, read_error, require_inside
from seg_batch.io.sources.tolerant_read import RetryLimit
from seg_batch.io.sources.valid_mask import exactly, valid_mask

PLAIN, FACTS = ".raw", ".json"
_VERSION = 1
_MOST_FACTS_BYTES = 4 << 20


class StagedSource:
    """The plain copy of a series; ``read`` gives ``(z, y, x, 1)``."""

    def __init__(self, info: SourceInfo, plain: Path) -> None:
        self.info = info
        self._boxes = PlainBoxes(np.dtype(info.dtype), info.extent)
        self._lock, self._again = threading.Lock(), RetryLimit()
        self._file: int | None = os.open(plain, os.O_RDONLY)

    def read(self, box: Box) -> Pixels:
        """``Pixels`` of shape ``(*box.shape, 1)``; ``ReadError`` where the copy fails."""
        require_inside(self.info, box)
        try:
            values = self._again(lambda: self._boxes.read(self._descriptor(), box))
        except (OSError, EOFError) as error:
            raise read_error(self.info, box, error) from error
        values = values[..., None]
        nodata = tuple(exactly(value, values.dtype) for value in self.info.nodata)
        valid = valid_mask(values, nodata)
        return Pixels(values, valid, self.info.scale, self.info.offset)

    def _descriptor(self) -> int:
        if self._file is None:
            raise ValueError(f"{self.info.path}: read after close")
        return self._file

    def close(self) -> None:
        with self._lock:
            if self._file is not None:
                os.close(self._file)
            self._file = None


def staged_source(path: Path, plain: Path) -> StagedSource:
    """What ``stage_dicom`` made of the series at ``path``; ``InputError`` where that is not whole."""
    info = facts_of(plain)
    if info is None or not is_whole(info, plain):
        raise InputError(f"{plain}: not a whole copy of {path}; remove it and run again")
    return StagedSource(info, plain)


def is_whole(info: SourceInfo, plain: Path) -> bool:
    """Whether the copy has all the bytes of its voxels."""
    size = info.voxels * np.dtype(info.dtype).itemsize
    return plain.is_file() and plain.stat().st_size == size


def facts_to_json(info: SourceInfo) -> dict[str, Any]:
    return {"version": _VERSION, **asdict(info), "georef": georef_to_json(info.georef)}


def facts_of(plain: Path) -> SourceInfo | None:
    """What lies beside a copy; None where it is missing, or is not what was written."""
    beside = plain.with_suffix(FACTS)
    try:
        if beside.stat().st_size > _MOST_FACTS_BYTES:
            return None
        data = json.loads(beside.read_text(encoding="utf-8"))
        return _from_json(data)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _from_json(data: dict[str, Any]) -> SourceInfo:
    names = {field.name for field in fields(SourceInfo)}
    if data.pop("version") != _VERSION or set(data) != names:
        raise ValueError("written by another version")
    tuples = {key: tuple(value) for key, value in data.items() if isinstance(value, list)}
    info = SourceInfo(**{**data, **tuples, "georef": georef_from_json(data["georef"])})
    np.dtype(info.dtype)
    whole = all(isinstance(size, int) and size > 0 for size in info.extent)
    if len(info.extent) != 3 or not whole or info.format != "dicom":
        raise ValueError("no facts of a series")
    return info
