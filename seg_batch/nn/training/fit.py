"""Training of a model on numbered samples, by a recipe; the best validated state is the result.

The loop knows no files and no patches. Sample k is a function of k alone, and step s (from 0) takes
the samples ``s * n .. (s + 1) * n - 1``, n being ``accumulate * batch``: a resumed training needs
only s. A running average of the weights (EMA), which is steadier than the weights themselves, is
validated, kept and returned.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.config.recipe import Recipe
from seg_batch.core.callbacks import Callback
from seg_batch.core.errors import InputError, SegbatchError
from seg_batch.core.hardware import cores
from seg_batch.nn.backend import keras, tf
from seg_batch.nn.loading import load_model
from seg_batch.nn.losses.build import build_loss
from seg_batch.nn.losses.shapes import Loss
from seg_batch.nn.losses.voxelwise import inverse_frequency
from seg_batch.nn.training.checkpoint import Checkpoints, mark
from seg_batch.nn.training.history import Row, Scores
from seg_batch.nn.training.input_pipeline import feed
from seg_batch.nn.training.loop import Loop, OnExamples, OtherWork, PredictFn, SamplesLike, Validate
from seg_batch.nn.training.step import Trainer

__all__ = [
    "FitResult",
    "OtherWork",
    "PredictFn",
    "Row",
    "SamplesLike",
    "Scores",
    "Validate",
    "fit",
    "loss_of",
]

# Settings that may change between two runs of one training.
_FREE = {
    "card": {"name", "description", "licence", "training_data"},
    "fit": {"checkpoint_every", "examples_every"},
}


@dataclass(frozen=True)
class FitResult:
    """The result of a training: best model (one output), its file, step and scores; all rows."""

    model: keras.Model
    path: Path
    step: int
    scores: Scores
    history: tuple[Row, ...]


def fit(
    model: keras.Model,
    samples: SamplesLike,
    *,
    recipe: Recipe,
    validate: Validate,
    work: Path,
    teacher: keras.Model | None = None,
    callback: Callback | None = None,
    on_examples: OnExamples | None = None,
    other: OtherWork | None = None,
) -> FitResult:
    """Train a copy of `model` by `recipe`, and return its state with the highest score.

    `validate` gets a function from ``(n, *patch, C)`` to probabilities ``(n, *patch, K)`` and
    returns scores; the highest "score" wins, the earlier of equals. Rows go to
    ``work/history.jsonl`` and to `callback`. `on_examples` is called with the step and that
    function every ``fit.examples_every`` epochs. `teacher`: the model whose probabilities are
    distilled (``fit.distil``). `other`: what ``fit.minutes`` hold besides the steps.

    Law: after a kill at any moment, a second run with the same `work` gives the same weights and
    the same history except for seconds and wait, on one CPU and without a ``fit.minutes`` limit.
    Raises InputError when loss or gradients are not finite (naming the samples), when `work` holds
    only damaged checkpoints, when teacher or devices do not fit; StoreError when `work` is of
    another training; OutputError for a full disk; KeyboardInterrupt, after a checkpoint, on a
    signal.
    """
    if samples.epoch < 1:
        raise InputError("there is not a single sample to train on; check the dataset's split")
    _require_alike(model, teacher)
    checkpoints = Checkpoints(Path(work), _marks(model, samples, recipe, teacher))
    trainer = Trainer(model, recipe, loss_of(recipe, samples.histogram), teacher)
    loop = Loop(trainer, samples, validate, checkpoints, callback or Callback(), on_examples, other)
    source = _Source(samples)
    try:
        loop.run(lambda start: feed(source, start, loop.per_step, cores()))
    except tf.errors.OpError as error:
        raise source.error or error from None
    assert loop.best is not None
    path = loop.work / loop.best.file
    rows = tuple(loop.history.rows)
    return FitResult(load_model(path), path, loop.best.step, loop.best.scores, rows)


def loss_of(recipe: Recipe, histogram: np.ndarray) -> Loss:
    """The recipe's loss; `histogram` is the voxels per class of the training part."""
    settings = recipe.loss
    inverse = any(term.get("class_weights") == "inverse" for term in settings.terms)
    weights = None
    if inverse:
        weights = inverse_frequency(histogram.tolist(), settings.clip, settings.power)
    return build_loss(settings.terms, background=recipe.background is None, class_weights=weights)


class _Source:
    """The samples; keeps the error that TensorFlow replaces by one of its own."""

    def __init__(self, samples: SamplesLike) -> None:
        self._samples = samples
        self.error: SegbatchError | None = None

    def __call__(self, k: int) -> Any:
        try:
            return self._samples(int(k))
        except SegbatchError as error:
            self.error = error
            raise


def _require_alike(model: keras.Model, teacher: keras.Model | None) -> None:
    """Raises InputError unless the teacher has the model's channels, classes and dimensions."""
    if teacher is None:
        return
    for what, ours, theirs in (
        ("channels", model.inputs[0].shape[-1], teacher.inputs[0].shape[-1]),
        ("classes", model.outputs[-1].shape[-1], teacher.outputs[-1].shape[-1]),
        ("dimensions", len(model.inputs[0].shape) - 2, len(teacher.inputs[0].shape) - 2),
    ):
        if ours != theirs:
            raise InputError(
                f"the teacher has {theirs} {what}, this model {ours}, so there is nothing to "
                "follow: choose a teacher that was trained on the same channels and classes"
            )


def _marks(
    model: keras.Model, samples: SamplesLike, recipe: Recipe, teacher: keras.Model | None
) -> dict[str, str]:
    """Hashes of everything that decides a training, by the names that refusals use."""
    settings = recipe.model_dump(mode="json")
    for part, names in _FREE.items():
        settings[part] = {k: v for k, v in settings[part].items() if k not in names}
    counts = (samples.epoch, [int(n) for n in samples.histogram])
    return {
        "recipe": mark(settings),
        "dataset": mark(*counts, str(getattr(samples, "fingerprint", ""))),
        "start": mark(*model.get_weights()),
        "teacher": mark(*(teacher.get_weights() if teacher else ())),
    }
