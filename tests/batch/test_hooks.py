"""Commands after a run: real ones, that succeed, fail, hang, or leave something behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from seg_batch.batch.hooks import run_hooks
from seg_batch.batch.job import BatchJob
from seg_batch.batch.journal import open_run
from seg_batch.batch.resume import prepare_folder
from seg_batch.config.workflow import Workflow
from seg_batch.core.hardware import is_running
from tests.support.patience import PATIENCE_S, until

TELL = "import os; print(*(os.environ[f'SEGBATCH_{k}'] for k in ('RUN', 'STATUS', 'REPORT')))"


def ran(tmp_path: Path, *commands: list[str], limit_s: float = PATIENCE_S) -> tuple[int, list[str]]:
    said: list[str] = []
    good = run_hooks(
        commands,
        run=tmp_path,
        status=3,
        failed=lambda command, why: said.append(why),
        limit_s=limit_s,
    )
    return good, said


def test_a_command_is_told_of_the_run_and_no_shell_reads_it(tmp_path: Path) -> None:
    out = tmp_path / "told"
    write = f"{TELL[:-1]}, sys.argv[1], file=open({str(out)!r}, 'w'))".replace("os;", "os, sys;")
    assert ran(tmp_path, [sys.executable, "-c", write, "$(id); *"]) == (1, [])
    assert out.read_text() == f"{tmp_path} 3 {tmp_path}/report.html $(id); *\n"


def test_failures_are_told_of_and_the_next_command_runs(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    good, said = ran(
        tmp_path,
        [str(tmp_path / "no-such-command")],
        ["false"],
        [sys.executable, "-c", "import sys; sys.exit('no route to host')"],
        ["touch", str(mark)],
    )
    assert good == 1
    assert mark.exists()
    assert said[0].startswith("it can't be run")
    assert said[1:] == ["it ended with status 1", "it ended with status 1: no route to host"]


def test_a_command_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    good, said = ran(tmp_path, ["sleep", "3000"], limit_s=0.3)
    assert (good, said) == (0, ["it took longer than 0.3 s and was killed"])


def test_a_command_that_hangs_is_killed_with_all_that_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time is over once it has said something, whenever that is."""
    child = tmp_path / "child"

    class Slow(subprocess.Popen):  # type: ignore[type-arg]
        def wait(self, timeout: float | None = None) -> int:
            if timeout is None:
                return super().wait()
            until(child.exists)
            raise subprocess.TimeoutExpired(self.args, timeout)

    monkeypatch.setattr(subprocess, "Popen", Slow)
    script = f"sleep 3000 & echo began; echo $! > {child}.part; mv {child}.part {child}; sleep 3000"
    good, said = ran(tmp_path, ["sh", "-c", script], limit_s=0.3)
    assert (good, said) == (0, ["it took longer than 0.3 s and was killed: began"])
    until(lambda: not is_running(int(child.read_text())), "the end of what it began")


def test_a_process_left_behind_holds_nothing_up(tmp_path: Path) -> None:
    left = tmp_path / "left"
    assert ran(tmp_path, ["sh", "-c", f"sleep 3000 & echo $! > {left}; exit 0"]) == (1, [])
    os.kill(int(left.read_text()), signal.SIGKILL)  # it is still there


def test_what_follows_the_first_word_of_a_command_is_told_nowhere(tmp_path: Path) -> None:
    said: list[str] = []
    run_hooks(
        [["false", "secret"]],
        run=tmp_path,
        status=0,
        failed=lambda *t: said.extend(t),
    )
    assert said == ["false", "it ended with status 1"]
    workflow = {"name": "night", "inputs": "x", "outputs": str(tmp_path)}
    flow = Workflow.model_validate({**workflow, "on_finish": [["curl", "-H", "secret"]]})
    with open_run(tmp_path):
        prepare_folder(BatchJob(tmp_path, flow.sha256, flow.to_json(), {}))
    kept = json.loads((tmp_path / "workflow.json").read_text())
    assert kept["on_finish"] == [["curl"]]
