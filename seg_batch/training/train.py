"""The command ``train``: labelled data become a bundle, scored on held-out data.

Keras is imported inside functions, so that planning and ``--help`` do not load it. The best
checkpoint is chosen on the validation regions, stitched as in production; the test regions are scored
once, at the end, with the finished bundle. A killed training is resumed from ``<bundle>.work``, which
is removed when the bundle is in its place.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seg_batch.config.card import WHOLE_PATCH, ModelCard
from seg_batch.config.command_options import TrainOverrides
from seg_batch.config.recipe import Recipe
from seg_batch.core import events
from seg_batch.core.callbacks import Callback, Callbacks
from seg_batch.core.errors import InputError, OutputError, StoreError
from seg_batch.core.files import held_folder, require_local_output
from seg_batch.core.run_files import CARD, CHECKPOINT
from seg_batch.datasets.patch_set import HeldRegion
from seg_batch.datasets.samples import Samples
from seg_batch.datasets.work_folder import work_folder
from seg_batch.evaluation.score import score
from seg_batch.inference.bundles import name_for
from seg_batch.inference.sliding_window.stitch import Predictor
from seg_batch.io.sinks.publish import require_replaceable, writing_folder
from seg_batch.training.examples import Examples, choose_examples
from seg_batch.training.initial_weights import (
    bundles_used,
    initial_weights,
    require_fitting,
    resolved,
    teacher_of,
)
from seg_batch.training.time_left import other_work
from seg_batch.training.training_set import TrainingSet, training_set
from seg_batch.training.write_bundle import write_bundle

if TYPE_CHECKING:
    from seg_batch.nn.training.fit import FitResult


def train(
    data: str | Path | Sequence[str],
    bundle: str | Path,
    *,
    wishes: TrainOverrides | None = None,
    from_bundle: str | None = None,
    teacher: str | None = None,
    tensorboard: str | None = None,
    overwrite: bool = False,
    callback: Callback | None = None,
) -> dict[str, Any]:
    """Train on ``data`` and write the bundle folder ``bundle``; returns the card as a dict.

    ``data``: a patch dataset, or what ``segbatch patches`` takes (a manifest, folders, pairs), which
    is then cut beside the bundle first. ``wishes``: recipe file and settings put over the advised
    recipe or that of the dataset. ``from_bundle``, ``teacher``: names or paths of bundles to start
    from and to follow. A killed training is resumed when called again; ``overwrite`` replaces an
    earlier bundle, and another unfinished training in the work folder. Raises InputError for data that
    can't be trained on, with nothing left behind, OutputError for a folder in the way, StoreError for
    another unfinished training.
    """
    began = time.monotonic()
    paths = [str(data)] if isinstance(data, str | Path) else [str(path) for path in data]
    callback, path, wishes = Callbacks(callback), Path(bundle), wishes or TrainOverrides()
    require_replaceable(path, overwrite, CARD)
    if tensorboard is not None:
        require_local_output(tensorboard)
    with _open_work(path) as work:
        learnt = training_set(
            paths,
            work / "patches.zarr",
            wishes,
            callback,
            check=lambda recipe: require_fitting(recipe, from_bundle, teacher),
            overwrite=overwrite,
            name=name_for(path),
        )
        learnt = replace(learnt, recipe=resolved(learnt.recipe, from_bundle))
        callback.on(events.Noted(learnt.reasons))
        if not learnt.patches.held("validation"):
            raise InputError(
                f"{learnt.patches.path} holds nothing out for validation, so the best checkpoint "
                "can't be told: add hold_out.validation to the recipe and cut again"
            )
        with ExitStack() as stack:
            callbacks = callback
            if tensorboard is not None:
                from seg_batch.nn.training.tensorboard import TensorBoardLog

                callbacks = Callbacks(stack.enter_context(TensorBoardLog(tensorboard)), callback)
            fit = partial(_fit, learnt, from_bundle, teacher, work, callbacks, began)
            fitted = _resumed(fit, work, overwrite)
        with writing_folder(path, overwrite, CARD) as folder:
            used = bundles_used(from_bundle, teacher)
            card = write_bundle(folder, learnt, fitted, used, work, callback)
        callback.on(events.Noted(_warnings(card)))
    shutil.rmtree(work_folder(path))
    return card.model_dump(mode="json")


def _warnings(card: ModelCard) -> tuple[str, ...]:
    """Effects of the network that blending does not remove."""
    layers = card.architecture.get(WHOLE_PATCH, [])
    if not layers:
        return ()
    count = f"{len(layers)} layers see" if len(layers) > 1 else "a layer sees"
    return (
        f"warning: {count} the whole patch, so neighbouring patches may disagree by more than blending "
        f"removes; compare the seam index of the bundle. {layers[0]}",
    )


@contextmanager
def _open_work(path: Path) -> Iterator[Path]:
    """The work folder, held by this process. It is removed if the training is refused before there is
    a patch or a checkpoint to resume from."""
    work = work_folder(path)
    busy = OutputError(
        f"another segbatch run is training {path}: wait for it, or use another output"
    )
    with held_folder(work, busy):
        try:
            yield work
        except BaseException:
            if not any([*work.glob("patches.zarr*"), *work.glob(f"fit/{CHECKPOINT}*.json")]):
                shutil.rmtree(work, ignore_errors=True)
            raise


def _resumed(fit: Callable[[], FitResult], work: Path, overwrite: bool) -> FitResult:
    """The training, resumed from its checkpoints; those of another one are removed or refused."""
    try:
        return fit()
    except StoreError as another:
        if not overwrite:
            raise StoreError(f"{another.message}, or begin anew with --overwrite") from None
    for name in ("fit", "examples"):
        shutil.rmtree(work / name, ignore_errors=True)
    return fit()


def _fit(
    learnt: TrainingSet,
    from_bundle: str | None,
    teacher: str | None,
    work: Path,
    callback: Callback,
    began: float,
) -> FitResult:
    """The training loop of ``nn`` with the samples, start and validation of this dataset. ``began``: when the
    minutes of the training did."""
    from seg_batch.nn.training.fit import fit

    recipe, patches = learnt.recipe, learnt.patches
    validation = patches.held("validation")
    initial = initial_weights(recipe, from_bundle)
    callback.on(events.Noted(initial.lines))
    callback.on(events.Stage("training"))
    card = recipe.card.card(patches.normaliser)
    return fit(
        initial.model,
        Samples(patches, recipe),
        recipe=recipe,
        validate=_validation(validation, recipe, card),
        work=work / "fit",
        teacher=None if teacher is None else teacher_of(recipe, teacher),
        callback=callback,
        on_examples=Examples(work / "examples", choose_examples(validation, card), card),
        other=other_work(began, patches, recipe, card),
    )


def _validation(
    regions: list[HeldRegion], recipe: Recipe, card: ModelCard
) -> Callable[[Predictor], dict[str, float]]:
    """Scores of a checkpoint on the validation regions; ``score`` decides which one is best."""
    deciding = "accuracy" if recipe.fit.score == "accuracy" else "mean_dice"

    def validate(predictor: Predictor) -> dict[str, float]:
        scored = score(regions, card, predictor)
        numbers = {"accuracy": scored.accuracy, "mean_dice": scored.mean_dice_of_true}
        # Scores must be comparable: an undefined one counts as 0.
        scores = {k: 0.0 if math.isnan(v) else round(v, 5) for k, v in numbers.items()}
        return {"score": scores[deciding], **scores}

    return validate
