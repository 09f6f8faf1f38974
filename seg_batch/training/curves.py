"""The history of a training as CSV and JSON, and its curves as a picture.

Figures are made without pyplot, which keeps every figure in memory and looks for a display.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from seg_batch.config.colours import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION
from seg_batch.core.units import duration_in_words, share_in_line
from seg_batch.training.provenance import waiting_share

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from seg_batch.nn.training.history import Row

COLUMNS = ("step", "loss", "lr", "seconds", "wait")
_DPI = 100
_WIDTH, _HEIGHT = 10.0, 8.5  # inches: 1000 x 850 pixels
_COLOURS = [f"#{r:02X}{g:02X}{b:02X}" for r, g, b in (BLUE, VERMILION, GREEN, PURPLE, SKY, ORANGE)]
_GREY = "#666666"


def write_history(folder: Path, rows: Sequence[Row]) -> None:
    """``history.csv`` (a column per score, empty between validations) and ``history.json`` (a list of
    objects) in ``folder``."""
    plain = [asdict(row) for row in rows]
    names = list(dict.fromkeys(name for row in plain for name in row["scores"] or ()))
    with (folder / "history.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*COLUMNS, *names])
        for row in plain:
            scores = row["scores"] or {}
            writer.writerow([*(row[c] for c in COLUMNS), *(scores.get(n, "") for n in names)])
    text = json.dumps(plain, indent=1)
    (folder / "history.json").write_text(text + "\n", encoding="utf-8")


def write_curves(path: Path, rows: Sequence[Row], best_step: int | None = None) -> None:
    """A PNG 1000 pixels wide: loss, scores and learning rate over the steps, the best step marked."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, _HEIGHT), dpi=_DPI, layout="constrained")
    loss, score, rate = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 1.4))
    _draw_loss(loss, rows)
    _draw_scores(score, rows, best_step)
    rate.plot([r.step for r in rows], [r.lr for r in rows], color=_COLOURS[2])
    rate.set(ylabel="learning rate", xlabel="step")
    rate.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
    for axes in (loss, score, rate):
        axes.grid(alpha=0.3)
        axes.margins(x=0.01)
        if best_step is not None:
            axes.axvline(best_step, color=_GREY, linestyle=":", linewidth=1)
    if rows:
        took, idle = duration_in_words(rows[-1].seconds), share_in_line(waiting_share(rows))
        figure.suptitle(f"{rows[-1].step} steps in {took}, waiting {idle}")
    figure.savefig(path)


def _draw_loss(axes: Axes, rows: Sequence[Row]) -> None:
    """Every row thin, and their running mean; a logarithmic axis where losses span a decade."""
    steps, losses = [r.step for r in rows], np.array([r.loss for r in rows])
    axes.plot(steps, losses, color=_COLOURS[0], alpha=0.35, linewidth=1)
    axes.plot(steps, running_mean(losses), color=_COLOURS[0], linewidth=1.8, label="running mean")
    good = losses[np.isfinite(losses)]
    if good.size and good.min() > 0 and good.max() > 10 * good.min():
        axes.set_yscale("log")
    axes.set(ylabel="loss")
    if len(rows):
        axes.legend(loc="upper right", frameon=False)


def running_mean(values: np.ndarray, share: float = 0.05) -> np.ndarray:
    """The mean over a centred window of a ``share`` of the values, narrower at both ends."""
    half = int(len(values) * share / 2)
    upto = np.concatenate([[0.0], np.cumsum(values)])
    place = np.arange(len(values))
    first, last = np.maximum(place - half, 0), np.minimum(place + half + 1, len(values))
    return (upto[last] - upto[first]) / (last - first)


def _draw_scores(axes: Axes, rows: Sequence[Row], best_step: int | None) -> None:
    """A line per score. "score" repeats the one that decides, which is drawn thick."""
    scored = [(r.step, r.scores) for r in rows if r.scores]
    names = dict.fromkeys(name for _, scores in scored for name in scores if name != "score")
    deciding = [scores.get("score", np.nan) for _, scores in scored]
    for name, colour in zip(names, _COLOURS, strict=False):
        values = [scores.get(name, np.nan) for _, scores in scored]
        thick = 2.0 if values == deciding else 1.2
        label = f"{name.replace('_', ' ')}{' (decides)' if values == deciding else ''}"
        axes.plot(
            [step for step, _ in scored], values, ".-", color=colour, linewidth=thick, label=label
        )
    for step, scores in scored:
        if step == best_step:
            label = f"best: {scores['score']:.4f} at step {step}"
            axes.plot(step, scores["score"], "*", color="black", markersize=13, label=label)
    axes.set(ylabel="score on validation")
    if scored:
        axes.legend(loc="lower right", frameon=False)
