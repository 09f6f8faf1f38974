"""The verb ``train``: a patch dataset becomes a bundle, scored on what it never saw.

Keras is imported inside functions, so that planning and ``--help`` do not pay for it. Which
checkpoint is best is decided on the validation regions, stitched as in production; the test
regions are scored once, at the end, with the finished bundle.
"""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from seg_batch import bundles
from seg_batch.card import Compute, ModelCard
from seg_batch.dataset import Held, PatchSet
from seg_batch.errors import InputError
from seg_batch.normalise import Normaliser
from seg_batch.recipe import Recipe
from seg_batch.samples import Samples
from seg_batch.sinks.publish import writing_folder
from seg_batch.stitch import Predictor
from seg_batch.verbs.scoring import score
from seg_batch.version import versions

if TYPE_CHECKING:
    from seg_batch.nn.fit import Fit, Row

ARCHITECTURES = ("anunet",)
HISTORY = "history.jsonl"


class Listener(Protocol):
    """What is told of a training as it goes. ``row``: step, loss, lr, seconds, scores."""

    def stage(self, name: str) -> None: ...

    def row(self, row: Row, steps: int, minutes: float | None) -> None: ...


class Silent:
    """The listener that does not listen."""

    def stage(self, name: str) -> None: ...

    def row(self, row: Row, steps: int, minutes: float | None) -> None: ...


def train(
    dataset: str | Path,
    bundle: str | Path,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    from_bundle: str | None = None,
    arch: str = "anunet",
    overwrite: bool = False,
    listener: Listener | None = None,
) -> dict[str, Any]:
    """Train on ``dataset`` and write the bundle folder ``bundle``; returns the card as a dict.

    ``minutes`` and ``steps`` replace those of the dataset's recipe. ``from_bundle``: name or path
    of a bundle whose weights are the start, wherever layers have the same name and shape. Raises
    InputError for a dataset that can't be trained on, OutputError for a folder in the way.
    """
    if arch not in ARCHITECTURES:
        raise InputError(f"--arch {arch!r} is unknown: use one of {', '.join(ARCHITECTURES)}")
    listener, path = listener or Silent(), Path(bundle)
    patches = PatchSet(dataset)
    recipe = _limited(patches.recipe, minutes, steps)
    validation, test = patches.held("validation"), patches.held("test")
    if not validation:
        raise InputError(
            f"{dataset} holds nothing out for validation, so the best checkpoint can't be told: "
            "add hold_out.validation to the recipe and cut again"
        )
    with writing_folder(path, overwrite, "card.json") as folder:
        listener.stage("training")
        found = _fit(patches, recipe, validation, from_bundle, folder / "work", listener)
        shutil.copyfile(found.path, folder / bundles.WEIGHTS)
        shutil.copyfile(folder / "work" / HISTORY, folder / HISTORY)
        shutil.rmtree(folder / "work")
        listener.stage("scoring on what was held out")
        card = _card(patches, recipe, found, folder)
        card = _scored(card, folder, {"validation": validation, "test": test}, found)
        (folder / "card.json").write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return card.model_dump(mode="json")


def _limited(recipe: Recipe, minutes: float | None, steps: int | None) -> Recipe:
    changed = {k: v for k, v in (("minutes", minutes), ("steps", steps)) if v is not None}
    return recipe.changed(fit=changed)


def _fit(
    patches: PatchSet,
    recipe: Recipe,
    validation: list[Held],
    from_bundle: str | None,
    work: Path,
    listener: Listener,
) -> Fit:
    """The training loop of ``nn`` with the batches, loss and validation of this dataset."""
    from seg_batch.nn.fit import fit

    how, card = recipe.fit, recipe.card.card(patches.normaliser)

    def validate(predictor: Predictor) -> dict[str, float]:
        found = score(validation, card, predictor)
        scores = {"accuracy": _number(found.accuracy), "mean_dice": _number(found.mean_dice)}
        return {"score": scores["accuracy" if how.score == "accuracy" else "mean_dice"], **scores}

    return fit(
        _network(recipe, from_bundle),
        Samples(patches, recipe),
        recipe=recipe,
        validate=validate,
        work=work,
        on_row=lambda row: listener.row(row, how.steps, how.minutes),
    )


def _number(value: float) -> float:
    """Scores must compare: a region without any class counts as 0."""
    return 0.0 if math.isnan(value) else round(value, 5)


def _network(recipe: Recipe, from_bundle: str | None) -> Any:
    """What to fit: a new network, or one with the weights of a bundle."""
    from seg_batch.nn.adapt import adapted, fresh
    from seg_batch.nn.anunet import ANUNetConfig
    from seg_batch.nn.loading import load_model

    draft, filters = recipe.card, recipe.network.filters
    source = None
    if from_bundle is not None:
        model = bundles.find(from_bundle)
        filters = tuple(model.card.architecture.get("filters", filters))
        source = load_model(model.weights, sha256=model.card.weights_sha256)
    config = ANUNetConfig(draft.rank, len(draft.channels), len(draft.classes), filters)
    for patch in {recipe.fit_patch, draft.patch}:
        if any(side % config.multiple for side in patch):
            raise InputError(
                f"a patch of {patch} can't be halved {config.depth} times: every side has to be a "
                f"multiple of {config.multiple}"
            )
    network = fresh(recipe.changed(network={"filters": filters}))
    return network if source is None else adapted(network, source).model


def _card(patches: PatchSet, recipe: Recipe, found: Fit, folder: Path) -> ModelCard:
    """The card of the bundle, all but its scores."""
    from seg_batch.nn.anunet import filters_of
    from seg_batch.nn.cost import activation_bytes, forward_flops

    draft = recipe.card
    compute = Compute(
        activation_bytes=activation_bytes(found.model, draft.patch),
        flops=forward_flops(found.model, draft.patch),
    )
    numbers: Normaliser | None = patches.normaliser if draft.normalisation == "card" else None
    return draft.card(
        numbers,
        compute=compute,
        architecture={"name": "anunet", "filters": list(filters_of(found.model))},
        weights_sha256=bundles.sha256(folder / bundles.WEIGHTS),
    )


def _scored(card: ModelCard, folder: Path, parts: dict[str, list[Held]], found: Fit) -> ModelCard:
    """The card with what the finished bundle scores through the production predictor."""
    from seg_batch.nn.engine import load_predictor

    predictor = load_predictor(
        folder / bundles.WEIGHTS, precision="float32", sha256=card.weights_sha256
    )
    names = [c.name for c in card.classes]
    scores: dict[str, Any] = {}
    for part, regions in parts.items():
        if regions:
            table = score(regions, card, predictor).table(names)
            scores[part] = {"measured_on": _measured_on(part, regions), **table}
    scores["how"] = {"precision": "float32", "taper": "hann", "overlap": list(card.overlap or ())}
    scores["training"] = {
        "steps": found.history[-1].step,
        "best_step": found.step,
        "minutes": round(found.history[-1].seconds / 60, 1),
        "versions": versions(),
    }
    return card.model_copy(update={"scores": scores})


def _measured_on(part: str, regions: list[Held]) -> str:
    """Which voxels, in words that hold without the dataset."""
    whole = [region for region in regions if region.box.shape == region.extent]
    if len(whole) == len(regions):
        return f"{len(regions)} whole cases that were held out of training"
    boxes = "; ".join(f"{region.case} [{region.box}]" for region in regions)
    return f"voxels held out of training: {boxes}"
