"""The STAC item of a map, beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seg_batch.core.registry.formats import STAC_ENDING, ProductFormat
from seg_batch.io.sinks.spec import ProductSpec, Read


def _write(part: Path, store: Any, spec: ProductSpec, read: Read, again: Read, labels: str) -> None:
    from seg_batch.io.sinks.catalogue.stac_item import write_item

    write_item(part, spec)


def _prove(spec: ProductSpec, name: str) -> list[str]:
    from seg_batch.io.sinks.catalogue.stac_item import require_place

    require_place(spec, name)
    return []


ITEM = ProductFormat(
    name="stac",
    kinds=("raster",),
    endings=(STAC_ENDING,),
    write=_write,
    prove=_prove,
    holds_labels=False,
)
