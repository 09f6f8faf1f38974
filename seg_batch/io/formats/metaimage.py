"""MetaImage: volumes, and labels of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from seg_batch.core.registry.formats import Format, ProductFormat
from seg_batch.io.sinks.spec import ProductSpec, Read

_FIRST = re.compile(rb"\s*[A-Za-z][\w .-]*=")
_AXES = re.compile(rb"^\s*NDims\s*=", re.MULTILINE)


def _matches(head: bytes) -> bool:
    """Lines of ``name = value``, one of which tells the number of axes, or is the first of them all."""
    return _FIRST.match(head) is not None and (
        head.startswith(b"ObjectType") or _AXES.search(head) is not None
    )


def _open(path: Path, *, volume: int | None = None, staged: Path | None = None) -> Any:
    from seg_batch.io.sources.formats.volumes.metaimage import read_metaimage
    from seg_batch.io.sources.formats.volumes.source import open_layout

    return open_layout(METAIMAGE.name, read_metaimage(path), volume, staged)


def _stage(path: Path, folder: Path) -> Path:
    from seg_batch.io.sources.formats.volumes.metaimage import read_metaimage
    from seg_batch.io.sources.formats.volumes.staging import stage_layout

    return stage_layout(read_metaimage(path), folder)


def _write(part: Path, store: Any, spec: ProductSpec, read: Read, again: Read, labels: str) -> None:
    from seg_batch.io.sinks.volumes.metaimage import write_metaimage

    write_metaimage(part, spec, read, again)


METAIMAGE = Format(
    name="metaimage",
    title="MetaImage",
    kind="volume",
    endings=(".mha", ".mhd"),
    voxels={".mhd": (".raw", ".zraw", ".bin", ".dat", ".img")},
    matches=_matches,
    open=_open,
    stage=_stage,
)
PRODUCT = ProductFormat(
    name="metaimage", kinds=("volume",), endings=(".mha",), write=_write, is_coded=False
)
