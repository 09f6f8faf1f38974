"""The HTML page of an evaluation: one file that loads nothing else, light and dark, printable."""

from __future__ import annotations

import base64
from typing import Any

from seg_batch.core.units import share, with_spaces
from seg_batch.evaluation.metrics.summary import DISTANCES
from seg_batch.evaluation.overlays import OverlayView, legend
from seg_batch.io.html import environment

NONE = "–"
MOST_COLUMNS = 12  # classes that have a column in the table of cases

# Key, heading and digits of the columns of each table of classes.
OVERLAP = (
    ("dice", "Dice", 3),
    ("iou", "IoU", 3),
    ("sensitivity", "Sensitivity", 3),
    ("precision", "Precision", 3),
    ("specificity", "Specificity", 3),
)
BORDERS = (
    ("boundary_iou", "Boundary IoU", 3),
    ("hausdorff95", "Hausdorff 95 %", 2),
    ("hausdorff", "Hausdorff", 2),
    ("surface_distance", "Surface distance", 2),
    ("size_error", "Size error", 2),
    ("size_error_absolute", "Size error, absolute", 2),
)


def evaluation_page(result: dict[str, Any], pictures: list[tuple[str, list[OverlayView]]]) -> str:
    """The HTML of a result with the pictures of some of its cases, as text."""
    templates = environment(
        number=number, interval=interval, percent=share, spaced=with_spaces, png_uri=png_uri
    )
    scores = result["scores"]
    units = dict.fromkeys(DISTANCES, scores["distance_unit"])
    units |= dict.fromkeys(("size_error", "size_error_absolute"), scores["size_unit"])
    return templates.get_template("evaluate.html.j2").render(
        result=result,
        scores=scores,
        tables={
            "overlap": OVERLAP,
            "borders and sizes": [c for c in BORDERS if _known(scores, c[0])],
        },
        units=units,
        cases=_cases(result, {name for name, _ in pictures}),
        case_classes=scores["classes"] if len(scores["classes"]) <= MOST_COLUMNS else [],
        confusion=_confusion(scores),
        calibration=_calibration(result["calibration"]),
        pictures=_pictures(pictures, result),
        legend=legend(pictures),
    )


def number(value: float | None, digits: int = 3) -> str:
    """Fixed digits, fewer for large numbers: 18218.5 m is no more exact than 18218."""
    if value is None:
        return NONE
    return f"{value:.{0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else digits}f}"


def interval(value: dict[str, Any], digits: int = 3) -> str:
    """``0.81 to 0.87``, or nothing."""
    if value["low"] is None or value["high"] is None:
        return ""
    return f"{number(value['low'], digits)} to {number(value['high'], digits)}"


def png_uri(png: bytes) -> str:
    """A PNG as the ``src`` of an image."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _known(scores: dict[str, Any], key: str) -> bool:
    return any(row[key]["mean"] is not None for row in scores["classes"].values())


def _cases(result: dict[str, Any], drawn: set[str]) -> list[dict[str, Any]]:
    """Rows of the table of cases, worst first; ``place`` is where their pictures are, if any."""
    per_class: dict[str, dict[str, Any]] = {}
    for row in result["scores"]["per_class_and_case"]:
        per_class.setdefault(row["case"], {})[row["class"]] = row["dice"]
    rows = [
        {**row, "dice": per_class[row["case"]], "drawn": row["case"] in drawn, "place": i}
        for i, row in enumerate(result["scores"]["per_case"])
    ]
    return sorted(rows, key=lambda row: 2.0 if row["mean_dice"] is None else row["mean_dice"])


def _confusion(scores: dict[str, Any]) -> list[dict[str, Any]]:
    """Per true class the share that was given each class."""
    return [
        {
            "name": name,
            "place": place,
            "counts": counts,
            "shares": [count / max(1, sum(counts)) for count in counts],
            "total": sum(counts),
        }
        for place, (name, counts) in enumerate(
            zip(scores["classes"], scores["confusion"], strict=True)
        )
    ]


def _calibration(calibration: dict[str, Any] | None) -> dict[str, Any] | None:
    """Bars of the plot in a square of 100 x 100, y downwards."""
    if calibration is None or calibration["error"] is None:
        return None
    total = sum(b["voxels"] for b in calibration["bins"])
    bars = [
        {
            **b,
            "x": 100 * b["low"],
            "width": 100 * (b["high"] - b["low"]),
            "height": 100 * b["accuracy"],
            "at": 100 * b["probability"],
            "share": b["voxels"] / total,
        }
        for b in calibration["bins"]
        if b["voxels"]
    ]
    return {"error": calibration["error"], "bars": bars}


def _pictures(
    pictures: list[tuple[str, list[OverlayView]]], result: dict[str, Any]
) -> list[dict[str, Any]]:
    rows = {row["case"]: (i, row) for i, row in enumerate(result["scores"]["per_case"])}
    return [
        {"case": name, "place": rows[name][0], "row": rows[name][1], "views": views}
        for name, views in pictures
    ]
