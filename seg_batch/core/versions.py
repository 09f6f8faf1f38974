"""The versions of the package and of the libraries that a result may depend on."""

from __future__ import annotations

import platform
from functools import cache

from seg_batch.core.registry.engines import ENGINES

LIBRARIES = ("dask", "distributed", "rasterio", "nibabel", "zarr", "scipy", "pydantic")


@cache
def _installed(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version  # slow, and seldom wanted

    try:
        return version(name)
    except PackageNotFoundError:
        return None


def package_version() -> str:
    return _installed("segbatch") or "0+unknown"


def versions() -> dict[str, str]:
    """Installed versions by name, without importing the libraries."""
    engines = (library for info in ENGINES.values() for library in info.reported)
    ours = {"segbatch": package_version(), "python": platform.python_version()}
    names = ("numpy", *engines, *LIBRARIES)
    return ours | {name: number for name in names if (number := _installed(name)) is not None}
