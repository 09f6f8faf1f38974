"""What workers are called: each tells its host and pid once, as the scheduler knows its address only.

A plugin, because it also reaches workers that join later. This file imports ``distributed``: pools load
it late.
"""

from __future__ import annotations

from typing import Any

from distributed import WorkerPlugin

from seg_batch.machine import here

TOPIC = "segbatch-name"


class TellName(WorkerPlugin):
    name = "segbatch-names"

    def setup(self, worker: Any) -> None:
        told = {"worker": worker.address, "process": here()}
        worker.log_event(TOPIC, told)
