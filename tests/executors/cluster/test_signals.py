"""Signals that a terminal or systemd sends to all processes of a run end no worker of it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from seg_batch.executors import open_pool
from seg_batch.executors.cluster.dask_settings import ENDING, signals_blocked
from tests.support.patience import until

pytestmark = pytest.mark.full


def blocked() -> tuple[int, bool]:
    """This process, and whether every thread of it is deaf to both."""
    wanted = sum(1 << (number - 1) for number in ENDING)
    tasks = [path.read_text() for path in Path("/proc/self/task").glob("*/status")]
    masks = [int(text.split("SigBlk:")[1].split()[0], 16) for text in tasks]
    return os.getpid(), all(mask & wanted == wanted for mask in masks)


def test_workers_outlive_what_a_terminal_sends() -> None:
    with open_pool("local", 2) as pool:
        before = pool.ask(blocked)
        assert all(deaf for _, deaf in before.values())
        for number in ENDING:
            for pid, _ in before.values():
                os.kill(pid, number)
        time.sleep(0.5)
        assert pool.ask(blocked) == before
        os.kill(next(iter(before.values()))[0], signal.SIGKILL)
        until(lambda: len(after := pool.answers(blocked)) == 2 and set(after) != set(before))
        assert all(deaf for _, deaf in pool.ask(blocked).values()), "those begun later, too"


def test_the_coordinator_hears_again_afterwards() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with signals_blocked():
        assert set(ENDING) <= signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
