"""One prediction as requested, and as prepared before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from seg_batch.config.cluster import ClusterSpec, read_spec
from seg_batch.config.predict_options import PredictOptions
from seg_batch.core import hardware
from seg_batch.core.errors import InputError
from seg_batch.core.privacy.addresses import addressed, is_remote, shown
from seg_batch.core.privacy.pseudonym import Pseudonym, hushed
from seg_batch.inference.bundles import (
    Model,
    require_fit,
)
from seg_batch.inference.deidentified.telling import what_holds_names, words_of
from seg_batch.inference.fit.look import look, refuse_unfit
from seg_batch.inference.fit.verdict import Verdict
from seg_batch.inference.loading.named import ModelLike, resolve_model
from seg_batch.inference.on_device.rule import SUMS, in_words, on_host
from seg_batch.inference.outputs import Outputs, outputs_for, possible
from seg_batch.inference.plan import Decisions, DraftPlan
from seg_batch.inference.planning.begun import with_patch_begun
from seg_batch.inference.planning.draft import make_plan
from seg_batch.inference.planning.identity import (
    area_identity,
    compression_of,
    identity_of_run,
    segments_of,
)
from seg_batch.inference.planning.made_here import made_here
from seg_batch.inference.planning.no_effect import lines_without_effect
from seg_batch.inference.planning.unseen_views import tta_warnings
from seg_batch.inference.planning.zoned import zone_lines
from seg_batch.inference.sliding_window.grid import as_card_says
from seg_batch.inference.wanted.crop import Cut, cut_to
from seg_batch.inference.wanted.parts import area_warnings
from seg_batch.io.sinks.product import format_of, prove_place
from seg_batch.io.sources.naming.stac_item import StacItem
from seg_batch.io.sources.protocol import AlphaOption, Source, SourceInfo
from seg_batch.io.sources.views.before_grid.crop import Crop
from seg_batch.io.sources.views.channels.alpha import require_settled
from seg_batch.io.sources.views.channels.by_name import with_channels
from seg_batch.io.sources.views.image_spec import ImageSpec
from seg_batch.io.sources.views.joined.lattice import FINEST, OneGrid
from seg_batch.io.sources.views.open_view import View
from seg_batch.io.vectors.area import Area
from seg_batch.io.vectors.area_reading import area_of
from seg_batch.nn.engines.choice import Choice
from seg_batch.nn.engines.choice import choose as choose_engine


@dataclass(frozen=True)
class Request:
    """One ``predict`` command for one input. ``input``: its file, or the files whose channels make up one
    image. ``many``: the output names a folder. ``attempt``: see ``outputs.Outputs``. ``alpha``: the reading of
    alpha for each file, once it is settled; else that of the options. ``crop``: what a model that sees a crop sees, once it
    is found. ``series_files``: see ``sources.open_source``. ``verdict``: of a look that was taken. ``profile``: it ends with
    an event ``Profiled``. ``pseudonym``: what stands for an input that is not to be known. ``also``: the names of further
    products (``outputs.also_paths``); ``also_where_possible``: they are for many inputs, and those that can't be made of this
    one are left out, with a warning. ``mosaic``: the files are pieces of one scene; ``tiles_out``: the folder for a product of each.
    ``item``: the STAC item that the files are assets of. ``upload``: the folder of a bucket that the products go to; an output
    in a bucket becomes that and one here; ``leaves_copy``: the map stays here, too. ``one_grid``: on which grid files with unequal pixels meet, once a
    model settles it."""

    input: str | tuple[str, ...]
    output: str | None = None
    model: ModelLike = None
    options: PredictOptions = field(default_factory=PredictOptions)
    cluster: str | Mapping[str, Any] | ClusterSpec = "auto"
    volume: int | None = None
    series: str | None = None
    series_files: tuple[str, ...] = ()
    overwrite: bool = False
    keep_store: bool = False
    many: bool = False
    attempt: str = ""
    profile: bool = False
    also: tuple[str, ...] = ()
    also_where_possible: bool = False
    mosaic: bool = False
    tiles_out: str | None = None
    item: StacItem | None = None
    upload: str | None = None
    leaves_copy: bool = False
    alpha: tuple[AlphaOption, ...] = ()
    memory_asked: int | None = None
    verdict: Verdict | None = None
    crop: Crop = "find"
    pseudonym: Pseudonym | None = None
    one_grid: OneGrid = FINEST

    @property
    def files(self) -> tuple[str, ...]:
        return addressed((self.input,) if isinstance(self.input, str) else self.input)

    def __str__(self) -> str:
        if self.pseudonym:
            return self.pseudonym.code
        if self.item:
            return self.item.key
        paths = [*map(shown, self.files)]
        more = len(paths) - 1
        return f"{paths[0]} and {more} more" if self.mosaic and more else ", ".join(paths)

    @property
    def _is_named_by_index(self) -> bool:
        """Whether the index of a mosaic is enough to find its pieces; addresses are in it without what signs them."""
        return self.mosaic and not any(map(is_remote, self.files))

    def image(self, staged: tuple[Path, ...] = ()) -> ImageSpec:
        """The input; ``staged``: the uncompressed copy of each file, or the index of a mosaic."""
        options = self.options
        return ImageSpec(
            () if staged and self._is_named_by_index else self.files,
            self.volume,
            staged,
            self.alpha or (options.alpha,) * (1 if self.mosaic else len(self.files)),
            channels_last_axis=options.channels_last_axis,
            bands=tuple(map(str, options.bands or ())),
            scale=options.scale,
            offset=options.offset,
            grid=options.grid,
            crop=self.crop,
            series=self.series,
            series_files=self.series_files,
            mosaic=self.mosaic,
            scene=options.scene,
            item=self.item,
            one_grid=self.one_grid,
        )


@dataclass(frozen=True)
class Prepared[P: Decisions]:
    """Everything decided for one request, before anything is written. ``plan``: a draft, until the
    numbers of the normaliser are known. ``verdict``: what the look at a sample said. ``area``: what is wanted of the product's
    grid; None: all. ``cut``: what of it the product holds; None: all."""

    request: Request
    info: SourceInfo
    model: Model
    plan: P
    outputs: Outputs
    verdict: Verdict
    area: Area | None = None
    cut: Cut | None = None

    @property
    def of_product(self) -> SourceInfo:
        """The image where the product lies."""
        return self.info if self.cut is None else self.cut.of(self.info)

    @property
    def called(self) -> str:
        """The input in messages."""
        return self.request.pseudonym.code if self.request.pseudonym else self.info.path

    def by[Q: Decisions](self, plan: Q) -> Prepared[Q]:
        """The same by another plan."""
        return replace(self, plan=plan)  # type: ignore[arg-type, return-value]


def prepare(request: Request) -> Prepared[DraftPlan]:
    """Open the input, choose the model, make the plan. Reads the header, a bounded sample and
    the corners, writes nothing. ``InputError`` for an input that does not fit."""
    with hushed(request.pseudonym):
        return _told(_prepared(request))


def _prepared(request: Request) -> Prepared[DraftPlan]:
    if request.output is not None and is_remote(request.output):
        here, bucket = made_here(request.output, many=request.many)
        request = replace(request, output=here, upload=bucket)
    if request.volume is not None and request.options.channels_last_axis:
        raise InputError(
            "--volume takes one volume of a 4-D file and --channels-last-axis all of them: leave out one"
        )
    with ExitStack() as opened:
        file = opened.enter_context(closing(request.image().open()))
        model, verdict = resolve_model(request.model, file, request.options.grid)
        settled = _grid_settled(_alpha_settled(request, model, file), model, file)
        if settled != request:
            request, file = settled, opened.enter_context(closing(settled.image().open()))
            require_fit(model, file.info)
        file = opened.enter_context(closing(with_channels(file, model.card.channels)))
        request = _channels_settled(request, file.info)
        view = View(file, model.card, request.options.grid, crop=request.crop)
        request = replace(request, crop=view.crop)
        area, of_area = area_of(request.options.area, view.native.info)
        verdict = request.verdict or verdict or look(view, model.cards, area)
        refuse_unfit(verdict, model.called, file.info.path, force=request.options.force)
        engine = engine_of(model, request.options)
        made_of = view.native.info
        outputs, of_outputs = _outputs_of(request, model, made_of)
        settled_options = as_card_says(_settled(request, engine), model.card)
        options, begun = with_patch_begun(settled_options, outputs, request.overwrite)
        why = on_host(options.engine, model.cards, options.tta, view.grid is not None)
        identity = identity_of_run(
            file.info, model, request.volume, options.channels_last_axis, request.pseudonym
        ) | (SUMS if why is None else {})
        identity |= _identity_of_products(request.options, outputs, made_of.kind)
        identity |= area_identity(area, request.options.area)
        crop = request.options.area.crop
        cut = cut_to(area, view, outputs) if area is not None and crop else None
        words = in_words(engine.why, why)
        asked = _memory_asked(request)
        plan = make_plan(view, model.cards, options, words, identity, asked, begun, area)
        warnings = (*view.warnings(), *tta_warnings(model, options.tta))
        warnings += (*of_area, *area_warnings(area, model.card), *of_outputs)
        info = replace(view.native.info, warnings=warnings)
    placed = prove_place(
        info, outputs.product, format_of(outputs.product, info.kind), request.image()
    )
    info = replace(info, warnings=(*info.warnings, *placed))
    return Prepared(request, info, model, plan, outputs, verdict, area, cut)


def _outputs_of(
    request: Request, model: Model, made_of: SourceInfo
) -> tuple[Outputs, tuple[str, ...]]:
    """Where the products of an image go, and a line for each that can't be made and each option that changes nothing."""
    options, further, kind = request.options, request.options.further, made_of.kind
    stem = request.item.stem if request.item else ""
    stem = request.pseudonym.code if request.pseudonym else stem
    asked = outputs_for(made_of, request.output, many=request.many, also=request.also, stem=stem)
    everything, image = not request.also_where_possible, request.image()
    outputs, left_out = possible(
        asked, made_of, image, model.card.classes, further, everything=everything
    )
    zoned = zone_lines(further, outputs, made_of, everything=everything)
    idle = lines_without_effect(options, outputs, kind, request.mosaic)
    return replace(outputs, attempt=request.attempt), (*left_out, *zoned, *idle)


def _identity_of_products(options: PredictOptions, outputs: Outputs, kind: str) -> dict[str, Any]:
    """What of the identity of a run follows from how its main product is stored."""
    segments = segments_of(options.seg, outputs) if kind == "volume" else {}
    return {**segments, **compression_of(options.compress, outputs, kind)}


def _told(prepared: Prepared[DraftPlan]) -> Prepared[DraftPlan]:
    """The same with what is said of an input that is not to be known as it may be told."""
    request, info = prepared.request, prepared.info
    if request.pseudonym is None:
        return prepared
    made = map(str, (prepared.outputs.product, *prepared.outputs.also))
    pseudonym = request.pseudonym.with_public((*words_of(prepared.model), *made))
    told = map(pseudonym.told, info.warnings)
    return replace(
        prepared,
        request=replace(request, pseudonym=pseudonym),
        info=replace(info, warnings=(*told, *what_holds_names(prepared.outputs, info.kind))),
        verdict=Verdict.from_json(pseudonym.told_of(prepared.verdict.to_json())),
    )


def _alpha_settled(request: Request, model: Model, file: Source) -> Request:
    """The request with the reading of alpha that the model settles."""
    if model.card.channels is None:
        require_settled(file.info)
        return request
    image = request.image()
    settled = image.settled(file, len(model.card.channels))
    return request if settled == image else replace(request, alpha=settled.alpha)


def _grid_settled(request: Request, model: Model, file: Source) -> Request:
    """The request with the grid on which files with unequal pixels meet for the model."""
    if "stack_grid" not in file.info.composed:
        return request
    return replace(request, one_grid=OneGrid.of(file.info, model.card, request.options.grid))


def _channels_settled(request: Request, info: SourceInfo) -> Request:
    """The request with the numbers of the bands that are taken, by hand or by name, and with their scales."""
    options = request.options
    if info.taken:
        options = replace(options, bands=tuple(map(str, info.bands)))
    if info.rescaled:
        scale = options.scale if options.scale == "none" else info.scale
        options = replace(options, scale=scale, offset=info.offset)
    return replace(request, options=options)


def engine_of(model: Model, options: PredictOptions) -> Choice:
    """The engine of the model on this machine; functions compute themselves."""
    formats = {member.card.format for member in model.all if member.path is not None}
    if not formats:
        return Choice("function", "float32", "the model is a function")
    gpus, precision = hardware.gpus(), options.precision
    return choose_engine(options.engine, gpus=gpus, precision=precision, formats=formats)


def _settled(request: Request, engine: Choice) -> PredictOptions:
    """Options with everything that depends on this machine decided."""
    options, spec = request.options, read_spec(request.cluster)
    workers, memory_bytes = spec.most_workers or options.workers, options.memory_bytes
    if workers <= 0:
        workers = max(1, hardware.gpus()) if spec.cluster in ("auto", "local") else 1
    # Each worker has its own: as much as this machine by default.
    if not memory_bytes and not spec.here:
        worker_bytes = spec.worker_memory_bytes or hardware.memory_bytes()
        memory_bytes = int(worker_bytes * hardware.MEMORY_SHARE)
    return replace(
        options,
        workers=workers,
        memory_bytes=memory_bytes,
        engine=engine.engine,
        precision=engine.precision,
    )


def _memory_asked(request: Request) -> int:
    """What the command says that a worker may use, in bytes; 0: nothing."""
    asked = request.options.memory_bytes if request.memory_asked is None else request.memory_asked
    return asked or read_spec(request.cluster).worker_memory_bytes or 0
