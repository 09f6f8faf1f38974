"""Zarr, v2 and v3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seg_batch.core.registry.formats import Format, ProductFormat
from seg_batch.io.sinks.spec import ProductSpec, Read
from seg_batch.io.sources.identity import ZARR_METADATA


def _open(path: Any, *, volume: int | None = None, staged: Path | None = None) -> Any:
    from seg_batch.io.sources.formats.zarr.array import open_zarr

    return open_zarr(path, volume=volume)


def _write(part: Path, store: Any, spec: ProductSpec, read: Read, again: Read, labels: str) -> None:
    from seg_batch.io.sinks.zarr.product import write_zarr

    write_zarr(part, store, spec, read, labels)


ZARR = Format(
    name="zarr",
    title="Zarr",
    endings=(".zarr",),
    metadata=ZARR_METADATA,
    open=_open,
    is_read_remotely=True,
)
PRODUCT = ProductFormat(
    name="zarr",
    kinds=("raster", "volume"),
    endings=ZARR.endings,
    is_folder=True,
    holds_probabilities=True,
    needs_store=True,
    write=_write,
)
