"""What ``inspect`` says of a place with several DICOM series: a row for each, and what else is there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.cli.display.rows import by
from seg_batch.core.errors import InputError
from seg_batch.core.text import visible
from seg_batch.core.units import shown, with_commas
from seg_batch.io.dicom.geometry import placed
from seg_batch.io.dicom.series import Series
from seg_batch.io.dicom.survey import Survey, survey, why_unfit

_COLUMNS = ("no.", "uid", "modality", "description", "slices", "size", "voxel, mm", "lies")
_RIGHT = {0, 4, 5, 6}
_UID_END, _DESCRIPTION = 10, 32
_STRAIGHT_DEG = 1.0
_ACROSS = ("sagittal", "coronal", "axial")  # planes across x, y and z
_MOST_REASONS = 8


def place_facts(path: str) -> dict[str, Any] | None:
    """The series at a place that holds several, or none that makes a volume. None where it is one series that does, or one
    slice by itself."""
    seen = survey(path)
    alone = len(seen.series) == 1 and not seen.series[0].aside
    if alone and (Path(path).is_file() or not why_unfit(seen.series[0])):
        return None
    return _facts(path, seen)


def _facts(path: str, seen: Survey) -> dict[str, Any]:
    return {
        "input": path,
        "format": "dicom",
        "series": [_row(one) for one in seen.series],
        "others": seen.reasons,
    }


def _row(one: Series) -> dict[str, Any]:
    first, why = one.slices[0], why_unfit(one)
    return {
        "number": one.facts.number,
        "key": one.key,
        "modality": one.facts.modality,
        "description": one.facts.description,
        "slices": len(one.slices),
        "size": [first.rows, first.columns],
        "spacing_mm": _spacing_mm(one),
        "orientation": _lies(first.orientation),
        "fits": not why,
        "why": why or None,
    }


def _spacing_mm(one: Series) -> list[float] | None:
    """From slice to slice where they make a volume, from row to row, from column to column."""
    try:
        return list(placed("", one)[1].spacing_mm) if len(one.slices) > 1 else _in_plane(one)
    except InputError:
        return _in_plane(one)


def _in_plane(one: Series) -> list[float] | None:
    return list(one.slices[0].pixel_mm or ()) or None


def _lies(orientation: Sequence[float] | None) -> str | None:
    """The plane of the slices: ``axial``, or ``sagittal, 12 deg off``."""
    if orientation is None:
        return None
    rows, columns = np.split(np.array(orientation), 2)
    normal = np.abs(np.cross(rows, columns))
    axis = int(np.argmax(normal))
    off = float(np.degrees(np.arccos(min(1.0, normal[axis] / max(np.linalg.norm(normal), 1e-9)))))
    plane = _ACROSS[axis]
    return plane if off < _STRAIGHT_DEG else f"{plane}, {off:.0f} deg off"


def place_lines(facts: dict[str, Any]) -> str:
    """The table; below a series that makes no volume the reason."""
    rows = [_COLUMNS, *map(_cells, facts["series"])]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f"{facts['input']}  ({with_commas(len(facts['series']))} DICOM series)", ""]
    indent = " " * (widths[0] + 2)
    for row, one in zip(rows, [None, *facts["series"]], strict=True):
        lines.append(_line(row, widths))
        if one and one["why"]:
            lines.append(f"{indent}left out: {visible(one['why'])}")
    return "\n".join([*(lines if facts["series"] else lines[:1]), "", *_ending(facts)])


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = zip(row, widths, strict=True)
    padded = [c.rjust(w) if n in _RIGHT else c.ljust(w) for n, (c, w) in enumerate(cells)]
    return "  ".join(padded).rstrip()


def _cells(one: dict[str, Any]) -> tuple[str, ...]:
    uid, text = one["key"], visible(one["description"]) or "-"
    return (
        "-" if one["number"] is None else str(one["number"]),
        uid if len(uid) <= _UID_END else f"..{uid[-_UID_END:]}",
        visible(one["modality"]) or "-",
        text if len(text) <= _DESCRIPTION else f"{text[: _DESCRIPTION - 2]}..",
        with_commas(one["slices"]),
        by(one["size"]),
        _voxel(one["spacing_mm"]),
        one["orientation"] or "-",
    )


def _voxel(spacing_mm: Sequence[float] | None) -> str:
    """``2.5 x 0.75 x 0.5``; a bar for what is not known."""
    if not spacing_mm:
        return "-"
    return by(["-"] * (3 - len(spacing_mm)) + [f"{side:.4g}" for side in spacing_mm])


def _ending(facts: dict[str, Any]) -> list[str]:
    """What else is there, and what ``predict`` makes of the place."""
    fit = [one for one in facts["series"] if one["fits"]]
    lines = []
    if others := facts["others"]:
        words = [f"{shown(why)} ({with_commas(n)})" for why, n in others.items()]
        more = ["more"] * (len(words) > _MOST_REASONS)
        lines.append(f"other files: {', '.join([*words[:_MOST_REASONS], *more])}")
    if len(fit) == 1:
        lines.append("one makes a volume, and is taken unless --series chooses another")
    elif fit:
        same = max(Counter(one["number"] for one in fit).values()) > 1
        name = "UID" if same else f"{fit[0]['number']}"
        lines.append(
            f"{len(fit)} make a volume: choose one with --series {name}, or take all with inputs.dicom of a workflow"
        )
    else:
        lines.append("none makes a volume")
    return lines
