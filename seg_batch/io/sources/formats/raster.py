"""GeoTIFF, COG, BigTIFF, PNG and JPEG, through rasterio with the driver pinned.

A channel is invalid where it equals its band's nodata, where the mask or alpha band is 0, and
where it is NaN or infinite. Values stay as stored; scale and offset are kept beside them.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.env import set_gdal_config
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box, Shape
from seg_batch.core.normalise import Pixels
from seg_batch.io.sources.formats import raster_checks as checks
from seg_batch.io.sources.formats.raster_georef import (
    contradictions,
    georef_warnings,
    raster_georef,
    require_finite,
)
from seg_batch.io.sources.identity import raster_identity
from seg_batch.io.sources.protocol import SourceInfo, one_line, read_error, require_inside
from seg_batch.io.sources.tolerant_read import RetryLimit
from seg_batch.io.sources.valid_mask import stored_nodata, valid_mask

# GDAL keeps decoded blocks, by default in 5 % of the machine's memory and in every process. 64 MiB
# hold a row of 512 px tiles over 16 000 columns of four 16-bit bands; reading whole windows needs no more.
GDAL_CACHE_BYTES = 64 << 20
RASTERS = {"geotiff": "GTiff", "png": "PNG", "jpeg": "JPEG"}  # format -> driver
_GDAL_THREADS = "2"  # decoding of one read; readers of several blocks are the caller's threads
_CHEAP_SIDE = 512

# ``info.warnings`` says it instead, for the same files.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)


def limit_gdal_cache(size_bytes: int = GDAL_CACHE_BYTES) -> None:
    """Set GDAL's block cache, one per process: the memory promise of a worker includes it."""
    set_gdal_config("GDAL_CACHEMAX", int(size_bytes))


limit_gdal_cache()


@dataclass(frozen=True)
class _Bands:
    """The roles of a file's bands: data, alpha, or described by a mask band."""

    data: tuple[int, ...]
    alpha: tuple[int, ...]
    masked: str  # "" | "dataset" | "band"
    dtype: np.dtype
    nodata: tuple[Any, ...]  # per data band, in the stored dtype; None where it can't occur


class RasterSource:
    """One raster file; ``read`` gives ``(y, x, channels)``, a view of the band-first array."""

    def __init__(self, path: Path, info: SourceInfo, bands: _Bands, scaling: tuple) -> None:
        self.info, self._path, self._bands = info, path, bands
        self._scale, self._offset = scaling
        self._idle: list[Any] = []
        # Workers end with their sources open; closed at the end of Python, rasterio prints errors.
        weakref.finalize(self, _close_all, self._idle)
        self._lock, self._again = threading.Lock(), RetryLimit()
        self._closed = False

    def read(self, box: Box) -> Pixels:
        """``Pixels`` of shape ``(*box.shape, channels)``; ``ReadError`` where data is damaged."""
        require_inside(self.info, box)
        return self._pixels(box, tuple(zip(box.start, box.stop, strict=True)))

    def reduced(self, shape: Shape) -> Pixels:
        """The whole raster as ``(*shape, channels)``: nearest voxels, from overviews if it has
        them; ``ReadError`` where data is damaged."""
        return self._pixels(Box.whole(self.info.extent), None, shape)

    def _pixels(self, box: Box, window: Any, shape: Shape | None = None) -> Pixels:
        try:
            with self._handle() as dataset:
                values, opaque = self._again(lambda: self._fetch(dataset, window, shape))
        except (RasterioError, OSError) as error:
            raise read_error(self.info, box, error) from error
        valid = valid_mask(values, self._bands.nodata, opaque)
        return Pixels(values, valid, self._scale, self._offset)

    def _fetch(
        self, dataset: Any, window: Any, shape: Shape | None = None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Values ``(y, x, C)``, and where the mask or alpha lets them count ``(y, x, C or 1)``.

        One read for data and alpha: interleaved by pixel, they are decoded together.
        """
        bands, count = self._bands, len(self._bands.data)
        both = [*bands.data, *bands.alpha]
        out = None if shape is None else (len(both), *shape)
        held = dataset.read(both, window=window, out_shape=out, out_dtype=bands.dtype)
        opaque = (held[count:] != 0).all(0)[None] if bands.alpha else None
        if bands.masked:
            which = [1] if bands.masked == "dataset" else list(bands.data)
            out = None if shape is None else (len(which), *shape)
            opaque = dataset.read_masks(which, window=window, out_shape=out) != 0
        opaque = None if opaque is None else opaque.transpose(1, 2, 0)
        return held[:count].transpose(1, 2, 0), opaque

    @contextlib.contextmanager
    def _handle(self) -> Iterator[Any]:
        """A dataset handle for this thread alone; there are as many as readers."""
        with self._lock:
            if self._closed:
                raise ValueError(f"{self._path}: read after close")
            dataset = self._idle.pop() if self._idle else None
        dataset = dataset or _open(self._path, self.info.format)
        try:
            yield dataset
        finally:
            with self._lock:
                self._idle.append(dataset)
                if self._closed:
                    _close_all(self._idle)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            _close_all(self._idle)


def _close_all(datasets: list[Any]) -> None:
    with contextlib.suppress(IndexError):  # another thread may have taken the last one
        while True:
            datasets.pop().close()


def open_raster(path: Path, name: str) -> RasterSource:
    """Open a raster of format ``name`` (a key of ``RASTERS``), or ``InputError`` in one line."""
    try:
        with _open(path, name) as dataset:
            return _describe(path, name, dataset)
    except UnicodeEncodeError:
        raise InputError(
            f"{path}: its name holds bytes that are no UTF-8, and GDAL can't open it: rename it"
        ) from None
    except (RasterioError, OSError) as error:
        raise InputError(
            f"{path}: can't be opened as {name.upper()} ({one_line(error)}); "
            "the file is damaged: copy it again from its origin"
        ) from error


def _open(path: Path, name: str) -> Any:
    options = {"NUM_THREADS": _GDAL_THREADS} if name == "geotiff" else {}
    return rasterio.open(path.absolute(), driver=RASTERS[name], sharing=False, **options)


def _describe(path: Path, name: str, dataset: Any) -> RasterSource:
    checks.check_size(path, dataset)
    incomplete = checks.check_complete(path, name, dataset)
    bands, decisions = _roles(path, name, dataset)
    index = [b - 1 for b in bands.data]
    georef, structure = raster_georef(dataset), dataset.tags(ns="IMAGE_STRUCTURE")
    require_finite(path, georef)
    info = SourceInfo(
        path=str(path),
        format=name,
        kind="raster",
        extent=(dataset.height, dataset.width),
        channels=tuple(dataset.descriptions[i] or f"band{i + 1}" for i in index),
        dtype=bands.dtype.name,
        georef=georef,
        # The file's own block, repeated until each side is worth a read, inside the extent.
        chunk=tuple(
            min(n, -(-_CHEAP_SIDE // b) * b if b < _CHEAP_SIDE else b)
            for b, n in zip(dataset.block_shapes[0], dataset.shape, strict=True)
        ),
        nodata=tuple(dataset.nodatavals[i] for i in index),
        identity=raster_identity(path, dataset.files),
        warnings=(
            *georef_warnings(georef),
            *contradictions(path, dataset.driver, georef, dataset.shape),
            *incomplete,
            *decisions,
            *_band_warnings(dataset, bands),
        ),
        facts={
            "driver": dataset.driver,
            "block": list(dataset.block_shapes[0]),
            "block_bytes": checks.block_bytes(dataset),
            "compression": structure.get("COMPRESSION", "none"),
            **({"layout": structure["LAYOUT"]} if "LAYOUT" in structure else {}),
            "overviews": dataset.overviews(1),
        },
    )
    scale = tuple(float(dataset.scales[i]) for i in index)
    offset = tuple(float(dataset.offsets[i]) for i in index)
    plain = set(scale) == {1.0} and set(offset) == {0.0}
    return RasterSource(path, info, bands, (None, None) if plain else (scale, offset))


def _roles(path: Path, name: str, dataset: Any) -> tuple[_Bands, list[str]]:
    """The bands by role, and a warning where a band marked as alpha is read as data."""
    if any("complex" in dtype for dtype in dataset.dtypes):
        raise InputError(
            f"{path}: complex data ({dataset.dtypes[0]}), of which a model can't see the phase; "
            "write its amplitude or another real quantity and give that"
        )
    marked = [b for b, c in zip(dataset.indexes, dataset.colorinterp, strict=True)
              if c == ColorInterp.alpha and dataset.count > 1]  # fmt: skip
    alpha = [b for b in marked if name == "png" or _hides(dataset, b)]
    decisions = [
        f"band {b} is marked as alpha but does not look like a mask: it is read as data"
        for b in marked
        if b not in alpha
    ]
    data = tuple(b for b in dataset.indexes if b not in alpha)
    dtype = np.result_type(*(dataset.dtypes[b - 1] for b in data))
    nodata = tuple(stored_nodata(dataset.nodatavals[b - 1], dtype) for b in data)
    return _Bands(data, tuple(alpha), _masked(dataset, data, marked), dtype, nodata), decisions


def _hides(dataset: Any, band: int) -> bool:
    """Whether a band marked as alpha has no name of its own and looks like opacity."""
    if (dataset.descriptions[band - 1] or "alpha").lower() not in ("alpha", "a"):
        return False
    try:
        return checks.is_opacity(dataset, band)
    except RasterioError:
        return True  # damaged in one of these places: a read will name the box


def _masked(dataset: Any, data: tuple[int, ...], alpha: list[int]) -> str:
    flags = [dataset.mask_flag_enums[b - 1] for b in data]
    known = {MaskFlags.all_valid, MaskFlags.nodata, MaskFlags.alpha}
    if alpha or all(set(f) & known for f in flags):
        return ""
    return "dataset" if all(MaskFlags.per_dataset in f for f in flags) else "band"


def _band_warnings(dataset: Any, bands: _Bands) -> list[str]:
    warnings = []
    if any(dataset.colorinterp[b - 1] == ColorInterp.palette for b in bands.data):
        warnings.append("palette image: its one channel holds colour numbers, not brightness")
    for b, stored in zip(bands.data, bands.nodata, strict=True):
        nodata = dataset.nodatavals[b - 1]
        if nodata is not None and np.isfinite(nodata) and stored is None:
            warnings.append(f"nodata {nodata:g} of band {b} can't occur in {bands.dtype}: ignored")
    if dataset.subdatasets:
        warnings.append(f"the file holds {len(dataset.subdatasets)} images: the first is read")
    return warnings
