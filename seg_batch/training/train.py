"""The verb ``train``: labelled data become a bundle, scored on what it never saw.

Keras is imported inside functions, so that planning and ``--help`` do not pay for it. Which
checkpoint is best is decided on the validation regions, stitched as in production; the test
regions are scored once, at the end, with the finished bundle. What a killed training needs to go
on lies in ``<bundle>.work``, which goes when the bundle is in its place.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seg_batch.config.card import WHOLE_PATCH, ModelCard
from seg_batch.config.command_options import TrainOverrides
from seg_batch.config.recipe import Recipe
from seg_batch.core import events
from seg_batch.core.callbacks import Callback, Callbacks
from seg_batch.core.errors import InputError, OutputError, StoreError
from seg_batch.core.files import held_folder
from seg_batch.core.run_files import CARD, CHECKPOINT
from seg_batch.datasets.patch_set import HeldRegion, PatchSet
from seg_batch.datasets.samples import Samples
from seg_batch.datasets.work_folder import work_folder
from seg_batch.evaluation.score import score
from seg_batch.inference.sliding_window.stitch import Predictor
from seg_batch.io.sinks.publish import require_replaceable, writing_folder
from seg_batch.training.examples import Examples, chosen
from seg_batch.training.initial_weights import (
    initial_weights,
    require_fitting,
    resolved,
    teacher_of,
)
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
    is then cut beside the bundle first. ``wishes``: recipe file and settings put over the advice or
    the dataset's recipe. ``from_bundle``, ``teacher``: names or paths of bundles to start from and to
    follow. A killed training goes on when called again; ``overwrite`` replaces an earlier bundle,
    and the beginning of another training in the work folder. Raises InputError for what can't be
    trained on, with nothing left behind, OutputError for a folder in the way, StoreError for the
    beginning of another training.
    """
    given = [str(data)] if isinstance(data, str | Path) else [str(one) for one in data]
    callback, path, wishes = callback or Callback(), Path(bundle), wishes or TrainOverrides()
    require_replaceable(path, overwrite, CARD)
    with _working(path) as work:
        found = training_set(
            given,
            work / "patches.zarr",
            wishes,
            callback,
            check=lambda recipe: require_fitting(recipe, from_bundle, teacher),
            overwrite=overwrite,
        )
        found = replace(found, recipe=resolved(found.recipe, from_bundle))
        callback.on(events.Noted(found.reasons))
        _require_held_out(found.patches)
        with ExitStack() as stack:
            callbacks = callback
            if tensorboard is not None:
                from seg_batch.nn.training.tensorboard import TensorBoardLog

                callbacks = Callbacks(stack.enter_context(TensorBoardLog(tensorboard)), callback)
            fitted = _fitted(found, from_bundle, teacher, work, callbacks, overwrite)
        with writing_folder(path, overwrite, CARD) as folder:
            card = write_bundle(folder, found, fitted, work, callback)
        callback.on(events.Noted(_warnings(card)))
    shutil.rmtree(work_folder(path))
    return card.model_dump(mode="json")


def _warnings(card: ModelCard) -> tuple[str, ...]:
    """What of the network no blending makes good."""
    layers = card.architecture.get(WHOLE_PATCH, [])
    if not layers:
        return ()
    count = f"{len(layers)} layers see" if len(layers) > 1 else "a layer sees"
    return (
        f"warning: {count} the whole patch, so neighbouring patches may disagree by more than blending "
        f"removes; compare the seam index of the bundle. {layers[0]}",
    )


@contextmanager
def _working(path: Path) -> Iterator[Path]:
    """The work folder, for this process alone. What is refused before there is a patch or a
    checkpoint to go on from leaves no such folder."""
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


def _require_held_out(patches: PatchSet) -> None:
    if not patches.held("validation"):
        raise InputError(
            f"{patches.path} holds nothing out for validation, so the best checkpoint can't be "
            "told: add hold_out.validation to the recipe and cut again"
        )


def _fitted(
    found: TrainingSet,
    from_bundle: str | None,
    teacher: str | None,
    work: Path,
    callback: Callback,
    overwrite: bool,
) -> FitResult:
    """The finished training, gone on with where it was; that of another one is removed or refused."""
    try:
        return _fit(found, from_bundle, teacher, work, callback)
    except StoreError as another:
        if not overwrite:
            raise StoreError(f"{another.message}, or begin anew with --overwrite") from None
    for name in ("fit", "examples"):
        shutil.rmtree(work / name, ignore_errors=True)
    return _fit(found, from_bundle, teacher, work, callback)


def _fit(
    found: TrainingSet,
    from_bundle: str | None,
    teacher: str | None,
    work: Path,
    callback: Callback,
) -> FitResult:
    """The training loop of ``nn`` with the samples, start and validation of this dataset."""
    from seg_batch.nn.training.fit import fit

    recipe, patches = found.recipe, found.patches
    validation = patches.held("validation")
    began = initial_weights(recipe, from_bundle)
    callback.on(events.Noted(began.lines))
    callback.on(events.Stage("training"))
    card = recipe.card.card(patches.normaliser)
    return fit(
        began.model,
        Samples(patches, recipe),
        recipe=recipe,
        validate=_validation(validation, recipe, patches),
        work=work / "fit",
        teacher=None if teacher is None else teacher_of(recipe, teacher),
        callback=callback,
        on_examples=Examples(work / "examples", chosen(validation, card), card),
    )


def _validation(
    regions: list[HeldRegion], recipe: Recipe, patches: PatchSet
) -> Callable[[Predictor], dict[str, float]]:
    """Scores of a checkpoint on what is held out for validation; ``score`` decides."""
    card = recipe.card.card(patches.normaliser)
    deciding = "accuracy" if recipe.fit.score == "accuracy" else "mean_dice"

    def validate(predictor: Predictor) -> dict[str, float]:
        found = score(regions, card, predictor)
        scores = {
            "accuracy": _number(found.accuracy),
            "mean_dice": _number(found.mean_dice_of_true),
        }
        return {"score": scores[deciding], **scores}

    return validate


def _number(value: float) -> float:
    """Scores must compare: a region without any class counts as 0."""
    return 0.0 if math.isnan(value) else round(value, 5)
