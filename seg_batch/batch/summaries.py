"""What a night keeps of an input: a few facts of its plan, and of its report what a morning needs.

Both go into the journal, one line each, and are all that the coordinator holds of an input, so that
its memory does not grow with their number. A report whole lies beside its product.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any, cast

from seg_batch.batch.journal import InputRecord
from seg_batch.batch.journal.events import InputFacts, InputResult, ProductStamp
from seg_batch.batch.journal.status import BlockDone
from seg_batch.inference.outputs import Outputs
from seg_batch.inference.plan import DraftPlan
from seg_batch.inference.report import UNREADABLE, ClassRow, Failure, ProductFacts, Report
from seg_batch.inference.request import Prepared
from seg_batch.io.sinks.product import files_in
from seg_batch.io.sinks.store_folder import StoreFolder
from seg_batch.io.sinks.work_store import fingerprint_digest

WARNINGS = 5  # and failures 3: of more, the report beside the product tells
# Of a fingerprint: what differs from input to input, or may change under its name. The rest the
# workflow says, but for the engine, which depends on the machine.
OF = ("input", "volume", "model", "weights")


def input_facts(prepared: Prepared[DraftPlan]) -> InputFacts:
    """Of the event "surveyed"; JSON-ready."""
    plan, info = prepared.plan, prepared.info
    return {
        "kind": info.kind,
        "extent": list(plan.extent),
        "blocks": plan.blocks,
        "tiles": plan.tiles,
        "voxels": math.prod(plan.extent),
        "promised_bytes": plan.promised_bytes,
        "memory_bytes": plan.memory_bytes,
        "disk_bytes": plan.disk_bytes,
        "seconds_estimate": round(plan.seconds_estimate, 5),
        "output": str(prepared.outputs.product),
        "of": _of(plan.identity),
        "model": " + ".join(prepared.model.names),
        "engine": plan.engine,
        "precision": plan.precision,
        "warnings": _short(list(info.warnings)),
    }


def result_of(report: Report, began: float, worker: str) -> InputResult:
    """Of the event "done"; JSON-ready, below 4 kB. ``began``: unix seconds; ``worker``: the process
    that did it, or that led those who did."""
    seams, probabilities = report["seams"], report["probabilities"]
    return {
        "status": report["status"],
        "output": report["output"],
        "report": str(Outputs(Path(report["output"])).report),
        "product": _made(report["product"]),
        "probabilities": probabilities and _made(probabilities),
        "of": _of(report["plan"]["fingerprint"]),
        "seconds": round(time.time() - began, 3),
        "stages_s": report["stages_s"],
        "tiles": report["tiles_predicted"],
        "tiles_skipped": report["tiles_skipped"],
        "blocks": report["blocks"],
        "promised_bytes": report["promised_bytes"],
        "peak_rss_bytes": report["peak_rss_bytes"],
        "worker": worker,
        "classes": [_class(row) for row in report["classes"] if row["voxels"]][:12],
        "seam_index": seams and seams["index"],
        "warnings": _short(report["source"]["warnings"]),
        "failures": [_failure(one) for one in report["failures"][:3]],
        "began": round(began, 3),
        "finished": round(time.time(), 3),
    }


def _of(fingerprint: dict[str, Any]) -> str:
    """What a product is made of, as a digest."""
    return fingerprint_digest({name: fingerprint[name] for name in OF})


def _made(product: ProductFacts) -> ProductStamp:
    mtime_ns = file_stamp(product["path"])[1]
    return {"sha256": product["sha256"], "bytes": product["bytes"], "mtime_ns": mtime_ns}


def may_heal(result: InputResult) -> str:
    """Why a partial result may become whole by itself; empty where it will not."""
    unread = [one["error"] for one in result["failures"] if one["error"].startswith(UNREADABLE)]
    return unread[0] if unread else ""


def file_stamp(path: str) -> tuple[int, int]:
    """Size and modification time (ns) of a file, or of all that are in a Zarr; zeros: gone."""
    try:
        found = [file.stat() for file in files_in(Path(path))]
    except OSError:
        return 0, 0
    return sum(one.st_size for one in found), max((one.st_mtime_ns for one in found), default=0)


class BlocksOnDisk:
    """The blocks on disk of an input that has not ended, from the markers in its work store, each of
    which is read once."""

    def __init__(self) -> None:
        self._known: dict[str, BlockDone] = {}

    def __call__(self, one: InputRecord) -> list[BlockDone]:
        output = one.facts.get("output")
        if not output:
            return []
        paths = StoreFolder(Outputs(Path(output)).store).markers()
        return [done for path in paths if (done := self._read(path)) is not None][: one.blocks]

    def _read(self, path: Path) -> BlockDone | None:
        """None: it was taken away meanwhile."""
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
    rounded = {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}
    return cast(ClassRow, rounded)


def _failure(one: Failure) -> Failure:
    return {"block": one["block"][:200], "box": one["box"][:200], "error": one["error"][:200]}


def _short(warnings: list[str]) -> list[str]:
    kept = [text[:200] for text in warnings[:WARNINGS]]
    more = len(warnings) - len(kept)
    return [*kept, f"and {more} more"] if more > 0 else kept
