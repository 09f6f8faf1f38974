"""A map of each piece of a mosaic, cut from the finished map of the whole, on the grid of the piece.

What was made stands in a list beside the maps, a row for each, which is written before the map is moved into place: so only
those that are missing, or of another map, are made again, and no file of somebody else is lost.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.config.image_options.scene import AS_FILES
from seg_batch.core import events
from seg_batch.core.callbacks import Callback
from seg_batch.core.errors import OutputError, PlanError
from seg_batch.core.files import require_local_output, translate_os_errors, write_text
from seg_batch.core.geometry import Box
from seg_batch.core.georef import Georef, refined, shifted
from seg_batch.core.hardware import cores
from seg_batch.core.privacy.addresses import absolute, folder_and_name, is_remote, shown
from seg_batch.core.registry.formats import PRODUCTS
from seg_batch.core.run_files import TILES, named
from seg_batch.core.spells import spell
from seg_batch.inference.outputs import split_output, write_report
from seg_batch.inference.plan import Decisions, Plan
from seg_batch.inference.products.export import label_spec, provenance
from seg_batch.inference.products.on_product import OnProduct, index_for, on_product
from seg_batch.inference.report import Report
from seg_batch.inference.request import Prepared
from seg_batch.io.sinks.product import digest, format_of, size
from seg_batch.io.sinks.publish import atomic_replace, require_writable
from seg_batch.io.sinks.spec import ProductSpec, Read
from seg_batch.io.sources import open_source
from seg_batch.io.sources.naming.stack_names import stem_of
from seg_batch.io.sources.protocol import Source
from seg_batch.io.sources.views.image_spec import ImageSpec

Row = dict[str, Any]
_USUAL = "cog"
_MOST_AT_ONCE = 4  # each with the memory of a piece of a map


def check_tiles(prepared: Prepared[Decisions]) -> None:
    """Before any work: PlanError or OutputError where the maps of the pieces can't be made, or would replace files that are not ours."""
    request, info = prepared.request, prepared.info
    if request.tiles_out is None:
        return
    if not request.mosaic:
        raise PlanError(
            "--tiles-out writes a map for each piece of a mosaic: give --mosaic, or leave it out"
        )
    if request.pseudonym is not None:
        raise PlanError(
            "--tiles-out calls maps as the pieces are called, which --deidentify hides: leave out one"
        )
    if request.options.grid.output_grid == "model":
        raise PlanError(
            "--tiles-out cuts the map on the grid of its input: leave out --output-grid model"
        )
    require_local_output(request.tiles_out)
    folder = Path(request.tiles_out).absolute()
    taken = dict[Path, str]()
    for path in info.paths:
        tile = _tile(folder, path, prepared)
        before, taken[tile] = taken.get(tile), path
        if before is not None:
            raise OutputError(
                f"{path} and {before} would have one map in {folder}, for they have one name: rename one, or leave out "
                "--tiles-out"
            )
    require_writable(folder)
    _require_ours(folder, taken, prepared)


def _require_ours(folder: Path, taken: dict[Path, str], prepared: Prepared[Decisions]) -> None:
    inputs = {os.path.realpath(path) for path in prepared.info.paths if not is_remote(path)}
    rows = _rows(folder)
    for tile, path in taken.items():
        if not tile.exists():
            continue
        if os.path.realpath(tile) in inputs:
            raise OutputError(
                f"{tile} is a piece of the mosaic, which would be lost: use another --tiles-out"
            )
        ours = [r for r in rows.get(tile.name, ()) if r["input"] == _input(path)]
        if not prepared.request.overwrite and digest(tile) not in {r["sha256"] for r in ours}:
            raise OutputError(
                f"{tile} exists and is no unchanged map of {path} by segbatch, so it would be lost: move it away, use "
                "--overwrite or another --tiles-out"
            )


def make_tiles(prepared: Prepared[Plan], report: Report, callback: Callback) -> Report:
    """Make the maps of pieces that are not there, or of another map of the whole. The report with what there is."""
    if prepared.request.tiles_out is None or report["status"] != "complete":
        return report
    folder = Path(prepared.request.tiles_out).absolute()
    callback.on(events.Stage("writing a map of each piece"))
    rows = _make(prepared, folder, report)
    total = hashlib.sha256(json.dumps(rows, sort_keys=True).encode())
    told: Report = {
        **report,
        "tiles": {
            "folder": str(folder),
            "files": len(rows),
            "bytes": sum(row["bytes"] for row in rows),
            "sha256": total.hexdigest(),
            "of": report["product"]["sha256"],
        },
    }
    if told["tiles"] != report.get("tiles"):
        write_report(prepared.outputs.report, told)
    return told


@spell("tiles")
def _make(prepared: Prepared[Plan], folder: Path, report: Report) -> list[Row]:
    """The rows of all maps, in the order of the pieces' names."""
    index, of = index_for(prepared), report["product"]["sha256"]
    known, kept = _rows(folder), list[Row]()
    spec = label_spec(prepared, provenance(prepared, report["status"]))
    with closing(open_source(prepared.outputs.product)) as source, _Ledger(folder) as ledger:
        spec = replace(spec, chunk=source.info.chunk)
        placed = on_product(index, source.info)

        def made(number: int) -> Row | None:
            path = index.paths[number]
            tile = _tile(folder, path, prepared)
            row = next(reversed(known.get(tile.name, ())), None)
            if row and row["of"] == of and tile.exists() and digest(tile) == row["sha256"]:
                return row
            return _written(tile, path, number, placed, spec, source, of, ledger.add)

        threads = ThreadPoolExecutor(min(cores(), _MOST_AT_ONCE))
        try:
            kept += filter(None, threads.map(made, range(len(index.paths))))
        finally:
            threads.shutdown(cancel_futures=True)
        kept.sort(key=lambda row: str(row["file"]))
        ledger.settle(kept)
    return kept


def _written(
    tile: Path,
    path: str,
    number: int,
    placed: OnProduct,
    spec: ProductSpec,
    source: Source,
    of: str,
    add: Callable[[Row], None],
) -> Row | None:
    """Write one map; its row, or None where the map of the whole, which is cropped, holds nothing of the piece."""
    box = placed.box(number)
    if not box.touches(Box.whole(source.info.extent)):
        return None
    own = replace(
        spec,
        extent=box.shape,
        georef=_georef(placed, number, spec.image),
        like=None,
        chunk=tuple(min(c, n) for c, n in zip(spec.chunk or box.shape, box.shape, strict=True)),
        tags={**spec.tags, "SEGBATCH_INPUT": folder_and_name(path)[1]},
    )
    read = _cut(source, spec, box)
    with atomic_replace(tile) as part:
        PRODUCTS[format_of(tile, "raster")].write(part, None, own, read, read, "")
        row = {
            "file": tile.name,
            "input": _input(path),
            "of": of,
            "sha256": digest(part),
            "bytes": size(part),
        }
        add(row)
    return row


def _input(path: str) -> str:
    """A piece as it may be told."""
    return shown(absolute(path))


def _georef(placed: OnProduct, number: int, image: ImageSpec | None) -> Georef:
    """That of the piece itself, to the last bit; of one that was brought over, that of its box."""
    index = placed.index
    if index.brought[number]:
        georef = shifted(index.georef, index.box(number).start)
    else:
        scene = image.scene if image else AS_FILES
        with closing(open_source(index.paths[number], scene=scene)) as piece:
            georef = piece.info.georef
    return georef if set(placed.finer) == {1} else refined(georef, tuple(map(float, placed.finer)))


def _cut(source: Source, spec: ProductSpec, tile: Box) -> Read:
    """Labels of the whole in a box of it; nodata beyond what it holds."""
    whole = Box.whole(source.info.extent)

    def read(box: Box) -> np.ndarray:
        wanted = box.shift(tile.start)
        inside = wanted.intersection(whole)
        if inside == wanted:
            return source.read(wanted).values[..., 0].astype(spec.dtype, copy=False)
        labels = np.full(box.shape, spec.nodata or 0, spec.dtype)
        if inside.size:
            labels[inside.slices(wanted.start)] = source.read(inside).values[..., 0]
        return labels

    return read


def _tile(folder: Path, path: str, prepared: Prepared[Any]) -> Path:
    """The map of a piece, in the format of the main product where that can be made of a finished one."""
    product = prepared.outputs.product
    form = PRODUCTS[format_of(product, "raster")]
    ending = (
        PRODUCTS[_USUAL].endings[0]
        if form.needs_store or form.is_folder
        else split_output(product)[1]
    )
    return folder / named(stem_of(path), f"_labels{ending}")


def _rows(folder: Path) -> dict[str, list[Row]]:
    """The rows of the list by the names of maps, the newest last; a line that was cut off counts for nothing."""
    rows = dict[str, list[Row]]()
    for row in rows_of(folder / TILES):
        rows.setdefault(str(row["file"]), []).append(row)
    return rows


def rows_of(path: Path) -> Iterator[Row]:
    """The rows of a list of maps, in the order in which they were made; none where there is no such file."""
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and {"file", "input", "of", "sha256", "bytes"} <= row.keys():
            yield row


def are_there(folder: str, report: Report | None, of: str) -> bool:
    """Whether a folder holds a map of each piece, as the report of the whole told, of the map with this digest."""
    told: dict[str, Any] = dict((report.get("tiles") if report else None) or {})
    if (told.get("folder"), told.get("of")) != (os.path.abspath(folder), of):
        return False
    made = {row["file"] for row in rows_of(Path(folder, TILES)) if row["of"] == of}
    return sum(Path(folder, name).exists() for name in made) >= told["files"]


class _Ledger:
    """The list of maps in a folder, which grows row by row."""

    def __init__(self, folder: Path) -> None:
        self._path, self._lock = folder / TILES, threading.Lock()

    def __enter__(self) -> _Ledger:
        with translate_os_errors(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("a", encoding="utf-8")
            self._file.write("\n")  # the last line may have been cut off
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def add(self, row: Row) -> None:
        with self._lock, translate_os_errors(self._path):
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())

    def settle(self, rows: list[Row]) -> None:
        """A row for each of these maps, and those of other maps in the folder as they were."""
        ours = {row["file"] for row in rows}
        others = [row for row in rows_of(self._path) if row["file"] not in ours]
        lines = [json.dumps(row) + "\n" for row in (*others, *rows)]
        with translate_os_errors(self._path):
            write_text(self._path, "".join(lines))
