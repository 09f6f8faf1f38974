"""The loop of a hot folder: each complete arrival is segmented once, and moved away or marked.

    list -> settled or declared complete -> segmented -> outcome logged -> moved or marked

All state is on disk: blocks in their work stores, outcomes in the arrival log. An arrival that was
running when the process was killed is resumed from its last block; one that was complete but not
logged is recognised by its product.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from seg_batch.batch.watch.archive import Archive
from seg_batch.batch.watch.arrivals import (
    CHANGED,
    ArrivalLog,
    ArrivalOutcome,
    FolderListing,
    Glance,
    Settling,
    list_arrivals,
)
from seg_batch.batch.watch.batches import Batches
from seg_batch.core import events
from seg_batch.core.callbacks import Callback, Callbacks
from seg_batch.core.errors import Exit, InputError

WAVE = 64  # arrivals of one batch, at most
PATIENCE_S = 300.0  # limit of the exponential backoff while the disk is full or the folder gone


@dataclass(frozen=True)
class ArrivalRules:
    """When an arrival is complete: unchanged for ``settle_s``, or declared by a file with the
    ending ``marker``. ``every_s``: between polls; ``once``: end when nothing is left to do."""

    settle_s: float = 10.0
    every_s: float = 5.0
    marker: str | None = None
    once: bool = False


class HotFolder:
    """One hot folder. ``say``: gets messages for the user; ``on_idle``: gets the number of arrivals
    by outcome, each time that none is running; ``deliver``: gets the products of one that is done."""

    def __init__(
        self,
        archive: Archive,
        rules: ArrivalRules,
        batches: Batches,
        arrival_log: ArrivalLog,
        callback: Callback,
        say: Callable[[str], None],
        on_idle: Callable[[Counter[str]], None] = lambda counted: None,
        deliver: Callable[[list[Path]], None] = lambda products: None,
    ) -> None:
        self.folder = archive.folder
        self._archive, self._rules, self._batches = archive, rules, batches
        self._arrival_log, self._callback, self._say = arrival_log, callback, say
        self._settling, self._waiting = Settling(rules.settle_s), Settling(rules.settle_s)
        self._first, self._waited = math.inf, False  # since the first look, for long enough
        self._said: set[str] = set()
        self._on_idle, self._outcomes = on_idle, Counter[str]()
        self._deliver = deliver

    def run(self, stop: threading.Event) -> int:
        """Poll until ``stop`` is set; returns the exit status: 0; 3 where an arrival failed; 130
        where work was cut short."""
        list_arrivals(self.folder)  # InputError at the start; later it is retried
        pause = self._rules.every_s
        self._on_idle(self._outcomes)
        while not stop.is_set():
            seen = self._seen()
            ready = self._ready(seen) if seen is not None else []
            ended = self._take(seen, ready, stop) if seen is not None and ready else 0
            if ended:
                self._on_idle(self._outcomes)
            if stop.is_set():
                return Exit.STOPPED if ended < len(ready) else self._status()
            if self._rules.once and seen is not None and not ready and self._waited:
                break
            if not ended:
                stop.wait(pause)
            troubled = seen is None or (ready and not ended)
            pause = min(PATIENCE_S, pause * 2) if troubled else self._rules.every_s
        return self._status()

    def _status(self) -> int:
        return Exit.PARTIAL if self._outcomes["failed"] else Exit.COMPLETE

    def _seen(self) -> FolderListing | None:
        """A listing, after archiving the arrivals in it that have an outcome; None while the folder
        can't be listed: a mount may come back."""
        try:
            seen = self._archive.stack.grouped(list_arrivals(self.folder))
        except InputError as error:
            self._say_once(error.message)
            return None
        if not seen.whole:
            self._say_once(
                f"{self.folder} holds too much to look at in one go, so some arrivals may wait for "
                "ever: move what is done away (--move-to)"
            )
        for line in seen.notes:
            self._say_once(line)
        for name in sorted(seen.images):
            outcome = self._arrival_log.of(name, seen.images[name])
            if outcome is not None and not self._archive.is_archived(outcome, seen):
                self._archive_arrival(outcome)
        return seen

    def _ready(self, seen: FolderListing) -> list[str]:
        """Names of complete arrivals without an outcome."""
        new = {
            name: glance
            for name, glance in seen.images.items()
            if self._arrival_log.of(name, glance) is None
        }
        now = time.monotonic()
        settled = self._settling.settled(new, now)
        still = [name for name in new if name in seen.still or name in settled]
        still.sort(key=lambda name: settled.index(name) if name in settled else -1)
        self._first = min(self._first, now)
        self._waited = now - self._first > self._rules.settle_s
        lacking = {name: glance for name, (glance, _) in seen.waiting.items()}
        for name in self._waiting.settled(lacking, now):
            self._say_once(seen.waiting[name][1])
        if self._rules.marker is None:
            return still[:WAVE]
        declared = sorted(
            name for name in self._archive.stack.declared(seen, self._rules.marker) if name in new
        )
        anew = [name for name in declared if self._is_declared_anew(name)]
        for name in sorted(set(declared).intersection(still).difference(anew)):
            self._say_once(
                f"{self._arrival_log.shown(name)} has come again, and only the {self._rules.marker} of the one before declares "
                "it complete: touch that once it is"
            )
        return anew[:WAVE]

    def _is_declared_anew(self, name: str) -> bool:
        marker = self._marker(name)
        return marker is not None and self._arrival_log.is_new_marker(name, marker)

    def _marker(self, name: str) -> Glance | None:
        return self._archive.stack.marker(self.folder, name, self._rules.marker)

    def _take(self, seen: FolderListing, names: list[str], stop: threading.Event) -> int:
        """Segment the arrivals that are as they were listed, but those that are passed over; returns how many are done
        with."""
        passed = [name for name in names if name in seen.passed]
        for name in passed:
            self._pass_over(name, seen)
        names, ended = [name for name in names if name not in seen.passed], len(passed)
        for overwrite in (False, True):
            group = [name for name in names if self._was_changed(name) is overwrite]
            taken = []
            for name in group:
                glance = seen.images[name]
                if self._archive.stack.glance(self.folder, name) == glance:
                    taken.append(ArrivalOutcome(name, glance, CHANGED, marker=self._marker(name)))
            if taken and not stop.is_set():
                for arrival in taken:
                    with suppress(OSError):  # marks of earlier arrivals of these names
                        self._archive.forget(arrival.name)
                recorder = _OutcomeRecorder(self, taken)
                inputs = {key: self.folder / a.name for key, a in recorder.taken.items()}
                both = Callbacks(self._callback, recorder)
                self._batches.segment(inputs, both, overwrite=overwrite)
                ended += recorder.count
            ended += len(group) - len(taken)  # gone, or changed since they were listed
        return ended

    def _pass_over(self, name: str, seen: FolderListing) -> None:
        why = seen.passed[name]
        self._say(f"{self._arrival_log.shown(name)} is passed over: {why}")
        taken = ArrivalOutcome(name, seen.images[name], "done", why, marker=self._marker(name))
        self._archive_arrival(self._arrival_log.write(taken))

    def _was_changed(self, name: str) -> bool:
        outcome = self._arrival_log.last(name)
        return outcome is not None and outcome.fate == CHANGED

    def key(self, name: str) -> str:
        """The path, with a number where there were arrivals of this name before: a key for each."""
        before, shown = self._arrival_log.times(name), self._arrival_log.shown(name)
        called = f"{self.folder / name}" if shown == name else shown
        return called + (f" ({before + 1})" if before else "")

    def note(
        self, taken: ArrivalOutcome, why: str, output: str | None, also: Iterable[str] = ()
    ) -> None:
        """Deliver the products of an arrival, log its outcome, then archive it."""
        if self._archive.stack.glance(self.folder, taken.name) != taken.glance:
            self._arrival_log.write(replace(taken, output=output))
            self._say(
                f"{self._arrival_log.shown(taken.name)} changed while it was segmented: it is segmented again"
            )
            return
        if output is not None and not why:
            self._deliver([Path(output), *map(Path, also)])
        outcome = self._arrival_log.write(
            replace(taken, fate="failed" if why else "done", why=why, output=output)
        )
        self._outcomes[outcome.fate] += 1
        self._archive_arrival(outcome)

    def _archive_arrival(self, outcome: ArrivalOutcome) -> None:
        if self._archive.moves(outcome):
            beside = self._archive.stack.beside(outcome.name).items()
            others = [self._arrival_log.of(name, glance) for name, glance in beside]
            known = [outcome, *filter(None, others)]
            outcome = next((one for one in known if one.fate == "failed"), outcome)
            if None in others or not self._archive.moves(outcome):
                return  # what is together stays together
        try:
            self._archive.finish(outcome)
        except OSError as error:
            self._say_once(
                f"{self._arrival_log.shown(outcome.name)} is {outcome.fate} and stays where it is ({error}); it is not "
                "taken again"
            )

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._say(text)


class _OutcomeRecorder(Callback):
    """Logs the outcomes of a batch. ``taken``: its arrivals by key; ``count``: of those that ended."""

    def __init__(self, watch: HotFolder, taken: list[ArrivalOutcome]) -> None:
        self._watch = watch
        self.taken = {watch.key(arrival.name): arrival for arrival in taken}
        self.count = 0

    def on(self, event: events.Event) -> None:
        why, output, also = "", None, list[str]()
        match event:
            case events.InputDone(key, result):
                output, also = result["output"], list(result.get("also", ()))
                if result["status"] != "complete":
                    rows = result.get("failures") or [{}]
                    first = rows[0].get("error", "some blocks failed")
                    why = f"the product is partial: {first}"
            case events.InputFailed(key, error):
                why = error
            case _:
                return
        self._watch.note(self.taken[key], why, output, also)
        self.count += 1
