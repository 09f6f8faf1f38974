"""Events as a run would write them, and processes that hold a run folder on command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

BEGUN = {"workflow_sha256": "0" * 64, "host": "h", "pid": 1, "segbatch": "0"}


def begun(t: float = 0.0) -> dict[str, Any]:
    return {"t": t, "event": "begun", "input": None, **BEGUN}


def event(kind: str, key: str | None, t: float = 0.0, **fields: Any) -> dict[str, Any]:
    return {"t": t, "event": kind, "input": key, **fields}


def outcome(status: str = "complete", blocks: int = 1, failed: int = 0) -> dict[str, Any]:
    return {
        "status": status,
        "worker": "w1",
        "blocks": {"total": blocks, "done": blocks - failed, "failed": failed},
        "failures": [{"block": "0.0", "box": "", "error": "can't be read"}] if failed else [],
    }


# Commands on its standard input: take FOLDER, append INPUT, release, die FOLDER, loop FOLDER.
HOLDER = """
import itertools, os, signal, sys
from contextlib import ExitStack
from pathlib import Path
from seg_batch.core.errors import SegbatchError
from seg_batch.batch.journal import open_run

limit_s = float(sys.argv[1])

def take(folder):
    global held, journal
    held = ExitStack()
    journal = held.enter_context(open_run(Path(folder), limit_s=limit_s, say=said.append))

for line in sys.stdin:
    command, _, argument = line.strip().partition(" ")
    said = []
    try:
        if command == "take":
            take(argument)
        elif command == "append":
            journal.append("refused", argument, error="")
        elif command == "release":
            held.close()
        elif command == "die":  # a child that is killed as it holds the run
            if not os.fork():
                take(argument)
                os.kill(os.getpid(), signal.SIGKILL)
            os.wait()
        elif command == "loop":  # append, telling of each, until the end
            take(argument)
            for n in itertools.count():
                journal.append("refused", str(n), error="x" * 200)
                print(n, flush=True)
        print("ok", *said, flush=True)
    except SegbatchError as error:
        print("error", error.message, flush=True)
"""


class Holder:
    """A process that takes run folders when told to."""

    def __init__(self, limit_s: float = 60.0) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(limit_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).resolve().parents[3],
        )

    def tell(self, command: str, argument: object = "") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command} {argument}\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def ask(self, command: str, argument: object = "") -> str:
        self.tell(command, argument)
        return self.hear()

    def __enter__(self) -> Holder:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()
