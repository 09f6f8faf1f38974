"""The identity of a Zarr array: its own folder, and what is read of the group around it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.io.sources.formats.zarr.axes import ZarrImage
from seg_batch.io.sources.identity import tree_identity

_MOST_BYTES = 64 << 20  # of one coordinate array


def zarr_identity(image: ZarrImage) -> dict[str, Any]:
    """``tree_identity`` of the array; where it lies in a group, also a digest of the attributes there,
    and of the coordinates and the grid mapping, as far as the group holds any of these."""
    is_here = isinstance(image.folder, Path)
    known = tree_identity(image.folder) if is_here else image.folder.identity()  # type: ignore[attr-defined]
    if image.group is None:
        return known
    around = {"": dict(image.group.attrs)}
    read = {n for n, role in zip(image.axes.names, image.axes.roles, strict=True) if role in "zyxc"}
    for name in sorted({*read, _grid_mapping(image)}):
        if name in image.group and hasattr(image.group[name], "shape"):
            around[name] = _digest(image.group[name])
    if not any(around.values()):
        return known
    text = json.dumps(around, sort_keys=True, default=str)
    return {**known, "sha256_group": hashlib.sha256(text.encode()).hexdigest()}


def _grid_mapping(image: ZarrImage) -> str:
    return str(image.attributes.get("grid_mapping", "spatial_ref")).split(":")[0]


def _digest(array: Any) -> dict[str, Any]:
    small = array.nbytes <= _MOST_BYTES
    values = np.asarray(array[...]) if small else np.empty(0)
    text = repr(values.tolist()) if values.dtype.kind in "OTU" else values.tobytes()
    content = text.encode() if isinstance(text, str) else text
    return {
        "attributes": dict(array.attrs),
        "shape": list(array.shape),
        "dtype": str(array.dtype),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
