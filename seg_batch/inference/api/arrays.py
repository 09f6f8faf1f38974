"""``predict`` of an array: it comes back as an array whose values lie in the product."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.core.errors import OutputError
from seg_batch.core.files import require_local_output, translate_os_errors
from seg_batch.core.hardware import is_running
from seg_batch.core.registry.formats import PRODUCTS
from seg_batch.inference.report import Report
from seg_batch.io.sources import open_source
from seg_batch.io.sources.arrays.layout import MAPPING, as_named
from seg_batch.io.sources.arrays.staging import NAME, stage_array
from seg_batch.io.sources.arrays.stored import Kept, stored

_STAGED = ".array-"  # before the number of the process that wrote it
_ENDING = PRODUCTS["zarr"].endings[0]


def predict_array(
    value: Any,
    output: str | Path | None,
    run: Callable[[Path, Path], Report],
    *,
    crs: Any = None,
    transform: Any = None,
    volume: int | None = None,
) -> Any:
    """The labels of an array as a ``DataArray``, or with their probabilities as a ``Dataset``, both read when they are looked at.

    ``run``: of a Zarr group and the path of a product, makes it. ``output``: that path, which stays; None: a folder that goes
    with the result. ``InputError`` for an array that is no image, ``OutputError`` for another format than Zarr.
    """
    value = as_named(value, crs, transform, volume)
    if output is None:
        with translate_os_errors(Path(tempfile.gettempdir())):
            kept: Kept | None = Kept(Path(tempfile.mkdtemp(prefix="segbatch-")))
        assert kept is not None
        product = kept.folder / f"labels{_ENDING}"
    else:
        require_local_output(output)
        kept, product = None, Path(output).absolute()
        if not product.name.endswith(_ENDING):
            raise OutputError(
                f"{output}: the labels of an array are kept as Zarr: name one that ends in {_ENDING}"
            )
    try:
        with _staged(value, product) as path:
            report = run(path, product)
    except BaseException:
        if kept is not None:
            kept.remove()
        raise
    return _result(value, product, report, kept)


@contextmanager
def _staged(value: Any, product: Path) -> Iterator[Path]:
    """The array as a Zarr group beside the product, as long as it is needed. What processes left that are gone is removed."""
    with translate_os_errors(product.parent):
        product.parent.mkdir(parents=True, exist_ok=True)
        begin = f".{product.name[:100]}{_STAGED}"
        for name in os.listdir(product.parent):
            number = name.removeprefix(begin)
            if name.startswith(begin) and number.isdecimal() and not is_running(int(number)):
                shutil.rmtree(product.parent / name, ignore_errors=True)
        folder = product.parent / f"{begin}{os.getpid()}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    try:
        stage_array(value, folder / f"array{_ENDING}")
        yield folder / f"array{_ENDING}" / NAME
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _result(value: Any, product: Path, report: Report, kept: Kept | None) -> Any:
    import xarray as xr

    source = open_source(product)
    info = source.info
    source.close()
    dims = tuple(value.dims[-len(info.extent) :])
    coords = _coordinates(value, dims, info)
    classes = report["classes"]
    attributes = {
        "flag_values": [c["id"] for c in classes],
        "flag_meanings": " ".join(c["name"].replace(" ", "_") for c in classes),
        "classes": [c["name"] for c in classes],
        "model": report["model"]["name"],
        **({} if (fill := _fill(info)) is None else {"_FillValue": fill}),
    }
    labels = xr.DataArray(
        xr.Variable(dims, stored(product, "labels", kept), attributes), coords, name="labels"
    )
    labels.encoding["grid_mapping"] = MAPPING
    if not report["plan"]["probabilities"]:
        return labels
    shares = xr.Variable(("class", *dims), stored(product, "probabilities", kept))
    names = {"class": [c["name"] for c in classes]} if len(classes) == shares.shape[0] else {}
    dataset = xr.Dataset({"labels": labels, "probabilities": shares}, {**coords, **names})
    dataset.probabilities.encoding["grid_mapping"] = MAPPING
    return dataset


def _fill(info: Any) -> int | None:
    return None if not info.nodata or info.nodata[0] is None else int(info.nodata[0])


def _coordinates(value: Any, dims: tuple[Any, ...], info: Any) -> dict[Any, Any]:
    """Those of the input that lie along the axes of space or along none; where the product was cut, its own."""
    coords = {name: c for name, c in value.coords.items() if {*c.dims} <= {*dims}}
    if tuple(value.sizes[name] for name in dims) == info.extent:
        return coords
    coords = {name: c for name, c in coords.items() if not c.dims}
    a, b, c, d, e, f = info.georef.transform
    if not (b or d):
        coords[dims[0]] = f + e * (np.arange(info.extent[0]) + 0.5)
        coords[dims[1]] = c + a * (np.arange(info.extent[1]) + 0.5)
    return coords
