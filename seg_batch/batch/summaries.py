"""What a run keeps of an input: a summary of its plan, and one of its report.

Both go into the journal, one line each. The coordinator holds nothing else of an input, so that its
memory stays small for many inputs. The whole report is beside the product.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any, cast

from seg_batch.batch.journal import InputRecord
from seg_batch.batch.journal.events import ImageFacts, InputFacts, InputResult, ProductStamp
from seg_batch.batch.journal.status import BlockDone
from seg_batch.core.georef import VolumeGeoref
from seg_batch.inference.measuring.time import estimate
from seg_batch.inference.outputs import Outputs
from seg_batch.inference.plan import DraftPlan
from seg_batch.inference.report import UNREADABLE, ClassRow, ProductFacts, Report
from seg_batch.inference.request import Prepared
from seg_batch.io.sinks.product import files_in
from seg_batch.io.sinks.store_folder import StoreFolder
from seg_batch.io.sinks.work_store import fingerprint_digest
from seg_batch.io.sources.areas.footprint import footprint
from seg_batch.io.sources.protocol import SourceInfo

LEAST_TILT_DEG = 0.1
LONGEST = 64  # characters of a description, which is what DICOM allows
WARNINGS = 5  # and 3 failures; the report beside the product has all
# Parts of a fingerprint that differ between inputs, or may change under the same name. The others
# are in the workflow, except for the engine, which depends on the machine.
OF = ("input", "volume", "model", "weights")


def input_facts(prepared: Prepared[DraftPlan]) -> InputFacts:
    """The facts of the event "surveyed"; JSON-ready."""
    plan, info, model = prepared.plan, prepared.info, prepared.model
    time_s = estimate(plan, model, in_run=True)
    return {
        "kind": info.kind,
        "extent": list(plan.extent),
        "blocks": plan.blocks,
        "tiles": plan.tiles,
        "voxels": math.prod(plan.extent),
        "promised_bytes": plan.promised_bytes,
        "memory_bytes": plan.memory_bytes,
        "disk_bytes": plan.disk_bytes,
        "seconds_estimate": round(time_s.seconds, 5),
        "time": time_s.to_json(),
        "output": str(prepared.outputs.product),
        **({"also": also} if (also := [*map(str, prepared.outputs.also)]) else {}),
        "of": _of(plan.identity),
        "model": prepared.model.called,
        "engine": plan.engine,
        "precision": plan.precision,
        "warnings": _short(list(info.warnings)),
        "fit": prepared.verdict.to_json(),
        "footprint": footprint(info.georef, info.extent),
        "image": image_facts(info),
        **({"stac": item} if (item := info.facts.get("stac")) else {}),
    }


def image_facts(info: SourceInfo) -> ImageFacts:
    """What people know a volume by; nothing of a raster. Of its header only what tells series apart."""
    georef = info.georef
    if not isinstance(georef, VolumeGeoref):
        return {}
    facts: ImageFacts = {
        "slices": info.extent[0],
        "spacing_mm": [round(size, 4) for size in reversed(georef.spacing_mm)],
    }
    if (tilt := georef.tilt_deg) >= LEAST_TILT_DEG:
        facts["tilt_deg"] = round(tilt, 2)
    for key in ("modality", "description"):
        if text := info.facts.get(key):
            facts[key] = str(text)[:LONGEST]  # type: ignore[literal-required]
    if isinstance(number := info.facts.get("number"), int):
        facts["number"] = number
    return facts


def result_of(report: Report, began: float, worker: str) -> InputResult:
    """The outcome of the event "done"; JSON-ready, some kB. ``began``: unix seconds; ``worker``: the process
    that did or coordinated it."""
    seams, probabilities = report["seams"], report["probabilities"]
    return {
        "status": report["status"],
        "output": report["output"],
        "report": str(Outputs(Path(report["output"])).report),
        "product": _made(report["product"]),
        "probabilities": probabilities and _made(probabilities),
        **({"also": also} if (also := _also(report)) else {}),
        **({"remote": places} if (places := _places(report)) else {}),
        "of": _of(report["plan"]["fingerprint"]),
        "seconds": round(time.time() - began, 3),
        "stages_s": report["stages_s"],
        "tiles": report["tiles_predicted"],
        "tiles_skipped": report["tiles_skipped"],
        "blocks": report["blocks"],
        "promised_bytes": report["promised_bytes"],
        "peak_rss_bytes": report["peak_rss_bytes"],
        "worker": worker,
        "classes": [_class(row) for row in report["classes"]],
        "background": report["background"],
        "seam_index": seams and seams["index"],
        "warnings": _short(report["source"]["warnings"]),
        "review": _short(report.get("review", [])),
        "failures": [
            {"block": f["block"][:200], "box": f["box"][:200], "error": f["error"][:200]}
            for f in report["failures"][:3]
        ],
        "began": round(began, 3),
        "finished": round(time.time(), 3),
    }


def _also(report: Report) -> dict[str, ProductStamp]:
    """The further products of this map; files of an earlier one are no result."""
    sha256 = report["product"]["sha256"]
    rows = [row for row in report.get("also", ()) if row["of"] == sha256]
    return {row["path"]: _made(row) for row in rows if Path(row["path"]).exists()}


def _places(report: Report) -> dict[str, Any]:
    """What is in a bucket, by its address."""
    return {row["url"]: row for row in report.get("remote", {}).values()}


def _of(fingerprint: dict[str, Any]) -> str:
    """A digest of what a product is made of."""
    return fingerprint_digest({name: fingerprint[name] for name in OF})


def _made(product: ProductFacts) -> ProductStamp:
    mtime_ns, sides = file_stamp(product["path"])[1], product.get("side_files")
    stamp: ProductStamp = {
        "sha256": product["sha256"],
        "bytes": product["bytes"],
        "mtime_ns": mtime_ns,
    }
    return {**stamp, "side_files": sides} if sides else stamp


def retryable_error(result: InputResult) -> str:
    """The read error for which a partial result is worth a retry; empty where there is none."""
    errors = (row["error"] for row in result["failures"])
    return next((error for error in errors if error.startswith(UNREADABLE)), "")


def file_stamp(path: str) -> tuple[int, int]:
    """Size in bytes and modification time in ns of a file, or of all files in a Zarr store; zeros
    where there is none."""
    try:
        stats = [file.stat() for file in files_in(Path(path))]
    except OSError:
        return 0, 0
    return sum(stat.st_size for stat in stats), max((stat.st_mtime_ns for stat in stats), default=0)


class BlocksOnDisk:
    """The blocks on disk of an input that has not ended, from the markers in its work store. Each
    marker is read once."""

    def __init__(self) -> None:
        self._known: dict[str, BlockDone] = {}

    def __call__(self, record: InputRecord) -> list[BlockDone]:
        output = record.facts.get("output")
        if not output:
            return []
        paths = StoreFolder(Outputs(Path(output)).store).markers()
        return [done for path in paths if (done := self._read(path)) is not None][: record.blocks]

    def _read(self, path: Path) -> BlockDone | None:
        """None where it was removed meanwhile."""
        if str(path) not in self._known:
            try:
                at, marker = path.stat().st_mtime, path.read_bytes()
            except OSError:
                return None
            self._known[str(path)] = _block_done(marker, at)
        return self._known[str(path)]


def _block_done(marker: bytes, at: float) -> BlockDone:
    try:
        receipt = json.loads(marker)
        start, stop = map(float, receipt["spell"])
        return BlockDone(stop, start, str(receipt["worker"]))
    except (ValueError, KeyError, TypeError):
        return BlockDone(at, at)


def _class(row: ClassRow) -> ClassRow:
    rounded = {k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()}
    return cast(ClassRow, rounded)


def _short(warnings: list[str]) -> list[str]:
    kept = [text[:200] for text in warnings[:WARNINGS]]
    left_out = len(warnings) - len(kept)
    return [*kept, f"and {left_out} more"] if left_out > 0 else kept
