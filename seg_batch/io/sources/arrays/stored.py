"""Arrays of a Zarr product, read when they are looked at."""

from __future__ import annotations

import shutil
import weakref
from pathlib import Path
from typing import Any

import numpy as np


class Kept:
    """A folder that is removed when nothing refers to this any more, or Python ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.remove = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)


def stored(path: Path, name: str, kept: Kept | None = None) -> Any:
    """The values of an array of a product, in its own type or, where it has a scale, as float32; for the variable of a
    ``DataArray``. ``kept``: lives as long as any array that is made of it."""
    import zarr
    from xarray.backends import BackendArray
    from xarray.core import indexing

    class Stored(BackendArray):
        """One array of a group."""

        def __init__(self) -> None:
            self.kept = kept
            self._array: Any = zarr.open_group(path, mode="r")[name]
            self._scale = self._array.attrs.get("scale_factor")
            self.shape = self._array.shape
            self.dtype = self._array.dtype if self._scale is None else np.dtype(np.float32)

        def __getitem__(self, key: Any) -> Any:
            basic = indexing.IndexingSupport.BASIC
            return indexing.explicit_indexing_adapter(key, self.shape, basic, self._read)

        def _read(self, key: tuple[Any, ...]) -> np.ndarray:
            # zarr takes no steps backwards.
            back = tuple(isinstance(each, slice) and (each.step or 1) < 0 for each in key)
            if any(back):
                whole = tuple(
                    range(*k.indices(n)) if isinstance(k, slice) else k
                    for k, n in zip(key, self.shape, strict=True)
                )
                turned = tuple(
                    slice(min(k), max(k) + 1, abs(k.step))
                    if isinstance(k, range) and k
                    else k
                    if not isinstance(k, range)
                    else slice(0, 0)
                    for k in whole
                )
                values = np.asarray(self._array[turned])
                kept_axes = [b for b, k in zip(back, key, strict=True) if isinstance(k, slice)]
                values = values[tuple(slice(None, None, -1 if b else 1) for b in kept_axes)]
            else:
                values = np.asarray(self._array[key])
            return (
                values
                if self._scale is None
                else values.astype(np.float32) * np.float32(self._scale)
            )

    return indexing.LazilyIndexedArray(Stored())
