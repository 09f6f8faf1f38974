"""GeoTIFF, COG, BigTIFF, PNG and JPEG, through rasterio with the driver pinned.

What is valid: ``raster_validity``. Values stay as stored; scale and offset are kept beside them.
"""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp
from rasterio.env import set_gdal_config
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box, Shape
from seg_batch.core.hardware import cores
from seg_batch.core.normalise import Pixels
from seg_batch.core.text import visible
from seg_batch.io.remote.as_path import (
    AnyPath,
    RemotePath,
    close_dataset,
    open_dataset,
    telling_faults,
)
from seg_batch.io.remote.cached import PAGES_BYTES, TILES_BYTES
from seg_batch.io.remote.tiff_ranges import ranges_of
from seg_batch.io.sources.formats import raster_checks as checks
from seg_batch.io.sources.formats.raster_georef import (
    contradictions,
    georef_warnings,
    raster_georef,
    require_finite,
)
from seg_batch.io.sources.formats.raster_validity import Bands, roles
from seg_batch.io.sources.identity import raster_identity
from seg_batch.io.sources.naming.channel_names import raster_names
from seg_batch.io.sources.protocol import (
    AlphaBands,
    AlphaOption,
    SourceInfo,
    one_line,
    read_error,
    require_inside,
)
from seg_batch.io.sources.tolerant_read import RetryLimit
from seg_batch.io.sources.valid_mask import valid_mask

# GDAL keeps decoded blocks, by default in 5 % of the machine's memory and in every process. 64 MiB
# hold a row of 512 px tiles over 16 000 columns of four 16-bit bands; reading whole windows needs no more.
GDAL_CACHE_BYTES = 64 << 20
RASTERS = {"geotiff": "GTiff", "png": "PNG", "jpeg": "JPEG"}  # format -> driver
_MOST_THREADS = 8  # that decode one read; readers of several blocks are the caller's threads
_CHEAP_SIDE = 512
_NO_VERSION = "its host names no version of it (ETag or time), so a change of it meanwhile goes unseen, unless in size"

# ``info.warnings`` says it instead, for the same files.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)


# One cache for each process: the memory promise of a worker includes it.
set_gdal_config("GDAL_CACHEMAX", GDAL_CACHE_BYTES)
# What GDAL would print about a file while no call of rasterio listens; errors are raised all the same.
if "CPL_LOG" not in os.environ:
    set_gdal_config("CPL_LOG", os.devnull)
# An image is all its files, whatever the environment says: some tell GDAL to pass over those beside a file.
for _option, _value in {"GDAL_DISABLE_READDIR_ON_OPEN": "FALSE", "GDAL_PAM_ENABLED": "YES"}.items():
    set_gdal_config(_option, _value)


class RasterSource:
    """One raster file; ``read`` gives ``(y, x, channels)``, a view of the band-first array, or of one pixel where
    the file stores nothing."""

    def __init__(self, path: AnyPath, info: SourceInfo, bands: Bands) -> None:
        self.info, self._path, self._bands = info, path, bands
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
                if window is not None:
                    self._fetch(dataset, box)
                if shape is None and self._bands.is_hole(dataset, box):
                    first = self._valid(dataset, tuple((start, start + 1) for start in box.start))
                    if first.valid is not None and not first.valid.any():
                        return first.map(
                            lambda pixel: np.broadcast_to(pixel, (*box.shape, pixel.size))
                        )
                return self._valid(dataset, window, shape)
        except (RasterioError, OSError) as error:
            raise read_error(self.info, box, error) from error

    def _fetch(self, dataset: Any, box: Box) -> None:
        """The tiles of a remote GeoTIFF, in parallel: GDAL would ask for one after the other."""
        if isinstance(self._path, RemotePath) and self.info.format == "geotiff":
            most = box.size * int(self.info.facts["held_bytes"]) + self.info.facts["block_bytes"]
            dataset.held.fetch(ranges_of(dataset, self._bands.stored_in(dataset), box, most))

    def _valid(self, dataset: Any, window: Any, shape: Shape | None = None) -> Pixels:
        values, opaque = self._again(lambda: self._bands.read(dataset, window, shape))
        valid = valid_mask(values, self._bands.nodata, opaque)
        return Pixels(values, valid, self.info.scale, self.info.offset)

    def only(self, indices: Sequence[int], line: str = "") -> RasterSource | None:
        """A source that reads these bands only; this one is closed. None where all must be read."""
        if (bands := self._bands.only(indices)) is None:
            return None
        self.close()
        return RasterSource(self._path, self.info.of_channels(indices, line), bands)

    @contextlib.contextmanager
    def _handle(self) -> Iterator[Any]:
        """A dataset handle for this thread alone; there are as many as readers."""
        with self._lock:
            if self._closed:
                raise ValueError(f"{self._path}: read after close")
            dataset = self._idle.pop() if self._idle else None
        dataset = dataset or _open(self._path, self.info.format)
        try:
            with telling_faults(dataset):
                yield dataset
        except BaseException:
            # Read by several threads, a tile that can't be decoded stays in the handle's cache as if it were read.
            close_dataset(dataset)
            raise
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
            close_dataset(datasets.pop())


def open_raster(path: AnyPath, name: str, alpha: AlphaOption = "auto") -> RasterSource:
    """Open a raster of format ``name`` (a key of ``RASTERS``), or ``InputError`` in one line.

    ``alpha``: how bands marked as alpha are read; ``auto``: as the file says, and as data where it does not.
    """
    checks.check_directory(path, name)
    try:
        with rasterio.Env():  # what GDAL warns of is logged
            dataset = _open(path, name)
            try:
                with telling_faults(dataset):
                    return _describe(path, name, dataset, alpha)
            finally:
                close_dataset(dataset)
    except UnicodeEncodeError:
        raise InputError(
            f"{path}: its name holds bytes that are no UTF-8, and GDAL can't open it: rename it"
        ) from None
    except (RasterioError, CPLE_BaseError, OSError) as error:
        raise InputError(
            f"{path}: can't be opened as {name.upper()} ({one_line(error)}); "
            "copy it again from its origin, or write it anew with the program that made it"
        ) from error


def _open(path: AnyPath, name: str) -> Any:
    options = {"NUM_THREADS": min(cores(), _MOST_THREADS)} if name == "geotiff" else {}
    if isinstance(path, RemotePath):
        return open_dataset(path, RASTERS[name], **options)
    return rasterio.open(path.absolute(), driver=RASTERS[name], sharing=False, **options)


def _describe(path: AnyPath, name: str, dataset: Any, option: AlphaOption) -> RasterSource:
    checks.check_size(path, name, dataset)
    incomplete = checks.check_complete(path, name, dataset)
    if any("complex" in dtype for dtype in dataset.dtypes):
        raise InputError(
            f"{path}: complex data ({dataset.dtypes[0]}), of which a model can't see the phase; "
            "write its amplitude or another real quantity and give that"
        )
    bands, alpha = roles(name, dataset, option)
    index = [b - 1 for b in bands.data]
    georef, structure = raster_georef(dataset), dataset.tags(ns="IMAGE_STRUCTURE")
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
        facts={
            "driver": dataset.driver,
            "block": list(dataset.block_shapes[0]),
            "block_bytes": checks.block_bytes(dataset),
            **(
                _remote_facts(dataset, checks.block_bytes(dataset))
                if isinstance(path, RemotePath)
                else {}
            ),
            "compression": structure.get("COMPRESSION", "none"),
            **({"layout": structure["LAYOUT"]} if "LAYOUT" in structure else {}),
            "overviews": dataset.overviews(1),
            **({"masks": masks} if (masks := _masks(path, dataset)) else {}),
        },
        alpha=alpha,
        names=raster_names(dataset, index),
        **scaling(dataset.scales, dataset.offsets, index),
    )
    return RasterSource(path, info, bands)


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
