"""Write the report of a run into its folder, from the journal and the products' reports."""

from __future__ import annotations

import json
from pathlib import Path

from seg_batch.batch.journal import Journal
from seg_batch.batch.report.for_machines.junit import junit
from seg_batch.batch.report.for_machines.prometheus import metrics
from seg_batch.batch.report.gallery import Gallery, gallery
from seg_batch.batch.report.history import history_of
from seg_batch.batch.report.html_page import run_page
from seg_batch.batch.report.rows import RunReport
from seg_batch.batch.report.sizes import size_tables
from seg_batch.batch.report.steps import steps_of, with_all_steps
from seg_batch.batch.report.summary import run_report
from seg_batch.core.errors import InputError
from seg_batch.core.files import read_json, write_bytes
from seg_batch.core.registry.formats import PRODUCTS
from seg_batch.core.run_files import FACTS, JOURNAL, JUNIT, MAPS, METRICS, PAGE, WORKFLOW

# Keys of the workflow in the report; not ``on_finish``, whose commands may hold secrets.
SHOWN = ("name", "model", "models", "options", "post", "outputs", "steps")


def write(folder: str | Path) -> RunReport:
    """Write ``report.json``, ``report.xml``, ``metrics.prom``, ``areas.csv`` and ``volumes.csv``, ``maps.vrt`` (of which a run
    may have none) and ``report.html`` into the run's folder; returns the content of ``report.json``. ``InputError`` where there is no journal."""
    folder = Path(folder)
    if not (folder / JOURNAL).is_file():
        raise InputError(
            f"{folder} is no run folder (it has no {JOURNAL}): give the one that 'segbatch run' printed"
        )
    workflow = read_json(folder / WORKFLOW)
    workflow = workflow if isinstance(workflow, dict) else {}
    settings = {key: workflow[key] for key in SHOWN if workflow.get(key)}
    history = history_of(Journal.read(folder / JOURNAL))
    if workflow.get("steps"):
        history = with_all_steps(history, workflow)
    facts = run_report(history, str(workflow.get("name") or folder.name), settings)
    if workflow.get("steps"):
        facts["steps"] = steps_of(history, workflow, facts["inputs"], folder)
        facts["workers"] = []
    outputs = workflow.get("outputs") or {}
    if facts["steps"] or outputs.get("pictures") is False:
        pictures = Gallery((), 0)
    else:
        pictures = gallery(facts, outputs.get("deidentify"))
    # Files for machines first: drawing and writing the page takes longest.
    write_bytes(folder / FACTS, (json.dumps(facts, indent=1, allow_nan=False) + "\n").encode())
    write_bytes(folder / JUNIT, junit(facts))
    write_bytes(folder / METRICS, metrics(facts).encode())
    for name, table in size_tables(facts["inputs"]).items():
        write_bytes(folder / name, table)
    for name, content in _maps_together(facts, folder).items():
        write_bytes(folder / name, content)
    write_bytes(folder / PAGE, run_page(facts, pictures).encode())
    return facts


def _maps_together(facts: RunReport, folder: Path) -> dict[str, bytes]:
    """A VRT over the maps that are GeoTIFFs, in place of earlier ones; none where there are no two."""
    rows = (
        row for row in facts["inputs"] if row["kind"] == "raster" and row["status"] == "complete"
    )
    outputs = [row["output"] or "" for row in rows]
    geotiff = PRODUCTS["cog"]
    endings = (*geotiff.endings, *geotiff.aliases)
    maps = [Path(output) for output in outputs if output.endswith(endings)]
    for earlier in folder.glob(MAPS.replace(".", "*.")):
        earlier.unlink()
    if len(maps) < 2:
        return {}
    from seg_batch.io.sinks.together_vrt import together  # with GDAL, of which volumes have no need

    return together(maps, folder, Path(MAPS).stem)
