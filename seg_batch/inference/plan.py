"""All decisions before work begins: grid, blocks, memory, and what must stay equal to resume.

Nothing here reads pixels or imports TensorFlow. A plan is a frozen value, JSON in and out; it
states bytes per worker before any work, and making one refuses what can't fit (law 5).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from seg_batch.config.card import ModelCard
from seg_batch.config.postprocess import (
    AnyStep,
    chain_from_json,
    needs_probabilities,
    parse_chain,
)
from seg_batch.config.predict_options import PredictOptions
from seg_batch.core import units
from seg_batch.core.errors import NoRoomError
from seg_batch.core.geometry import Blocks, Grid, Shape, Tiling
from seg_batch.core.normalise import Normaliser
from seg_batch.core.resample.pasted import WayBack
from seg_batch.io.sources.views.model_grid import way_back_of

LAYOUT = 1
SAME = {"in_fingerprint": True}  # marks a field: two runs that differ in it write other bytes
# The last keys of a plan in stores and reports, in the order in which versions added them.
CAME_LATER = (
    *("engine", "engine_why", "tta", "passes", "post", "missing", "model_grid"),
    *("patch_choice", "tiling", "touched"),
)
# In a fingerprint only at another value, as earlier versions had no other.
OF_PRODUCT = (
    "post",
    "seg",
    "compress",
    "cropped",
)  # keys of a fingerprint on which no prediction depends
UNSAID = {"missing": "all", "model_grid": None, "tiling": None}


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """The decisions of one run. Shapes are voxels; ``extent``, ``block`` and ``chunk`` are of the product, in the
    file's own axes, ``view_extent``, ``patch``, ``overlap`` and ``margin`` of what the model sees, in its axes.
    ``model_grid``: ``ModelGrid`` as JSON, where the image is resampled for the model. ``patch_choice``: see
    ``sliding_window.patch_choice.Layout``; empty in plans of before there was a choice. ``patch``: what is labelled of
    each patch; ``tiling``: how tiles are laid out and what the model sees around them (`Tiling` as JSON), None: as ever.
    ``touched``: how many blocks are read, where some lie outside the area or are empty by the file's index; None: all.

    Fields marked as ``SAME`` must be equal for two runs to write the same bytes. Blocks, batch and
    workers need not be: a resumed run takes over the blocks of the store.
    """

    extent: Shape = field(metadata=SAME)
    view_extent: Shape
    orientation: str = field(metadata=SAME)
    patch: Shape = field(metadata=SAME)
    overlap: Shape = field(metadata=SAME)
    margin: Shape = field(metadata=SAME)
    taper: str = field(metadata=SAME)
    block: Shape
    chunk: Shape = field(metadata=SAME)
    rank: int
    batch: int
    classes: int
    probabilities: bool = field(metadata=SAME)
    precision: str = field(metadata=SAME)
    engine: str = field(default="tensorflow", metadata=SAME)
    engine_why: str = ""
    tta: str = field(default="none", metadata=SAME)
    passes: int = 1
    label_dtype: str = field(metadata=SAME)
    nodata: int
    empty_label: int = field(metadata=SAME)
    skip_below: float | None = field(metadata=SAME)
    skip_label: int = field(metadata=SAME)
    workers: int
    blocks: int
    tiles: int
    recompute: float
    promised_bytes: int
    memory_bytes: int
    disk_bytes: int
    seconds_estimate: float
    post: tuple[dict[str, Any], ...] = field(default=(), metadata=SAME)
    missing: str = field(default="all", metadata=SAME)
    model_grid: dict[str, Any] | None = field(default=None, metadata=SAME)
    patch_choice: dict[str, Any] = field(default_factory=dict)
    tiling: dict[str, Any] | None = field(default=None, metadata=SAME)
    touched: int | None = None

    @property
    def grid(self) -> Grid:
        tiling = Tiling.from_json(self.tiling)
        return Grid(self.view_extent, self.patch, self.overlap, self.margin, tiling)

    @property
    def patch_seen(self) -> Shape:
        """What the model sees of the image for each tile, in voxels of the grid."""
        sides = zip(
            self.patch, Tiling.from_json(self.tiling).shrink or (0,) * len(self.patch), strict=True
        )
        return tuple(n + 2 * more for n, more in sides)

    @property
    def way_back(self) -> WayBack | None:
        """From what the model sees to the product, both in the axes of the model; None where they have one grid."""
        return way_back_of(self.model_grid, self.view_extent)

    @property
    def output_blocks(self) -> Blocks:
        return Blocks(self.extent, self.block)

    @property
    def chain(self) -> tuple[AnyStep, ...]:
        """The steps that follow prediction."""
        return chain_from_json(self.post)

    @property
    def keeps_probabilities(self) -> bool:
        """Whether the work store holds them: as a product, or for a later step."""
        return self.probabilities or needs_probabilities(self.post)

    @property
    def tiles_predicted(self) -> int:
        return round(self.tiles * self.recompute)

    def _with_numbers(self, numbers: dict[str, Any]) -> dict[str, Any]:
        """All decisions by name, the normaliser's in their place."""
        values: dict[str, Any] = {}
        for each in fields(Decisions):
            if each.name == "label_dtype":
                values["normaliser"] = numbers
            values[each.name] = getattr(self, each.name)
        return values

    def _json(self, numbers: dict[str, Any], fingerprint: dict[str, Any]) -> dict[str, Any]:
        values = self._with_numbers(numbers)
        later = {name: values.pop(name) for name in CAME_LATER}
        for name in ("tiling", "touched"):
            if later[name] is None:
                del later[name]
        return {**values, **later, "fingerprint": fingerprint}


@dataclass(frozen=True, kw_only=True)
class DraftPlan(Decisions):
    """All decisions for an input whose pixels were not read yet. ``identity``: what else must
    stay equal for a run to be resumed (input, model)."""

    identity: dict[str, Any]

    def with_normaliser(self, normaliser: Normaliser) -> Plan:
        decided = self._with_numbers(asdict(normaliser))
        same = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in decided.items()
            if name in FINGERPRINTED and (name, value) not in UNSAID.items()
        }
        fingerprint = {"layout": LAYOUT, **same, **self.identity}
        return Plan(**{**decided, "normaliser": normaliser}, fingerprint=fingerprint)

    def to_json(self) -> dict[str, Any]:
        """The JSON of a plan without the numbers of its normaliser."""
        return self._json({}, self.identity)


@dataclass(frozen=True, kw_only=True)
class Plan(Decisions):
    """Every decision of one run, and the fingerprint of those on which its bytes depend."""

    normaliser: Normaliser = field(metadata=SAME)
    fingerprint: dict[str, Any] = field(default_factory=dict)

    @property
    def of_prediction(self) -> dict[str, Any]:
        """The part of the fingerprint on which the work store depends: without the steps after
        prediction, so that another chain takes over the predictions."""
        kept = {"probabilities": self.keeps_probabilities}
        return {k: v for k, v in {**self.fingerprint, **kept}.items() if k not in OF_PRODUCT}

    def to_json(self) -> dict[str, Any]:
        return self._json(asdict(self.normaliser), self.fingerprint)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Plan:
        """AttributeError, TypeError or ValueError where the data are no plan."""
        known = {f.name for f in fields(cls)}
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k in known
        }
        if "normaliser" in values:
            values["normaliser"] = Normaliser.from_json(values["normaliser"])
        return cls(**values)


FINGERPRINTED = {f.name for f in fields(Plan) if f.metadata == SAME}


def check_memory(plan: Decisions) -> None:
    """NoRoomError when a worker may use less than the plan promises to need."""
    if plan.promised_bytes > plan.memory_bytes:
        raise NoRoomError(
            f"blocks of {'x'.join(map(str, plan.block))} need "
            f"{units.show_bytes(plan.promised_bytes)} per worker, allowed are "
            f"{units.show_bytes(plan.memory_bytes)}: raise --memory or use fewer --workers"
        )


def adopt_stored(plan: Plan, stored: Plan) -> Plan:
    """The plan of a resumed run: the blocks and batch of the store, the workers and the steps after
    prediction of this run."""
    kept = replace(
        stored,
        workers=plan.workers,
        memory_bytes=plan.memory_bytes,
        fingerprint=plan.fingerprint,
        post=plan.post,
        probabilities=plan.probabilities,
        promised_bytes=max(stored.promised_bytes, plan.promised_bytes),
        disk_bytes=max(stored.disk_bytes, plan.disk_bytes),
    )
    check_memory(kept)
    return kept


def requested_chain(card: ModelCard, options: PredictOptions) -> tuple[AnyStep, ...]:
    """The steps of ``options``, else those of the card; unchecked."""
    return card.post if options.post is None else parse_chain(options.post)
