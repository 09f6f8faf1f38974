"""One batch that tiles of several blocks and inputs share, so that small inputs fill it together."""

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from seg_batch.nn.engines.device.programs import DevicePrograms, Slab


@dataclass(eq=False)
class Place:
    """The place of a tile in a batch. ``batch``: the probabilities of all its tiles; None: not computed yet."""

    index: int
    batch: Any = None


class SharedBatch:
    """Takes tiles from any thread and computes them ``programs.batch`` at a time.

    A batch is computed when it is full. ``flush`` computes one that is not; it waits for the batch before, and
    whatever other threads bring meanwhile shares the next. Two batches at most are under way. The first error
    of the device is raised in every thread that has tiles here (``broken``).
    """

    def __init__(self, programs: DevicePrograms) -> None:
        self.programs = programs
        self.calls = 0  # of the network
        self._lock = threading.Lock()
        self._batch = programs.empty_batch()
        self._waiting: list[Place] = []
        self._running: Any = None
        self._error: BaseException | None = None

    def take(self, slab: Slab, starts: np.ndarray) -> list[Place]:
        """Places for the tiles at ``starts``, int32 ``(n, axes)`` in the slab."""
        places: list[Place] = []
        with self._lock:
            self._require_sound()
            while len(places) < len(starts):
                first = len(self._waiting)
                some = starts[len(places) : len(places) + self.programs.batch - first]
                self._computing(lambda first=first, some=some: self._fill(slab, some, first))
                taken = [Place(first + i) for i in range(len(some))]
                places += taken
                self._waiting += taken
                if len(self._waiting) == self.programs.batch:
                    self._computing(self._run)
        return places

    def flush(self, place: Place) -> None:
        """See that the batch of a place is computed, full or not."""
        if place.batch is None and self._running is not None:
            self._computing(lambda: self.programs.wait(self._running))
        with self._lock:
            self._require_sound()
            if place.batch is None:
                self._computing(self._run)

    def broken(self, error: BaseException) -> None:
        """Give up: what was computed here can't be relied on."""
        self._error = self._error or error

    def _fill(self, slab: Slab, starts: np.ndarray, first: int) -> None:
        size, mine = self.programs.batch, slice(first, first + len(starts))
        padded = np.zeros((size, starts.shape[1]), np.int32)
        padded[mine] = starts
        places = np.arange(size)
        here = (places >= mine.start) & (places < mine.stop)
        self._batch = self.programs.fill(self._batch, slab, padded, here)

    def _run(self) -> None:
        before, self._running = self._running, self.programs.compute(self._batch)
        for place in self._waiting:
            place.batch = self._running
        self._waiting = []
        self.calls += 1
        if before is not None:
            self.programs.wait(before)

    def _computing(self, work: Any) -> None:
        try:
            work()
        except BaseException as error:
            self.broken(error)
            raise

    def _require_sound(self) -> None:
        if self._error is not None:
            raise self._error
