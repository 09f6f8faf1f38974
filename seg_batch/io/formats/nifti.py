"""NIfTI, plain and compressed, and pairs of header and voxels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seg_batch.core.registry.formats import Format, ProductFormat
from seg_batch.io.sinks.spec import ProductSpec, Read


def _matches(head: bytes) -> bool:
    """Whether these are the first 348 or more bytes of a NIfTI-1 or NIfTI-2, or of its header."""
    return head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0")


def _open(path: Path, *, volume: int | None = None, staged: Path | None = None) -> Any:
    from seg_batch.io.sources.formats.nifti import open_nifti

    return open_nifti(path, volume=volume, staged=staged)


def _stage(path: Path, folder: Path) -> Path:
    from seg_batch.io.sources.formats.nifti_staging import stage

    return stage(path, folder)


def _write(part: Path, store: Any, spec: ProductSpec, read: Read, again: Read, labels: str) -> None:
    from seg_batch.io.sinks.nifti import check_nifti, write_nifti

    compress = part.name.lower().endswith(".gz")
    check_nifti(part, spec, write_nifti(part, spec, read, again=again, compress=compress))


def _prove(spec: ProductSpec, name: str) -> list[str]:
    from seg_batch.io.sinks.nifti_header import require_place

    require_place(spec)
    return []


NIFTI = Format(
    name="nifti",
    title="NIfTI (.nii, .nii.gz, .hdr)",
    kind="volume",
    endings=(".nii.gz", ".nii"),
    shared_endings=(".hdr",),  # of ENVI and of Analyze, too
    voxels={".hdr": (".img", ".img.gz")},
    matches=_matches,
    gzipped=True,
    open=_open,
    stage=_stage,
)
PRODUCT = ProductFormat(
    name="nifti", kinds=("volume",), endings=NIFTI.endings, write=_write, prove=_prove
)
