"""A Zarr product: the arrays of the store without its markers, with provenance, smaller copies of the map, and joined
metadata.

Chunks are hard links where the file system has them: the product then needs no space, and the store
stays whole, so that a partial run resumes in it. A chunk is never changed in place, only replaced.
"""

from __future__ import annotations

import os
import shutil
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import zarr

from seg_batch.core.geometry import Shape
from seg_batch.io.sinks.chunks import write_missing
from seg_batch.io.sinks.spec import ProductSpec, Read, StoreSpec
from seg_batch.io.sinks.store_folder import StoreFolder, left_behind
from seg_batch.io.sinks.work_store import WorkStore, create_labels
from seg_batch.io.sinks.zarr.pyramid import add_levels

ATTRIBUTES = "segbatch_product"
_METADATA = "zarr.json"


def write_zarr(
    part: Path, store: WorkStore, spec: ProductSpec, read: Read, labels: str = "labels"
) -> None:
    """Make the folder ``part``. ``read`` is called once for each box, which verifies every chunk's
    checksum. ``labels``: the map of the store that becomes the product's."""
    ignore = partial(left_behind, spec.with_probabilities)
    shutil.copytree(store.path, part, copy_function=_link, ignore=ignore)
    if labels != "labels":
        chunks = StoreFolder(part).chunks("labels")
        shutil.rmtree(chunks, ignore_errors=True)
        shutil.copytree(store.chunks(labels), chunks, copy_function=_link, ignore=ignore)
    _complete(part, store.spec, spec.with_probabilities and store.spec.probabilities)
    group = zarr.open_group(part, mode="r+", use_consolidated=False)
    group.attrs[ATTRIBUTES] = spec.tags
    add_levels(group, store.spec, spec, read, create_labels)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata", category=UserWarning)
        zarr.consolidate_metadata(part)


def _complete(part: Path, spec: StoreSpec, probabilities: bool) -> None:
    """Chunks that the store left out, since they are all fill: as they would be if they had been written, so that the product
    does not depend on blocks."""
    arrays: dict[str, tuple[Shape, str, int]] = {"labels": ((), spec.label_dtype, spec.fill)}
    if probabilities:
        arrays["probabilities"] = ((spec.n_classes,), "uint8", 0)
    for name, (leading, dtype, fill) in arrays.items():
        write_missing(StoreFolder(part).chunks(name), spec.extent, spec.chunk, leading, dtype, fill)


def _link(source: str, target: str) -> Any:
    if Path(source).name == _METADATA:
        return shutil.copy2(source, target)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target
