"""A map as an item of STAC 1.1: where, when, of what, and how it was made. The same map gives the same bytes."""

from __future__ import annotations

import json
import os
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from seg_batch.core.errors import OutputError
from seg_batch.core.georef import RasterGeoref
from seg_batch.core.registry.formats import product_ending
from seg_batch.io.sinks.catalogue.classes import stac_class
from seg_batch.io.sinks.catalogue.place import bbox_of, geometry_of, projection
from seg_batch.io.sinks.product import format_of
from seg_batch.io.sinks.spec import ProductSpec
from seg_batch.io.sinks.tables.text import write_checked
from seg_batch.io.sources.areas.footprint import footprint
from seg_batch.io.sources.naming.stac_item import StacItem
from seg_batch.io.sources.protocol import SourceInfo

VERSION = "1.1.0"
EXTENSIONS = {
    "proj": "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "processing": "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
    "classification": "https://stac-extensions.github.io/classification/v2.0.0/schema.json",
    "file": "https://stac-extensions.github.io/file/v2.1.0/schema.json",
    "raster": "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
}
_TYPES = {
    "cog": "image/tiff; application=geotiff; profile=cloud-optimized",
    "zarr": "application/vnd+zarr",
}
_BEGINNING = "1900-01-01T00:00:00Z"  # of what nobody knows the time of
_END = "9999-12-31T23:59:59Z"


def require_place(spec: ProductSpec, name: str) -> None:
    """OutputError for a map without a place on the earth, which no catalogue can hold."""
    if footprint(spec.georef, spec.extent) is None:
        raise OutputError(
            f"{name}: a STAC item says where on the earth it is, and the input has no place there: leave it out, or give the "
            "input a CRS"
        )


def write_item(part: Path, spec: ProductSpec) -> None:
    """Write ``part``. DamagedError unless it reads back."""
    text = json.dumps(_item(spec), indent=2, ensure_ascii=False, allow_nan=False)
    write_checked(part, text + "\n")


def _item(spec: ProductSpec) -> dict[str, Any]:
    outline = footprint(spec.georef, spec.extent)
    assert outline is not None
    assert isinstance(spec.georef, RasterGeoref)
    assert spec.main is not None
    assert spec.image is not None
    of = spec.image.item
    with closing(spec.image.open()) as image:
        info = image.info
    item: dict[str, Any] = {
        "type": "Feature",
        "stac_version": VERSION,
        "stac_extensions": list(EXTENSIONS.values()),
        "id": _stem(spec.main.path),
        "geometry": geometry_of(outline),
        "bbox": bbox_of(outline),
        "properties": {
            **_times(of, info),
            **projection(spec.georef, spec.extent),
            **_processing(spec),
        },
        "links": _links(of, spec),
        "assets": {"labels": _asset(spec)},
    }
    return item


def _stem(path: Path) -> str:
    return path.name.removesuffix(product_ending(path.name)) or path.name


def _times(of: StacItem | None, info: SourceInfo) -> dict[str, Any]:
    """When the image was taken: as its item or its file says, else no later than the file is."""
    if of is not None and _is_time(of.datetime):
        return {"datetime": of.datetime}
    if of is not None and _is_time(of.start) and _is_time(of.end):
        return {"datetime": None, "start_datetime": of.start, "end_datetime": of.end}
    if said := _taken(info):
        return {"datetime": said}
    return {"datetime": None, "start_datetime": _BEGINNING, "end_datetime": _latest(info)}


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _taken(info: SourceInfo) -> str:
    """What a file says of its time, where it says it in a way that has one meaning."""
    texts = {str(file.facts.get("taken", "")) for file in info.files}
    text = next(iter(texts)) if len(texts) == 1 else ""
    return text if _is_time(text) else ""


def _latest(info: SourceInfo) -> str:
    times = [file.identity.get("mtime_ns") for file in info.files]
    if not all(isinstance(time, int) for time in times):
        return _END
    latest = max(time for time in times if isinstance(time, int)) / 1e9
    return datetime.fromtimestamp(int(latest), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _processing(spec: ProductSpec) -> dict[str, Any]:
    tags = spec.tags
    name, _, version = tags.get("SEGBATCH_VERSION", "segbatch").partition(" ")
    model, weights = tags.get("SEGBATCH_MODEL", ""), tags.get("SEGBATCH_WEIGHTS", "")
    steps = f"; then {tags['SEGBATCH_POST']}" if "SEGBATCH_POST" in tags else ""
    lineage = f"Segmented by the model {model}{f' (weights {weights})' if weights else ''}{steps}"
    return {
        "processing:software": {name: version},
        "processing:lineage": lineage,
        "processing:level": "L4",
    }


def _links(of: StacItem | None, spec: ProductSpec) -> list[dict[str, Any]]:
    assert spec.main is not None
    rows = [
        {
            "rel": "via",
            "href": f"./{spec.main.path.name}.json",
            "type": "application/json",
            "title": "How it was made",
        }
    ]
    if of is not None and of.href:
        href = of.href if "://" in of.href else Path(os.path.abspath(of.href)).as_uri()
        rows.append({"rel": "derived_from", "href": href, "type": "application/geo+json"})
    if spec.main.model:
        rows.append({"rel": "mlm:model", "href": spec.main.model, "type": "application/geo+json"})
    return rows


def _asset(spec: ProductSpec) -> dict[str, Any]:
    assert spec.main is not None
    path = spec.main.path
    band: dict[str, Any] = {"name": "labels", "data_type": spec.dtype}
    if spec.nodata is not None:
        band["nodata"] = spec.nodata
    classes = [stac_class(known) for known in spec.classes]
    asset: dict[str, Any] = {
        "href": f"./{path.name}",
        "title": "Labels",
        "type": _TYPES.get(format_of(path, "raster"), "application/octet-stream"),
        "roles": ["data"],
        "file:size": spec.main.bytes,
        "bands": [band],
        "classification:classes": classes,
    }
    if isinstance(spec.georef, RasterGeoref) and spec.georef.crs_wkt:
        asset["raster:sampling"] = "area"
    if not path.is_dir():
        asset["file:checksum"] = f"1220{spec.main.sha256}"  # a multihash: sha2-256, 32 bytes
    return asset
