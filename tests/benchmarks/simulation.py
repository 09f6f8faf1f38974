"""A simulated cluster, scheduled by the very decisions of a run (``executors.retry_state``): how many of 64
workers are busy over a night, what 1 000 would be, and where the coordinator can't follow any more.
Target: 64 workers at least 95 % busy, from the first block to the end of the last.

The model
- A worker does one block at a time and has the next in hand (in flight: three per worker, as in a
  run). What is submitted waits in one queue, in order; whoever is free takes the next.
- Block times: log-normal, with the median of blocks measured here (ANU-Net in OpenVINO) and their
  spread, but no less than SPREAD; a share of STRAGGLERS takes longer by a log-normal factor.
- Each worker dies with a probability of 2 % per hour, at any moment. Of the deaths a share of SILENT
  is a machine that hangs: Dask notes it only after its TTL_S, others at once. Then its block is
  queued again, and another process is there after RESTART_S, without a model: the first block takes
  LOAD_S longer.
- The coordinator does one thing at a time. An ended block and the next one submitted take it what was
  measured here with real processes and empty blocks: processor time of coordinator and scheduler.
- Busy is a worker at a block, whether or not another finishes it first (``wasted`` says how much).

``python tests/benchmarks/simulation.py [--hours 2] [--large 1000] [--seconds S --cost S]``: with the
last two, nothing is measured.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import math
import random
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from timing import make_bundle, make_scene, show

from seg_batch.core import events
from seg_batch.core.callbacks import Callback
from seg_batch.executors.pool import IN_FLIGHT
from seg_batch.executors.retry_state import Attempt, TaskStateMachine
from seg_batch.executors.worker_health import Health

TARGET, WORKERS = 0.95, 64
SPREAD, STRAGGLERS, FACTOR, FACTOR_SPREAD = 0.25, 0.02, 5.0, 0.8
DEATHS_PER_HOUR, SILENT, TTL_S, RESTART_S, LOAD_S = 0.02, 0.1, 300.0, 20.0, 10.0


@dataclass
class Worker:
    """``since``: when its block began; ``hangs``: it never ends anything again."""

    name: str
    attempt: Attempt | None = None
    since: float = 0.0
    loaded: bool = False
    hangs: bool = False


@dataclass
class Cluster:
    """Simulated time, in seconds, as a heap of what happens next."""

    workers: int
    blocks: int
    median_s: float
    spread: float
    cost_s: float
    seed: int = 7
    now: float = 0.0
    busy_s: float = 0.0
    wasted_s: float = 0.0
    deaths: int = 0
    copies: int = 0
    begun: int = 0
    steady: float = 0.0  # busy until nothing more waits
    free_at: float = 0.0  # the coordinator
    working_s: float = 0.0  # it, too
    queue: deque[Attempt] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order, self._names = itertools.count(), itertools.count()
        self.there: dict[str, Worker] = {}
        self.idle: deque[Worker] = deque()
        self.course = TaskStateMachine(range(self.blocks), Health(), lambda: list(self.there))
        self.over: set[Attempt] = set()

    def at(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), what))

    def run(self) -> dict[str, float]:
        for _ in range(self.workers):
            self.join()
        self.at(0.0, self.submit)
        self.at(1.0, self.tick)
        while self.course.busy or self.now == 0.0:
            self.now, _, what = heapq.heappop(self._events)
            what()
        for worker in self.there.values():  # cut off in the middle of what nobody needs
            if worker.attempt is not None:
                self.spent(worker, useful=False)
        span = self.workers * self.now
        return {
            "busy": self.busy_s / span,
            "steady": self.steady,
            "wasted": self.wasted_s / span,
            "coordinator": self.working_s / self.now,
            "hours": self.now / 3600,
            "deaths": self.deaths,
            "copies": self.copies,
        }

    def join(self) -> None:
        worker = Worker(f"worker {next(self._names)}")
        self.there[worker.name] = worker
        self.idle.append(worker)
        alive_s = self.rng.expovariate(DEATHS_PER_HOUR / 3600)
        self.at(self.now + alive_s, lambda: self.die(worker))
        self.hand_out()

    def die(self, worker: Worker) -> None:
        self.deaths += 1
        worker.hangs = True
        silent = self.rng.random() < SILENT
        self.at(self.now + (TTL_S if silent else 0.0), lambda: self.lose(worker))

    def lose(self, worker: Worker) -> None:
        """Dask has noted it, and gives what it had in hand to another."""
        del self.there[worker.name]
        if worker.attempt is not None:
            self.spent(worker, useful=False)
            if worker.attempt not in self.over:
                self.queue.appendleft(worker.attempt)
                self.hand_out()
        self.at(self.now + RESTART_S, self.join)

    def spent(self, worker: Worker, useful: bool) -> None:
        self.busy_s += self.now - worker.since
        self.wasted_s += 0.0 if useful else self.now - worker.since

    def takes_s(self, worker: Worker) -> float:
        seconds = self.median_s * math.exp(self.rng.gauss(0.0, self.spread))
        if self.rng.random() < STRAGGLERS:
            seconds *= FACTOR * math.exp(self.rng.gauss(0.0, FACTOR_SPREAD))
        return seconds + (0.0 if worker.loaded else LOAD_S)

    def hand_out(self) -> None:
        while self.idle and self.queue:
            worker = self.idle.popleft()
            if worker.hangs or worker.name not in self.there:
                continue
            attempt = self.queue.popleft()
            if attempt in self.over:
                self.idle.appendleft(worker)
                continue
            if worker.name in attempt.avoid and self.idle:
                self.idle.append(worker)
                self.queue.appendleft(attempt)
                continue
            worker.attempt, worker.since = attempt, self.now
            self.at(self.now + self.takes_s(worker), lambda w=worker, a=attempt: self.end(w, a))

    def end(self, worker: Worker, attempt: Attempt) -> None:
        if worker.hangs or worker.attempt is not attempt:
            return
        self.spent(worker, useful=attempt not in self.over)
        worker.attempt, worker.loaded = None, True
        self.idle.append(worker)
        self.hand_out()
        self.free_at = max(self.free_at, self.now) + self.cost_s
        self.working_s += self.cost_s
        self.at(self.free_at, lambda: self.take_in(worker, attempt))

    def take_in(self, worker: Worker, attempt: Attempt) -> None:
        """The coordinator hears of it, and submits what comes next."""
        self.over.discard(attempt)
        end = self.course.ended(attempt, worker.name, None, self.now)
        self.over.update(end.rivals)
        self.submit()

    def submit(self) -> None:
        while attempt := self.course.next(self.now, (IN_FLIGHT + 1) * len(self.there)):
            self.queue.append(attempt)
            self.begun += 1
        self.hand_out()
        if self.begun >= self.blocks and not self.steady:
            so_far = sum(self.now - w.since for w in self.there.values() if w.attempt is not None)
            span = self.workers * max(self.now, 1e-9)
            self.steady = (self.busy_s + so_far) / span

    def tick(self) -> None:
        """Once a second the run looks for stragglers."""
        placed = {w.attempt: w.name for w in self.there.values() if w.attempt is not None}
        room = (IN_FLIGHT + 1) * len(self.there) - self.course.in_flight
        for attempt in self.course.late(self.now, room):
            at = [placed.get(rival, "") for rival in self.course.rivals(attempt)]
            if all(at):
                self.queue.append(self.course.copy(attempt, at, self.now))
                self.copies += 1
        self.hand_out()
        self.at(self.now + 1.0, self.tick)


class Blocks(Callback):
    """Listens to a run: how long each block took."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on(self, event: events.Event) -> None:
        if isinstance(event, events.BlockEnded) and event.receipt:
            self.seconds.append(event.receipt["seconds"]["total"])


def measured_blocks() -> tuple[float, float]:
    """Median seconds and spread (of the logarithm) of blocks of 1024 x 1024."""
    import seg_batch

    network = {"channels": 4, "classes": 8, "filters": (16, 32, 64, 128)}
    with tempfile.TemporaryDirectory() as name:
        work, told = Path(name), Blocks()
        scene = make_scene(work / "scene.tif", 3072)
        bundle = make_bundle(work / "bundle", 2, 256, 64, **network)
        seg_batch.predict(
            scene, work / "map.tif", model=bundle, callback=told, memory_bytes=1_400_000_000
        )
    seconds = sorted(told.seconds)[len(told.seconds) // 8 :]  # the last columns are narrower
    return statistics.median(seconds), statistics.pstdev(map(math.log, seconds))


def measured_cost(n: int = 3000) -> float:
    """Processor seconds of coordinator and scheduler for a block that does nothing."""
    from seg_batch.executors import run_bounded
    from seg_batch.executors.cluster.launch import local_pool

    pool = local_pool(2)
    try:
        for _ in run_bounded(pool, abs, range(200)):
            pass
        start = time.process_time()
        for _ in run_bounded(pool, abs, range(n)):
            pass
        return (time.process_time() - start) / n
    finally:
        pool.close()


def simulate(workers: int, hours: float, median_s: float, spread: float, cost_s: float) -> dict:
    tail = 1 + STRAGGLERS * (FACTOR * math.exp(FACTOR_SPREAD**2 / 2) - 1)
    mean_s = median_s * math.exp(spread**2 / 2) * tail
    blocks = round(hours * 3600 * workers / mean_s)
    found = Cluster(workers, blocks, median_s, spread, cost_s).run()
    print(
        f"{workers} workers, {blocks} blocks of {median_s:.2f} s: {found['busy']:.1%} busy "
        f"(until nothing waits {found['steady']:.1%}; for nothing {found['wasted']:.2%}), {found['hours']:.2f} h, {found['deaths']:.0f} deaths, "
        f"{found['copies']:.0f} copies of stragglers, coordinator {found['coordinator']:.1%} busy",
        flush=True,
    )
    return found


def saturation(median_s: float, spread: float, cost_s: float) -> dict[int, float]:
    """How busy workers are, until nothing waits, around the number that one coordinator can serve:
    that many end a block in the time that it needs for each."""
    limit = int(median_s / cost_s)
    around = (limit // 2, limit, limit * 2)
    hours = 20 * median_s / 3600
    return {n: simulate(n, hours, median_s, spread, cost_s)["steady"] for n in around}


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--hours", type=float, default=2.0)
    asked.add_argument("--large", type=int, default=1000)
    asked.add_argument("--seconds", type=float)
    asked.add_argument("--cost", type=float)
    told = asked.parse_args()
    median_s, spread = (told.seconds, SPREAD) if told.seconds else measured_blocks()
    cost_s = told.cost or measured_cost()
    print(
        f"measured: a block {median_s:.3f} s (spread {spread:.3f}), coordinator {cost_s * 1e3:.2f} ms"
    )
    spread = max(spread, SPREAD)
    night = simulate(WORKERS, told.hours, median_s, spread, cost_s)
    large = simulate(told.large, told.hours / 8, median_s, spread, cost_s)
    around = saturation(median_s, spread, cost_s)
    show(
        "simulation",
        f"{WORKERS} workers {night['busy']:.1%} busy (target {TARGET:.0%}); {told.large}: "
        f"{large['busy']:.1%}; one coordinator ({cost_s * 1e3:.2f} ms per block) with blocks of "
        f"{median_s:.2f} s: "
        + ", ".join(f"{n} workers {share:.0%} busy" for n, share in around.items()),
        target=TARGET,
        median_s=median_s,
        cost_s=cost_s,
        around=around,
        **night,
        large=large,
    )
    if night["busy"] < TARGET:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
