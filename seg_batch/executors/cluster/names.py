"""What workers are called: each tells its host and pid once, as the scheduler knows its address only.

A plugin, because it also reaches workers that join later. This file imports ``distributed``: pools load
it late.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from distributed import WorkerPlugin

TOPIC = "segbatch-name"


class TellName(WorkerPlugin):
    name = "segbatch-names"

    def setup(self, worker: Any) -> None:
        told = {"worker": worker.address, "process": f"{socket.gethostname()}:{os.getpid()}"}
        worker.log_event(TOPIC, told)
