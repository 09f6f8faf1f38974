"""The report beside each product: request, plan, promised and measured costs, results.

The values of its JSON are declared here once, for all readers.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal, NotRequired, TypedDict

from seg_batch.config.card import WHOLE_PATCH, ModelCard
from seg_batch.core.georef import MM3_PER_ML, VolumeGeoref, georef_to_json
from seg_batch.core.hardware import cores, gpus, memory_bytes
from seg_batch.core.versions import package_version, versions
from seg_batch.executors import Outcome
from seg_batch.inference.bundles import Model
from seg_batch.inference.fit.review import review_of
from seg_batch.inference.fit.verdict import Verdict
from seg_batch.inference.plan import Plan
from seg_batch.inference.products.facts import BlockCounts, BorderFacts, TilesFacts
from seg_batch.inference.sliding_window.block import Receipt
from seg_batch.inference.sliding_window.seams import SeamCounts, SeamSummary
from seg_batch.io.sinks.product import Product
from seg_batch.io.sources.protocol import SourceInfo

UNREADABLE = "the input can't be read at"  # how such a failure begins: another try may read it

SizeUnit = Literal["hectares", "millilitres"]
SIZE_UNITS: dict[SizeUnit, str] = {"hectares": "ha", "millilitres": "mL"}


class Failure(TypedDict):
    """A block that is missing in the product."""

    block: str
    box: str
    error: str


class PostStepRow(TypedDict):
    """A step after prediction: as JSON, in words, and the changes that it made."""

    step: dict[str, Any]
    words: str
    voxels_changed: int
    objects_changed: int | None
    seconds: float


class ReportSizes(TypedDict, total=False):
    """The size of a class where its voxels have one."""

    hectares: float
    millilitres: float


class ClassRow(ReportSizes):
    """``share``: of all classified voxels."""

    id: int
    name: str
    colour: list[int]
    voxels: int
    share: float


class ProductFacts(TypedDict):
    """``counts``: voxels of each value; ``side_files``: sha256 of each file that is part of the product
    besides its own, by name (of an ``.aux.xml`` without statistics)."""

    path: str
    bytes: int
    sha256: str
    counts: dict[str, int]
    side_files: NotRequired[dict[str, Any]]


class AlsoFacts(ProductFacts):
    """A further product. ``of``: the sha256 of the main product that it was made of. The row is written before the file
    is moved into place. ``settings``: the options that it was made with, where any are not at their defaults."""

    of: str
    settings: NotRequired[dict[str, Any]]


class ModelFacts(TypedDict):
    """``channels``: their names, where the model has some; ``whole_patch_layers``: layers that see a whole
    patch; ``members``: further models of an ensemble."""

    name: str
    channels: NotRequired[list[str]]
    weights_sha256: str
    licence: str
    whole_patch_layers: list[str]
    members: NotRequired[list[ModelFacts]]


class SourceFacts(TypedDict):
    """The input as it was when it was opened. ``files``: the paths of an image of several; ``series``: which one, where a place holds several; ``mosaic``: how many pieces of one scene the files are;
    ``stac``: the item that they are assets of. ``warnings``: what was said
    of it, and where the CPU computed blocks instead of a GPU."""

    files: NotRequired[list[str]]
    series: NotRequired[str]
    stac: NotRequired[dict[str, Any]]
    mosaic: NotRequired[int]
    format: str
    channels: list[str]
    dtype: str
    identity: dict[str, Any]
    warnings: list[str]


class WorkFacts(TypedDict):
    """The work on the blocks. ``spells``: see ``block_intervals``; ``peak_rss_bytes``: the most that the work at
    this input took of a process (``measuring.memory``)."""

    blocks: BlockCounts
    failures: list[Failure]
    n_tiles: int
    tiles_predicted: int
    tiles_skipped: int
    recompute: float
    promised_bytes: int
    peak_rss_bytes: int
    seconds: float
    stages_s: dict[str, float]
    spells: dict[str, list[list[float]]]


class Report(WorkFacts):
    """``<product>.json``. ``fit``: what the look before the work said, ``Verdict.to_json``; ``review``: reasons
    to look at the map before it is used, from that look and from the map itself. ``post``: the steps after prediction; ``plan``: ``Plan.to_json``;
    ``geometry``: ``core.georef.georef_to_json``, of the product; ``extent``: of it, where it is cut to an area; ``remote``: what is
    in a bucket, by the paths that it was made at."""

    segbatch: str
    status: str
    input: str
    output: str
    classes: list[ClassRow]
    background: int | None
    post: list[PostStepRow]
    seams: SeamSummary | None
    unclassified_voxels: int
    remote: NotRequired[dict[str, Any]]
    product: ProductFacts
    probabilities: ProductFacts | None
    also: NotRequired[list[AlsoFacts]]
    file_borders: NotRequired[BorderFacts]
    tiles: NotRequired[TilesFacts]
    model: ModelFacts
    plan: dict[str, Any]
    geometry: dict[str, Any]
    extent: NotRequired[list[int]]
    source: SourceFacts
    fit: NotRequired[dict[str, Any]]
    deidentified: NotRequired[bool]
    review: NotRequired[list[str]]
    executor: str
    machine: dict[str, int]
    versions: dict[str, str]


def input_files(report: Report) -> list[str]:
    """The files of the input of a product."""
    return report["source"].get("files") or [report["input"]]


@dataclass
class BlockTally:
    """What is collected while blocks end: receipts of this run and of an earlier one, and failures."""

    total: int
    resumed: int = 0
    lost_voxels: int = 0
    receipts: list[Receipt] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    stages_s: dict[str, float] = field(default_factory=dict)
    peak_rss_bytes: int = 0
    cause: BaseException | None = None  # of the first failure, where it was an error

    def add(self, outcome: Outcome) -> None:
        """Take in one ended block: done, damaged (parts unreadable) or failed."""
        if outcome.error is not None:
            self.cause = self.cause or outcome.error
            self.fail(outcome.item, f"{type(outcome.error).__name__}: {outcome.error}")
            return
        receipt: Receipt = outcome.result
        self.peak_rss_bytes = max(self.peak_rss_bytes, receipt["peak_rss_bytes"])
        for stage, seconds in receipt["seconds"].items():
            self.stages_s[stage] = self.stages_s.get(stage, 0.0) + seconds
        if receipt["unreadable"]:
            where, rest = "; ".join(receipt["unreadable"][:3]), len(receipt["unreadable"]) - 3
            where += f" and {rest} more" if rest > 0 else ""
            self.lost_voxels += receipt["lost_voxels"]
            self.fail(outcome.item, f"{UNREADABLE} {where}")
        else:
            self.receipts.append(receipt)

    def fail(self, block: Any, error: str) -> None:
        self.failures.append({"block": block.name, "box": str(block.box), "error": error})

    def facts(self, plan: Plan, seconds: float) -> WorkFacts:
        """``seconds``: from the start to the product."""
        done = self.total - len(self.failures)
        predicted = sum(receipt["tiles"] for receipt in self.receipts)
        return {
            "blocks": {
                "total": self.total,
                "done": done,
                "failed": len(self.failures),
                "resumed": self.resumed,
                **Counter(r["idle"] for r in self.receipts if "idle" in r),  # type: ignore[typeddict-item]
            },
            "failures": self.failures,
            "n_tiles": plan.tiles,
            "tiles_predicted": predicted,
            "tiles_skipped": sum(receipt["skipped"] for receipt in self.receipts),
            "recompute": round(predicted / plan.tiles, 4) if done == self.total else plan.recompute,
            "promised_bytes": plan.promised_bytes,
            "peak_rss_bytes": self.peak_rss_bytes,
            "seconds": round(seconds, 3),
            "stages_s": {name: round(spent, 3) for name, spent in self.stages_s.items()},
            "spells": block_intervals(self.receipts),
        }


def _sizes(label: int, product: Product, info: SourceInfo) -> ReportSizes:
    """Hectares for a raster whose pixels have areas, millilitres for a volume."""
    if isinstance(info.georef, VolumeGeoref):
        return {"millilitres": product.counts.get(label, 0) * info.georef.voxel_mm3 / MM3_PER_ML}
    return {} if product.hectares is None else {"hectares": product.hectares.get(label, 0.0)}


def class_table(product: Product, model: Model, info: SourceInfo) -> list[ClassRow]:
    """One row per class of the card, also of those that do not occur."""
    known, counts = {c.id: c for c in model.card.classes}, product.counts
    classified = sum(counts.get(i, 0) for i in known)
    return [
        {
            "id": i,
            "name": c.name,
            "colour": list(c.colour),
            "voxels": counts.get(i, 0),
            "share": counts.get(i, 0) / classified if classified else 0.0,
            **_sizes(i, product, info),
        }
        for i, c in known.items()
    ]


def block_intervals(receipts: list[Receipt]) -> dict[str, list[list[float]]]:
    """The intervals ``[start, stop]`` of each worker's blocks in unix seconds, in rising order; without
    the blocks that an earlier version wrote."""
    of_worker: dict[str, list[list[float]]] = {}
    for receipt in receipts:
        if "spell" in receipt:
            of_worker.setdefault(receipt["worker"], []).append(receipt["spell"])
    return {worker: sorted(intervals) for worker, intervals in sorted(of_worker.items())}


def seam_table(receipts: list[Receipt], model: Model) -> SeamSummary | None:
    """The seam index over the blocks that counted it (see ``sliding_window.seams``); None where an
    earlier version wrote all of them."""
    counted = [SeamCounts.from_json(r["seams"]) for r in receipts if r.get("seams")]
    if not counted:
        return None
    names = [c.name for c in model.card.classes]
    return sum(counted[1:], counted[0]).summary(names, len(counted))


def build_report(
    info: SourceInfo,
    model: Model,
    verdict: Verdict,
    plan: Plan,
    tally: BlockTally,
    products: list[Product],
    *,
    executor: str,
    seconds: float,
    steps: tuple[PostStepRow, ...] = (),
) -> Report:
    """The whole report as JSON-ready values."""
    labels = products[0]
    classes = class_table(labels, model, info)
    return {
        "segbatch": package_version(),
        "status": "partial" if tally.failures else "complete",
        "input": info.path,
        "output": str(labels.path),
        **tally.facts(plan, seconds),
        "classes": classes,
        "background": model.card.background,
        "post": list(steps),
        "seams": seam_table(tally.receipts, model),
        "unclassified_voxels": math.prod(info.extent) - sum(row["voxels"] for row in classes),
        "product": product_facts(labels),
        "probabilities": product_facts(products[1]) if len(products) > 1 else None,
        "model": {**_model(model.card), "members": [_model(m.card) for m in model.members]},
        "plan": plan.to_json(),
        "geometry": georef_to_json(info.georef),
        **({} if info.extent == plan.extent else {"extent": list(info.extent)}),  # type: ignore[typeddict-item]
        "source": _source(info, tally.receipts),
        "fit": verdict.to_json(),
        "review": [*verdict.lines, *review_of(model.card, labels.counts, info.georef)],
        "executor": executor,
        "machine": {"cores": cores(), "gpus": gpus(), "memory_bytes": memory_bytes()},
        "versions": versions(),
    }


def _source(info: SourceInfo, receipts: list[Receipt]) -> SourceFacts:
    fell_back = dict.fromkeys(receipt.get("fell_back", "") for receipt in receipts)
    facts: SourceFacts = {
        "format": info.format,
        "channels": list(info.channels),
        "dtype": info.dtype,
        "identity": info.identity,
        "warnings": [*info.warnings, *filter(None, fell_back)],
    }
    if info.series:
        facts["series"] = info.series
    if item := info.facts.get("stac"):
        facts["stac"] = item
    if info.pieces:
        facts["mosaic"] = len(info.pieces)
    return {**facts, "files": list(info.paths)} if info.stack or info.pieces else facts


def _model(card: ModelCard) -> ModelFacts:
    return {
        "name": card.name,
        "channels": list(card.channel_names or ()),
        "weights_sha256": card.weights_sha256,
        "licence": card.licence,
        WHOLE_PATCH: card.architecture.get(WHOLE_PATCH, []),
    }


def product_facts(product: Product) -> ProductFacts:
    facts: ProductFacts = {
        "path": str(product.path),
        "bytes": product.bytes,
        "sha256": product.sha256,
        "counts": {str(k): v for k, v in sorted(product.counts.items())},
    }
    return {**facts, "side_files": product.side_files} if product.side_files else facts
