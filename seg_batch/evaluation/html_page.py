"""The page that shows an evaluation: one file, nothing fetched, light and dark, for print too."""

from __future__ import annotations

import base64
from typing import Any

from seg_batch.core.units import share, with_spaces
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
DISTANCES = ("hausdorff", "hausdorff95", "surface_distance")

DEFINITIONS = (
    ("Dice", "Twice the overlap over the sum of both: 2 |T ∩ P| / (|T| + |P|). 1 is perfect."),
    ("IoU", "Overlap over union: |T ∩ P| / |T ∪ P|. Never above Dice, and in the same order."),
    ("Sensitivity", "Which share of the true voxels was found (recall)."),
    ("Precision", "Which share of what was found is true."),
    ("Specificity", "Which share of the voxels of other classes was left to them."),
    ("Accuracy", "Which share of all scored voxels got its class."),
    (
        "Hausdorff",
        "The longest way from a surface voxel of one to the nearest surface voxel of the other. "
        "95 %: the distance that 95 % of them keep, the larger of both directions. A surface voxel "
        "has a face neighbour outside its class; what lies outside the scored region is outside.",
    ),
    ("Surface distance", "The mean way from the surface of one to the other, over both surfaces."),
    (
        "Boundary IoU",
        "IoU of the bands along the inner side of both borders (Cheng et al. 2021): strict where "
        "the inside of large objects makes other scores kind.",
    ),
    ("Size error", "Predicted less true size; positive where too much was found."),
    (
        "Undefined",
        "A class that neither truth nor prediction has scores nothing (–) and no mean counts it. A "
        "class that only one of them has scores Dice 0; its distances would be infinite and are "
        "left out of the means.",
    ),
    (
        "Means and intervals",
        "Scores of a class are means over cases. The interval would hold 95 % of such means if "
        "cases like these were drawn again (bootstrap). With one case, blocks of it are drawn, "
        "which tells nothing about other cases. Means over classes leave out the background, if any.",
    ),
    (
        "Calibration error (ECE)",
        "How far the model's probabilities are from how often it is right, on average over "
        "voxels (Guo et al. 2017). 0 is perfect; 0.1 means that it errs by ten points.",
    ),
    (
        "Seam index",
        "How much more often the label changes across the border of a tile than beside it. 1 "
        "means that no seam can be seen.",
    ),
)


def evaluation_page(result: dict[str, Any], pictures: list[tuple[str, list[OverlayView]]]) -> str:
    """The HTML of a result with the pictures of some of its cases, as text."""
    templates = environment(number=number, interval=interval, percent=share, spaced=with_spaces)
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
        definitions=DEFINITIONS,
        title=_title(result),
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


def _title(result: dict[str, Any]) -> str:
    if result["evaluated"] == "bundle":
        return f"{result['model']['name']} on {result['split']} data"
    return "Predictions against truth"


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
    rows = []
    for place, (name, counts) in enumerate(
        zip(scores["classes"], scores["confusion"], strict=True)
    ):
        total = sum(counts)
        shares = [count / total if total else 0.0 for count in counts]
        row = {"name": name, "place": place, "counts": counts, "shares": shares}
        rows.append({**row, "total": total})
    return rows


def _calibration(found: dict[str, Any] | None) -> dict[str, Any] | None:
    """Bars of the plot in a square of 100 x 100, y downwards."""
    if found is None or found["error"] is None:
        return None
    total = sum(b["voxels"] for b in found["bins"])
    bars = [
        {
            **b,
            "x": 100 * b["low"],
            "width": 100 * (b["high"] - b["low"]),
            "height": 100 * b["accuracy"],
            "at": 100 * b["probability"],
            "share": b["voxels"] / total,
        }
        for b in found["bins"]
        if b["voxels"]
    ]
    return {"error": found["error"], "bars": bars}


def _pictures(
    pictures: list[tuple[str, list[OverlayView]]], result: dict[str, Any]
) -> list[dict[str, Any]]:
    places = {row["case"]: (i, row) for i, row in enumerate(result["scores"]["per_case"])}
    return [
        {
            "case": name,
            "place": places[name][0],
            "row": places[name][1],
            "views": [
                {
                    "title": view.title,
                    "aspect": round(view.aspect, 4),
                    "shares": {k: s for k, s in view.shares.items() if s > 0},
                    "panels": {
                        panel: "data:image/png;base64," + base64.b64encode(png).decode("ascii")
                        for panel, png in view.panels.items()
                    },
                }
                for view in views
            ],
        }
        for name, views in pictures
    ]
