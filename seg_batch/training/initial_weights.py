"""What a training starts from: new weights, those of a bundle, and the teacher it follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from seg_batch.config.card import ModelCard
from seg_batch.config.recipe import Recipe
from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Shape
from seg_batch.inference import bundles


@dataclass(frozen=True)
class InitialWeights:
    """``model``: a Keras model; ``lines``: what of a bundle was not simply copied."""

    model: Any
    lines: tuple[str, ...] = ()


def require_fitting(recipe: Recipe, from_bundle: str | None, teacher: str | None) -> None:
    """InputError for what ``start``, ``teacher_of`` or the loss would refuse, found by names and
    numbers alone, before patches are cut."""
    from seg_batch.nn.losses.build import build_loss

    ones = [1.0] * len(recipe.card.classes)
    build_loss(recipe.loss.terms, background=recipe.background is None, class_weights=ones)
    if from_bundle is not None:
        theirs = _trained(from_bundle).card
        if theirs.rank != recipe.card.rank:
            raise InputError(
                f"{from_bundle} is {theirs.rank}-D and the recipe {recipe.card.rank}-D, so its weights "
                "can't be taken over: choose another --from"
            )
    recipe = resolved(recipe, from_bundle)
    _require_buildable(recipe)
    if teacher is not None:
        _require_same(teacher, _trained(teacher).card, recipe)


def resolved(recipe: Recipe, from_bundle: str | None) -> Recipe:
    """The recipe with the network that is trained: the bundle's, where it starts from one."""
    if from_bundle is None:
        return recipe
    theirs = _trained(from_bundle).card.architecture
    if "name" not in theirs:
        return recipe
    filters = theirs.get("filters", recipe.network.filters)
    options = theirs.get("options", {})
    return recipe.changed(network={"arch": theirs["name"], "filters": filters, "options": options})


def initial_weights(recipe: Recipe, from_bundle: str | None) -> InitialWeights:
    """The recipe's network, with the weights of a bundle where one is named.

    Its architecture is then the bundle's (`settled`). InputError where nothing fits.
    """
    from seg_batch.nn.loading import load_model
    from seg_batch.nn.networks.channel_fitting import Names
    from seg_batch.nn.training.transfer import adapted, fresh

    recipe = resolved(recipe, from_bundle)
    lines = _require_buildable(recipe)
    if from_bundle is None:
        return InitialWeights(fresh(recipe), lines)
    found = _trained(from_bundle)
    theirs, card = found.card, recipe.card
    source = load_model(found.weights, sha256=theirs.weights_sha256)
    network = fresh(recipe)
    done = adapted(
        network,
        source,
        channels=Names(theirs.channels or (), card.channels),
        classes=Names([c.name for c in theirs.classes], [c.name for c in card.classes]),
    )
    return InitialWeights(done.model, (f"starts from {theirs.name}", *done.lines))


def teacher_of(recipe: Recipe, name: str) -> Any:
    """The model of the bundle to follow; InputError unless it knows the same classes and channels."""
    from seg_batch.nn.loading import load_model

    found = _trained(name)
    _require_same(name, found.card, recipe)
    return load_model(found.weights, sha256=found.card.weights_sha256)


def _trained(name: str) -> bundles.Model:
    """A bundle that has weights."""
    found = bundles.checked(bundles.find_bundle(name))
    if found.path is None:
        raise InputError(f"{name} has no weights to start from or to follow: name a trained bundle")
    return found


def _require_same(name: str, theirs: ModelCard, recipe: Recipe) -> None:
    mine, known = ([c.id for c in card.classes] for card in (recipe.card, theirs))
    if mine != known or theirs.channels != recipe.card.channels:
        raise InputError(
            f"{name} knows other classes or channels than the recipe, so there is nothing to "
            "follow: choose a teacher that was trained on the same ones"
        )


def _require_buildable(recipe: Recipe) -> tuple[str, ...]:
    """InputError, in one line, for a network or patches of which no training can come; else what
    there is to say of the network's weights."""
    from seg_batch.nn.networks.registry import configuration

    card, how = recipe.card, recipe.network
    found = configuration(
        how.arch,
        how.filters,
        how.options,
        rank=card.rank,
        channels=len(card.channels),
        classes=len(card.classes),
    )
    if found.options.get("finer", 1) > 1:
        raise InputError(
            "network.options.finer is above 1, but patches hold labels on the grid of their image: leave "
            "it out, or train elsewhere and bring the model with segbatch models import"
        )
    for patch in (recipe.fit_patch, recipe.card.patch):
        if any(side % found.multiple for side in patch):
            raise InputError(_misfit(patch, how.arch, found.multiple))
    found.require_files()
    return found.said


def _misfit(patch: Shape, arch: str, times: int) -> str:
    near = [(max(side // times, 1) * times, -(-side // times) * times) for side in patch]
    lower, upper = (" x ".join(map(str, sides)) for sides in zip(*near, strict=True))
    fits = upper if lower == upper else f"{lower} or {upper}"
    return (
        f"a patch of {patch} can't be halved and put together again by {arch}: every side has to be a "
        f"multiple of {times}; the nearest that fit are {fits}"
    )
