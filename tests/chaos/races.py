"""Races of two coordinators for one run: real processes, side by side at the same instruction.

    python tests/chaos/races.py WORKFLOW NUMBER

Each race forks two processes from one that has imported everything, opens a gate for both at once, and
they do what ``segbatch run`` does. Exactly one must be refused, while the other holds the run; that one
is killed in the middle of its work, so that the next two race for a run whose owner is dead; or, every
second time, for one that nobody holds. Prints how many races there were of each kind, as JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from seg_batch.batch.journal.lease import NAME, holder
from seg_batch.config.workflow import Workflow, read
from seg_batch.core.errors import BusyError
from tests.chaos.night import end_session, wait_until
from tests.support.batch.nights import run_night

REFUSED = 2


def races(workflow: Workflow, number: int) -> dict[str, int]:
    folder, kinds = Path(workflow.run_folder), {"free": 0, "owner_dead": 0}
    for race in range(number):
        if race % 2 == 0:
            shutil.rmtree(folder / NAME, ignore_errors=True)
        kinds["owner_dead" if race % 2 else "free"] += 1
        _race(workflow, folder)
    return kinds


def _race(workflow: Workflow, folder: Path) -> None:
    gate, opener = os.pipe()
    racers = {_racer(workflow, gate, opener) for _ in range(2)}
    os.close(gate)
    os.close(opener)  # now
    first, status = os.wait()
    (other,) = racers - {first}
    try:
        assert os.waitstatus_to_exitcode(status) == REFUSED, f"ended with {status}"
        assert wait_until(lambda: _holds(other, folder), 20), "both were refused"
        assert os.waitpid(other, os.WNOHANG) == (0, 0), "the other one ended, too"
    finally:
        end_session(other)
        os.waitpid(other, 0)


def _racer(workflow: Workflow, gate: int, opener: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    os.close(opener)
    os.read(gate, 1)  # returns when the last opener is closed
    try:
        run_night(workflow)
    except BusyError:
        os._exit(REFUSED)
    except BaseException:
        os._exit(1)
    os._exit(0)


def _holds(pid: int, folder: Path) -> bool:
    held = holder(folder)
    return held is not None and held.owner.pid == pid and not held.owner.released


if __name__ == "__main__":
    print(json.dumps(races(read(Path(sys.argv[1])), int(sys.argv[2]))))
