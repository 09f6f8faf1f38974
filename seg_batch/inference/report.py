"""The report beside each product: request, plan, promised and measured costs, results.

The values of its JSON are declared here once, for all readers.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

from seg_batch.config.card import WHOLE_PATCH, ModelCard
from seg_batch.core.georef import M2_PER_HA, MM3_PER_ML, RasterGeoref, georef_to_json
from seg_batch.core.hardware import cores, gpus, memory_bytes
from seg_batch.core.run_files import PART, shortened
from seg_batch.core.versions import package_version, versions
from seg_batch.executors import Outcome
from seg_batch.inference.bundles import Model
from seg_batch.inference.plan import Plan
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


class BlockCounts(TypedDict):
    """``resumed``: those of ``done`` that an earlier run had left."""

    total: int
    done: int
    failed: int
    resumed: int


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


class ModelFacts(TypedDict):
    """``whole_patch_layers``: layers that see a whole patch; ``members``: further models of an ensemble."""

    name: str
    weights_sha256: str
    licence: str
    whole_patch_layers: list[str]
    members: NotRequired[list[ModelFacts]]


class SourceFacts(TypedDict):
    """The input as it was when it was opened."""

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
    """``<product>.json``. ``post``: the steps after prediction; ``plan``: ``Plan.to_json``;
    ``geometry``: ``core.georef.georef_to_json``."""

    segbatch: str
    status: str
    input: str
    output: str
    classes: list[ClassRow]
    background: int | None
    post: list[PostStepRow]
    seams: SeamSummary | None
    unclassified_voxels: int
    product: ProductFacts
    probabilities: ProductFacts | None
    model: ModelFacts
    plan: dict[str, Any]
    geometry: dict[str, Any]
    source: SourceFacts
    executor: str
    machine: dict[str, int]
    versions: dict[str, str]


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


def _sizes(voxels: int, info: SourceInfo) -> ReportSizes:
    """Hectares for a raster whose CRS has a length unit, millilitres for a volume."""
    georef = info.georef
    if isinstance(georef, RasterGeoref):
        if georef.crs_wkt is None or georef.pixel_m2 is None:
            return {}
        return {"hectares": voxels * georef.pixel_m2 / M2_PER_HA}
    return {"millilitres": voxels * georef.voxel_mm3 / MM3_PER_ML}


def class_table(counts: dict[int, int], model: Model, info: SourceInfo) -> list[ClassRow]:
    """One row per class of the card."""
    known = {c.id: c for c in model.card.classes}
    classified = sum(counts.get(i, 0) for i in known)
    return [
        {
            "id": i,
            "name": c.name,
            "colour": list(c.colour),
            "voxels": counts.get(i, 0),
            "share": counts.get(i, 0) / classified if classified else 0.0,
            **_sizes(counts.get(i, 0), info),
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
    classes = class_table(labels.counts, model, info)
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
        "product": _product(labels),
        "probabilities": _product(products[1]) if len(products) > 1 else None,
        "model": {**_model(model.card), "members": [_model(m.card) for m in model.members]},
        "plan": plan.to_json(),
        "geometry": georef_to_json(info.georef),
        "source": {
            "format": info.format,
            "channels": list(info.channels),
            "dtype": info.dtype,
            "identity": info.identity,
            "warnings": list(info.warnings),
        },
        "executor": executor,
        "machine": {"cores": cores(), "gpus": gpus(), "memory_bytes": memory_bytes()},
        "versions": versions(),
    }


def _model(card: ModelCard) -> ModelFacts:
    return {
        "name": card.name,
        "weights_sha256": card.weights_sha256,
        "licence": card.licence,
        WHOLE_PATCH: card.architecture.get(WHOLE_PATCH, []),
    }


def _product(product: Product) -> ProductFacts:
    facts: ProductFacts = {
        "path": str(product.path),
        "bytes": product.bytes,
        "sha256": product.sha256,
        "counts": {str(k): v for k, v in sorted(product.counts.items())},
    }
    return {**facts, "side_files": product.side_files} if product.side_files else facts


def write_report(path: Path, report: Report) -> None:
    """Write beside the place, flush to disk, replace atomically."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=shortened(path.name, 16), suffix=PART)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(report, file, indent=2, allow_nan=False, default=_plain)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.chmod(name, 0o644)
    os.replace(name, path)


def _plain(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        return asdict(value)
    if isinstance(value, Path):
        return str(value)
    return value.item() if hasattr(value, "item") else str(value)
