"""The plain copy of a series: its voxels in one file, what is known of them beside it."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box
from seg_batch.core.georef import georef_from_json, georef_to_json
from seg_batch.core.normalise import Pixels
from seg_batch.io.sources.formats.plain_boxes import PlainBoxes
from seg_batch.io.sources.protocol import SourceInfo, chosen_volume, read_error, require_inside
from seg_batch.io.sources.tolerant_read import RetryLimit
from seg_batch.io.sources.valid_mask import exactly, valid_mask

PLAIN, FACTS = ".raw", ".json"
_VERSION = 1
_MOST_FACTS_BYTES = 4 << 20


class StagedSource:
    """A volume of the plain copy of a series; ``read`` gives ``(z, y, x, 1)``."""

    def __init__(self, info: SourceInfo, plain: Path, first: int) -> None:
        self.info = info
        self._boxes = PlainBoxes(np.dtype(info.dtype), info.extent, first)
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


@dataclass(frozen=True)
class StagedFacts:
    """What lies beside a plain copy: of each volume in it, one after the other. ``what``: all of them, in a message."""

    what: str
    volumes: tuple[SourceInfo, ...]

    @classmethod
    def beside(cls, plain: Path) -> StagedFacts | None:
        """None where they are missing, or are not what was written."""
        facts = plain.with_suffix(FACTS)
        try:
            if facts.stat().st_size > _MOST_FACTS_BYTES:
                return None
            data = json.loads(facts.read_text(encoding="utf-8"))
            if data["version"] != _VERSION or not data["volumes"]:
                return None
            return cls(str(data["what"]), tuple(map(_from_json, data["volumes"])))
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None

    def to_json(self) -> dict[str, Any]:
        volumes = [{**asdict(info), "georef": georef_to_json(info.georef)} for info in self.volumes]
        return {"version": _VERSION, "what": self.what, "volumes": volumes}

    def first(self, index: int) -> int:
        """The byte at which a volume begins; that of the number behind the last: the size of the file."""
        return sum(info.voxels * np.dtype(info.dtype).itemsize for info in self.volumes[:index])

    def are_of(self, plain: Path) -> bool:
        """Whether the copy has all the bytes of its voxels."""
        return plain.is_file() and plain.stat().st_size == self.first(len(self.volumes))


def staged_source(path: Path, plain: Path, volume: int | None) -> StagedSource:
    """What ``stage_dicom`` made of the series at ``path``: the only volume in it, or that which ``volume`` counts from 0.
    ``InputError`` where the copy is not whole."""
    facts = StagedFacts.beside(plain)
    if facts is None or not facts.are_of(plain):
        raise InputError(f"{plain}: not a whole copy of {path}; remove it and run again")
    count = len(facts.volumes)
    index = 0 if count == 1 else chosen_volume(path, facts.what, count, volume)
    return StagedSource(facts.volumes[index], plain, facts.first(index))


def _from_json(data: dict[str, Any]) -> SourceInfo:
    names = {field.name for field in fields(SourceInfo)}
    if set(data) != names:
        raise ValueError("written by another version")
    tuples = {key: tuple(value) for key, value in data.items() if isinstance(value, list)}
    info = SourceInfo(**{**data, **tuples, "georef": georef_from_json(data["georef"])})
    np.dtype(info.dtype)
    whole = all(isinstance(size, int) and size > 0 for size in info.extent)
    if len(info.extent) != 3 or not whole or info.format != "dicom":
        raise ValueError("no facts of a series")
    return info
