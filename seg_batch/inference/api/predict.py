"""``predict``, as it is called from Python."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, overload

from seg_batch.config.options import as_checked, declared
from seg_batch.config.predict_options import PredictOptions, RequestArguments
from seg_batch.core.callbacks import Callback, Callbacks
from seg_batch.core.errors import InputError, PartialResultError
from seg_batch.core.text import nearest
from seg_batch.inference.api.arrays import predict_array
from seg_batch.inference.api.notebook import notebook_bar
from seg_batch.inference.deidentified.codes import one_pseudonym
from seg_batch.inference.loading.named import ModelLike
from seg_batch.inference.measuring.profile import profiled
from seg_batch.inference.predict import partial_line, predict_one
from seg_batch.inference.report import Report
from seg_batch.inference.request import Request
from seg_batch.io.sources.arrays.layout import is_array


@overload
def predict(
    path: str | Path | Sequence[str | Path], output: str | Path | None = None, **options: Any
) -> Report: ...


@overload
def predict(path: Any, output: str | Path | None = None, **options: Any) -> Any: ...


def predict(
    path: Any,
    output: str | Path | None = None,
    *,
    model: ModelLike = None,
    cluster: str | Mapping[str, Any] = "inline",
    volume: int | None = None,
    series: str | None = None,
    deidentify: str | None = None,
    overwrite: bool = False,
    keep_store: bool = False,
    callback: Callback | None = None,
    profile: str | None = None,
    also: Sequence[str | Path] = (),
    mosaic: bool = False,
    tiles_out: str | None = None,
    crs: Any = None,
    transform: Any = None,
    **options: Any,
) -> Any:
    """Segment one scene or volume; the Python face of ``segbatch predict``.

    ``path``: its file, or a list of the files whose channels make it up; or an ``xarray.DataArray``, an array of dask, or one of
    numpy, which comes back as a ``DataArray`` of labels (with ``probabilities=True`` as a ``Dataset``) that reads the product, a Zarr
    store at ``output``; without, one that lives as long as the result. ``crs`` and ``transform``: the place of such an array that
    does not tell it.
    ``model``: a bundle's name or path, ``"probe"``, or ``(ModelCard, function)`` with any
    ``function(patches) -> probabilities``. ``options``: fields of ``config.predict_options.PredictOptions``,
    such as ``overlap``, ``probabilities``, ``memory_bytes`` or ``workers``. ``callback``: gets the events
    (``core.events``) as they happen; in a notebook a bar shows them, too. ``deidentify``: the file with the table of codes (``segbatch docs privacy``). ``profile``:
    a file for a Chrome trace of where the time went. ``also``: further products: paths, or endings like ``.csv``. ``mosaic``: the
    files are pieces of one scene, and ``tiles_out`` the folder for a map of each. Returns
    the report. Raises ``RefusedError`` when nothing was written, ``PartialResultError`` when the product has holes.
    """
    for name in options.keys() - declared(PredictOptions):
        raise TypeError(
            f"predict() has no option {name!r}; {nearest(name, declared(PredictOptions))}"
        )
    if is_array(path):
        if mosaic or tiles_out or series or deidentify:
            raise TypeError(
                "mosaic, tiles_out, series and deidentify are of files, not of an array"
            )
        run = partial(
            predict,
            model=model,
            cluster=cluster,
            overwrite=overwrite,
            keep_store=keep_store,
            callback=callback,
            profile=profile,
            also=also,
            **options,
        )
        return predict_array(path, output, run, crs=crs, transform=transform, volume=volume)
    if crs is not None or transform is not None:
        raise TypeError("crs and transform are of arrays: a file tells its own place")
    given = {"volume": volume, "series": series, "deidentify": deidentify, "tiles_out": tiles_out}
    chosen = _arguments(also, **given)
    request = Request(
        input=_files(path),
        output=None if output is None else str(output),
        model=model,
        options=as_checked(PredictOptions(**options)),
        cluster=cluster,
        volume=chosen.volume,
        series=chosen.series,
        pseudonym=one_pseudonym(chosen.deidentify, _files(path), output, chosen),
        overwrite=overwrite,
        keep_store=keep_store,
        profile=profile is not None,
        also=chosen.also,
        mosaic=mosaic,
        tiles_out=chosen.tiles_out,
    )
    with profiled(profile, warnings.warn) as kept:
        report = predict_one(request, Callbacks(callback, kept, notebook_bar()))
    if report["status"] != "complete":
        raise PartialResultError(partial_line(report))
    return report


def _arguments(also: str | Path | Sequence[str | Path], **given: Any) -> RequestArguments:
    names = (also,) if isinstance(also, str | Path) else also
    return as_checked(RequestArguments(also=tuple(map(str, names)), **given))


def _files(path: str | Path | Sequence[str | Path]) -> str | tuple[str, ...]:
    if isinstance(path, str | Path):
        return str(path)
    if not path:
        raise InputError("there is no file to segment: name at least one")
    if not all(isinstance(each, str | Path) for each in path) or hasattr(path, "data_vars"):
        raise InputError(
            f"a {type(path).__name__} is no file and no image: give paths, or an array of numpy, dask or xarray (of a Dataset "
            "its to_dataarray('band'))"
        )
    return tuple(map(str, path))
