"""The command ``report``."""

from __future__ import annotations

import json

import typer

from seg_batch.cli.options import Json, Run, run_named
from seg_batch.core.run_files import PAGE


def report(run: Run, as_json: Json = False) -> None:
    """Write the report of a run again, from its journal: a page, JSON, JUnit XML, metrics."""
    from seg_batch.batch.report import write

    folder = run_named(run)
    facts = write(folder)
    if as_json:
        typer.echo(json.dumps(facts))
        return
    counts = ", ".join(f"{n} {status}" for status, n in facts["statuses"].items() if n)
    typer.echo(f"{facts['name']}: {facts['verdict']} ({counts or 'no inputs'})")
    typer.echo(f"report: {folder / PAGE}")
