"""The model that a request names, or the one that fits its input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from seg_batch.config.card import ModelCard
from seg_batch.config.image_options.grid import GridOptions
from seg_batch.core.errors import BundleError
from seg_batch.inference.bundles import Model, find_bundle, require_fit, require_intact
from seg_batch.inference.ensemble import as_ensemble
from seg_batch.inference.fit.choice import choose_bundle
from seg_batch.inference.fit.verdict import Verdict
from seg_batch.io.sources.protocol import Source, SourceInfo

OneModel = str | Path | tuple[ModelCard, Callable[..., Any]]
ModelLike = OneModel | Sequence[OneModel] | None


def resolve_model(
    model: ModelLike, file: Source, grid: GridOptions = GridOptions()
) -> tuple[Model, Verdict | None]:
    """A bundle by name, path or fit; a card with any callable ``array -> array``; or a list of
    such, whose probabilities are averaged. And what a look said, where the choice took one."""
    return choose_bundle(file, grid) if model is None else (named_model(model, file.info), None)


def named_model(model: OneModel | Sequence[OneModel], info: SourceInfo | None = None) -> Model:
    """The model or models named, their weights checked; whether they fit the input before that."""
    named = _named(model)
    if info is not None:
        require_fit(named, info)
    return require_intact(named)


def _named(model: OneModel | Sequence[OneModel]) -> Model:
    if isinstance(model, str | Path):
        return find_bundle(str(model))
    if isinstance(model, list):
        return as_ensemble([_named(member) for member in model])
    card, function = model if isinstance(model, tuple) and len(model) == 2 else (None, None)
    if not isinstance(card, ModelCard) or not callable(function):
        raise BundleError(
            "model= takes a bundle's name or path, (ModelCard, callable), or a list of those"
        )
    return Model(card, function=function)
