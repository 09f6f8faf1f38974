"""The state of a run, summed up from its events: what is done, the speed, the time left."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from seg_batch.batch.journal.names import input_name
from seg_batch.core import events
from seg_batch.core.units import show_s

GONE = ("lost", "dropped")  # kinds of trouble that end a worker
RECENT_S = 300.0  # the time over which the speed is measured


@dataclass
class Running:
    """An input in work: its blocks and tiles, its ``ended`` blocks, its ``counted`` tiles, its stage, and what people call
    it."""

    blocks: int
    tiles: int
    since: float
    stage: str
    name: str = ""
    ended: int = 0
    counted: int = 0

    @property
    def blocks_left(self) -> int:
        return max(0, self.blocks - self.ended)

    @property
    def tiles_left(self) -> int:
        return self.tiles - self.counted


@dataclass
class Tally:
    """``tiles`` and ``blocks``: [done, total]; ``folder``: the common parent of all inputs begun."""

    began: float
    inputs: int = 0
    done: int = 0
    partial: int = 0
    failed: int = 0
    refused: int = 0
    to_review: int = 0
    blocks: list[int] = field(default_factory=lambda: [0, 0])
    tiles: list[int] = field(default_factory=lambda: [0, 0])
    running: dict[str, Running] = field(default_factory=dict)
    workers: dict[str, dict[str, Any]] = field(default_factory=dict)
    folder: str | None = None
    stopping: bool = False
    first: float | None = None  # when the first input began
    _pace: deque[tuple[float, int]] = field(default_factory=deque)

    def take(self, event: events.Event, now: float) -> None:
        """Count an event; those of an input that is not in work are ignored."""
        item = self.running.get(getattr(event, "key", ""))
        match event:
            case events.RunPlanned(inputs, done, refused, blocks, tiles):
                self.inputs, self.done, self.refused = inputs, done, refused
                self.blocks, self.tiles = [0, blocks], [0, tiles]
            case events.InputStarted(key, facts):
                self._started(key, facts, now)
            case events.Stage(text) if item:
                item.stage = text
            case events.InputResumed(_, blocks) if item:
                self._ended(item, blocks)  # done by an earlier run, so no part of the speed
            case events.BlockEnded(receipt=receipt) if item:
                self._block(item, receipt, now)
            case events.InputDone(key, result):
                self._done(key, result, now)
            case events.InputFailed(key, _, status):
                self._failed(key, status)
            case events.InputRetried(key) | events.InputWithdrawn(key):
                self._requeued(key)
            case events.WorkerTrouble(kind, worker) if kind in GONE:
                self.workers.pop(worker, None)
        self.stopping |= isinstance(event, events.Stopping)

    def _started(self, key: str, facts: Mapping[str, Any], now: float) -> None:
        """An input of one block is handed out: no event says when a worker begins it."""
        self.first = now if self.first is None else self.first
        blocks = facts.get("blocks") or 1
        stage = "handed out" if blocks == 1 else "opening"
        self.running[key] = Running(
            blocks, facts.get("tiles") or 0, now, stage, input_name(key, facts.get("image"))
        )
        self.folder = _common(self.folder, os.path.dirname(key))

    def _block(self, item: Running, receipt: Mapping[str, Any] | None, now: float) -> None:
        share = self._ended(item, 1)
        if receipt:
            self._predicted(share, now)
            self.seen(receipt.get("worker"), receipt["peak_rss_bytes"], receipt["tiles"], now)

    def _done(self, key: str, result: Mapping[str, Any], now: float) -> None:
        complete = result.get("status") == "complete"
        self.done += complete
        self.partial += not complete
        self.to_review += bool(result.get("review"))
        if item := self.running.pop(key, None):
            self.blocks[0] += item.blocks_left
            self.tiles[0] += item.tiles_left
            self._predicted(item.tiles_left, now)
            if item.blocks == 1:  # else the events of its blocks named the workers
                self.seen(result.get("worker"), result["peak_rss_bytes"], item.tiles, now)

    def _failed(self, key: str, status: int) -> None:
        """The blocks and tiles that were left no longer count."""
        self.refused += status == 2
        self.failed += status != 2
        if item := self.running.pop(key, None):
            self.blocks[1] -= item.blocks_left
            self.tiles[1] -= item.tiles_left

    def _requeued(self, key: str) -> None:
        """The input waits again, with all of its blocks."""
        if item := self.running.pop(key, None):
            self.blocks[0] -= min(item.blocks, item.ended)
            self.tiles[0] -= item.counted

    def seen(self, worker: str | None, rss: int, tiles: int, now: float) -> None:
        if worker:
            known = self.workers.setdefault(worker, {"rss": 0, "tiles": 0})
            known["rss"], known["seen"] = max(known["rss"], rss), now
            known["tiles"] += tiles

    def _ended(self, item: Running, blocks: int) -> int:
        """Count blocks as done; returns their tiles: an equal share each, since tiles on borders are
        predicted by several blocks."""
        item.ended += blocks
        share = round(item.tiles * min(1.0, item.ended / item.blocks)) - item.counted
        item.counted += share
        self.blocks[0] += blocks
        self.tiles[0] += share
        return share

    def _predicted(self, tiles: int, now: float) -> None:
        self._pace.append((now, tiles))
        while now - self._pace[0][0] > RECENT_S:
            self._pace.popleft()

    def per_s(self, now: float) -> float:
        """Tiles per second of the last five minutes; 0 where no tile is counted yet."""
        span = min(RECENT_S, now - (self.began if self.first is None else self.first))
        recent = sum(n for t, n in self._pace if now - t <= RECENT_S)
        return recent / span if span > 0 else 0.0

    def left_s(self, now: float) -> float:
        """Seconds left; infinite where the speed is unknown."""
        left, speed = self.tiles[1] - self.tiles[0], self.per_s(now)
        return max(0.0, left / speed) if speed else (0.0 if left <= 0 else math.inf)

    @property
    def waiting(self) -> int:
        ended = self.done + self.partial + self.failed + self.refused
        return max(0, self.inputs - ended - len(self.running))

    def counts(self) -> str:
        kinds = ("partial", "failed", "refused", "waiting")
        counts = {name: getattr(self, name) for name in kinds} | {"in hand": len(self.running)}
        counts["to review"] = self.to_review
        others = [f"{n} {name}" for name, n in counts.items() if n]
        return ", ".join([f"{self.done} of {self.inputs} inputs done", *others])

    def speed(self, now: float) -> str:
        blocks = f"{self.blocks[0]}/{self.blocks[1]} blocks"
        if self.stopping:
            return f"{blocks}, what workers have in hand is finished"
        if speed := self.per_s(now):
            return f"{blocks}, {speed:.3g} tiles/s, {show_s(self.left_s(now))} left"
        return blocks

    def short(self, key: str) -> str:
        """What an input is called, without the common folder."""
        item = self.running.get(key)
        return (item.name if item else key).removeprefix(os.path.join(self.folder or "", ""))


def _common(folder: str | None, other: str) -> str:
    try:
        return other if folder is None else os.path.commonpath([folder, other])
    except ValueError:  # one is absolute, one is not
        return ""
