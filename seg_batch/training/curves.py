"""What a training looked like: its history as CSV and JSON, its curves and examples as pictures.

Figures are made without pyplot, which keeps every figure alive and looks for a screen.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seg_batch.core.units import duration_in_words, share_in_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from seg_batch.nn.training.history import Row

COLUMNS = ("step", "loss", "lr", "seconds", "wait")
_DPI = 100
_WIDTH, _HEIGHT = 10.0, 8.5  # inches: 1000 x 850 pixels
# Okabe and Ito's, told apart with any colour vision.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_GREY = "#666666"
_MOST_SCORES = len(_COLOURS)


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
        took, waited = duration_in_words(rows[-1].seconds), share_in_line(_waited(rows))
        figure.suptitle(f"{rows[-1].step} steps in {took}, waiting {waited}")
    figure.savefig(path)


def _draw_loss(axes: Axes, rows: Sequence[Row]) -> None:
    """Every row thin, and their running mean; a logarithmic axis where losses span a decade."""
    steps, losses = [r.step for r in rows], np.array([r.loss for r in rows])
    axes.plot(steps, losses, color=_COLOURS[0], alpha=0.35, linewidth=1)
    axes.plot(steps, running(losses), color=_COLOURS[0], linewidth=1.8, label="running mean")
    good = losses[np.isfinite(losses)]
    if good.size and good.min() > 0 and good.max() > 10 * good.min():
        axes.set_yscale("log")
    axes.set(ylabel="loss")
    if len(rows):
        axes.legend(loc="upper right", frameon=False)


def running(values: np.ndarray, share: float = 0.05) -> np.ndarray:
    """The mean over a centred window of a ``share`` of the values, narrower at both ends."""
    half = int(len(values) * share / 2)
    upto = np.concatenate([[0.0], np.cumsum(values)])
    place = np.arange(len(values))
    first, last = np.maximum(place - half, 0), np.minimum(place + half + 1, len(values))
    return (upto[last] - upto[first]) / (last - first)


def _draw_scores(axes: Axes, rows: Sequence[Row], best_step: int | None) -> None:
    """A line per score; "score", which is one of the others, decides and is the marked one."""
    scored = [(r.step, r.scores) for r in rows if r.scores]
    names = list(dict.fromkeys(name for _, scores in scored for name in scores))
    deciding = [scores.get("score", np.nan) for _, scores in scored]
    for name, colour in zip(
        [n for n in names if n != "score"][:_MOST_SCORES], _COLOURS, strict=False
    ):
        values = [scores.get(name, np.nan) for _, scores in scored]
        thick = 2.0 if values == deciding else 1.2
        label = f"{name.replace('_', ' ')}{' (decides)' if values == deciding else ''}"
        axes.plot(
            [step for step, _ in scored], values, ".-", color=colour, linewidth=thick, label=label
        )
    best = next((scores for step, scores in scored if step == best_step), None)
    if best is not None and best_step is not None:
        value = best["score"]
        axes.plot(
            best_step,
            value,
            "*",
            color="black",
            markersize=13,
            label=f"best: {value:.4f} at step {best_step}",
        )
    axes.set(ylabel="score on validation")
    if scored:
        axes.legend(loc="lower right", frameon=False)


def _waited(rows: Sequence[Row]) -> float:
    """Share of the whole time in which the step waited for data: rows weigh by their length."""
    ends = np.array([r.seconds for r in rows])
    spans = np.diff(ends, prepend=0.0)
    return float((spans * [r.wait for r in rows]).sum() / max(float(spans.sum()), 1e-9))


def write_examples(
    folder: Path,
    step: int,
    image: np.ndarray,
    truth: np.ndarray,
    prediction: np.ndarray,
    card: Any,
    *,
    valid: np.ndarray | None = None,
    names: Iterable[str] = (),
) -> list[Path]:
    """A PNG per example: image, truth and prediction beside each other; returns their paths.

    ``image``: ``(n, *s, channels)``, any units. ``truth``, ``prediction``: ``(n, *s)`` class indices
    of ``card.classes``; ``valid``: where truth counts. Volumes show three planes through the middle
    of the foreground, superior or anterior at the top. ``names``: a title for each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    counts = np.ones(truth.shape, bool) if valid is None else valid
    titles = [*names, *([""] * len(image))]
    paths = []
    for k in range(len(image)):
        path = folder / f"step_{step:06d}_{k + 1}.png"
        title = f"step {step}" + (f", {titles[k]}" if titles[k] else "")
        _write_example(path, title, (image[k], truth[k], prediction[k], counts[k]), card)
        paths.append(path)
    return paths


type _Example = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _write_example(path: Path, title: str, example: _Example, card: Any) -> None:
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    planes = _planes(example, card)
    height = 3.1 * len(planes) + 1.0
    figure = Figure(figsize=(9.0, height), dpi=_DPI, layout="constrained")
    grid = figure.subplots(len(planes), 3, squeeze=False)
    for k, (image, truth, found, valid) in enumerate(planes):
        panels = {
            "image": picture(image),
            "truth": coloured(truth, valid, card),
            "prediction": coloured(found, np.ones_like(valid), card),
        }
        for axes, (name, rgb) in zip(grid[k], panels.items(), strict=True):
            axes.imshow(rgb, interpolation="nearest")
            axes.set_axis_off()
            if k == 0:
                axes.set_title(name, fontsize=10)
    seen = sorted({int(v) for _, t, p, ok in planes for v in (*np.unique(t[ok]), *np.unique(p))})
    handles = [Patch(color=_rgb(card.classes[k].colour), label=card.classes[k].name) for k in seen]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(4, len(handles)), frameon=False
    )
    figure.suptitle(title, fontsize=11)
    figure.savefig(path)


def _rgb(colour: tuple[int, int, int]) -> tuple[float, float, float]:
    red, green, blue = colour
    return red / 255, green / 255, blue / 255


def _planes(example: _Example, card: Any) -> list[_Example]:
    """The example itself in 2-D; of a volume the planes across z, y and x, the right way up."""
    truth, valid = example[1], example[3]
    if truth.ndim == 2:
        return [example]
    ground = card.background_index
    there = valid & (truth != (-1 if ground is None else ground))
    if not there.any():
        there = np.ones(truth.shape, bool)
    middle = [int(np.median(places)) for places in np.nonzero(there)]
    return [
        tuple(np.take(a, at, axis)[::-1] for a in example)  # type: ignore[misc]
        for axis, at in enumerate(middle)
    ]


def picture(image: np.ndarray) -> np.ndarray:
    """``(y, x, channels)`` in any units as RGB uint8, from the 1st to the 99th percentile: grey, or
    bands 1, 2, 3 of three and 3, 2, 1 of more."""
    channels = image.shape[-1]
    picked = (
        image[..., :1] if channels < 3 else image[..., :3] if channels == 3 else image[..., 2::-1]
    )
    low, high = np.percentile(picked, (1, 99), axis=(0, 1))
    scaled = np.clip((picked - low) / np.maximum(high - low, 1e-6), 0, 1)
    rgb: np.ndarray = np.broadcast_to((255 * scaled).astype(np.uint8), (*image.shape[:2], 3))
    return rgb


def coloured(labels: np.ndarray, valid: np.ndarray, card: Any) -> np.ndarray:
    """``(y, x)`` class indices as RGB uint8 in the card's colours, mid grey where they do not count."""
    table = np.array([*(c.colour for c in card.classes), (128, 128, 128)], np.uint8)
    out: np.ndarray = table[np.where(valid, labels, len(card.classes))]
    return out
