"""Readers of images: one protocol, one file per format.

Importing this is cheap: rasterio, nibabel and zarr are loaded when a file of their formats is opened.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from seg_batch.config.image_options.scene import AS_FILES, SceneOptions
from seg_batch.core.errors import InputError
from seg_batch.core.files import split_part
from seg_batch.core.privacy.addresses import is_remote
from seg_batch.core.registry.formats import FORMATS, Format
from seg_batch.io.sources.detect import detect
from seg_batch.io.sources.formats.remote import open_remote_image
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
    series: str | None = None,
    series_files: tuple[str, ...] = (),
    scene: SceneOptions = AS_FILES,
) -> Source:
    """Open an image of any format; its first bytes decide which. ``path``: may name one of several in a file, like ``a.nc:t2m``.

    ``volume``: the index of a volume of a 4-D input, from 0. ``staged``: the path that :func:`stage`
    returned; without it, a ``.nii.gz`` makes a private copy at its first read. ``alpha``: whether bands marked
    as alpha are ``data`` or a ``mask``; ``auto``: as the file says, and data where it does not. ``series``: which one, where a place holds
    several images; ``series_files``: the names in the place of the only files that it is in, where they are known; empty:
    all. ``scene``: how the files of a scene are read, and which may be. Raises ``InputError``, in one line, for a file that can't be read whole and unambiguously.
    """
    if alpha not in get_args(AlphaReading) and alpha != "auto":
        raise InputError(f"alpha can't be read as {alpha!r}: use auto, data or mask")
    if is_remote(path):
        return open_remote_image(str(path), scene, volume=volume, alpha=alpha, series=series)  # type: ignore[no-any-return]
    form = _format(path, series_files)
    options: dict[str, Any] = {"alpha": alpha} if form.marks_alpha else {}
    options |= {"scene": scene} if form.reads_scene else {}
    options |= _of_series(path, form, series, series_files)
    file, part = split_part(path)
    if form.has_parts:
        options["part"] = part
    elif part:
        raise InputError(f"{path}: {form.title} holds no variables; name the file alone, {file}")
    with header_errors(path, form.title):
        source: Source = form.open(Path(file), volume=volume, staged=staged, **options)
    return source


def _format(path: str | Path, series_files: tuple[str, ...]) -> Format:
    """That of the place; whose files are known was looked at."""
    known = (form for form in FORMATS.values() if form.has_series)
    return next(known) if series_files else FORMATS[detect(path)]


def _of_series(
    path: str | Path, form: Format, series: str | None, series_files: tuple[str, ...]
) -> dict[str, Any]:
    if form.has_series:
        return {"series": series, "names": series_files}
    if series is not None:
        raise InputError(f"{path}: {form.title} holds no series; leave out --series")
    return {}


def stage(
    path: str | Path,
    folder: str | Path,
    *,
    volume: int | None = None,
    series: str | None = None,
    series_files: tuple[str, ...] = (),
) -> Path:
    """The file that workers read instead of ``path``: the uncompressed copy of a ``.nii.gz``, or the plain one of a
    DICOM series, made in ``folder`` unless it is there already; for other formats ``path`` itself.

    ``InputError`` when the archive is damaged, ``OutputError`` when the folder can't be written to.
    """
    if is_remote(path):
        return Path(path)
    form = _format(path, series_files)
    if form.stage is None:
        return Path(path)
    with header_errors(path, form.title):
        options = {"volume": volume} if form.has_series else {}
        options |= _of_series(path, form, series, series_files)
        return form.stage(Path(path), Path(folder), **options)
