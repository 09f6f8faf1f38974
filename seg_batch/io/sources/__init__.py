"""Readers of images: one protocol, one file per format.

Importing this is cheap: rasterio, nibabel and zarr are loaded when a file of their formats is opened.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from seg_batch.core.errors import InputError
from seg_batch.core.registry.formats import FORMATS
from seg_batch.io.sources.detect import detect
from seg_batch.io.sources.header_errors import header_errors
from seg_batch.io.sources.iterate import corner_warnings, pieces
from seg_batch.io.sources.protocol import AlphaOption, AlphaReading, Source, SourceInfo

__all__ = ["Source", "SourceInfo", "corner_warnings", "open_source", "pieces", "stage"]


def open_source(
    path: str | Path,
    *,
    volume: int | None = None,
    staged: Path | None = None,
    alpha: AlphaOption = "auto",
) -> Source:
    """Open an image of any format; its first bytes decide which.

    ``volume``: the index of a volume of a 4-D input, from 0. ``staged``: the path that :func:`stage`
    returned; without it, a ``.nii.gz`` makes a private copy at its first read. ``alpha``: whether bands marked
    as alpha are ``data`` or a ``mask``; ``auto``: as the file says, and data where it does not. Raises ``InputError``,
    in one line, for a file that can't be read whole and unambiguously.
    """
    if alpha not in get_args(AlphaReading) and alpha != "auto":
        raise InputError(f"alpha can't be read as {alpha!r}: use auto, data or mask")
    form = FORMATS[detect(path)]
    options: dict[str, Any] = {"alpha": alpha} if form.marks_alpha else {}
    with header_errors(path, form.title):
        source: Source = form.open(Path(path), volume=volume, staged=staged, **options)
    return source


def stage(path: str | Path, folder: str | Path) -> Path:
    """The file that workers read instead of ``path``: the uncompressed copy of a ``.nii.gz``, made
    in ``folder`` unless it is there already; for other formats ``path`` itself.

    ``InputError`` when the archive is damaged, ``OutputError`` when the folder can't be written to.
    """
    form = FORMATS[detect(path)]
    if form.stage is None:
        return Path(path)
    with header_errors(path, form.title):
        return form.stage(Path(path), Path(folder))
