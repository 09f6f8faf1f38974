"""``make chaos``: a night of 20 real inputs, disturbed in every way at hand, against a quiet one.

Each scene of this play ends in products byte-equal to those of the quiet run, or the command says
that they are partial; then, with the fault gone, the same command completes them. Prints what was
measured, as JSON at the end. Exit status 1 when anything did not hold.

    python tests/chaos/chaos.py [--kills 50] [--seed 1] [--only coordinator,workers,...]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from seg_batch.executors import IN_FLIGHT
from seg_batch.journal import Journal
from seg_batch.journal.events import NAME
from tests.chaos.night import (
    WORKERS,
    Night,
    end_session,
    make_inputs,
    processes,
    wait_until,
    workers_of,
)

IN_HAND = (IN_FLIGHT + 1) * WORKERS  # blocks in flight at most
COMPLETE, PARTIAL = 0, 3


class WrongError(AssertionError):
    """Something that must hold did not."""


def require(true: object, what: str, night: Night) -> None:
    if not true:
        raise WrongError(f"{what}\n{night.said()[-3000:]}")


class Chaos:
    """The scenes, sharing inputs and the products of a quiet run."""

    def __init__(self, folder: Path, kills: int, seed: int, scenes: int = 12, volumes: int = 8):
        self.folder, self.kills = folder, kills
        self.random = random.Random(seed)
        self.inputs = folder / "inputs"
        make_inputs(self.inputs, scenes, volumes)
        quiet = self.night("quiet")
        start = time.monotonic()
        status = quiet.finish()
        self.quiet_s = time.monotonic() - start
        require(status == COMPLETE, f"the quiet run ended with {status}", quiet)
        self.expected = quiet.digests()
        self.blocks = len(quiet.begun()[0])
        require(len(self.expected) == scenes + volumes, "the quiet run lacks products", quiet)

    def night(self, name: str, **more: Any) -> Night:
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        return Night(self.inputs, folder, **more)

    def check(self, night: Night) -> None:
        """The night is over: its products are those of the quiet one, and nothing else is left."""
        require(night.digests() == self.expected, f"{night.folder.name}: other bytes", night)
        require(not night.leftovers(), f"left behind: {night.leftovers()}", night)
        _require_nothing_done_twice(night)

    def coordinator(self) -> dict[str, Any]:
        """SIGKILL at random moments, each followed by the same command; anew when it completes."""
        killed, rounds, repeated = 0, 0, []
        while killed < self.kills:
            rounds += 1
            night = self.night(f"coordinator-{rounds}")
            while killed < self.kills:
                process = night.start()
                alive_s = self.random.uniform(0.2, self.quiet_s)
                try:
                    status = process.wait(alive_s)
                    break
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                    killed += 1
            else:
                status = night.finish()
            require(status == COMPLETE, f"ended with {status} after kills", night)
            end_session(process.pid)
            self.check(night)
            repeated += night.repeated()
        require(max(repeated) <= IN_HAND, f"{max(repeated)} blocks repeated", night)
        return {"kills": killed, "rounds": rounds, **_figures(repeated)}

    def workers(self) -> dict[str, Any]:
        """SIGKILL of a random worker every few seconds, until the run is complete."""
        night = self.night("workers", env={"CHAOS_SLOW_S": "0.3"})
        process, killed = night.start(), 0
        wait_until(night.log.exists)
        pause_s = max(
            2.0, self.quiet_s / 8
        )  # where starting a worker takes longer, there is no end
        while process.poll() is None:
            time.sleep(self.random.uniform(0.5, 1.5) * pause_s)
            victims = workers_of(process.pid)
            if victims and process.poll() is None:
                _signal(self.random.choice(victims), signal.SIGKILL)
                killed += 1
            require(killed < 200, "it does not end", night)
        require(process.returncode == COMPLETE, f"ended with {process.returncode}", night)
        end_session(process.pid)
        self.check(night)
        repeats = sum(night.begun()[0].values()) - self.blocks
        kinds = [event["event"] for event in Journal.read(night.run / NAME)]
        slow = kinds.count("straggler")  # begun elsewhere too, though nobody was killed
        require(repeats <= killed * IN_HAND + slow, f"{repeats} blocks repeated", night)
        return {"kills": killed, "repeated_blocks": repeats, "stragglers": slow}

    def scheduler(self) -> dict[str, Any]:
        """The scheduler of a cluster of its own dies: the run says so; with a new one it goes on."""
        deaths = 3
        cluster = Cluster(self.folder / "scheduler-cluster")
        night = self.night("scheduler", cluster=cluster.address, env={"CHAOS_SLOW_S": "0.2"})
        try:
            for _ in range(deaths):
                cluster.start(night)
                process = night.start()
                wait_until(lambda: night.begun()[-1])
                time.sleep(self.random.uniform(0, 2))
                cluster.kill_scheduler()
                status = process.wait(180)
                require(status != COMPLETE, "complete without a scheduler", night)
                require("run the same command again" in night.said(), "not told", night)
                cluster.stop()
            cluster.start(night)
            require(night.finish() == COMPLETE, "did not complete", night)
        finally:
            cluster.stop()
        self.check(night)
        return {"deaths": deaths, **_figures(night.repeated())}

    def stopped_worker(self) -> dict[str, Any]:
        """SIGSTOP of a worker for longer than the scheduler's patience with it, then SIGCONT."""
        patience = {"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "4s", "CHAOS_SLOW_S": "0.3"}
        night = self.night("stopped", env=patience)
        process = night.start()
        wait_until(night.log.exists)
        require(workers_of(process.pid), "no worker", night)
        victim = self.random.choice(workers_of(process.pid))
        _signal(victim, signal.SIGSTOP)
        time.sleep(12)
        _signal(victim, signal.SIGCONT)
        status = process.wait(300)
        end_session(process.pid)
        require(status == COMPLETE, f"ended with {status}", night)
        self.check(night)
        return {"stopped_s": 12, "patience_s": 4}

    def stopped_coordinator(self) -> dict[str, Any]:
        """SIGSTOP of the coordinator for longer than its lock allows: another takes the run over,
        and the first, awake again, writes nothing more."""
        night = self.night("suspended", env={"CHAOS_SLOW_S": "0.3"})
        first = night.start()
        wait_until(night.log.exists)
        first.send_signal(signal.SIGSTOP)
        require(night.finish() == 2, "a second coordinator was not refused", night)
        time.sleep(62)
        threading.Thread(target=first.wait, daemon=True).start()  # else its pid would stay
        status = night.finish()
        first.send_signal(signal.SIGCONT)
        ended = first.wait(30)
        end_session(first.pid)
        require(status == COMPLETE, f"ended with {status}", night)
        require(ended == 2, f"the first ended with {ended}", night)
        require("taking over this run" in night.said(), "not told", night)
        self.check(night)
        kinds = [event["event"] for event in Journal.read(night.run / NAME)]
        return {"taken_over": kinds.count("taken_over")}

    def full_disk(self) -> dict[str, Any]:
        """A disk too small for the products; then room is made."""
        if os.geteuid() != 0:
            print("SKIPPED full_disk: mounting a tmpfs takes root", flush=True)
            return {"skipped": "not root"}
        night = self.night("full")
        night.products.mkdir()
        total = sum((self.folder / "quiet" / "out" / n).stat().st_size for n in self.expected)
        size = max(1 << 20, total // 2)
        options = ["-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(night.products)]
        subprocess.run(["mount", *options], check=True)
        try:
            status = night.finish()
            require(status not in (COMPLETE, 1), f"a full disk ended with {status}", night)
            require("disk" in night.said(), "not told", night)
            wrong = {k for k, v in night.digests().items() if v != self.expected[k]}
            require(not wrong, f"products were touched: {wrong}", night)
            whole = len(night.digests())
            subprocess.run(["mount", "-o", "remount,size=2G", str(night.products)], check=True)
            require(night.finish() == COMPLETE, "did not complete with room made", night)
            self.check(night)
        finally:
            subprocess.run(["umount", "-l", str(night.products)], check=False)
        return {"tmpfs_bytes": size, "status": status, "whole_products_then": whole}

    def bad_reads(self) -> dict[str, Any]:
        """One of fifty reads fails with EIO: complete, or partial and saying so; with a disk
        that reads again the same command completes."""
        night = self.night("eio", env={"CHAOS_EIO": "0.02"})
        first = night.finish()
        require(first in (COMPLETE, PARTIAL), f"ended with {first}", night)
        same = night.digests() == self.expected
        require(same == (first == COMPLETE), f"status {first} is a lie", night)
        night.env.clear()
        require(night.finish() == COMPLETE, "did not complete", night)
        self.check(night)
        return {"status": first, "products_equal_at_once": same}

    def bad_file(self) -> dict[str, Any]:
        """No read of one input succeeds: it is told of, all others are complete."""
        night = self.night("one-eio", env={"CHAOS_EIO": "scene02"})
        status = night.finish()
        require(status == PARTIAL, f"ended with {status}", night)
        others = {k: v for k, v in self.expected.items() if not k.startswith("scene02")}
        found = {k: v for k, v in night.digests().items() if not k.startswith("scene02")}
        require(found == others, "others suffered", night)
        require("scene02" in night.said(), "not told", night)
        night.env.clear()
        require(night.finish() == COMPLETE, "did not complete", night)
        self.check(night)
        return {"status": status}

    def slow_reads(self) -> dict[str, Any]:
        """Each read takes half a second longer."""
        night = self.night("slow", env={"CHAOS_SLOW_S": "0.5"})
        start = time.monotonic()
        require(night.finish() == COMPLETE, "did not complete", night)
        self.check(night)
        return {"seconds": round(time.monotonic() - start, 1), "quiet_s": round(self.quiet_s, 1)}


SCENES: tuple[Callable[[Chaos], dict[str, Any]], ...] = (
    Chaos.slow_reads,
    Chaos.bad_reads,
    Chaos.bad_file,
    Chaos.workers,
    Chaos.stopped_worker,
    Chaos.scheduler,
    Chaos.full_disk,
    Chaos.coordinator,
    Chaos.stopped_coordinator,
)


class Cluster:
    """A Dask scheduler and workers as processes of their own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.port = 20000 + os.getpid() % 20000
        self.address = f"tcp://127.0.0.1:{self.port}"
        self._sessions: list[subprocess.Popen[bytes]] = []

    def start(self, night: Night) -> None:
        listen = ["scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard"]
        work = ["worker", self.address, "--nworkers", str(WORKERS), "--nthreads", "2"]
        env = {**night.environment(), "CHAOS_SESSION": str(night.sessions + 1)}
        self._sessions = [self._popen(listen, env)]
        self._sessions.append(self._popen([*work, "--no-dashboard"], env))

    def _popen(self, arguments: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
        with (self._folder / "said.txt").open("ab") as said:
            return subprocess.Popen(
                [sys.executable, "-m", "dask", *arguments],
                stdout=said, stderr=said, env=env, cwd=self._folder, start_new_session=True,
            )  # fmt: skip

    def kill_scheduler(self) -> None:
        for pid in processes(self._sessions[0].pid):
            _signal(pid, signal.SIGKILL)
        self._sessions[0].wait()

    def stop(self) -> None:
        for process in self._sessions:
            end_session(process.pid)
            process.wait()
        self._sessions = []


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _figures(repeated: list[int]) -> dict[str, Any]:
    return {
        "repeated_blocks_most": max(repeated, default=0),
        "repeated_blocks_mean": round(sum(repeated) / max(1, len(repeated)), 2),
        "in_flight_at_most": IN_HAND,
    }


def _require_nothing_done_twice(night: Night) -> None:
    """What the journal calls complete was never begun again."""
    complete: set[str] = set()
    for event in Journal.read(night.run / NAME):
        if event["event"] == "started":
            require(event["input"] not in complete, f"{event['input']} was done twice", night)
        if event["event"] == "done" and event["outcome"]["status"] == "complete":
            complete.add(event["input"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50, help="of the coordinator")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="scenes by name, with commas between")
    given = parser.parse_args()
    chosen = [s for s in SCENES if not given.only or s.__name__ in given.only.split(",")]
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        chaos = Chaos(Path(folder), given.kills, given.seed)
        figures["quiet"] = {"seconds": round(chaos.quiet_s, 1), "blocks": chaos.blocks}
        failed = 0
        for scene in chosen:
            start = time.monotonic()
            try:
                result = scene(chaos)
            except (WrongError, subprocess.TimeoutExpired) as error:
                failed += 1
                result = {"wrong": str(error)}
            result["took_s"] = round(time.monotonic() - start, 1)
            figures[scene.__name__] = result
            print(f"{scene.__name__}: {json.dumps(result)}", flush=True)
    print(json.dumps(figures, indent=2))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
