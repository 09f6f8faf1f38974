"""Cases with truth and prediction: two files on one grid, or a region that was just predicted."""

from __future__ import annotations

import json
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.core.errors import InputError
from seg_batch.core.files import sha256
from seg_batch.core.geometry import Box
from seg_batch.core.georef import RasterGeoref
from seg_batch.core.normalise import Pixels
from seg_batch.core.run_files import REPORT, beside
from seg_batch.core.taper import Taper
from seg_batch.datasets import label_classes as tables
from seg_batch.datasets.label_classes import Classes
from seg_batch.evaluation.matching import Match
from seg_batch.evaluation.predict_region import Region
from seg_batch.inference.plan import Plan
from seg_batch.io.sources import open_source, pieces
from seg_batch.io.sources.protocol import SourceInfo
from seg_batch.io.sources.views.open_view import Axes, View, open_view
from seg_batch.io.sources.views.same_grid import unlike_grids


@dataclass(frozen=True, eq=False)
class FilePair:
    """A prediction and its truth, open, both seen in one orientation. See ``score_case.Labelled``.

    ``report``: what segbatch wrote beside the prediction, ``{}`` where it is not ours.
    """

    name: str
    files: dict[str, View]
    report: dict[str, Any]
    classes: Classes
    ignore: tuple[float, ...] = ()

    @property
    def box(self) -> Box:
        return Box.whole(self.files["truth"].info.extent)

    @property
    def spacing(self) -> tuple[float, ...] | None:
        return spacing_of(self.files["truth"].info)

    @property
    def taper(self) -> Taper | None:
        """None also beside a report of another image: its tiles lay elsewhere."""
        plan = plan_of(self.report)
        if plan is None or plan.view_extent != self.box.shape:
            return None
        return Taper(plan.grid, plan.taper)

    def truth(self, box: Box) -> tuple[np.ndarray, np.ndarray]:
        return self._labels("truth", box, self.ignore)

    def found(self, box: Box) -> tuple[np.ndarray, np.ndarray]:
        plan = plan_of(self.report)
        return self._labels("found", box, (*self.ignore, *([plan.nodata] if plan else [])))

    def image(self, box: Box) -> Pixels | None:
        return self.files["image"].read(box) if "image" in self.files else None

    def close(self) -> None:
        for file in self.files.values():
            file.close()

    def _labels(
        self, which: str, box: Box, skipped: tuple[float, ...]
    ) -> tuple[np.ndarray, np.ndarray]:
        file = self.files[which]
        return self.classes.indices(file.read(box), skipped, file.info.path)


def open_pair(match: Match, classes: Classes, ignore: tuple[float, ...]) -> FilePair:
    """Open a case of which ``require_one_grid`` holds; InputError where a class is its nodata."""
    report = report_beside(match.found)
    pair = FilePair(match.case, _opened(match, report), report, classes, ignore)
    try:
        for name in ("found", "truth"):
            tables.require_data(pair.files[name].info, classes.ids.tolist(), ignore)
    except BaseException:
        pair.close()
        raise
    return pair


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
        for file in files.values():
            file.close()


def _require_like(info: SourceInfo, truth: SourceInfo) -> None:
    differs = [] if info.kind == truth.kind else [f"a {info.kind} against a {truth.kind}"]
    differs = differs or unlike_grids(info, truth)
    if differs:
        raise InputError(
            f"{info.path} is not on the grid of {truth.path} ({'; '.join(differs)}), so voxels "
            "would be compared with others: resample one to the grid of the other first"
        )


def _opened(match: Match, report: dict[str, Any]) -> dict[str, View]:
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


def report_beside(path: Path) -> dict[str, Any]:
    """What segbatch wrote about a product, ``{}`` where there is nothing of the kind."""
    try:
        report = json.loads(beside(path, REPORT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    ours = isinstance(report, dict) and {"segbatch", "classes", "plan", "model"} <= report.keys()
    return report if ours else {}


def plan_of(report: dict[str, Any]) -> Plan | None:
    """How the product beside a report was tiled; InputError where that can't be read."""
    if not report:
        return None
    try:
        return Plan.from_json(report["plan"])
    except (AttributeError, TypeError, ValueError):
        raise InputError(
            f"the report beside {report.get('output', 'a prediction')} has a plan that can't be "
            "read, from another version or changed by hand: put it away"
        ) from None


def classes_of(cases: list[Match], ignore: tuple[float, ...]) -> Classes:
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


def provenance(pair: FilePair) -> dict[str, Any]:
    """The files with size and digest, and which model made the prediction, where that is known."""
    facts: dict[str, Any] = {
        name: {"path": str(file.info.path), **file_facts(Path(file.info.path))}
        for name, file in pair.files.items()
    }
    if pair.report:
        facts["model"] = pair.report["model"]
        facts["status"] = pair.report.get("status")
        told = (pair.report.get("product") or {}).get("sha256")
        facts["as_written"] = told == facts["found"].get("sha256") if told else None
    return facts


def file_facts(path: Path) -> dict[str, Any]:
    """Bytes and sha256 of a file; nothing for a folder (Zarr), whose digest is another matter."""
    if not path.is_file():
        return {}
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}


@dataclass(frozen=True, eq=False)
class PredictedRegion:
    """A held-out region and its predicted class indices. See ``score_case.Labelled``."""

    name: str
    region: Region
    labels: np.ndarray
    spacing: tuple[float, ...] | None
    taper: Taper | None = None

    @property
    def box(self) -> Box:
        return self.region.box

    def truth(self, box: Box) -> tuple[np.ndarray, np.ndarray]:
        return self.region.truth(box)

    def found(self, box: Box) -> tuple[np.ndarray, np.ndarray]:
        part = np.asarray(self.labels[box.slices(self.box.start)])
        return part, np.ones(part.shape, bool)

    def image(self, box: Box) -> Pixels | None:
        return self.region.read(box)
