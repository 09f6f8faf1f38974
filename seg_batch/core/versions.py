"""The versions of the package and of the libraries that a result may depend on."""

from __future__ import annotations

import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

from seg_batch.core.registry.engines import ENGINES

LIBRARIES = ("dask", "distributed", "rasterio", "nibabel", "zarr", "scipy", "pydantic")


def package_version() -> str:
    try:
        return version("segbatch")
    except PackageNotFoundError:
        return "0+unknown"


def versions() -> dict[str, str]:
    """Installed versions by name, without importing the libraries."""
    engines = (library for info in ENGINES.values() for library in info.reported)
    installed = {"segbatch": package_version(), "python": platform.python_version()}
    for name in ("numpy", *engines, *LIBRARIES):
        with suppress(PackageNotFoundError):
            installed[name] = version(name)
    return installed
