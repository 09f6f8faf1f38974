"""NRRD: volumes, labels of them, and Slicer's segmentations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seg_batch.core.registry.formats import Format, ProductFormat
from seg_batch.io.sinks.spec import ProductSpec, Read


def _open(path: Path, *, volume: int | None = None, staged: Path | None = None) -> Any:
    from seg_batch.io.sources.formats.volumes.nrrd import read_nrrd
    from seg_batch.io.sources.formats.volumes.source import open_layout

    return open_layout(NRRD.name, read_nrrd(path), volume, staged)


def _stage(path: Path, folder: Path) -> Path:
    from seg_batch.io.sources.formats.volumes.nrrd import read_nrrd
    from seg_batch.io.sources.formats.volumes.staging import stage_layout

    return stage_layout(read_nrrd(path), folder)


def _write(part: Path, store: Any, spec: ProductSpec, read: Read, again: Read, labels: str) -> None:
    from seg_batch.io.sinks.volumes.nrrd import write_nrrd

    write_nrrd(part, spec, read, again, segments=False)


def _write_segments(
    part: Path, store: Any, spec: ProductSpec, read: Read, again: Read, labels: str
) -> None:
    from seg_batch.io.sinks.volumes.nrrd import write_nrrd

    write_nrrd(part, spec, read, again, segments=not spec.is_probabilities)


NRRD = Format(
    name="nrrd",
    title="NRRD",
    kind="volume",
    endings=(".nrrd", ".nhdr", ".seg.nrrd"),
    voxels={".nhdr": (".raw", ".raw.gz", ".raw.bz2", ".gz", ".bin", ".dat")},
    matches=lambda head: head.startswith(b"NRRD000"),
    open=_open,
    stage=_stage,
)
PRODUCT = ProductFormat(
    name="nrrd", kinds=("volume",), endings=(".nrrd",), write=_write, is_coded=False
)
SEGMENTS = ProductFormat(
    name="segments",
    kinds=("volume",),
    probabilities=".nrrd",
    endings=(".seg.nrrd",),
    write=_write_segments,
    is_coded=False,
)
