"""What the training loop costs beside its steps: the whole of ``fit`` (feed, EMA, clipping, rows,
checkpoints as often as by default) against a bare compiled step (forward, backward, AdamW, no more)
on one batch that stays in memory, turn by turn. Patches are cached; what making them costs is
measured by ``feed``. Target: at least 0.85 of the bare throughput. A tiny network shows the loop's
own cost, that of the Landsat starter what is left of it in practice."""

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from timing import show

from seg_batch.config.recipe import Recipe
from seg_batch.config.recipe.reading import read_recipe
from seg_batch.core import events
from seg_batch.core.callbacks import Callback
from seg_batch.nn.backend import keras, tf
from seg_batch.nn.losses.build import over_heads
from seg_batch.nn.training.fit import fit, loss_of
from seg_batch.nn.training.transfer import new_model

TARGET, WARM = 0.85, 20
LANDSAT = Path(__file__).parents[2] / "workflows" / "landsat8-landcover.yaml"
TINY = {"network": {"arch": "unet", "filters": [8, 16]}, "fit": {"patch": [64, 64], "batch": 4}}
SIZES = {"tiny": (TINY, 800), "landsat8-landcover": ({}, 120)}


class Cached:
    """Sixteen patches of noise, over and over."""

    epoch = 16

    def __init__(self, recipe: Recipe) -> None:
        rng = np.random.default_rng(0)
        side, classes = recipe.fit_patch, len(recipe.card.classes)
        shape = (self.epoch, *side)
        self.x = rng.normal(size=(*shape, len(recipe.card.channels))).astype(np.float32)
        self.labels = rng.integers(0, classes, shape, np.int32)
        self.valid = np.ones(side, bool)
        self.histogram = np.bincount(self.labels.ravel(), minlength=classes)

    def __call__(self, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.x[k % self.epoch], self.labels[k % self.epoch], self.valid

    def describe(self, k: int) -> str:
        return f"noise {k % self.epoch}"


def bare_step(recipe: Recipe, samples: Cached) -> Any:
    """A function that trains once on a batch in memory."""
    model, loss = new_model(recipe), loss_of(recipe, samples.histogram)
    adamw = keras.optimizers.AdamW(1e-3, weight_decay=1e-4)
    adamw.build(model.trainable_variables)
    parts = zip(*(samples(k) for k in range(recipe.fit.batch)), strict=True)
    x, labels, valid = (tf.constant(np.stack(part)) for part in parts)

    @tf.function(autograph=False)
    def step() -> Any:
        with tf.GradientTape() as tape:
            value = over_heads(loss, labels, model(x, training=True), valid)
        weights = model.trainable_variables
        adamw.apply(tape.gradient(value, weights), weights)
        return value

    return lambda: float(step())


class Turns(Callback):
    """Twenty steps of the loop, twenty bare ones, and so on: seconds per step of each."""

    def __init__(self, bare: Any) -> None:
        self._bare, self._since, self._step = bare, 0.0, 0
        self.loop_s: list[float] = []
        self.bare_s: list[float] = []
        self.waits: list[float] = []

    def on(self, row: events.Event) -> None:
        if not isinstance(row, events.TrainingRow):
            return
        now, steps = time.perf_counter(), row.step - self._step
        if self._step >= WARM:
            self.loop_s.append((now - self._since) / steps)
            self.waits.append(row.wait)
        start = time.perf_counter()
        for _ in range(steps):
            self._bare()
        if self._step >= WARM:
            self.bare_s.append((time.perf_counter() - start) / steps)
        self._step, self._since = row.step, time.perf_counter()


def measured(name: str, parts: dict[str, Any], steps: int, work: Path) -> bool:
    """Measure and show one size; whether it reached the target."""
    recipe = read_recipe(LANDSAT).changed(**parts)  # the bare step is float32, so is the loop
    recipe = recipe.changed(
        fit={"steps": steps, "minutes": None, "validate_every": 10**6},
        optimiser={"precision": "float32"},
    )
    samples = Cached(recipe)
    turns = Turns(bare_step(recipe, samples))

    def unscored(predict: Any) -> dict[str, float]:
        return {"score": 0.0}

    fit(new_model(recipe), samples, recipe=recipe, validate=unscored, work=work, callback=turns)
    # Means of the loop: the checkpoint in every fifth turn is a cost of it.
    loop_s, bare_s = statistics.mean(turns.loop_s), statistics.mean(turns.bare_s)
    middle = statistics.median(turns.bare_s) / statistics.median(turns.loop_s)
    rate, waiting = bare_s / loop_s, statistics.median(turns.waits)
    show(
        f"training, {name}",
        f"a step of the loop takes {1e3 * loop_s:.1f} ms, a bare one {1e3 * bare_s:.1f}: {rate:.2f} "
        f"of the bare throughput with checkpoints, {middle:.2f} by medians (target {TARGET}); "
        f"{waiting:.1%} of the time is waiting for data",
        rate=rate,
        median_rate=middle,
        target=TARGET,
        loop_s=loop_s,
        bare_s=bare_s,
        waiting=waiting,
    )
    return middle >= TARGET


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        reached = [
            measured(name, parts, steps, Path(folder) / name)
            for name, (parts, steps) in SIZES.items()
        ]
    return 0 if all(reached) else 1


if __name__ == "__main__":
    sys.exit(main())
