"""Cases whose truth and prediction are files on one grid."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
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
from seg_batch.io.sources.areas.pixel_areas import PixelAreas
from seg_batch.io.sources.protocol import SourceInfo, without_volume_option
from seg_batch.io.sources.views.open_view import Axes, View, open_view
from seg_batch.io.sources.views.same_grid import grid_differences

MOST_VALUES = 64  # more distinct values than this are measurements, not labels


@contextmanager
def open_labelled_case(
    match: Match, classes: Classes, ignore: tuple[float, ...]
) -> Iterator[LabelledCase]:
    """A case that passed ``require_one_grid``, both labels in one orientation; closes its files.

    InputError where a class is declared as nodata. There is no taper beside a report of another
    image, whose tiles lay elsewhere.
    """
    report = report_beside(match.prediction)
    plan = plan_of(report)
    with _open_files(match, plan) as files:
        for name in ("found", "truth"):
            tables.require_data(files[name].info, classes.ids.tolist(), ignore)
        truth = files["truth"].info
        way_back = plan.way_back if plan else None
        tiled = plan is not None and truth.extent == (
            way_back.target if way_back else plan.view_extent
        )
        yield LabelledCase(
            name=match.case,
            box=Box.whole(truth.extent),
            truth=_labels(files["truth"], classes, ignore),
            prediction=_labels(
                files["found"], classes, (*ignore, *([plan.nodata] if plan else []))
            ),
            image=files["image"].read if "image" in files else None,
            facts=_provenance(files, report),
            spacing=spacing_of(truth),
            areas=PixelAreas.of(truth.georef, truth.extent),
            channels=files["image"].info.channels if "image" in files else (),
            taper=Taper(plan.grid, plan.taper) if plan and tiled else None,
            way_back=way_back,
        )


def _labels(file: View, classes: Classes, skipped: tuple[float, ...]) -> Labels:
    return lambda box: classes.indices(file.read(box), skipped, file.info.path)


def require_one_grid(match: Match) -> None:
    """InputError unless prediction, truth and image lie on one grid, and each label has one
    channel; nothing but headers is read."""
    with _open_files(match, plan_of(report_beside(match.prediction))) as files:
        truth = files["truth"].info
        for name in ("found", "truth"):
            info = files[name].info
            if len(info.channels) != 1:
                raise InputError(
                    f"{info.path} has {len(info.channels)} channels, a label image has one: is it "
                    "an image?"
                )
        for name in files.keys() - {"truth"}:
            info = files[name].info
            differs = [] if info.kind == truth.kind else [f"a {info.kind} against a {truth.kind}"]
            if differs := differs or grid_differences(info, truth):
                raise InputError(
                    f"{info.path} is not on the grid of {truth.path} ({'; '.join(differs)}), so "
                    "voxels would be compared with others: resample one to the grid of the other "
                    "first"
                )


@contextmanager
def _open_files(match: Match, plan: Plan | None) -> Iterator[dict[str, View]]:
    """In the orientation that the prediction's tiles were laid in, where that is known."""
    orientation = (plan.orientation if plan else "") or "RAS"
    paths = {"found": match.prediction, "truth": match.truth, "image": match.image}
    with ExitStack() as stack:
        with without_volume_option():
            files = {
                name: stack.enter_context(open_view(path, Axes(orientation)))
                for name, path in paths.items()
                if path is not None
            }
        yield files


def report_beside(path: Path) -> Report | None:
    """The report that segbatch wrote beside a product, None where there is none."""
    try:
        report = json.loads(path_beside(path, REPORT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    ours = isinstance(report, dict) and {"segbatch", "classes", "plan", "model"} <= report.keys()
    return cast(Report, report) if ours else None


def plan_of(report: Report | None) -> Plan | None:
    """How the product that a report lies beside was tiled; InputError where that can't be read."""
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
    """The classes that the reports beside the predictions list, else all values that occur.

    InputError where two reports list different ones, or the values are no labels.
    """
    reports = {case.prediction.name: report_beside(case.prediction) for case in cases}
    listed = [tables.of_report(r, f"{name}{REPORT}") for name, r in reports.items() if r]
    for classes in listed:
        if replace(classes, origin=listed[0].origin) != listed[0]:
            raise InputError(
                f"{classes.origin} lists other classes than {listed[0].origin}: name those of all "
                "with --classes, or evaluate them apart"
            )
    return listed[0] if listed else _values(cases, ignore)


def _values(cases: list[Match], ignore: tuple[float, ...]) -> Classes:
    """One pass over all predictions and truths for the values that occur."""
    values: set[float] = set()
    for path in [path for case in cases for path in (case.prediction, case.truth)]:
        with closing(open_source(str(path))) as source:
            for piece in pieces(source):
                physical = piece.physical(np.float64)
                kept = physical if piece.valid is None else physical[piece.valid]
                values |= set(np.unique(kept).tolist()) - set(ignore)
                if len(values) > MOST_VALUES:
                    raise InputError(
                        f"{path} has more than {MOST_VALUES} different values, so it is an image and "
                        "no label image: give PREDICTIONS and TRUTH, or name the classes with "
                        "--classes"
                    )
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


def _provenance(files: dict[str, View], report: Report | None) -> dict[str, Any]:
    """The files with size and digest, and the model that made the prediction, where it is known."""
    facts: dict[str, Any] = {
        name: {"path": str(file.info.path), **file_facts(Path(file.info.path))}
        for name, file in files.items()
    }
    if report:
        facts["model"] = report["model"]
        facts["status"] = report.get("status")
        product = report.get("product")
        digest = product.get("sha256") if product else None
        facts["as_written"] = digest == facts["found"].get("sha256") if digest else None
    return facts


def file_facts(path: Path) -> dict[str, Any]:
    """Bytes and sha256 of a file; empty for a folder (Zarr), which has no digest of one file."""
    if not path.is_file():
        return {}
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}
