"""The store as the product: its arrays without its markers, provenance added, metadata joined.

Chunks are hard links where the file system has them, so that this costs no room and the store
stays whole: a partial run resumes in it. No chunk is ever changed in place, only replaced.
"""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import zarr

from seg_batch.sinks.spec import ProductSpec, Read
from seg_batch.sinks.store import WorkStore

ATTRIBUTES = "segbatch_product"
_METADATA = "zarr.json"


def write_zarr(part: Path, store: WorkStore, spec: ProductSpec, read: Read) -> None:
    """Make the folder ``part``; ``read`` is asked for each box once, so that every chunk's
    checksum is looked at."""
    shutil.copytree(store.path, part, copy_function=_link, ignore=_left_behind)
    group = zarr.open_group(part, mode="r+", use_consolidated=False)
    group.attrs[ATTRIBUTES] = spec.tags
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata", category=UserWarning)
        zarr.consolidate_metadata(part)
    for box in spec.boxes():
        read(box)


def _left_behind(folder: str, names: list[str]) -> set[str]:
    done = {"done"} if "labels" in names else set()
    return done | {name for name in names if name.endswith(".partial")}


def _link(source: str, target: str) -> Any:
    if Path(source).name == _METADATA:
        return shutil.copy2(source, target)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target
