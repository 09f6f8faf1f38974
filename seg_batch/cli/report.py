"""The command ``report``."""

from __future__ import annotations

from typing import Any

from seg_batch.cli.options import Json, Run, run_named, show
from seg_batch.core.run_files import PAGE


def report(run: Run, as_json: Json = False) -> None:
    """Write the report of a run again, from its journal: a page, JSON, JUnit XML, metrics."""
    from seg_batch.batch.report import write

    folder = run_named(run)

    def lines(facts: dict[str, Any]) -> list[str]:
        counts = ", ".join(f"{n} {status}" for status, n in facts["statuses"].items() if n)
        verdict = f"{facts['name']}: {facts['verdict']} ({counts or 'no inputs'})"
        return [verdict, f"report: {folder / PAGE}"]

    show(write(folder), lines, as_json)
