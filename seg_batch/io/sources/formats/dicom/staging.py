"""The plain copy of a series, made once: a run reads boxes many times, and decoding a slice costs more than reading it."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np

from seg_batch.core.errors import FULL, DiskFullError, InputError, OutputError
from seg_batch.core.files import flush, write_json
from seg_batch.core.run_files import PART, staged_name
from seg_batch.core.units import show_bytes
from seg_batch.io.sources.formats.dicom.source import DicomSource, FoundSeries
from seg_batch.io.sources.formats.dicom.staged import FACTS, PLAIN, StagedFacts
from seg_batch.io.sources.protocol import chosen_volume, one_line


def stage_dicom(
    path: Path,
    folder: Path,
    *,
    volume: int | None = None,
    series: str | None = None,
    names: tuple[str, ...] = (),
) -> Path:
    """The plain copy of a series in ``folder``, made now unless it is there whole; its facts lie beside it.

    Memory stays at a few slices. The file gets its name only when complete, after its facts, and the name is a digest
    of all slices. Of several volumes all lie in it, one after the other, unless ``volume`` chooses. ``InputError`` naming the slice that can't be read; ``OutputError`` when the folder can't be
    written to or is full.
    """
    found = FoundSeries.at(path, series, names)
    count = len(found.volumes.series)
    chosen = range(count) if volume is None else [chosen_volume(path, found.what, count, volume)]
    with ExitStack() as opened:
        sources = [opened.enter_context(closing(found.source(index))) for index in chosen]
        return _staged(path, folder, found.what, sources)


def _staged(path: Path, folder: Path, what: str, sources: list[DicomSource]) -> Path:
    facts = StagedFacts(what, tuple(source.info for source in sources))
    known = [info.identity["sha256_slices"] for info in facts.volumes]
    target = folder / staged_name([path.name, *known], PLAIN)
    if StagedFacts.beside(target) == facts and facts.are_of(target):
        return target
    size = facts.first(len(sources))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < size:
            raise DiskFullError(
                f"{folder}: the plain copy of {path.name} takes {show_bytes(size)}, and only {show_bytes(free)} are free there; "
                "make room"
            )
        _write(path, target, facts, sources)
    except OSError as error:
        kind = DiskFullError if error.errno in FULL else OutputError
        raise kind(
            f"{folder}: the plain copy of {path.name} can't be written ({error.strerror or error}); free {show_bytes(size)} there"
        ) from error
    return target


def _write(path: Path, target: Path, facts: StagedFacts, sources: list[DicomSource]) -> None:
    """Through a file with a name of its own, so that several processes may stage at once."""
    handle, name = tempfile.mkstemp(prefix=target.name + ".", suffix=PART, dir=target.parent)
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            for source in sources:
                for k in range(source.info.extent[0]):
                    file.write(_plane(path, source, k))
            file.flush()
            os.fsync(file.fileno())
        write_json(target.with_suffix(FACTS), facts.to_json())
        part.replace(target)
        flush(target.parent)
    finally:
        part.unlink(missing_ok=True)


def _plane(path: Path, source: DicomSource, k: int) -> memoryview:
    """The bytes of slice ``k``. An ``OSError`` of its file is no fault of the folder that is written to."""
    try:
        return memoryview(np.ascontiguousarray(source.plane(k)))
    except Exception as error:  # decoders raise errors of any kind
        raise InputError(
            f"{path}: {source.name_of(k)} can't be read ({one_line(error)}), and a volume without it would have a hole; copy the "
            "series again from its origin"
        ) from error
