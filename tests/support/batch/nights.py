"""A night without what follows it: neither log, nor report, nor commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from seg_batch.batch.job import job_of, require_named
from seg_batch.batch.runner import run_job
from seg_batch.batch.shutdown import Shutdown
from seg_batch.config.workflow import Workflow
from seg_batch.core.callbacks import Callback
from seg_batch.executors import Pool


def run_night(
    workflow: Workflow,
    callback: Callback | None = None,
    *,
    overwrite: bool = False,
    pool: Pool | None = None,
    stop: Shutdown | None = None,
    say: Callable[[str], None] = lambda line: None,
    opened: Callable[[Pool], None] = lambda pool: None,
) -> dict[str, Any]:
    require_named(workflow)
    job = job_of(workflow, overwrite=overwrite)
    return run_job(job, callback or Callback(), pool=pool, stop=stop, say=say, opened=opened)
