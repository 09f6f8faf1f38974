"""How GDAL opens a raster: with one driver, within bounds, and without a word of its own."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.env import set_gdal_config
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from seg_batch.core.errors import InputError
from seg_batch.io.remote.as_path import (
    AnyPath,
    RemotePath,
    close_dataset,
    open_dataset,
    telling_faults,
)
from seg_batch.io.sources.protocol import (
    one_line,
)

# GDAL keeps decoded blocks, by default in 5 % of the machine's memory and in every process. 64 MiB
# hold a row of 512 px tiles over 16 000 columns of four 16-bit bands; reading whole windows needs no more.
GDAL_CACHE_BYTES = 64 << 20
# format -> driver
RASTERS = {"geotiff": "GTiff", "png": "PNG", "jpeg": "JPEG", "jp2": "JP2OpenJPEG"}

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
# GDAL's own remote readers follow redirects anywhere and mix versions of a file: they may open no name at all.
set_gdal_config("CPL_VSIL_CURL_ALLOWED_EXTENSIONS", ".no-name-that-a-file-has")


@dataclass(frozen=True)
class Opening:
    """How GDAL opens an image. ``path``: its file; ``driver``: the only one that may; ``name``: what the driver calls an
    image in a file of several; empty: the file. ``options``: of the driver; ``config``: of GDAL, while it opens."""

    path: AnyPath
    format: str
    driver: str
    name: str = ""
    options: tuple[tuple[str, Any], ...] = ()
    config: tuple[tuple[str, str], ...] = ()

    def __call__(self) -> Any:
        if isinstance(self.path, RemotePath):
            return open_dataset(self.path, self.driver, **dict(self.options))
        name = self.name or self.path.absolute()
        with rasterio.Env(**dict(self.config)) if self.config else contextlib.nullcontext():
            return rasterio.open(name, driver=self.driver, sharing=False, **dict(self.options))


@contextlib.contextmanager
def opened(opening: Opening) -> Iterator[Any]:
    """The dataset; whatever GDAL raises meanwhile as ``InputError`` in one line."""
    path = opening.path
    try:
        with rasterio.Env():  # what GDAL warns of is logged
            dataset = opening()
            try:
                with telling_faults(dataset):
                    yield dataset
            finally:
                close_dataset(dataset)
    except UnicodeEncodeError:
        raise InputError(
            f"{path}: its name holds bytes that are no UTF-8, and GDAL can't open it: rename it"
        ) from None
    except (RasterioError, CPLE_BaseError, OSError) as error:
        raise InputError(
            f"{path}: can't be opened as {opening.format.upper()} ({one_line(error)}); "
            "copy it again from its origin, or write it anew with the program that made it"
        ) from error
