"""What is known of a raster without reading its pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rasterio.enums import ColorInterp

from seg_batch.core.errors import InputError
from seg_batch.core.georef import RasterGeoref
from seg_batch.core.text import visible
from seg_batch.io.remote.as_path import (
    AnyPath,
    RemotePath,
)
from seg_batch.io.remote.cached import PAGES_BYTES, TILES_BYTES
from seg_batch.io.sources.formats import raster_checks as checks
from seg_batch.io.sources.formats.raster_georef import (
    contradictions,
    georef_warnings,
    raster_georef,
    require_finite,
)
from seg_batch.io.sources.formats.raster_opening import Opening
from seg_batch.io.sources.formats.raster_validity import Bands, roles
from seg_batch.io.sources.identity import raster_identity
from seg_batch.io.sources.naming.channel_names import raster_names
from seg_batch.io.sources.protocol import (
    AlphaBands,
    AlphaOption,
    SourceInfo,
)

_CHEAP_SIDE = 512
_NO_VERSION = "its host names no version of it (ETag or time), so a change of it meanwhile goes unseen, unless in size"


def facts_of(
    opening: Opening,
    dataset: Any,
    option: AlphaOption = "auto",
    placed: Callable[[RasterGeoref], RasterGeoref] = lambda georef: georef,
) -> tuple[SourceInfo, Bands]:
    """What is known of an open dataset, and its bands; ``InputError`` for what can't be read whole. ``placed``: of the place that GDAL tells, the
    one that is meant."""
    path, name = opening.path, opening.format
    checks.check_size(path, name, dataset)
    incomplete = checks.check_complete(path, name, dataset)
    if any("complex" in dtype for dtype in dataset.dtypes):
        raise InputError(
            f"{path}: complex data ({dataset.dtypes[0]}), of which a model can't see the phase; "
            "write its amplitude or another real quantity and give that"
        )
    bands, alpha = roles(name, dataset, option)
    index = [b - 1 for b in bands.data]
    georef = placed(raster_georef(dataset))
    require_finite(path, georef)
    info = SourceInfo(
        path=str(path),
        format=name,
        kind="raster",
        extent=(dataset.height, dataset.width),
        channels=tuple(visible(dataset.descriptions[i] or f"band{i + 1}") for i in index),
        dtype=bands.dtype.name,
        georef=georef,
        # The file's own block, repeated until each side is worth a read, inside the extent.
        chunk=tuple(
            min(n, -(-_CHEAP_SIDE // b) * b if b < _CHEAP_SIDE else b)
            for b, n in zip(dataset.block_shapes[0], dataset.shape, strict=True)
        ),
        nodata=tuple(dataset.nodatavals[i] for i in index),
        identity=(
            path.file.identity
            if isinstance(path, RemotePath)
            else raster_identity(path, dataset.files)
        ),
        warnings=(
            *georef_warnings(georef),
            *_beside(path, dataset, georef),
            *incomplete,
            *alpha_warnings(alpha, option),
            *_band_warnings(dataset, bands),
        ),
        facts=_facts(path, dataset),
        alpha=alpha,
        names=raster_names(dataset, index),
        **scaling(dataset.scales, dataset.offsets, index),
    )
    return info, bands


def _facts(path: AnyPath, dataset: Any) -> dict[str, Any]:
    """How the file stores its pixels, and what a reader of it holds."""
    structure, block_bytes = dataset.tags(ns="IMAGE_STRUCTURE"), checks.block_bytes(dataset)
    masks = _masks(path, dataset)
    return {
        "driver": dataset.driver,
        "block": list(dataset.block_shapes[0]),
        "block_bytes": block_bytes,
        **(_remote_facts(dataset, block_bytes) if isinstance(path, RemotePath) else {}),
        "compression": structure.get("COMPRESSION", "none"),
        **({"layout": structure["LAYOUT"]} if "LAYOUT" in structure else {}),
        "overviews": dataset.overviews(1),
        **({"masks": masks} if masks else {}),
    }


def _beside(path: AnyPath, dataset: Any, georef: Any) -> list[str]:
    """Lines about files beside a raster of this machine; of a remote one none is looked for."""
    if isinstance(path, RemotePath):
        return [] if path.file.is_versioned else [_NO_VERSION]
    told = contradictions(path, dataset.driver, georef, dataset.shape)
    return [*told, *checks.unread_mask(path, dataset)]


def _masks(path: AnyPath, dataset: Any) -> list[str]:
    return [] if isinstance(path, RemotePath) else checks.mask_files(path, dataset)


def _remote_facts(dataset: Any, block_bytes: int) -> dict[str, int]:
    """What a reader holds besides: the tiles of a box as they are stored, at most as large as its pixels, and what was
    read before."""
    pixel = sum(np.dtype(dtype).itemsize for dtype in dataset.dtypes)
    return {"block_bytes": block_bytes + PAGES_BYTES + TILES_BYTES, "held_bytes": pixel}


def scaling(
    scales: Sequence[float], offsets: Sequence[float], index: Sequence[int]
) -> dict[str, Any]:
    """The scale and offset of these bands; none where all are stored as they are."""
    scale, offset = (tuple(float(numbers[i]) for i in index) for numbers in (scales, offsets))
    plain = set(scale) == {1.0} and set(offset) == {0.0}
    return {} if plain else {"scale": scale, "offset": offset}


def alpha_warnings(alpha: AlphaBands | None, option: AlphaOption) -> list[str]:
    if alpha is None:
        return [] if option != "mask" else ["no band is marked as alpha: --alpha mask does nothing"]
    if alpha.reading == "mask":
        return []
    if alpha.marks or alpha.fixed:
        return [f"{alpha} is read as data"]
    count = alpha.otherwise + len(alpha.names)
    return [
        f"{alpha} may be a mask or data: models of {alpha.otherwise} channels get a mask, "
        f"those of {count} data, and others need --alpha mask or --alpha data"
    ]


def _band_warnings(dataset: Any, bands: Bands) -> list[str]:
    warnings = []
    if any(dataset.colorinterp[b - 1] == ColorInterp.palette for b in bands.data):
        warnings.append("palette image: its one channel holds colour numbers, not brightness")
    if dataset.subdatasets:
        warnings.append(f"the file holds {len(dataset.subdatasets)} images: the first is read")
    return warnings
