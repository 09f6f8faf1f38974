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

from seg_batch.batch.journal.lease import holder
from seg_batch.executors import IN_FLIGHT
from tests.chaos.cluster import Cluster
from tests.chaos.night import (
    WORKERS,
    Night,
    end_session,
    kill,
    make_inputs,
    wait_until,
    workers_of,
)

IN_HAND_EACH = IN_FLIGHT + 1  # blocks that a worker has or will have next, at most
IN_HAND = IN_HAND_EACH * WORKERS
RACES, COMMANDS = 100, 10
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
        killed, rounds, repeated, whole_s = 0, 0, [], self.quiet_s
        while killed < self.kills:
            rounds += 1
            night = self.night(f"coordinator-{rounds}")
            while killed < self.kills:
                process = night.start()
                began, alive_s = time.monotonic(), self.random.uniform(0.2, whole_s)
                try:
                    status = process.wait(alive_s)
                    if night.sessions == 1:  # the machine may have got faster
                        whole_s = time.monotonic() - began
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
        pause_s = max(3.0, self.quiet_s / 6)  # else no worker lives to do anything
        while process.poll() is None:
            time.sleep(self.random.uniform(0.5, 1.5) * pause_s)
            victims = workers_of(process.pid)
            if victims and process.poll() is None:
                kill(self.random.choice(victims))
                killed += 1
            require(killed < 200, "it does not end", night)
        require(process.returncode == COMPLETE, f"ended with {process.returncode}", night)
        end_session(process.pid)
        self.check(night)
        repeats = sum(night.begun()[0].values()) - self.blocks
        lost = [event["worker"] for event in night.events("worker_lost")]
        require(len(set(lost)) == len(lost) <= killed, f"lost workers told: {lost}", night)
        require(lost or not killed, "no lost worker was told of", night)
        slow = len(night.events("straggler"))  # begun elsewhere too, though nobody was killed
        require(repeats <= killed * IN_HAND_EACH + slow, f"{repeats} blocks repeated", night)
        return {
            "kills": killed,
            "lost_told": len(lost),
            "repeated_blocks": repeats,
            "in_flight_at_most": IN_HAND_EACH,
            "stragglers": slow,
        }

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
        kill(victim, signal.SIGSTOP)
        time.sleep(12)
        kill(victim, signal.SIGCONT)
        status = process.wait(300)
        end_session(process.pid)
        require(status == COMPLETE, f"ended with {status}", night)
        self.check(night)
        told = {kind: len(night.events(kind)) for kind in ("worker_lost", "straggler")}
        return {"stopped_s": 12, "patience_s": 4, **told}

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
        return {"taken_over": len(night.events("taken_over"))}

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
        """One of ten reads fails with EIO, and the next one may not: complete at once."""
        night = self.night("eio", env={"CHAOS_EIO": "0.1"})
        status = night.finish()
        require(night.faults(), "no read failed", night)
        require(status == COMPLETE, f"ended with {status}", night)
        self.check(night)
        return {"failed_reads": night.faults(), "retried": len(night.events("retried"))}

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

    def two_coordinators(self) -> dict[str, Any]:
        """Of two at the same moment one is refused, always; and of two whole commands."""
        night = self.night("races", cluster="inline", workers=1, env={"CHAOS_SLOW_S": "0.3"})
        races = Path(__file__).with_name("races.py")
        asked = [sys.executable, str(races), str(night.workflow), str(RACES)]
        raced = subprocess.run(asked, env=night.environment(), capture_output=True, text=True)
        require(raced.returncode == 0, raced.stderr, night)
        for _ in range(COMMANDS):
            self._two_commands(night)
        night.env.clear()
        require(night.finish() == COMPLETE, "did not complete", night)
        self.check(night)
        return {"races": RACES, **json.loads(raced.stdout), "of_commands": COMMANDS}

    def _two_commands(self, night: Night) -> None:
        """The one that is not refused is killed, with the run in hand."""
        both = [night.start(), night.start()]
        require(wait_until(lambda: any(p.poll() is not None for p in both)), "none ended", night)
        loser, winner = sorted(both, key=lambda process: process.poll() is None)
        require(loser.returncode == 2, f"one ended with {loser.returncode}", night)
        held = wait_until(lambda: _owner(night) == winner.pid, 20)
        require(held and winner.poll() is None, "both were refused", night)
        winner.kill()
        winner.wait()


SCENES: tuple[Callable[[Chaos], dict[str, Any]], ...] = (
    Chaos.slow_reads,
    Chaos.bad_reads,
    Chaos.bad_file,
    Chaos.workers,
    Chaos.coordinator,
    Chaos.stopped_worker,
    Chaos.scheduler,
    Chaos.full_disk,
    Chaos.stopped_coordinator,
    Chaos.two_coordinators,
)


def _owner(night: Night) -> int:
    held = holder(night.run)
    return held.owner.pid if held and not held.owner.released else 0


def _figures(repeated: list[int]) -> dict[str, Any]:
    return {
        "repeated_blocks_most": max(repeated, default=0),
        "repeated_blocks_mean": round(sum(repeated) / max(1, len(repeated)), 2),
        "in_flight_at_most": IN_HAND,
    }


def _require_nothing_done_twice(night: Night) -> None:
    """What the journal calls complete was never begun again."""
    complete: set[str] = set()
    for event in night.events():
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
