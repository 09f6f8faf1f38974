"""Creation of a work store's arrays: names, shapes, codecs; no chunks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import zarr
from zarr.codecs import ZstdCodec

from seg_batch.io.sinks.spec import StoreSpec
from seg_batch.io.sinks.store_folder import DONE
from seg_batch.io.sinks.zarr_attributes import AXES, annotate

ATTRIBUTES = "segbatch"
# Level 1 makes label maps as small as level 3, and is faster than the disk. Without the checksum, 199
# of 200 flipped bits were read as wrong labels without an error.
_CODEC = ZstdCodec(level=1, checksum=True)


def plain(value: Any) -> Any:
    """The value after a round trip through JSON, as attributes return it."""
    return json.loads(json.dumps(value, default=str))


def create_arrays(path: Path, spec: StoreSpec) -> None:
    """Create the group at ``path`` with its arrays and metadata."""
    attributes = {ATTRIBUTES: plain(spec.to_json())}
    group = zarr.create_group(path, zarr_format=3, overwrite=True, attributes=attributes)
    create_labels(group, "labels", spec)
    if spec.probabilities:
        group.create_array(
            "probabilities",
            shape=(spec.n_classes, *spec.extent),
            chunks=(1, *spec.chunk),
            dtype="uint8",
            fill_value=0,
            compressors=_CODEC,
            dimension_names=("class", *AXES[len(spec.extent)]),
            attributes={"scale_factor": 1 / 255},
        )
    group.create_group(DONE)
    annotate(group, spec)


def create_labels(group: Any, name: str, spec: StoreSpec) -> None:
    group.create_array(
        name,
        shape=spec.extent,
        chunks=spec.chunk,
        dtype=spec.label_dtype,
        fill_value=spec.fill,
        compressors=_CODEC,
        dimension_names=AXES[len(spec.extent)],
    )
