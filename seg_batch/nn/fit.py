"""The training loop: AdamW, warm-up and cosine, clipped gradients, averaged weights.

One compiled step of one fixed shape (no XLA: it is slower on CPUs), fed by a thread that prepares
the next batches meanwhile. What is validated, kept and returned is a running average of the
weights (EMA), which is steadier than the weights themselves.

The loop knows nothing of files or patches. `batches` yields ``(x, labels, valid)`` with shapes
``(B, *patch, C)`` float32, ``(B, *patch)`` integers and ``(B, *patch)`` bool, always the same B.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.errors import InputError
from seg_batch.nn.anunet import ANUNetConfig, anunet, deepest
from seg_batch.nn.backend import keras, tf
from seg_batch.nn.engine import Batched, compiled
from seg_batch.nn.losses import Loss, dice_ce, over_heads
from seg_batch.nn.prefetch import prefetched

type Batch = tuple[np.ndarray, np.ndarray, np.ndarray]
type PredictFn = Callable[[np.ndarray], np.ndarray]
type Scores = dict[str, float]
type Validate = Callable[[PredictFn], Scores]


@dataclass(frozen=True)
class Schedule:
    """The learning rate over a run's progress: linear warm-up, then half a cosine to `floor`."""

    peak: float = 2e-3
    warmup: float = 0.05
    floor: float = 0.01

    def __call__(self, progress: float) -> float:
        """The rate at `progress` (0 at the start, 1 at the end); `floor` is a part of `peak`."""
        if progress < self.warmup:
            return self.peak * max(progress / self.warmup, 0.01)
        done = min((progress - self.warmup) / (1.0 - self.warmup), 1.0)
        return self.peak * (
            self.floor + (1.0 - self.floor) * 0.5 * (1.0 + math.cos(math.pi * done))
        )


@dataclass(frozen=True)
class Row:
    """One line of the history; `scores` are there only after a validation."""

    step: int
    loss: float
    lr: float
    seconds: float
    scores: Scores | None = None


@dataclass(frozen=True)
class Fit:
    """What a run leaves: the best model (one output), its file, its step and scores, all rows."""

    model: keras.Model
    path: Path
    step: int
    scores: Scores
    history: tuple[Row, ...]


def fit(
    network: ANUNetConfig | keras.Model,
    batches: Iterator[Batch],
    *,
    steps: int,
    validate: Validate,
    work: Path,
    minutes: float | None = None,
    validate_every: int = 200,
    log_every: int = 20,
    loss: Loss | None = None,
    head_weights: tuple[float, ...] | None = None,
    schedule: Schedule | None = None,
    weight_decay: float = 1e-4,
    clip_norm: float = 1.0,
    ema: float = 0.99,
    predict_batch: int = 1,
    seed: int = 0,
    on_row: Callable[[Row], None] | None = None,
) -> Fit:
    """Train, and return the checkpoint that scored best.

    Ends after `steps` steps, after `minutes`, or when `batches` ends; the learning rate reaches its
    floor at whichever comes first. Every `validate_every` steps and at the end, `validate` gets a
    function from ``(n, *patch, C)`` to class probabilities ``(n, *patch, K)`` and returns scores;
    the highest "score" is kept as ``work/best.keras``. Rows go to ``work/history.jsonl`` as they
    come. `ema` is the weight of the past in the running average, 0 to switch it off. `seed` decides
    the first weights.
    Raises InputError when the loss stops being a number, or there is not a single batch.
    """
    keras.utils.set_random_seed(seed)
    model = anunet(network) if isinstance(network, ANUNetConfig) else network
    averaged = keras.models.clone_model(model)
    averaged.set_weights(model.get_weights())
    step_fn = _train_step(model, averaged, loss or dice_ce(), head_weights, weight_decay, clip_norm)
    clock = _Clock(steps, minutes, schedule or Schedule())
    keeper = _Keeper(deepest(averaged), Path(work), predict_batch, validate, on_row)
    losses: list[float] = []
    with prefetched(batches) as feed:
        for x, labels, valid in feed:
            rate, clock.step = clock.rate(), clock.step + 1
            decay = min(ema, clock.step / (clock.step + 10.0))
            losses.append(float(step_fn(x, labels.astype(np.int32), valid, rate, decay)))
            _require_finite(losses[-1], clock.step, rate)
            last = clock.over()
            if last or clock.step % validate_every == 0:
                keeper.check(clock.row(losses))
            elif clock.step % log_every == 0:
                keeper.note(clock.row(losses))
            if last:
                break
    return keeper.result(clock, losses)


def adopt(model: keras.Model, source: keras.Model) -> list[str]:
    """Copy weights from `source` into the layers of `model` with the same name and shapes.

    For fine-tuning with other classes or channels. Returns the names of layers that kept their
    own weights because `source` has nothing that fits.
    """
    theirs = {layer.name: layer for layer in source.layers}
    left = []
    for layer in model.layers:
        if not layer.weights:
            continue
        found = theirs.get(layer.name)
        shapes = [tuple(w.shape) for w in found.weights] if found is not None else None
        if found is not None and shapes == [tuple(w.shape) for w in layer.weights]:
            layer.set_weights(found.get_weights())
        else:
            left.append(layer.name)
    return left


def _train_step(
    model: keras.Model,
    averaged: keras.Model,
    loss: Loss,
    head_weights: tuple[float, ...] | None,
    weight_decay: float,
    clip_norm: float,
) -> Callable[..., Any]:
    """The compiled step: ``(x, labels, valid, rate, decay)`` to the loss before the update."""
    optimizer = keras.optimizers.AdamW(learning_rate=1e-3, weight_decay=weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    optimizer.build(model.trainable_variables)
    pairs = list(zip(averaged.weights, model.weights, strict=True))

    @tf.function(autograph=False, reduce_retracing=False)
    def step(x: Any, labels: Any, valid: Any, rate: Any, decay: Any) -> Any:
        with tf.GradientTape() as tape:
            heads = model(x, training=True)
            value = over_heads(loss, labels, heads, valid, weights=head_weights)
        gradients = tape.gradient(value, model.trainable_variables)
        gradients, _ = tf.clip_by_global_norm(gradients, clip_norm)
        optimizer.learning_rate.assign(rate)
        optimizer.apply(gradients, model.trainable_variables)
        for mean, weight in pairs:
            mean.assign(weight + decay * (mean - weight))
        return value

    def run(x: np.ndarray, labels: np.ndarray, valid: np.ndarray, rate: float, decay: float) -> Any:
        scalars = (tf.constant(rate, tf.float32), tf.constant(decay, tf.float32))
        return step(tf.constant(x), tf.constant(labels), tf.constant(valid), *scalars)

    return run


class _Clock:
    """Counts steps and seconds; progress is whichever limit is nearer."""

    def __init__(self, steps: int, minutes: float | None, schedule: Schedule) -> None:
        self.steps, self.schedule, self.step = steps, schedule, 0
        self.limit_s = math.inf if minutes is None else minutes * 60.0
        self.start = time.monotonic()

    def seconds(self) -> float:
        return time.monotonic() - self.start

    def progress(self) -> float:
        return max(self.step / self.steps, self.seconds() / self.limit_s)

    def rate(self) -> float:
        return self.schedule(self.progress())

    def over(self) -> bool:
        return self.progress() >= 1.0

    def row(self, losses: list[float]) -> Row:
        """A row with the mean of the losses since the last one, which it forgets."""
        mean = sum(losses) / max(len(losses), 1)
        losses.clear()
        return Row(self.step, round(mean, 6), self.rate(), round(self.seconds(), 2))


class _Keeper:
    """Writes the history and keeps the best checkpoint."""

    def __init__(
        self,
        model: keras.Model,
        work: Path,
        batch: int,
        validate: Validate,
        on_row: Callable[[Row], None] | None,
    ) -> None:
        work.mkdir(parents=True, exist_ok=True)
        self.model, self.validate, self.on_row = model, validate, on_row
        self.best_path, self.log_path = work / "best.keras", work / "history.jsonl"
        self.log_path.write_text("")
        self.predict = Batched(lambda shape: compiled(model, shape), batch)
        self.rows: list[Row] = []
        self.best: Row | None = None

    def note(self, row: Row) -> None:
        self.rows.append(row)
        with self.log_path.open("a") as log:
            log.write(json.dumps(asdict(row)) + "\n")
        if self.on_row is not None:
            self.on_row(row)

    def check(self, row: Row) -> None:
        """Validate, note, and keep the model if no earlier one scored higher."""
        scores = self.validate(self.predict)
        row = Row(row.step, row.loss, row.lr, row.seconds, scores)
        if self.best is None or scores["score"] > (self.best.scores or {})["score"]:
            self.best = row
            self.model.save(self.best_path)
        self.note(row)

    def result(self, clock: _Clock, losses: list[float]) -> Fit:
        if clock.step == 0:
            raise InputError(
                "there is not a single batch to train on; check the dataset and its split"
            )
        if self.rows[-1:] == [] or self.rows[-1].step != clock.step or self.rows[-1].scores is None:
            self.check(clock.row(losses))
        assert self.best is not None
        model = keras.models.load_model(self.best_path, compile=False, safe_mode=True)
        return Fit(model, self.best_path, self.best.step, self.best.scores or {}, tuple(self.rows))


def _require_finite(loss: float, step: int, rate: float) -> None:
    if not math.isfinite(loss):
        raise InputError(
            f"the loss is {loss} at step {step} (learning rate {rate:.2g}): training has "
            "diverged; use a lower learning rate, or look for NaN in the images"
        )
