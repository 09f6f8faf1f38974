"""Where pixels come from: one protocol, one file per format.

Importing this is cheap: rasterio, nibabel and zarr are loaded when a file of theirs is opened.
"""

from __future__ import annotations

from pathlib import Path

from seg_batch.core.registry.formats import FORMATS
from seg_batch.io.sources.detect import detect
from seg_batch.io.sources.iterate import corner_warnings, pieces
from seg_batch.io.sources.protocol import Source, SourceInfo

__all__ = ["Source", "SourceInfo", "corner_warnings", "open_source", "pieces", "stage"]


def open_source(
    path: str | Path, *, volume: int | None = None, staged: Path | None = None
) -> Source:
    """Open an image, whatever its format; the first bytes decide which that is.

    ``volume``: which one of a 4-D input, from 0. ``staged``: what :func:`stage` returned for this
    path; without it, a ``.nii.gz`` makes a private copy at its first read. Raises ``InputError``,
    in one line, for anything that can't be read whole and unambiguously.
    """
    source: Source = FORMATS[detect(path)].open(Path(path), volume=volume, staged=staged)
    return source


def stage(path: str | Path, folder: str | Path) -> Path:
    """What workers should read instead of ``path``: the uncompressed copy of a ``.nii.gz``, made
    in ``folder`` unless it is there already; anything else is its own copy.

    ``InputError`` when the archive is damaged, ``OutputError`` when the folder can't take it.
    """
    make = FORMATS[detect(path)].stage
    return Path(path) if make is None else make(Path(path), Path(folder))
