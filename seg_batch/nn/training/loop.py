"""The loop of a training: steps, history, validation, checkpoints, resumption."""

import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import numpy as np

from seg_batch.config.recipe import Recipe
from seg_batch.core import events, files
from seg_batch.core.callbacks import Callback
from seg_batch.core.errors import InputError
from seg_batch.core.files import flush, translate_os_errors
from seg_batch.nn.backend import tf
from seg_batch.nn.engines.batched import Batched
from seg_batch.nn.engines.tensorflow import compiled, exhausted
from seg_batch.nn.networks.anunet import deepest
from seg_batch.nn.training.checkpoint import Checkpoints
from seg_batch.nn.training.history import History, Row, Scores
from seg_batch.nn.training.optimiser import share_of_peak, since_best
from seg_batch.nn.training.signals import Interrupt
from seg_batch.nn.training.step import Trainer, frozen_steps

type Sample = tuple[np.ndarray, np.ndarray, np.ndarray]
type PredictFn = Callable[[np.ndarray], np.ndarray]
type Validate = Callable[[PredictFn], Scores]
type OnExamples = Callable[[int, PredictFn], object]

LOG_EVERY = 20
LEAST_SHARE = 0.1  # of the minutes is trained in any case
EXHAUSTED = exhausted()
NAMED = 8  # samples of a bad batch that a message names


class SamplesLike(Protocol):
    """Training samples by number: ``(x (*patch, C) float32, labels (*patch) int32, valid bool)``."""

    @property
    def epoch(self) -> int: ...

    @property
    def histogram(self) -> np.ndarray: ...

    def __call__(self, k: int) -> Sample: ...

    def describe(self, k: int) -> str: ...


@dataclass(frozen=True)
class Best:
    """The validation with the highest score so far, and the file of its model."""

    step: int
    scores: Scores
    file: str
    sha256: str


@dataclass(frozen=True)
class OtherWork:
    """What the minutes of a training hold besides its steps. `began`: when they began (`time.monotonic`);
    `validation`: patches that a validation predicts; `after(patch_s)`: the seconds of what follows the last one,
    where a patch takes so long."""

    began: float
    validation: int
    after: Callable[[float], float]

    def seconds(self, patch_s: float) -> float:
        """From the last step to the end, where a patch takes so long."""
        return self.validation * patch_s + self.after(patch_s)


class Clock:
    """Seconds of training, including those before a kill, and progress by steps or by time.

    `other`: what the minutes hold, too; `reserve` says how long it is going to take."""

    def __init__(self, recipe: Recipe, before: float = 0.0, other: OtherWork | None = None) -> None:
        now, minutes = time.monotonic(), recipe.fit.minutes
        self.steps, self.start = recipe.fit.steps, now - before
        self._left_s = math.inf if minutes is None else minutes * 60.0
        self._left_s -= now - other.began if other else 0.0
        self._least_s = 0.0 if minutes is None else minutes * 60.0 * LEAST_SHARE
        self.reserve(0.0)

    def reserve(self, seconds: float) -> None:
        """End the steps so many seconds before the minutes are over, but not at once."""
        self.limit_s = max(self._left_s - seconds, self._least_s)

    def seconds(self) -> float:
        return time.monotonic() - self.start

    def progress(self, step: int) -> float:
        """The share of the nearer limit, steps or minutes; 1 at the end."""
        return max(step / self.steps, self.seconds() / self.limit_s)


class Loop:
    """One training, from step 0 or the last checkpoint to its end."""

    def __init__(
        self,
        trainer: Trainer,
        samples: SamplesLike,
        validate: Validate,
        checkpoints: Checkpoints,
        callback: Callback,
        on_examples: OnExamples | None,
        other: OtherWork | None = None,
    ) -> None:
        self.recipe, self.trainer, self.samples = trainer.recipe, trainer, samples
        self.work, self._checkpoints = checkpoints.folder, checkpoints
        self._validate, self._callback, self._on_examples = validate, callback, on_examples
        self._kept = deepest(trainer.averaged)
        size = 8 if tf.config.list_physical_devices("GPU") else 1
        self._batched = Batched(lambda shape: compiled(self._kept, shape), size, EXHAUSTED)
        self.per_step = self.recipe.fit.batch * self.recipe.optimiser.accumulate
        self._thaws = frozen_steps(self.recipe, samples.epoch)
        self._interrupt, self._other = Interrupt(), other
        self._begin()

    def run(self, batches: Callable[[int], Any]) -> None:
        """Train to the end. `batches`: the number of the first sample to the batches from there.

        Raises KeyboardInterrupt, after a checkpoint, on SIGINT or SIGTERM.
        """
        with self._interrupt:
            feed = None
            while not self._finish_step():
                feed = feed or iter(batches(self.step * self.per_step))
                self._step(feed)

    def _begin(self) -> None:
        """Restore the last checkpoint, or start at step 0."""
        checkpoint = self._checkpoints.read()
        state = checkpoint.state if checkpoint else {}
        self.step = checkpoint.step if checkpoint else 0
        rows = [Row(**row) for row in state.get("rows", ())]
        self.history = History(self.work / "history.jsonl", rows)
        self.best = Best(**state["best"]) if state.get("best") else None
        self._losses: list[float] = list(state.get("losses", ()))
        self._waited_s = 0.0
        if checkpoint:
            self._restore(checkpoint.values)
        self.clock = Clock(self.recipe, float(state.get("seconds", 0.0)), self._other)
        self._reserve_by_trial()
        self._row_s, self._saved = self.clock.seconds(), self.step

    def _reserve_by_trial(self) -> None:
        """Reserve the time that other work takes, by that of a patch; its first call compiles."""
        if self._other is None or math.isinf(self.clock.limit_s):
            return
        card = self.recipe.card
        patch = np.zeros((1, *card.patch, len(card.channels)), np.float32)
        for _ in range(2):
            start = time.monotonic()
            self.predict(patch)
        self.clock.reserve(self._other.seconds(time.monotonic() - start))

    def _restore(self, values: tuple[np.ndarray, ...]) -> None:
        variables = self.trainer.variables()
        shapes = [tuple(v.shape) for v in variables]
        if shapes != [v.shape for v in values]:
            raise InputError(
                f"the checkpoint in {self.work} was written with other versions of the libraries: "
                "remove the folder and train from the start"
            )
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    def rate(self) -> float:
        """The learning rate of the next step."""
        progress = self.clock.progress(self.step)
        share = share_of_peak(self.recipe.schedule, progress, self.history.scores())
        return self.recipe.optimiser.learning_rate * share

    def _step(self, feed: Any) -> None:
        start = time.monotonic()
        x, labels, valid = next(feed)
        self._waited_s += time.monotonic() - start
        rate, frozen = self.rate(), self.step < self._thaws
        decay = min(self.recipe.optimiser.ema, (self.step + 1) / (self.step + 11))
        loss, sound = self.trainer(x, labels, valid, rate, decay, frozen=frozen)
        if not sound:
            raise InputError(self._diverged(loss, rate))
        self.step += 1
        self._losses.append(loss)

    def _finish_step(self) -> bool:
        """Do what is due after a step, unless it was done before a kill; whether this is the end."""
        settings, step = self.recipe.fit, self.step
        over = (step > 0 and self.clock.progress(step) >= 1.0) or self._stale()
        if step and (over or step % settings.validate_every == 0):
            if not self.history.has(step, scored=True):
                self._check()
            over = over or self._stale()
        elif step and step % LOG_EVERY == 0 and not self.history.has(step):
            self._note(self._row())
        self._examples()
        due = step % settings.checkpoint_every == 0 or self._interrupt.asked
        if due and self._saved != step:
            self._save()
        if self._interrupt.asked and not over:
            raise KeyboardInterrupt
        return over

    def _stale(self) -> bool:
        patience = self.recipe.fit.patience
        return patience > 0 and since_best(self.history.scores()) >= patience

    def _check(self) -> None:
        """Validate; keep the model if its score is the highest; write history and checkpoint."""
        start = time.monotonic()
        try:
            scores = self._validate(self.predict)
        except KeyboardInterrupt:
            self._save()  # a resumed training begins with this validation
            raise
        if self._other is not None and self._other.validation:
            patch_s = (time.monotonic() - start) / self._other.validation
            self.clock.reserve(self._other.seconds(patch_s))
        if self.best is None or _number(scores) > _number(self.best.scores):
            self.best = self._keep(scores)
        self._note(replace(self._row(), scores=scores))
        self._save()

    def predict(self, patches: np.ndarray) -> np.ndarray:
        """``(n, *patch, C)`` to probabilities ``(n, *patch, K)``, with the averaged weights."""
        if self._interrupt.asked:
            raise KeyboardInterrupt
        return self._batched(patches)

    def _keep(self, scores: Scores) -> Best:
        name = f"best-{self.step:08d}.keras"
        beside = self.work / f"partial-{name}"
        with translate_os_errors(self.work / name):
            self._kept.save(beside)
            flush(beside)
            os.replace(beside, self.work / name)
        return Best(self.step, scores, name, files.sha256(self.work / name))

    def _row(self) -> Row:
        """The row of this step; its sums start again at 0."""
        loss = sum(self._losses) / max(len(self._losses), 1)
        now = self.clock.seconds()
        wait = self._waited_s / max(now - self._row_s, 1e-9)
        self._losses, self._waited_s, self._row_s = [], 0.0, now
        return Row(self.step, round(loss, 6), self.rate(), round(now, 2), round(wait, 4))

    def _note(self, row: Row) -> None:
        self.history.add(row)
        limits, per_step = self.recipe.fit, self.per_step
        self._callback.on(
            events.TrainingRow(
                **vars(row), steps=limits.steps, minutes=limits.minutes, per_step=per_step
            )
        )

    def _examples(self) -> None:
        """Call `on_examples` every `examples_every` epochs."""
        every, call = self.recipe.fit.examples_every, self._on_examples
        if every and call is not None and self.step:
            seen, span = self.step * self.per_step, every * self.samples.epoch
            if (seen - self.per_step) // span < seen // span:
                call(self.step, self.predict)

    def _save(self) -> None:
        state = {
            "seconds": self.clock.seconds(),
            "rows": [asdict(row) for row in self.history.rows],
            "losses": self._losses,
            "best": asdict(self.best) if self.best else None,
            "files": {self.best.file: self.best.sha256} if self.best else {},
        }
        values = [np.asarray(v.numpy()) for v in self.trainer.variables()]
        self._checkpoints.write(self.step, state, values)
        self._saved = self.step

    def _diverged(self, loss: float, rate: float) -> str:
        first = self.step * self.per_step
        batch = range(first, first + self.per_step)
        broken = [k for k in batch if not np.isfinite(self.samples(k)[0]).all()]
        names = list(dict.fromkeys(self.samples.describe(k) for k in broken or batch))
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        samples = "; ".join(names[:NAMED]) + more
        if broken:
            cause = (
                f"the images of {samples} hold values that are no numbers: mend or leave them out"
            )
        else:
            cause = f"training has diverged on {samples}: set a lower optimiser.learning_rate"
        kept = f"; checkpoint {self._saved} is kept" if self._saved else ""
        what = "gradient is not finite" if math.isfinite(loss) else f"loss is {loss}"
        return f"the {what} at step {self.step + 1} (learning rate {rate:.2g}); {cause}{kept}"


def _number(scores: Scores) -> float:
    return -math.inf if math.isnan(scores["score"]) else scores["score"]
