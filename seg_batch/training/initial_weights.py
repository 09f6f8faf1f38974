"""The initial weights of a training, new or those of a bundle, and the teacher of a distillation."""

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
    """``model``: a Keras model; ``lines``: messages, such as weights that were not simply copied."""

    model: Any
    lines: tuple[str, ...] = ()


def require_fitting(recipe: Recipe, from_bundle: str | None, teacher: str | None) -> None:
    """InputError for what ``initial_weights``, ``teacher_of`` or the loss would refuse, decided from
    names and numbers alone, before patches are cut."""
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
    network = {
        "arch": theirs["name"],
        "filters": theirs.get("filters", recipe.network.filters),
        "options": theirs.get("options", {}),
    }
    return recipe.changed(network=network)


def initial_weights(recipe: Recipe, from_bundle: str | None) -> InitialWeights:
    """The recipe's network, with the weights of a bundle where one is named.

    Its architecture is then the bundle's (``resolved``). InputError where nothing fits.
    """
    from seg_batch.nn.loading import load_model
    from seg_batch.nn.networks.channel_fitting import Names
    from seg_batch.nn.training.transfer import new_model, with_source_weights

    recipe = resolved(recipe, from_bundle)
    lines = _require_buildable(recipe)
    if from_bundle is None:
        return InitialWeights(new_model(recipe), lines)
    bundle = _trained(from_bundle)
    theirs, card = bundle.card, recipe.card
    transferred = with_source_weights(
        new_model(recipe),
        load_model(bundle.weights, sha256=theirs.weights_sha256),
        channels=Names(theirs.channel_names or (), card.channel_names),
        classes=Names([c.name for c in theirs.classes], [c.name for c in card.classes]),
    )
    return InitialWeights(transferred.model, (f"starts from {theirs.name}", *transferred.lines))


def teacher_of(recipe: Recipe, name: str) -> Any:
    """The model of the bundle to follow; InputError unless it knows the same classes and channels."""
    from seg_batch.nn.loading import load_model

    bundle = _trained(name)
    _require_same(name, bundle.card, recipe)
    return load_model(bundle.weights, sha256=bundle.card.weights_sha256)


def bundles_used(from_bundle: str | None, teacher: str | None) -> dict[str, dict[str, str]]:
    """The bundles that a training starts from (``from``) and follows (``teacher``), by name and weights."""
    named = {"from": from_bundle, "teacher": teacher}
    cards = {part: _trained(name).card for part, name in named.items() if name is not None}
    return {
        part: {"name": card.name, "weights_sha256": card.weights_sha256}
        for part, card in cards.items()
    }


def _trained(name: str) -> bundles.Model:
    """A bundle by name or path; InputError where it has no weights."""
    bundle = bundles.require_intact(bundles.find_bundle(name))
    if bundle.path is None:
        raise InputError(f"{name} has no weights to start from or to follow: name a trained bundle")
    return bundle


def _require_same(name: str, theirs: ModelCard, recipe: Recipe) -> None:
    mine, known = ([c.id for c in card.classes] for card in (recipe.card, theirs))
    if mine != known or theirs.channel_names != recipe.card.channel_names:
        raise InputError(
            f"{name} knows other classes or channels than the recipe, so there is nothing to "
            "follow: choose a teacher that was trained on the same ones"
        )


def _require_buildable(recipe: Recipe) -> tuple[str, ...]:
    """InputError for a network that can't be built, or for patches that do not fit it; else lines
    about the network's weights."""
    from seg_batch.nn.networks.registry import configuration

    card, how = recipe.card, recipe.network
    sizes = {"rank": card.rank, "channels": len(card.channels), "classes": len(card.classes)}
    network = configuration(how.arch, how.filters, how.options, **sizes)
    if network.options.get("finer", 1) > 1:
        raise InputError(
            "network.options.finer is above 1, but patches hold labels on the grid of their image: leave "
            "it out, or train elsewhere and bring the model with segbatch models import"
        )
    for patch in (recipe.fit_patch, recipe.card.patch):
        _require_divisible(patch, how.arch, network.multiple)
    network.require_files()
    return network.said


def _require_divisible(patch: Shape, arch: str, multiple: int) -> None:
    if not any(side % multiple for side in patch):
        return
    near = [(max(n // multiple, 1) * multiple, -(-n // multiple) * multiple) for n in patch]
    lower, upper = (" x ".join(map(str, sides)) for sides in zip(*near, strict=True))
    fits = upper if lower == upper else f"{lower} or {upper}"
    raise InputError(
        f"a patch of {patch} can't be halved and put together again by {arch}: every side has to be a "
        f"multiple of {multiple}; the nearest that fit are {fits}"
    )
