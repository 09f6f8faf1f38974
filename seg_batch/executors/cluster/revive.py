"""Processes of our own cluster that died while they were starting: begun anew.

A nanny restarts a worker that dies at work; one that dies on its way there, it gives up, and Dask never
looks again. On a machine with too little memory, a night would lose one worker after the other.
"""

from __future__ import annotations

from typing import Any

GIVEN_UP = ("closed", "failed")  # what a nanny's status is called then


def revive(cluster: Any, wanted: int) -> None:
    """See to it that there will be ``wanted`` processes; returns at once."""

    def forget() -> None:
        for name, nanny in list(cluster.workers.items()):
            if nanny.status.name in GIVEN_UP:
                del cluster.workers[name]

    cluster.loop.add_callback(forget)
    cluster.scale(wanted)  # opens what is not in ``cluster.workers``, each as it was
