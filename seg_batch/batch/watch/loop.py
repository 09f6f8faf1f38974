"""A hot folder: what arrives there whole is segmented, once, and moved away or marked.

    look -> settled or declared complete -> segmented -> noted in the book -> moved or marked

All that must be known after a kill is on the disk: blocks in their work store, fates in the book. An
arrival that was in hand when the process died is taken again and goes on from its last block; one
that was finished and not noted is recognised by its product.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from seg_batch.batch.watch.archive import Archive
from seg_batch.batch.watch.arrivals import (
    CHANGED,
    ArrivalLog,
    ArrivalOutcome,
    FolderListing,
    Glance,
    Settling,
    glance_at,
    list_arrivals,
    marked,
    marker_at,
)
from seg_batch.core import events
from seg_batch.core.callbacks import Callback, Callbacks
from seg_batch.core.errors import Exit, InputError, OutputError

WAVE = 64  # arrivals that are handed over at once
PATIENCE_S = 300.0  # between tries, at most, while the disk is full or the folder gone


@dataclass(frozen=True)
class ArrivalRules:
    """When an arrival is complete: still for ``settle_s``, or declared by ``marker``. ``every_s``:
    between looks. ``once``: end when nothing is left to do."""

    settle_s: float = 10.0
    every_s: float = 5.0
    marker: str | None = None
    once: bool = False


class BatchEngine(Protocol):
    """What segments: it tells the callback of the end of each input, by its key. One that it does not
    tell of was stopped, and comes again."""

    def segment(self, inputs: dict[str, Path], callback: Callback, *, overwrite: bool) -> None: ...


class HotFolder:
    """One hot folder under one owner. ``say``: hears what a person should know; ``resting``: what became
    of the arrivals so far, by fate, each time that nothing is in hand."""

    def __init__(
        self,
        tidying: Archive,
        rules: ArrivalRules,
        engine: BatchEngine,
        book: ArrivalLog,
        callback: Callback,
        say: Callable[[str], None],
        resting: Callable[[Counter[str]], None] = lambda fates: None,
    ) -> None:
        self.folder = tidying.folder
        self._tidying, self._rules, self._engine = tidying, rules, engine
        self._book, self._callback, self._say = book, callback, say
        self._settling = Settling(rules.settle_s)
        self._first, self._waited = math.inf, False  # since the first look, for long enough
        self._said: set[str] = set()
        self._resting, self._fates = resting, Counter[str]()

    def run(self, stop: threading.Event) -> int:
        """Until ``stop`` is set. 0; 3 where something was set aside; 130 where work was cut short."""
        list_arrivals(self.folder)  # a folder that is wrong from the start is refused
        pause = self._rules.every_s
        self._resting(self._fates)
        while not stop.is_set():
            seen = self._seen()
            ready = self._ready(seen) if seen is not None else []
            ended = self._take(seen, ready, stop) if seen is not None and ready else 0
            if ended:
                self._resting(self._fates)
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
        return Exit.PARTIAL if self._fates["failed"] else Exit.COMPLETE

    def _seen(self) -> FolderListing | None:
        """A look, with everything in it that is dealt with tidied away; None while the folder
        can't be listed: a mount may come back."""
        try:
            seen = list_arrivals(self.folder)
        except InputError as error:
            self._say_once(error.message)
            return None
        if not seen.whole:
            self._say_once(
                f"{self.folder} holds too much to look at in one go, so some arrivals may wait for "
                "ever: move what is done away (--move-to)"
            )
        for name in sorted(seen.images):
            fate = self._book.of(name, seen.images[name])
            if fate is not None and not self._tidying.is_tidy(fate, seen):
                self._tidy(fate)
        return seen

    def _ready(self, seen: FolderListing) -> list[str]:
        """Names of complete arrivals that are not dealt with."""
        new = {
            name: glance
            for name, glance in seen.images.items()
            if self._book.of(name, glance) is None
        }
        now = time.monotonic()
        still = self._settling.settled(new, now)
        self._first = min(self._first, now)
        self._waited = now - self._first > self._rules.settle_s
        if self._rules.marker is None:
            return still[:WAVE]
        declared = sorted(name for name in marked(seen, self._rules.marker) if name in new)
        anew = [name for name in declared if self._is_declared_anew(name)]
        for name in sorted(set(declared).intersection(still).difference(anew)):
            self._say_once(
                f"{name} has come again, and only the {self._rules.marker} of the one before declares "
                "it complete: touch that once it is"
            )
        return anew[:WAVE]

    def _is_declared_anew(self, name: str) -> bool:
        before, marker = self._book.last(name), self._marker(name)
        return marker is not None and (before is None or before.marker != marker)

    def _marker(self, name: str) -> Glance | None:
        return marker_at(self.folder / name, self._rules.marker)

    def _take(self, seen: FolderListing, names: list[str], stop: threading.Event) -> int:
        """Hand them over as they were when they were found ready; returns how many were dealt with."""
        ended = 0
        for overwrite in (False, True):
            some = [name for name in names if self._was_changed(name) is overwrite]
            taken = [self._arrival(name, seen.images[name]) for name in some]
            taken = [one for one in taken if glance_at(self.folder / one.name) == one.glance]
            if taken and not stop.is_set():
                self._forget(taken)
                noting = _Noting(self, taken)
                inputs = {key: self.folder / name for key, name in noting.names.items()}
                both = Callbacks(self._callback, noting)
                self._engine.segment(inputs, both, overwrite=overwrite)
                ended += noting.count
            ended += len(some) - len(taken)  # gone or changed again before anyone began
        return ended

    def _arrival(self, name: str, glance: Glance) -> ArrivalOutcome:
        return ArrivalOutcome(name, glance, CHANGED, marker=self._marker(name))

    def _forget(self, taken: list[ArrivalOutcome]) -> None:
        """Marks of earlier arrivals: they would contradict those of these."""
        for one in taken:
            with suppress(OSError):
                self._tidying.forget(one.name)

    def _was_changed(self, name: str) -> bool:
        fate = self._book.last(name)
        return fate is not None and fate.fate == CHANGED

    def key(self, name: str) -> str:
        """The path, with a number where arrivals of this name came before: each has its own story."""
        before = self._book.times(name)
        return f"{self.folder / name}" + (f" ({before + 1})" if before else "")

    def note(self, taken: ArrivalOutcome, why: str, output: str | None) -> None:
        """Write down what became of an arrival, and tidy it away."""
        if glance_at(self.folder / taken.name) != taken.glance:
            self._book.write(replace(taken, output=output))
            self._say(f"{taken.name} changed while it was segmented: it is segmented again")
            return
        fate = self._book.write(
            replace(taken, fate="failed" if why else "done", why=why, output=output)
        )
        self._fates[fate.fate] += 1
        self._tidy(fate)

    def _tidy(self, fate: ArrivalOutcome) -> None:
        try:
            self._tidying.finish(fate)
        except OSError as error:
            self._say_once(
                f"{fate.name} is {fate.fate} and stays where it is ({error}); it is not taken again"
            )

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._say(text)


class _Noting(Callback):
    """Notes the fates of one wave. ``names``: of its inputs, by key; ``count``: how many had an end."""

    def __init__(self, watch: HotFolder, taken: list[ArrivalOutcome]) -> None:
        self._watch = watch
        self._taken = {watch.key(one.name): one for one in taken}
        self.names = {key: one.name for key, one in self._taken.items()}
        self.count = 0

    def on(self, event: events.Event) -> None:
        match event:
            case events.InputDone(key, result):
                why = "" if result["status"] == "complete" else _partial(result)
                self._note(key, why, result["output"])
            case events.InputFailed(key, error):
                self._note(key, error, None)

    def _note(self, key: str, why: str, output: str | None) -> None:
        self._watch.note(self._taken[key], why, output)
        self.count += 1


def _partial(result: Mapping[str, Any]) -> str:
    first = (result.get("failures") or [{}])[0].get("error", "some blocks failed")
    return f"the product is partial: {first}"


def require_apart(folder: Path, output: Path) -> None:
    """OutputError when products would arrive in the watched folder."""
    if folder.resolve() == output.resolve():
        raise OutputError(
            f"{output} is the watched folder, where every product would arrive as an input: "
            "use another output"
        )
