"""What was asked for, and what was decided before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from seg_batch import machine
from seg_batch.bundles import Model, choose, fitting
from seg_batch.card import ModelCard
from seg_batch.errors import BundleError
from seg_batch.plan import Options, Plan, make_plan
from seg_batch.sources import corner_traps, open_source
from seg_batch.sources.finer import finer
from seg_batch.sources.protocol import SourceInfo
from seg_batch.sources.view import Oriented
from seg_batch.verbs.outputs import Outputs, outputs_for
from seg_batch.version import package_version

ModelLike = str | Path | tuple[ModelCard, Callable[..., Any]] | None


@dataclass(frozen=True)
class Request:
    """One predict command for one input. ``many``: the output names a folder."""

    input: str
    output: str | None = None
    model: ModelLike = None
    options: Options = field(default_factory=Options)
    cluster: str = "auto"
    volume: int | None = None
    overwrite: bool = False
    keep_store: bool = False
    many: bool = False


@dataclass(frozen=True)
class Prepared:
    """Everything decided for one request, before anything is written."""

    request: Request
    info: SourceInfo
    model: Model
    plan: Plan
    outputs: Outputs


def prepare(request: Request) -> Prepared:
    """Open the input, choose the model, make the plan. Reads the header and the corners only,
    writes nothing."""
    source = open_source(request.input, volume=request.volume)
    try:
        info = replace(source.info, warnings=(*source.info.warnings, *corner_traps(source)))
        model = resolve_model(request.model, info)
        options = _settled(request, model)
        card = model.card
        source = finer(source, card.finer, card.rank, card.orientation)
        info = replace(source.info, warnings=info.warnings)
        view = Oriented(source, card.orientation)
        plan = make_plan(info, view, model.card, options, _identity(request, info, model))
    finally:
        source.close()
    outputs = outputs_for(info, request.output, many=request.many)
    return Prepared(request, info, model, plan, outputs)


def resolve_model(model: ModelLike, info: SourceInfo) -> Model:
    """A bundle by name, path or fit; or a card with any callable ``array -> array``."""
    if isinstance(model, tuple):
        card, function = model
        if not isinstance(card, ModelCard) or not callable(function):
            raise BundleError("model= takes a bundle's name or path, or (ModelCard, callable)")
        return fitting(Model(card, function=function), info)
    return choose(None if model is None else str(model), info)


def _settled(request: Request, model: Model) -> Options:
    """Options with everything that depends on this machine decided."""
    options = request.options
    workers = options.workers
    if workers <= 0:
        workers = max(1, machine.gpus()) if request.cluster in ("auto", "local") else 1
    precision = options.precision
    if model.path is None:
        precision = "float32"
    elif precision == "auto":
        precision = machine.default_precision()
    return replace(options, workers=workers, precision=precision)


def _identity(request: Request, info: SourceInfo, model: Model) -> dict[str, Any]:
    """What must stay equal for a run to be resumed, beside the plan's own decisions."""
    function = getattr(model.function, "__qualname__", "") if model.function else ""
    return {
        "input": info.identity,
        "volume": request.volume,
        "model": model.card.name,
        "weights": model.card.weights_sha256 or function,
        "segbatch": package_version(),
    }
