"""A night that nobody watches: with its log, its report in the morning, and the commands that follow."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from seg_batch.batch.hooks import run_hooks
from seg_batch.batch.listen import Listener, together
from seg_batch.batch.night import carry_out
from seg_batch.batch.orders import orders_of, require_named
from seg_batch.executors import gather_logs
from seg_batch.logs import Logged, RunLog, recording, worker_line
from seg_batch.workflow.schema import Workflow

LOG, REPORT = "log.jsonl", "report.html"

Write = Callable[[Path], Any]


def run_unattended(
    workflow: Workflow,
    listener: Listener,
    say: Callable[[str], None],
    write: Write,
    *,
    overwrite: bool = False,
) -> dict[str, Any]:
    """``run_night``, and what belongs to it. ``say`` is told what a person should know; ``write``
    makes the report of a run folder. What fails in them never changes what became of the night. Where
    the night can't begin, nothing is written."""
    require_named(workflow)
    orders = orders_of(workflow, overwrite=overwrite)
    folder = orders.folder
    with RunLog(folder / LOG) as log, recording(log):
        told = carry_out(
            orders,
            together(listener, Logged(log)),
            say=say,
            opened=lambda pool: gather_logs(pool, partial(worker_line, log)),
        )

        def failed(what: str, why: str) -> None:
            log.write("warning", "afterwards", f"{what}: {why}")
            say(f"{what}: {why}")

        try:
            write(folder)
        except Exception as error:
            failed("the report could not be made", f"{type(error).__name__}: {error}")
        report = folder / REPORT
        run_hooks(
            workflow.on_finish, run=folder, status=told["status"], report=report, failed=failed
        )
    return {**told, "report": str(report)}
