"""Stores and labels for these tests: labels carry their own address and have no symmetry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rasterio.crs import CRS

from seg_batch.config.card import ClassInfo, ModelCard, make_card
from seg_batch.core.geometry import Block, Blocks, Box, Shape
from seg_batch.core.georef import Georef, RasterGeoref, VolumeGeoref
from seg_batch.io.sinks.spec import ProductSpec, StoreSpec
from seg_batch.io.sinks.work_store import WorkStore

CLASSES = tuple(
    ClassInfo(id=i, name=f"class {i}", colour=(20 * i, 255 - 20 * i, i)) for i in range(9)
)
UTM = CRS.from_epsg(32612).to_wkt()
PLACED = RasterGeoref(UTM, (30.0, 0.0, 301905.0, 0.0, -30.0, 4154085.0), 1.0)
OBLIQUE = VolumeGeoref(
    affine=((0.0, 0.9, 0.1, -10.5), (-1.1, 0.0, 0.0, 20.0), (0.0, 0.2, 2.5, 3.0), (0.0, 0.0, 0.0, 1.0))
)  # fmt: skip


def labels_at(box: Box, dtype: str = "uint8") -> np.ndarray:
    """Labels 0 to 8, each a function of its coordinates; uint16 ones reach above 255."""
    grids = np.ogrid[tuple(slice(a, b) for a, b in zip(box.start, box.stop, strict=True))]
    code = sum((3 + 4 * axis) * grid + grid * grid // 5 for axis, grid in enumerate(grids))
    return ((code // 4) % 9 + (300 if dtype == "uint16" else 0)).astype(dtype)


def probabilities_at(box: Box) -> np.ndarray:
    labels = labels_at(box)
    return np.stack([np.where(labels == c.id, 200, c.id).astype(np.uint8) for c in CLASSES])


def store_spec(extent: Shape, chunk: Shape, georef: Georef = PLACED, **changes: Any) -> StoreSpec:
    default: dict[str, Any] = {
        "label_dtype": "uint8",
        "fill": 255,
        "n_classes": len(CLASSES),
        "probabilities": False,
        "card": {"classes": [c.model_dump(mode="json") for c in CLASSES]},
        "plan": {"block": [4, 4]},
        "fingerprint": {"overlap": 64, "normaliser": {"mean": (0.1, 2.0)}},
        "versions": {"segbatch": "0"},
    }
    return StoreSpec(extent=extent, chunk=chunk, georef=georef, **{**default, **changes})


def write_block(store: WorkStore, block: Block, **options: Any) -> None:
    probabilities = probabilities_at(block.box) if store.spec.probabilities else None
    labels = labels_at(block.box, store.spec.label_dtype)
    store.write(block, labels, probabilities, {"tiles": 1}, **options)


def full_store(path: Path, spec: StoreSpec, block: Shape | None = None) -> WorkStore:
    store = WorkStore.create(path, spec)
    for each in Blocks(spec.extent, block or tuple(2 * c for c in spec.chunk)):
        write_block(store, each)
    return store


def card_of(classes: tuple[ClassInfo, ...], background: int | None) -> ModelCard:
    return make_card(
        name="made-up",
        kind="volume",
        channels=["CT"],
        classes=classes,
        background=background,
        normalisation={"kind": "card", "mean": [0.0], "std": [1.0]},
    )


def product_spec(store: WorkStore, **changes: Any) -> ProductSpec:
    spec = store.spec
    default: dict[str, Any] = {
        "nodata": spec.fill if len(spec.extent) == 2 else None,
        "classes": CLASSES,
        "georef": spec.georef,
        "tags": {"SEGBATCH_VERSION": "segbatch 0", "SEGBATCH_STATUS": "complete", "CLASS_1": "ü"},
    }
    return ProductSpec(spec.extent, spec.label_dtype, **{**default, **changes})
