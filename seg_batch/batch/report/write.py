"""Write the report of a run into its folder, from what lies there: at any time, again and again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from seg_batch.batch.journal import Journal
from seg_batch.batch.report.gallery import Gallery, gallery
from seg_batch.batch.report.history import history_of
from seg_batch.batch.report.html_page import run_page
from seg_batch.batch.report.junit import junit
from seg_batch.batch.report.prometheus import metrics
from seg_batch.batch.report.rows import RunReport
from seg_batch.batch.report.steps import in_order, steps_of
from seg_batch.batch.report.summary import run_report
from seg_batch.core.errors import InputError
from seg_batch.core.files import write_bytes
from seg_batch.core.run_files import FACTS, JOURNAL, JUNIT, METRICS, PAGE, WORKFLOW

TOLD = (
    "name",
    "model",
    "models",
    "options",
    "post",
    "outputs",
    "steps",
)  # a workflow's hooks hold secrets


def write(folder: str | Path) -> RunReport:
    """``report.json``, ``report.xml``, ``metrics.prom`` and ``report.html`` in the run's folder;
    returns what ``report.json`` says. ``InputError`` where there is no journal."""
    folder = Path(folder)
    if not (folder / JOURNAL).is_file():
        raise InputError(
            f"{folder} is no run folder (it has no {JOURNAL}): give the one that 'segbatch run' printed"
        )
    workflow = _workflow(folder)
    settings = {key: workflow[key] for key in TOLD if workflow.get(key)}
    told = history_of(Journal.read(folder / JOURNAL))
    if workflow.get("steps"):
        told = in_order(told, workflow)
    facts = run_report(told, str(workflow.get("name") or folder.name), settings)
    if workflow.get("steps"):
        facts["steps"] = steps_of(told, workflow, facts["inputs"], folder)
        facts["workers"] = []
    pictures = Gallery((), 0) if facts["steps"] else gallery(facts)
    # The cheap ones first: what machines read is there even if a picture takes its time.
    write_bytes(folder / FACTS, (json.dumps(facts, indent=1, allow_nan=False) + "\n").encode())
    write_bytes(folder / JUNIT, junit(facts))
    write_bytes(folder / METRICS, metrics(facts).encode())
    write_bytes(folder / PAGE, run_page(facts, pictures).encode())
    return facts


def _workflow(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / WORKFLOW).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
