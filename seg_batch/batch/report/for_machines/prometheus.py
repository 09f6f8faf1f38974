"""``metrics.prom``: the totals of a run in Prometheus text format, for its textfile collector.

No label names an input, since thousands of series per run would overload the monitoring. Values per
input are in ``report.json``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from seg_batch.batch.report.rows import RunReport
from seg_batch.core.units import shown

Sample = tuple[dict[str, str], float]


def metrics(facts: RunReport) -> str:
    """The exposition: HELP, TYPE and samples of each metric; all are gauges of the last report."""
    lines = []
    for name, help_text, samples in _metrics(facts):
        full = f"segbatch_{name}"
        lines += [f"# HELP {full} {help_text}", f"# TYPE {full} gauge"]
        lines += [
            f"{full}{_labels({'run': facts['name'], **labels})} {float(value)!r}"
            for labels, value in samples
        ]
    return "\n".join(lines) + "\n"


def _metrics(facts: RunReport) -> Iterator[tuple[str, str, list[Sample]]]:
    totals, sessions = facts["totals"], facts["sessions"]
    info = {"version": facts["segbatch"], "verdict": facts["verdict"]}
    yield "run_info", "What made the run and how it stands.", [(info, 1)]
    complete = facts["verdict"] == "complete"
    yield "run_complete", "1 when every input has a whole product.", [({}, complete)]
    yield "run_ended", "1 when the coordinator told of its end.", [({}, facts["ended"])]
    if sessions:
        begun, last = sessions[0]["begun"], sessions[-1]["last"]
        yield "run_begun_timestamp_seconds", "When the run was first begun.", [({}, begun)]
        yield "run_last_timestamp_seconds", "The last event of the run.", [({}, last)]
    statuses = [({"status": k}, float(v)) for k, v in facts["statuses"].items()]
    if facts["steps"]:
        yield "steps", "Steps by status.", statuses
    else:
        yield "inputs", "Inputs by status.", statuses
    stages = [({"stage": k}, float(v)) for k, v in totals["stages_s"].items()]
    yield "stage_seconds", "Seconds of all workers in each stage of blocks.", stages
    numbers: Mapping[str, Any] = totals
    for key, name, help_text in _TOTALS:
        if numbers[key] is not None:
            yield name, help_text, [({}, float(numbers[key]))]
    for unit in ("hectares", "millilitres"):
        samples: list[Sample] = [
            ({"model": str(c["model"]), "id": str(c["id"]), "class": c["name"]}, c[unit])
            for c in sorted(totals["classes"], key=lambda c: (str(c["model"]), c["id"]))
            if unit in c
        ]
        if samples:
            yield f"class_{unit}", f"Found of each class, {unit}, over all inputs.", samples


_TOTALS = (
    ("seconds", "run_seconds", "Time with a coordinator at work."),
    ("voxels", "voxels", "Voxels of inputs that have a product."),
    ("voxels_per_s", "voxels_per_second", "Voxels per second of the run."),
    ("tiles", "tiles", "Tiles predicted."),
    ("tiles_skipped", "tiles_skipped", "Tiles left out as empty."),
    ("promised_bytes", "promised_bytes", "The largest memory promised for a worker."),
    ("peak_rss_bytes", "peak_rss_bytes", "The largest memory measured in a worker."),
    ("product_bytes", "product_bytes", "Size of all products."),
    ("retries", "retries", "Attempts that failed in passing and were repeated."),
    ("workers_lost", "workers_lost", "Workers that went away in the middle of work."),
    ("workers_dropped", "workers_dropped", "Workers dropped because all failed on them."),
    ("stragglers", "stragglers", "Blocks that were repeated because they took too long."),
    ("warnings", "warnings", "Warnings about inputs and products."),
    ("to_review", "to_review", "Inputs whose maps are to be looked at before they are used."),
)


def _labels(labels: dict[str, Any]) -> str:
    return "{" + ",".join(f'{key}="{_quoted(value)}"' for key, value in labels.items()) + "}"


def _quoted(value: object) -> str:
    return shown(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
