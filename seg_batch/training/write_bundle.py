"""From the best checkpoint to a bundle: weights, card with measured scores, history and pictures."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seg_batch.config.card import Compute, ModelCard
from seg_batch.config.recipe import Recipe
from seg_batch.config.recipe.reading import as_yaml
from seg_batch.core import events, files
from seg_batch.core.callbacks import Callback
from seg_batch.core.run_files import CARD
from seg_batch.datasets.patch_set import HeldRegion, PatchSet
from seg_batch.datasets.trained_on import card_fields
from seg_batch.evaluation.dataset_card import as_cut
from seg_batch.evaluation.score import scores_of
from seg_batch.inference import bundles
from seg_batch.inference.sliding_window.larger_patch import why_not_larger
from seg_batch.inference.sliding_window.stitch import Predictor
from seg_batch.training.border_effect import measure_border
from seg_batch.training.curves import write_curves, write_history
from seg_batch.training.examples import Examples, choose_examples
from seg_batch.training.provenance import training_summary
from seg_batch.training.time_left import border_pairs
from seg_batch.training.training_set import TrainingSet

if TYPE_CHECKING:
    from seg_batch.nn.training.fit import FitResult

IMAGES = 8  # regions that the border effect of a patch is measured on
TRIED = 2  # of them, with a larger patch
SIDE = {2: 1024, 3: 128}  # voxels per axis that are read of each


def write_bundle(
    folder: Path,
    learnt: TrainingSet,
    fitted: FitResult,
    used: Mapping[str, Any],
    work: Path,
    callback: Callback,
) -> ModelCard:
    """Write the bundle into ``folder`` and return its card. ``used``: the bundles that it was made from.

    ``model.keras``, ``card.json``, ``recipe.yaml``, ``split.json``, ``training.json``, ``history.csv``
    and ``history.json``, ``curves.png``, ``examples/``: pictures of held-out patches.
    """
    from seg_batch.nn.engines import load_predictor

    patches, recipe = learnt.patches, learnt.recipe
    weights = folder / bundles.WEIGHTS["keras"]
    shutil.copyfile(fitted.path, weights)
    sha256 = files.sha256(weights)
    predictor = load_predictor(weights, engine="tensorflow", precision="float32", sha256=sha256)
    validation, test = patches.held("validation"), patches.held("test")
    callback.on(events.Stage("measuring the border of a patch"))
    card = _card(patches, recipe, fitted.model, sha256)
    images = _images(validation, card)
    pairs = border_pairs(recipe, predictor, recipe.card.patch)
    border = measure_border(predictor, recipe.card.patch, images, pairs=pairs)
    card = card.model_copy(update={"border": border})
    fixed = why_not_larger(predictor, card, images[:TRIED])
    card = card.model_copy(update={"patch_fixed": fixed})
    summary = {**training_summary(patches, recipe, fitted.history, fitted.step), **used}
    scores: dict[str, Any] = {}
    for part, regions in (("validation", validation), ("test", test)):
        if regions:
            callback.on(events.Stage(f"scoring {part}"))
            measured_on = _measured_on(regions)
            scores[part] = {"measured_on": measured_on, **scores_of(regions, card, predictor)}
    how = {"precision": "float32", "taper": "hann", "overlap": list(card.overlap or ())}
    card = card.model_copy(update={"scores": {**scores, "how": how, "training": summary}})
    write_history(folder, fitted.history)
    write_curves(folder / "curves.png", fitted.history, fitted.step)
    _pictures(folder / "examples", work / "examples", validation, card, predictor, fitted.step)
    (folder / "recipe.yaml").write_text(as_yaml(recipe), encoding="utf-8")
    for name, value in (
        ("split.json", patches.hold_out),
        ("training.json", summary),
        (CARD, card.model_dump(mode="json")),
    ):
        (folder / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    return card


def _pictures(
    folder: Path,
    earlier: Path,
    regions: list[HeldRegion],
    card: ModelCard,
    predictor: Predictor,
    step: int,
) -> None:
    """The pictures drawn while training, and those of the finished model on the same patches."""
    if earlier.is_dir():
        shutil.copytree(earlier, folder)

    def predict(patches: np.ndarray) -> np.ndarray:
        return np.concatenate([np.asarray(predictor(patch[None])) for patch in patches])

    Examples(folder, choose_examples(regions, card), card)(step, predict)


def _images(regions: list[HeldRegion], card: ModelCard) -> list[np.ndarray]:
    """The middles of some held-out regions, normalised; of a volume, 2-D models get single slices."""
    assert card.patch is not None
    rank, images = len(card.patch), []
    for region in regions[:IMAGES]:
        lead = len(region.extent) - rank
        box = region.window.middle((1,) * lead + (SIDE[rank],) * rank)
        image = region.normaliser(region.read(box))
        images.append(image.reshape(*image.shape[lead:]))
    return images


def _card(patches: PatchSet, recipe: Recipe, model: Any, sha256: str) -> ModelCard:
    """The card of the bundle without its scores and its border."""
    from seg_batch.nn.analysis.flops import activation_bytes, forward_flops
    from seg_batch.nn.analysis.global_layers import for_card
    from seg_batch.nn.networks.registry import described, multiple

    draft, network = as_cut(recipe.card, patches.cases), recipe.network
    built = (network.arch, network.filters, network.options)
    return draft.card(
        patches.normaliser,
        compute=Compute(
            activation_bytes=activation_bytes(model, draft.patch),
            flops=forward_flops(model, draft.patch),
        ),
        multiple=(multiple(*built),) * len(draft.patch),
        architecture={**described(*built), **for_card(model)},
        split=patches.hold_out,
        **card_fields(draft, [case.get("seen") for case in patches.cases]),
        weights_sha256=sha256,
    )


def _measured_on(regions: list[HeldRegion]) -> str:
    """The voxels that were scored, in words that can be read without the dataset."""
    whole = [region for region in regions if region.box.shape == region.extent]
    if len(whole) == len(regions):
        return f"{len(regions)} whole cases that were held out of training"
    boxes = "; ".join(f"{region.case} [{region.box}]" for region in regions)
    return f"voxels held out of training: {boxes}"
