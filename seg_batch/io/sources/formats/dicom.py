"""A DICOM series as a volume, and its copy as one plain file, which workers read.

The extent is ``z, y, x`` = slice, row, column; slices follow one another along their normal.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.core.files import flush
from seg_batch.core.geometry import Box
from seg_batch.core.georef import georef_from_json, georef_to_json
from seg_batch.core.normalise import Pixels
from seg_batch.core.run_files import PART, shortened
from seg_batch.io.dicom.decode import stored_pixels
from seg_batch.io.dicom.geometry import placed
from seg_batch.io.dicom.series import Series
from seg_batch.io.dicom.survey import series_at
from seg_batch.io.dicom.tree import tree_at
from seg_batch.io.sources.protocol import SourceInfo, read_error, require_inside
from seg_batch.io.sources.valid_mask import exactly, valid_mask

_HELD = 8  # decoded slices of an open series
_NAME_BYTES = 64
_PLAIN, _FACTS = ".raw", ".json"


class DicomSource:
    """One series; ``read`` gives ``(z, y, x, 1)``. Slices are decoded as they are read."""

    def __init__(self, path: Path, info: SourceInfo, series: Series) -> None:
        self.info, self.series, self._tree = info, series, tree_at(path)
        self._lock, self._held = threading.Lock(), OrderedDict[int, np.ndarray]()

    def read(self, box: Box) -> Pixels:
        require_inside(self.info, box)
        out = np.empty(box.shape, self.info.dtype)
        z, *plane = box.slices()
        try:
            for n, k in enumerate(range(z.start, z.stop)):
                out[n] = self._slice(k)[tuple(plane)]
        except Exception as error:  # decoders raise errors of any kind
            raise read_error(self.info, box, error) from error
        return _pixels(self.info, out)

    def _slice(self, k: int) -> np.ndarray:
        with self._lock:
            if k not in self._held:
                self._held[k] = np.asarray(stored_pixels(self._tree, self.series.slices[k]))
                if len(self._held) > _HELD:
                    self._held.popitem(last=False)
            return self._held[k]

    def close(self) -> None:
        self._held.clear()


class StagedSource:
    """The plain copy of a series."""

    def __init__(self, info: SourceInfo, plain: Path) -> None:
        self.info = info
        self._values = np.memmap(plain, np.dtype(info.dtype), "r", shape=info.extent)

    def read(self, box: Box) -> Pixels:
        require_inside(self.info, box)
        return _pixels(self.info, np.array(self._values[box.slices()]))

    def close(self) -> None:
        del self._values


def _pixels(info: SourceInfo, values: np.ndarray) -> Pixels:
    values = values[..., None]
    nodata = tuple(exactly(value, values.dtype) for value in info.nodata)
    return Pixels(values, valid_mask(values, nodata), info.scale, info.offset)


def open_dicom(
    path: Path, *, volume: int | None = None, staged: Path | None = None, series: str | None = None
) -> DicomSource | StagedSource:
    """The series at ``path`` that ``series`` names, or the only one. ``staged``: what ``stage`` made of it."""
    if staged is not None:
        return StagedSource(_from_json(staged.with_suffix(_FACTS)), staged)
    chosen, georef, warnings = placed(path, series_at(path, series))
    return DicomSource(path, _info(path, chosen, georef, warnings), chosen)


def _info(path: Path, series: Series, georef: Any, warnings: tuple[str, ...]) -> SourceInfo:
    facts, first = series.facts, series.slices[0]
    dtype = np.dtype(f"{'i' if facts.signed else 'u'}{facts.bits_allocated // 8}")
    plane = first.rows * first.columns * dtype.itemsize
    scaled = (first.slope, first.intercept) != (1.0, 0.0)
    return SourceInfo(
        path=str(path),
        format="dicom",
        kind="volume",
        extent=(len(series.slices), first.rows, first.columns),
        channels=("intensity",),
        dtype=dtype.name,
        georef=georef,
        chunk=(1, first.rows, first.columns),
        nodata=(facts.padding,),
        identity=_identity(series),
        warnings=warnings,
        facts={"modality": facts.modality, "slices": len(series.slices), "block_bytes": plane},
        scale=(first.slope,) if scaled else None,
        offset=(first.intercept,) if scaled else None,
        series=series.key,
    )


def _identity(series: Series) -> dict[str, Any]:
    """Of all slices: UID, size, and time of change of their files."""
    known = [(s.sop_uid, s.frame, s.bytes, s.stamp) for s in series.slices]
    digest = hashlib.sha256(json.dumps(known).encode()).hexdigest()
    return {"series": series.key, "slices": len(known), "sha256_slices": digest}


def stage_dicom(
    path: Path, folder: Path, *, volume: int | None = None, series: str | None = None
) -> Path:
    """The plain copy of a series in ``folder``, made now unless it is there whole; its facts lie beside it."""
    source = open_dicom(path, volume=volume, series=series)
    info = source.info
    name = f"{shortened(path.name, _NAME_BYTES)}-{info.identity['sha256_slices'][:16]}"
    target = folder / f"{name}{_PLAIN}"
    if target.is_file():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(PART)
    with part.open("wb") as file:
        for k in range(info.extent[0]):
            box = Box((k, 0, 0), (k + 1, *info.extent[1:]))
            file.write(source.read(box).values.tobytes())
    target.with_suffix(_FACTS).write_text(json.dumps(_to_json(info)))
    flush(part)
    part.replace(target)
    return target


def _to_json(info: SourceInfo) -> dict[str, Any]:
    return {**asdict(info), "georef": georef_to_json(info.georef)}


def _from_json(path: Path) -> SourceInfo:
    data = json.loads(path.read_text())
    tuples = {key: tuple(value) for key, value in data.items() if isinstance(value, list)}
    return SourceInfo(**{**data, **tuples, "georef": georef_from_json(data["georef"])})
