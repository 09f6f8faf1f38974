"""Measured speeds, kept in the user's cache by machine, engine, precision and model.

A file holds the last observations of one model on one kind of machine. Plans read them, and nothing else
depends on them: not a byte of a product, no fingerprint. What can't be read or written is as if it were not
there.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import math
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from seg_batch.core import hardware
from seg_batch.core.files import read_json, write_json

KEPT = 8  # observations of a model with each number of workers
MOST_FILES = 200  # of one machine and engine; the oldest go
OTHERS = 10  # models whose speed is asked for where a model has none: each input of a run asks


@dataclass(frozen=True)
class Observation:
    """``tiles`` of the card's patch computed in ``seconds`` by all ``workers`` of a machine together, so many at once.

    ``cold``: the seconds hold the first call of the model, which is slower than the rest.
    """

    tiles: float
    seconds: float
    workers: int
    cold: bool = False


@dataclass(frozen=True)
class Rate:
    """Seconds per tile of a machine, as ``count`` observations have it; ``low`` and ``high``: the least and
    the largest of them."""

    tile_s: float
    low: float
    high: float
    workers: int
    count: int


@dataclass(frozen=True)
class RatedModel:
    """What a speed belongs to. ``weights``: the hash of the weights, or several joined; ``flops``: of a tile."""

    engine: str
    precision: str
    weights: str
    flops: float

    @property
    def file(self) -> Path:
        """RuntimeError where there is no home folder."""
        name = hashlib.sha256(self.weights.encode()).hexdigest()[:16]
        return self._folder / f"{name}.json"

    @property
    def _folder(self) -> Path:
        return hardware.user_cache("rates") / _machine() / f"{self.engine}-{self.precision}"

    def rate(self, workers: int) -> Rate | None:
        """The measured rate with so many workers, or else with the nearest number of them."""
        observed = _read(self)
        if not observed:
            return None
        nearest = min({o.workers for o in observed}, key=lambda n: (abs(n - workers), n))
        return _rate([o for o in observed if o.workers == nearest])

    def of_others(self) -> list[float]:
        """Seconds per tile of this model as the rates of other models have it, by their ``flops``."""
        seconds = []
        with contextlib.suppress(OSError, RuntimeError, RecursionError):
            for file in sorted(self._folder.glob("*.json"))[:OTHERS]:
                data = read_json(file)
                flops = _number(data.get("flops")) if isinstance(data, dict) else 0.0
                if flops and file != self.file and (observed := list(_observations(data))):
                    seconds.append(_rate(observed).tile_s * self.flops / flops)
        return seconds

    def observe(self, observation: Observation) -> None:
        """Keep an observation; does nothing where that is not possible."""
        if observation.tiles <= 0 or not 0 < observation.seconds < math.inf:
            return
        known = _read(self)
        if observation.cold and any(not o.cold for o in known):
            return
        known = [o for o in known if o.cold == observation.cold]
        same = [o for o in known if o.workers == observation.workers]
        others = [o for o in known if o.workers != observation.workers]
        kept = [*others[-3 * KEPT :], *same[1 - KEPT :], observation]
        data = {"flops": self.flops, "rates": [asdict(o) for o in kept]}
        with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: there is no home
            self._folder.mkdir(parents=True, exist_ok=True)
            write_json(self.file, data)
            _sweep(self._folder)


def _rate(observed: list[Observation]) -> Rate:
    each = [o.seconds / o.tiles for o in observed]
    low = min(each) * (0.2 if any(o.cold for o in observed) else 1.0)
    tile_s = sum(o.seconds for o in observed) / sum(o.tiles for o in observed)
    return Rate(tile_s, low, max(each), observed[0].workers, len(observed))


def _read(model: RatedModel) -> list[Observation]:
    with contextlib.suppress(OSError, RuntimeError, RecursionError):
        return list(_observations(read_json(model.file)))
    return []


def _observations(data: Any) -> Iterator[Observation]:
    """The sound ones of what a file holds."""
    rows = data.get("rates") if isinstance(data, dict) else None
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict):
            tiles, seconds = _number(row.get("tiles")), _number(row.get("seconds"))
            workers = _number(row.get("workers"))
            if tiles > 0 and workers >= 1 and seconds > 0:
                cold = row.get("cold") is True
                yield Observation(tiles, seconds, int(workers), cold)


def _number(value: Any) -> float:
    """A finite number from 0 on; 0 for anything else."""
    sound = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if sound and 0 <= value < 1e15 else 0.0


def _machine() -> str:
    """The name of this kind of machine: the home folder may be one of several machines."""
    limits = tuple(os.environ.get(name, "") for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"))
    return _hashed(hardware.cores(), hardware.gpu_names(), limits)


@functools.cache
def _hashed(cores: int, gpus: tuple[str, ...], limits: tuple[str, ...]) -> str:
    """A hash of the processors, the GPUs, and what of them may be used."""
    with contextlib.suppress(OSError):
        models = re.findall(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.M)
        parts = [*sorted(set(models)), cores, gpus, limits]
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]
    return f"cores-{cores}"


def _sweep(folder: Path) -> None:
    files = sorted(folder.glob("*.json"), key=lambda file: file.stat().st_mtime)
    for file in files[:-MOST_FILES]:
        file.unlink(missing_ok=True)
