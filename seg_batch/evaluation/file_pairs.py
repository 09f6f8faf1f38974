"""Cases whose truth and prediction are files on one grid."""

from __future__ import annotations

import json
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from seg_batch.core.errors import InputError
from seg_batch.core.files import sha256
from seg_batch.core.geometry import Box
from seg_batch.core.georef import RasterGeoref
from seg_batch.core.run_files import REPORT, path_beside
from seg_batch.core.taper import Taper
from seg_batch.datasets import label_classes as tables
from seg_batch.datasets.label_classes import Classes
from seg_batch.evaluation.matching import Match
from seg_batch.evaluation.score_case import LabelledCase, Labels
from seg_batch.inference.plan import Plan
from seg_batch.inference.report import Report
from seg_batch.io.sources import open_source, pieces
from seg_batch.io.sources.protocol import SourceInfo
from seg_batch.io.sources.views.open_view import Axes, View, open_view
from seg_batch.io.sources.views.same_grid import grid_differences


def open_labelled_case(match: Match, classes: Classes, ignore: tuple[float, ...]) -> LabelledCase:
    """Open a case of which ``require_one_grid`` holds; InputError where a class is its nodata."""
    report = report_beside(match.found)
    files = _opened(match, report)
    try:
        for name in ("found", "truth"):
            tables.require_data(files[name].info, classes.ids.tolist(), ignore)
        return _labelled(match.case, files, report, classes, ignore)
    except BaseException:
        _close(files)
        raise


def _labelled(
    name: str,
    files: dict[str, View],
    report: Report | None,
    classes: Classes,
    ignore: tuple[float, ...],
) -> LabelledCase:
    """Both labels seen in one orientation. There is no taper beside a report of another image: its
    tiles lay elsewhere."""
    plan, truth = plan_of(report), files["truth"].info
    ours = plan is not None and plan.view_extent == truth.extent
    return LabelledCase(
        name=name,
        box=Box.whole(truth.extent),
        truth=_labels(files["truth"], classes, ignore),
        found=_labels(files["found"], classes, (*ignore, *([plan.nodata] if plan else []))),
        image=files["image"].read if "image" in files else lambda box: None,
        facts=provenance(files, report),
        spacing=spacing_of(truth),
        taper=Taper(plan.grid, plan.taper) if plan and ours else None,
        close=partial(_close, files),
    )


def _labels(file: View, classes: Classes, skipped: tuple[float, ...]) -> Labels:
    return lambda box: classes.indices(file.read(box), skipped, file.info.path)


def _close(files: dict[str, View]) -> None:
    for file in files.values():
        file.close()


def require_one_grid(match: Match) -> None:
    """InputError unless prediction, truth and image lie on one grid, and each label has one
    channel; nothing but headers is read."""
    files = _opened(match, report_beside(match.found))
    try:
        truth = files["truth"].info
        for name in ("found", "truth"):
            info = files[name].info
            if len(info.channels) != 1:
                raise InputError(
                    f"{info.path} has {len(info.channels)} channels, a label image has one: is it "
                    "an image?"
                )
        for name in files.keys() - {"truth"}:
            _require_like(files[name].info, truth)
    finally:
        _close(files)


def _require_like(info: SourceInfo, truth: SourceInfo) -> None:
    differs = [] if info.kind == truth.kind else [f"a {info.kind} against a {truth.kind}"]
    differs = differs or grid_differences(info, truth)
    if differs:
        raise InputError(
            f"{info.path} is not on the grid of {truth.path} ({'; '.join(differs)}), so voxels "
            "would be compared with others: resample one to the grid of the other first"
        )


def _opened(match: Match, report: Report | None) -> dict[str, View]:
    """In the orientation that the prediction's tiles were laid in, where that is known."""
    plan = plan_of(report)
    orientation = (plan.orientation if plan else "") or "RAS"
    paths = {"found": match.found, "truth": match.truth, "image": match.image}
    with ExitStack() as opened:
        files = {
            name: opened.enter_context(open_view(path, Axes(orientation)))
            for name, path in paths.items()
            if path is not None
        }
        opened.pop_all()
    return files


def report_beside(path: Path) -> Report | None:
    """What segbatch wrote about a product, None where there is nothing of the kind."""
    try:
        report = json.loads(path_beside(path, REPORT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    ours = isinstance(report, dict) and {"segbatch", "classes", "plan", "model"} <= report.keys()
    return cast(Report, report) if ours else None


def plan_of(report: Report | None) -> Plan | None:
    """How the product beside a report was tiled; InputError where that can't be read."""
    if report is None:
        return None
    try:
        return Plan.from_json(report["plan"])
    except (AttributeError, TypeError, ValueError):
        raise InputError(
            f"the report beside {report.get('output', 'a prediction')} has a plan that can't be "
            "read, from another version or changed by hand: put it away"
        ) from None


def classes_in_files(cases: list[Match], ignore: tuple[float, ...]) -> Classes:
    """Those that the reports beside the predictions list, else the values that occur anywhere.

    InputError where two reports list different ones, or the values are no labels.
    """
    first: Classes | None = None
    for case in cases:
        report = report_beside(case.found)
        if report:
            classes = tables.of_report(report, f"{case.found.name}{REPORT}")
            if first is not None and replace(classes, origin=first.origin) != first:
                raise InputError(
                    f"{classes.origin} lists other classes than {first.origin}: name those of all "
                    "with --classes, or evaluate them apart"
                )
            first = first or classes
    return first or _values(cases, ignore)


def _values(cases: list[Match], ignore: tuple[float, ...]) -> Classes:
    """One pass over all predictions and truths for the values that occur."""
    values: set[float] = set()
    for path in [path for case in cases for path in (case.found, case.truth)]:
        with closing(open_source(str(path))) as source:
            for piece in pieces(source):
                physical = piece.physical(np.float64)
                kept = physical if piece.valid is None else physical[piece.valid]
                values |= set(np.unique(kept).tolist()) - set(ignore)
                if len(values) > tables.MOST_FOUND:
                    raise tables.too_many(tables.MOST_FOUND, path)
    if not values:
        raise InputError("prediction and truth hold nodata only: there is nothing to score")
    return tables.of_values(values)


def spacing_of(info: SourceInfo) -> tuple[float, ...] | None:
    """Length of a voxel per axis: mm for volumes, m for rasters whose CRS has a length unit."""
    georef = info.georef
    if not isinstance(georef, RasterGeoref):
        return georef.spacing_mm
    if georef.metres_per_unit is None or georef.crs_wkt is None:
        return None
    return tuple(side * georef.metres_per_unit for side in georef.spacing)


def provenance(files: dict[str, View], report: Report | None) -> dict[str, Any]:
    """The files with size and digest, and which model made the prediction, where that is known."""
    facts: dict[str, Any] = {
        name: {"path": str(file.info.path), **file_facts(Path(file.info.path))}
        for name, file in files.items()
    }
    if report:
        facts["model"] = report["model"]
        facts["status"] = report.get("status")
        product = report.get("product")
        told = product.get("sha256") if product else None
        facts["as_written"] = told == facts["found"].get("sha256") if told else None
    return facts


def file_facts(path: Path) -> dict[str, Any]:
    """Bytes and sha256 of a file; nothing for a folder (Zarr), whose digest is another matter."""
    if not path.is_file():
        return {}
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}
