"""DICOM: series as volumes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seg_batch.core.registry.formats import Format


def _matches(head: bytes) -> bool:
    from seg_batch.io.dicom.first_bytes import begins_dicom

    return begins_dicom(head)


def _holds(path: Path) -> bool:
    from seg_batch.io.dicom.tree import holds_dicom

    return holds_dicom(path)


def _open(path: Path, **options: Any) -> Any:
    from seg_batch.io.sources.formats.dicom.source import open_dicom

    return open_dicom(path, **options)


def _stage(path: Path, folder: Path, **options: Any) -> Path:
    from seg_batch.io.sources.formats.dicom.staging import stage_dicom

    return stage_dicom(path, folder, **options)


DICOM = Format(
    name="dicom",
    title="DICOM",
    kind="volume",
    endings=(".dcm",),
    matches=_matches,
    open=_open,
    stage=_stage,
    has_series=True,
    holds=_holds,
)
