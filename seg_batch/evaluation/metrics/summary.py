"""Many cases as one table for a card or a report: means, intervals, and a row for each case.

A number is ``{"mean", "low", "high", "cases"}``: the mean over the cases in which it is defined,
the 95 % bootstrap interval of that mean, and how many cases these are. Everything undefined is
None. With one case the interval is taken over the cells of that case ("interval_over": "blocks"),
where cells can be added up: not for distances and sizes.

Distances leave out the cases where only truth or only prediction has the class (they would be
infinite); "one_sided" counts them, and a good distance beside a high count means little. Metres,
millimetres and voxels have no mean: where cases differ so, distances are None, and so is their
unit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from seg_batch.evaluation.metrics import confusion
from seg_batch.evaluation.metrics.case import CaseScores, boundary_iou
from seg_batch.evaluation.metrics.confusion import mean_over_classes, plain
from seg_batch.evaluation.metrics.intervals import interval, resampled_means, resampled_scores
from seg_batch.evaluation.metrics.size import Unit, size_errors

SHARES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "dice": confusion.dice,
    "iou": confusion.iou,
    "sensitivity": confusion.sensitivity,
    "specificity": confusion.specificity,
    "precision": confusion.precision,
}
DISTANCES = ("hausdorff", "hausdorff95", "surface_distance")
PER_CLASS = (*SHARES, "boundary_iou", *DISTANCES, "size_error", "size_error_absolute")


def summarise(
    cases: dict[str, CaseScores],
    names: list[str],
    background: int | None = None,
    unit: Unit | list[Unit] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """The cases' scores as JSON-ready values.

    ``names`` of the classes; ``background`` the index of the class that overall means leave out
    (None: every class counts); ``unit`` of sizes, or one for each case where voxels
    differ in size (default: voxels). Keys::

        cases, interval_over, level, voxels, size_unit, distance_unit, band_voxels, distances_measured
        overall    accuracy, mean_dice, mean_iou (numbers), accuracy_of_commonest_class
        classes    name -> dice, iou, sensitivity, specificity, precision, boundary_iou, hausdorff,
                   hausdorff95, surface_distance, size_error, size_error_absolute (numbers);
                   one_sided, true_voxels, found_voxels
        confusion  (K, K) over all cases
        per_case   case, voxels, accuracy, mean_dice
        per_class_and_case   case, class, and each number of the class, as rows of a table
    """
    if not cases:
        raise ValueError("no cases to summarise")
    scores = list(cases.values())
    units = unit if isinstance(unit, list) else [unit or Unit()] * len(scores)
    if len({u.name for u in units}) > 1:
        raise ValueError("sizes in different units have no mean")
    distance_units = {_distance_unit(s) for s in scores}
    tables = _tables(scores, units)
    if len(distance_units) > 1:
        tables |= {name: np.full_like(tables[name], np.nan) for name in DISTANCES}
    total = np.sum([s.confusion for s in scores], axis=0)
    return {
        "cases": list(cases),
        "interval_over": "cases" if len(cases) > 1 else "blocks",
        "level": 0.95,
        "voxels": int(total.sum()),
        "size_unit": units[0].name,
        "distance_unit": distance_units.pop() if len(distance_units) == 1 else None,
        "band_voxels": list(scores[0].reach),
        "distances_measured": all(s.measured for s in scores),
        "overall": _overall(scores, tables, total, background, seed),
        "classes": _classes(scores, tables, names, total, seed),
        "confusion": total.tolist(),
        "per_case": _per_case(cases, tables["dice"], background),
        "per_class_and_case": _rows(list(cases), tables, names),
    }


def _tables(scores: list[CaseScores], units: list[Unit]) -> dict[str, np.ndarray]:
    """Each score as a table of cases and classes, NaN where it is undefined or infinite."""
    matrices = np.array([s.confusion for s in scores])
    tables = {name: share(matrices) for name, share in SHARES.items()}
    tables["boundary_iou"] = np.array([s.boundary_iou for s in scores])
    for name in DISTANCES:
        table = np.array([getattr(s, name) for s in scores])
        tables[name] = np.where(np.isfinite(table), table, np.nan)
    sizes = [size_errors(s.cells, unit) for s, unit in zip(scores, units, strict=True)]
    tables["size_error"] = np.array(sizes)
    tables["size_error_absolute"] = np.abs(tables["size_error"])
    return tables


def _draws(name: str, scores: list[CaseScores], table: np.ndarray, seed: int) -> Any:
    """Resampled means of one table, and the values they are drawn from; None where there are none."""
    if len(scores) > 1:
        return resampled_means(table, seed), table
    if name in SHARES:
        cells, score = scores[0].cells, SHARES[name]
    elif name == "boundary_iou":
        cells, score = scores[0].bands, boundary_iou
    else:
        return None
    return resampled_scores(cells, score, seed), score(cells)


def _number(mean: float, low: Any, high: Any, cases: Any) -> dict[str, Any]:
    return {"mean": plain(mean), "low": plain(low), "high": plain(high), "cases": int(cases)}


def _classes(
    scores: list[CaseScores],
    tables: dict[str, np.ndarray],
    names: list[str],
    total: np.ndarray,
    seed: int,
) -> dict[str, Any]:
    rows: dict[str, dict[str, Any]] = {name: {} for name in names}
    for key, table in tables.items():
        drawn = _draws(key, scores, table, seed)
        low, high = interval(*drawn) if drawn else np.full((2, len(names)), np.nan)
        for k, row in enumerate(rows.values()):
            values = table[:, k]
            cases = (~np.isnan(values)).sum()
            row[key] = _number(mean_over_classes(values), low[k], high[k], cases)
    one_sided = sum((s.confusion.sum(0) > 0) != (s.confusion.sum(1) > 0) for s in scores)
    for k, row in enumerate(rows.values()):
        row["one_sided"] = int(one_sided[k])
        row["true_voxels"] = int(total.sum(1)[k])
        row["found_voxels"] = int(total.sum(0)[k])
    return rows


def _overall(
    scores: list[CaseScores],
    tables: dict[str, np.ndarray],
    total: np.ndarray,
    background: int | None,
    seed: int,
) -> dict[str, Any]:
    """Accuracy is of all voxels together; means over classes are of the classes' means."""
    counts = np.array([s.confusion for s in scores]) if len(scores) > 1 else scores[0].cells
    shares = resampled_scores(counts, confusion.class_shares, seed)
    low, high = interval(shares, confusion.class_shares(counts))
    return {
        "accuracy": _number(confusion.accuracy(total), low, high, len(scores)),
        "accuracy_of_commonest_class": plain(confusion.commonest(total)),
        "mean_dice": _over_classes("dice", scores, tables["dice"], background, seed),
        "mean_iou": _over_classes("iou", scores, tables["iou"], background, seed),
    }


def _over_classes(
    name: str, scores: list[CaseScores], table: np.ndarray, background: int | None, seed: int
) -> dict[str, Any]:
    """The mean over classes of each class's mean over cases; without the background."""
    kept = [k for k in range(table.shape[1]) if k != background]
    means, values = _draws(name, scores, table, seed)
    means, values, of_classes = (
        np.array([mean_over_classes(row) for row in rows])
        for rows in (means[:, kept], values[:, kept], table[:, kept].T)
    )
    low, high = interval(means, values)
    cases = (~np.isnan(table[:, kept])).any(1).sum()
    return _number(mean_over_classes(of_classes), low, high, cases)


def _per_case(
    cases: dict[str, CaseScores], dice: np.ndarray, background: int | None
) -> list[dict[str, Any]]:
    kept = [k for k in range(dice.shape[1]) if k != background]
    return [
        {
            "case": case,
            "voxels": int(s.confusion.sum()),
            "accuracy": plain(confusion.accuracy(s.confusion)),
            "mean_dice": plain(mean_over_classes(row[kept])),
        }
        for (case, s), row in zip(cases.items(), dice, strict=True)
    ]


def _rows(
    cases: list[str], tables: dict[str, np.ndarray], names: list[str]
) -> list[dict[str, Any]]:
    return [
        {"case": case, "class": name} | {key: plain(table[i, k]) for key, table in tables.items()}
        for i, case in enumerate(cases)
        for k, name in enumerate(names)
    ]


def _distance_unit(scores: CaseScores) -> str:
    if scores.spacing is None:
        return "voxels"
    return "mm" if len(scores.spacing) == 3 else "m"
