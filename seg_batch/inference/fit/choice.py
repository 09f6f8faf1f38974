"""The choice of an installed bundle, by a look at the input."""

from __future__ import annotations

from collections.abc import Iterable

from seg_batch.config.image_options.grid import GridOptions
from seg_batch.core.errors import BundleError, InputError
from seg_batch.inference.bundles import Model, installed_bundles, mismatch, require_intact
from seg_batch.inference.fit.look import taken, verdict_on
from seg_batch.inference.fit.verdict import Finding, Verdict
from seg_batch.io.sources.protocol import Source
from seg_batch.io.sources.sample import Sample
from seg_batch.io.sources.views.channels.by_name import taken_by_name
from seg_batch.io.sources.views.open_view import View


def judge(
    file: Source,
    models: Iterable[Model],
    seen: Sample | None = None,
    grid: GridOptions = GridOptions(),
) -> list[tuple[Model, Verdict]]:
    """What a look at an open image says against each model; ``seen``: its sample, else taken once, where it is
    needed; ``grid``: how it comes to the grid of each."""
    verdicts = []
    for model in models:
        if reason := mismatch(model.card, file.info):
            verdict = Verdict((Finding("does not fit", reason),))
        else:
            seen = taken(file) if seen is None else seen
            indices = taken_by_name(file.info, model.card.channels).indices
            part = seen if indices is None else seen.of_channels(indices)
            verdict = _on_its_grid(file, model, grid, part)
        verdicts.append((model, verdict))
    return verdicts


def _on_its_grid(file: Source, model: Model, grid: GridOptions, part: Sample) -> Verdict:
    try:
        view = View(file, model.card, grid)
    except InputError as error:
        if grid.spacing is not None:  # which is asked of all models
            raise
        return Verdict((Finding("does not fit", error.message),))
    return verdict_on(view, model.card, part)


def choose_bundle(file: Source, grid: GridOptions = GridOptions()) -> tuple[Model, Verdict]:
    """The only installed model that the input fits; where it fits none, the only one for which it is merely
    unusual; and what the look said of it. ``BundleError`` says what is the matter with each."""
    verdicts, path = judge(file, installed_bundles(), grid=grid), file.info.path
    for outcome in ("fits", "unusual"):
        chosen = [(model, verdict) for model, verdict in verdicts if verdict.outcome == outcome]
        if len(chosen) == 1:
            return require_intact(chosen[0][0]), chosen[0][1]
        if chosen:
            names = ", ".join(model.name for model, _ in chosen)
            raise BundleError(
                f"{path} fits {len(chosen)} models: choose one with --model ({names})"
            )
    reasons = "; ".join(f"{model.name}: {verdict.line}" for model, verdict in verdicts)
    raise BundleError(f"no installed model fits {path} ({reasons}): name one with --model")
