"""The versions of the package and of the libraries that a result may depend on."""

from __future__ import annotations

import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

LIBRARIES = [
    "numpy",
    "tensorflow",
    "keras",
    "dask",
    "distributed",
    "rasterio",
    "nibabel",
    "zarr",
    "scipy",
    "pydantic",
]


def package_version() -> str:
    try:
        return version("segbatch")
    except PackageNotFoundError:
        return "0+unknown"


def versions() -> dict[str, str]:
    """Installed versions by name, without importing anything."""
    installed = {"segbatch": package_version(), "python": platform.python_version()}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            installed[name] = version(name)
    return installed
