"""A DICOM series as a volume: its slices are decoded as they are read.

The extent is ``z, y, x`` = slice, row, column; slices follow one another along their normal.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.uid import DeflatedExplicitVRLittleEndian

from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box
from seg_batch.core.georef import VolumeGeoref
from seg_batch.core.normalise import Pixels
from seg_batch.core.units import counted
from seg_batch.io.dicom.decode import PixelReader
from seg_batch.io.dicom.geometry import placed
from seg_batch.io.dicom.header import DAMAGED
from seg_batch.io.dicom.one_series.checks import named, require_image
from seg_batch.io.dicom.one_series.duplicates import without_duplicates
from seg_batch.io.dicom.one_series.numbers import Numbers, numbers_of, read_as
from seg_batch.io.dicom.one_series.volumes import Volumes, volumes_of
from seg_batch.io.dicom.series import Series
from seg_batch.io.dicom.survey import series_at, survey, why_unfit
from seg_batch.io.dicom.tree import tree_at
from seg_batch.io.sources.arrays.shown import source_html
from seg_batch.io.sources.formats.dicom.staged import StagedSource, staged_source
from seg_batch.io.sources.protocol import SourceInfo, chosen_volume, read_error, require_inside
from seg_batch.io.sources.tolerant_read import RetryLimit
from seg_batch.io.sources.valid_mask import exactly, valid_mask

_HELD = 4  # decoded slices of an open series
_COPIES = 6  # of a slice while it is decoded: compressed, decoded, converted
_EIGHT = 8  # bytes of the widest number


class DicomSource:
    """One volume of a series; ``read`` gives ``(z, y, x, 1)``."""

    _repr_html_ = source_html

    def __init__(self, path: Path, info: SourceInfo, series: Series, numbers: Numbers) -> None:
        self.info, self.series, self._path, self._numbers = info, series, path, numbers
        self._pixels, self._again = PixelReader(tree_at(path)), RetryLimit()
        self._lock, self._held = threading.Lock(), OrderedDict[int, np.ndarray]()

    def read(self, box: Box) -> Pixels:
        """``Pixels`` of shape ``(*box.shape, 1)``; ``ReadError`` where a slice can't be read."""
        require_inside(self.info, box)
        out = np.empty(box.shape, self.info.dtype)
        z, *plane = box.slices()
        for n, k in enumerate(range(z.start, z.stop)):
            try:
                out[n] = self.plane(k)[tuple(plane)]
            except Exception as error:  # decoders raise errors of any kind
                reason = ValueError(f"{named(self.series.slices[k])}: {error}")
                kept = error if isinstance(error, (OSError, MemoryError)) else reason
                raise read_error(self.info, box, kept) from error
        values = out[..., None]
        nodata = tuple(exactly(value, values.dtype) for value in self.info.nodata)
        valid = valid_mask(values, nodata)
        return Pixels(values, valid, self.info.scale, self.info.offset)

    def plane(self, k: int) -> np.ndarray:
        """``(y, x)`` of slice ``k``, as ``read`` gives it; any error where it can't be decoded."""
        with self._lock:
            if k not in self._held:
                one = self.series.slices[k]
                stored = self._again(lambda: self._pixels(one))
                self._held[k] = read_as(self._numbers, one, stored)
                if len(self._held) > _HELD:
                    self._held.popitem(last=False)
            return self._held[k]

    def name_of(self, k: int) -> str:
        """Slice ``k`` in a message."""
        return named(self.series.slices[k])

    def close(self) -> None:
        self._held.clear()
        self._pixels.close()


def open_dicom(
    path: Path,
    *,
    volume: int | None = None,
    staged: Path | None = None,
    series: str | None = None,
    names: tuple[str, ...] = (),
) -> DicomSource | StagedSource:
    """The series at ``path`` that ``series`` names, or the only one; of several volumes in it that which ``volume`` counts
    from 0. ``staged``: what ``stage_dicom`` made of it; then nothing of the series is read again. ``names``: of the only
    files of the place that are read; empty: all."""
    if staged is not None:
        return staged_source(path, staged, volume)
    found = FoundSeries.at(path, series, names)
    if volume and len(found.volumes.series) == 1:
        found.source(0)  # which says why there are no more volumes
    return found.source(chosen_volume(path, found.what, len(found.volumes.series), volume))


@dataclass(frozen=True)
class FoundSeries:
    """A series in a place, its slices in volumes. ``told``: warnings of all of them; ``damaged``: of files that may be of
    it."""

    path: Path
    volumes: Volumes
    told: tuple[str, ...]
    damaged: tuple[str, ...]

    @classmethod
    def at(cls, path: Path, series: str | None, names: tuple[str, ...] = ()) -> FoundSeries:
        found, dropped = without_duplicates(path, tree_at(path), series_at(path, series, names))
        require_image(path, found)
        damaged = tuple(_set_aside(path, found, names))
        return cls(
            path, volumes_of(path, found), (*dropped, *_left_out(path, found, names)), damaged
        )

    @property
    def what(self) -> str:
        """All volumes, in a message."""
        return f"a series of {counted(len(self.volumes.series), 'volume')} by {self.volumes.by}"

    def source(self, index: int) -> DicomSource:
        """The volume with this index; ``InputError`` where its slices make none."""
        chosen, georef, warnings = self._placed(index)
        numbers = numbers_of(chosen)
        which = _which(self.volumes, index)
        told = (*which, *warnings, *numbers.warnings, *self.told, *self.damaged)
        info = _info(self.path, chosen, georef, numbers, told, self.volumes)
        return DicomSource(self.path, info, chosen, numbers)

    def _placed(self, index: int) -> tuple[Series, VolumeGeoref, tuple[str, ...]]:
        try:
            return placed(self.path, self.volumes.series[index])
        except InputError as error:
            raise InputError("; ".join([error.message, *self.damaged])) from None


def _which(volumes: Volumes, index: int) -> list[str]:
    if len(volumes.series) == 1:
        return []
    count = len(volumes.series)
    return [f"volume {index} of {count} is that of {volumes.by} {volumes.values[index]}"]


def _set_aside(path: Path, series: Series, names: tuple[str, ...]) -> list[str]:
    """A slice at either end of a series is not missed by its neighbours: damaged files beside its own are told."""
    folders = {os.path.dirname(one.file) for one in series.slices}
    damaged = [
        other
        for other in survey(path, names).others
        if other.why.startswith(DAMAGED) and os.path.dirname(other.file) in folders
    ]
    if not damaged:
        return []
    return [
        f"{counted(len(damaged), 'damaged DICOM file')} beside its own, which may be of it, so that slices at its ends may be "
        f"missing: {damaged[0].file or 'the file'}, {damaged[0].why}"
    ]


def _left_out(path: Path, series: Series, names: tuple[str, ...]) -> list[str]:
    """Slices of its UID that make no volume by themselves may be of this one, whatever sets them apart."""
    rest = [
        one
        for one in survey(path, names).series
        if one.facts.uid == series.facts.uid and one.key != series.key
        if not one.aside and why_unfit(one)
    ]
    if not rest:
        return []
    count = sum(len(one.slices) for one in rest)
    return [
        f"{counted(count, 'further slice')} of its UID, which by image type, frame of reference, kernel, direction or acquisition "
        f"make no volume with it, are left out: {named(rest[0].slices[0])}"
    ]


def _info(
    path: Path,
    series: Series,
    georef: VolumeGeoref,
    numbers: Numbers,
    warnings: tuple[str, ...],
    volumes: Volumes,
) -> SourceInfo:
    first = series.slices[0]
    plane = first.rows * first.columns
    dtype = np.dtype(numbers.dtype)
    return SourceInfo(
        path=str(path),
        format="dicom",
        kind="volume",
        extent=(len(series.slices), first.rows, first.columns),
        channels=(numbers.channel,),
        dtype=dtype.name,
        georef=georef,
        chunk=(1, first.rows, first.columns),
        nodata=(numbers.nodata,),
        identity=_identity(series),
        warnings=warnings,
        facts={
            **_facts(series, georef, volumes),
            "block_bytes": plane * (_HELD * dtype.itemsize + _COPIES * _EIGHT) + _inflated(series),
            "staged_bytes": plane * dtype.itemsize * len(series.slices),
        },
        scale=None if numbers.scale is None else (numbers.scale,),
        offset=None if numbers.offset is None else (numbers.offset,),
        series=series.key,
    )


def _inflated(series: Series) -> int:
    """Bytes of a deflated file, which is held whole while its frames are read, in pieces and joined."""
    first = series.slices[0]
    if series.facts.transfer_syntax != DeflatedExplicitVRLittleEndian:
        return 0
    frames = 1 if first.frame is None else max((one.frame or 0) + 1 for one in series.slices)
    return 2 * frames * first.rows * first.columns * first.format.bits_allocated // 8


def _facts(series: Series, georef: VolumeGeoref, volumes: Volumes) -> dict[str, Any]:
    facts, first = series.facts, series.slices[0]
    return {
        "modality": facts.modality,
        "description": facts.description,
        "number": facts.number,
        "manufacturer": facts.manufacturer,
        "transfer_syntax": facts.transfer_syntax,
        "slices": len(series.slices),
        "frames": first.frame is not None,
        "thickness_mm": facts.thickness_mm,
        "tilt_degrees": round(georef.tilt_deg, 2),
        "volumes": len(volumes.series),
        "bits_stored": first.format.bits_stored,
        "photometric": first.format.photometric,
    }


def _identity(series: Series) -> dict[str, Any]:
    """Of all slices, in their order: UID, frame, size, and time of change of their files."""
    known = [(s.sop_uid, s.frame, s.bytes, s.stamp) for s in series.slices]
    digest = hashlib.sha256(json.dumps(known).encode()).hexdigest()
    return {"series": series.key, "slices": len(known), "sha256_slices": digest}
