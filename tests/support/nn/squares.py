"""A task that a tiny network learns in seconds: bright squares in noise. No pytest in here: the
processes that tests kill import it too."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.config.recipe import Recipe
from seg_batch.core import events
from seg_batch.core.callbacks import Callback
from seg_batch.nn.training.fit import FitResult, PredictFn, Row, fit
from seg_batch.nn.training.transfer import new_model

SIDE = 16


class Squares:
    """Sample k has its own generator; those in `broken` have a NaN in their image."""

    epoch, fingerprint = 20, "squares"

    def __init__(self, seed: int = 0, classes: int = 2, broken: tuple[int, ...] = ()) -> None:
        self.seed, self.classes, self.broken = seed, classes, broken
        self.histogram = np.full(classes, 100, np.int64)

    def __call__(self, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng = np.random.default_rng([self.seed, k])
        labels = np.zeros((SIDE, SIDE), np.int32)
        y, x = rng.integers(2, 10, 2)
        labels[y : y + 5, x : x + 5] = rng.integers(1, self.classes)
        image = 2.0 * labels[..., None] + 0.5 * rng.normal(size=(SIDE, SIDE, 1))
        if k in self.broken:
            image[3, 3] = np.nan
        return image.astype(np.float32), labels, np.ones(labels.shape, bool)

    def describe(self, k: int) -> str:
        return f"case squares, tile {k}"


def recipe(classes: int = 2, channels: int = 1, **parts: dict[str, Any]) -> Recipe:
    """Two levels of few filters, batches of 4, 12 steps, no augmentation."""
    colours = [(i, i, i) for i in range(classes)]
    card = {
        "name": "squares",
        "kind": "raster",
        "rank": 2,
        "channels": [f"c{i}" for i in range(channels)],
        "classes": [{"id": i, "name": f"k{i}", "colour": c} for i, c in enumerate(colours)],
        "patch": [SIDE, SIDE],
        "overlap": [4, 4],
        "normalisation": "identity",
    }
    run = {"batch": 4, "steps": 12, "validate_every": 6, "checkpoint_every": 4}
    plain = {
        "card": card,
        "cut": {"patch": [SIDE, SIDE], "overlap": [4, 4]},
        "network": {"arch": "unet", "filters": [4, 8]},
        "fit": run,
    }
    return Recipe.model_validate(plain).changed(**parts)


def dice(predict: PredictFn) -> dict[str, float]:
    """Of the squares."""
    test = Squares(seed=99)
    image, labels, _ = (np.stack(p) for p in zip(*(test(k) for k in range(4)), strict=True))
    found, truth = predict(image).argmax(-1) > 0, labels > 0
    return {"score": float(2 * (found & truth).sum() / (found.sum() + truth.sum()))}


class OnRow(Callback):
    """Calls a function with each row of the history."""

    def __init__(self, function: Callable[[Row], object]) -> None:
        self._function = function

    def on(self, event: events.Event) -> None:
        if isinstance(event, events.TrainingRow):
            self._function(Row(**{name: getattr(event, name) for name in Row.__dataclass_fields__}))


def trained(work: Path, how: Recipe, samples: Any = None, **options: Any) -> FitResult:
    """A fit from new weights."""
    options = {"model": new_model(how), "validate": dice, **options}
    return fit(options.pop("model"), samples or Squares(), recipe=how, work=work, **options)


def timeless(rows: tuple[Row, ...]) -> list[Row]:
    return [replace(row, seconds=0, wait=0) for row in rows]


def assert_same(one: FitResult, other: FitResult) -> None:
    assert timeless(one.history) == timeless(other.history)
    for a, b in zip(one.model.get_weights(), other.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (one.step, one.scores) == (other.step, other.scores)
