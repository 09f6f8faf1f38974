"""The time that a prediction takes: by the measured speed of its model, else by a guess with its range.

Every complete prediction of a bundle measures that speed, and so does ``segbatch plan --measure``
(``nn.engines.rates`` keeps it). Neither plans nor products depend on it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from seg_batch.config.cluster import read_spec
from seg_batch.core import hardware
from seg_batch.core.errors import BundleError
from seg_batch.core.registry.engines import info_of
from seg_batch.executors import Pool
from seg_batch.inference.bundles import Model
from seg_batch.inference.loading.predictors import load_predictor_of
from seg_batch.inference.plan import Decisions
from seg_batch.inference.report import block_intervals
from seg_batch.inference.request import Request
from seg_batch.inference.sliding_window.block import Receipt
from seg_batch.nn.engines.rates import Observation, Rate, RatedModel
from seg_batch.nn.noise import noise

EACH_S = 0.15  # to open and write an input of a run, whose workers have the model
SPREAD = 1.25  # measured times of one model on one machine differ by so much at least
SCALED = 2.0  # by as much do models that one machine computes differ in operations per second
GUESSED, GUESSED_ON_GPU = 5.0, 50.0  # and machines of one kind
RESAMPLED_PER_CORE_S = 80e6  # values: 45 million by splines, 120 to 300 back (Zen 4)
MEASURED_S = 5.0  # a calibration takes so long


@dataclass(frozen=True)
class Estimate:
    """Seconds, and the range that they are expected in. ``kind``: ``measured`` for this model on a machine
    like this, or a ``guess``; ``why``: in words."""

    seconds: float
    low: float
    high: float
    kind: Literal["measured", "guess"]
    why: str

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "why": self.why,
            "range": [round(self.low, 5), round(self.high, 5)],
        }


def is_alone(request: Request, pool: Pool | None) -> bool:
    """Whether the prediction has the cores of this machine for itself, so that its time tells its speed."""
    return pool is None and not request.attempt and read_spec(request.cluster).here


def estimate(plan: Decisions, model: Model, *, in_run: bool = False) -> Estimate:
    """The time of one prediction on this machine. ``in_run``: beside others, by workers that have loaded
    the model."""
    rated, calls = rated_model(plan, model), _calls(plan, model)
    start_s = EACH_S if in_run else info_of(plan.engine).start_s if rated else 0.0
    start_s += resampling_s(plan)
    rate = None if rated is None else rated.rate(plan.workers)
    if rate is not None:
        tile_s = calls * _with_workers(plan, rate)
        low, high = rate.low / rate.tile_s / SPREAD, rate.high / rate.tile_s * SPREAD
        runs = "once" if rate.count == 1 else f"{rate.count} times"
        return _estimate(tile_s, start_s, low, high, "measured", f"measured here {runs}")
    if rated is not None and (others := rated.of_others()):
        mid = sum(others) / len(others)
        low, high = min(others) / mid / SCALED, max(others) / mid * SCALED
        why = "a guess, by the speed of other models here"
        return _estimate(calls * mid, start_s, low, high, "guess", why)
    factor = GUESSED_ON_GPU if hardware.gpus() else GUESSED
    why = "a guess, nothing was measured here"
    return _estimate(plan.seconds_estimate, start_s, 1 / factor, factor, "guess", why)


def resampling_s(plan: Decisions) -> float:
    """Seconds to bring the image to the grid of the model, and probabilities back; 0 where they are one."""
    if plan.model_grid is None:
        return 0.0
    back = math.prod(plan.extent) * plan.classes if plan.way_back else 0
    there = math.prod(plan.model_grid["source"]) + math.prod(plan.model_grid["target"])
    return (there + back) / RESAMPLED_PER_CORE_S


def _estimate(
    work_s: float,
    start_s: float,
    low: float,
    high: float,
    kind: Literal["measured", "guess"],
    why: str,
) -> Estimate:
    """``low`` and ``high``: factors of the work."""
    return Estimate(
        start_s + work_s, start_s / 2 + work_s * low, start_s * 2 + work_s * high, kind, why
    )


def rated_model(plan: Decisions, model: Model) -> RatedModel | None:
    """What a speed of the model is kept under; None for a function, whose speed nobody can know again."""
    return rated_on(plan.engine, plan.precision, model)


def rated_on(engine: str, precision: str, model: Model) -> RatedModel | None:
    """The same by the names of an engine and its precision."""
    if any(member.path is None for member in model.all):
        return None
    weights = "+".join(sorted(card.weights_sha256 for card in model.cards))
    flops = sum(card.compute.flops for card in model.cards)
    return RatedModel(engine, precision, weights, flops)


def _views(plan: Decisions, model: Model) -> int:
    return max(1, plan.passes // len(model.all))


def _calls(plan: Decisions, model: Model) -> float:
    """The tiles to be computed, each as often as it has views."""
    return plan.tiles_predicted * _passes(plan, model)


def _passes(plan: Decisions, model: Model) -> float:
    """What a tile takes: its views, each as many patches of the card as it has voxels of one. The time of a voxel
    hardly depends on the patch."""
    card, rank = model.card, plan.rank
    trained = math.prod(card.patch or plan.patch_seen[-rank:]) * card.finer**rank
    return _views(plan, model) * math.prod(plan.patch_seen[-rank:]) / trained


def _with_workers(plan: Decisions, rate: Rate) -> float:
    """Seconds per tile of the machine with the plan's workers: where an engine takes one thread, several
    workers are as much faster; else they share the cores."""
    if plan.workers == rate.workers or hardware.gpus():
        return rate.tile_s
    if not info_of(plan.engine).takes_one_thread(hardware.has_avx512()):
        return rate.tile_s
    busy = [min(n, hardware.cores()) for n in (rate.workers, plan.workers)]
    return rate.tile_s * busy[0] / busy[1]


def remember(plan: Decisions, model: Model, receipts: Sequence[Receipt]) -> None:
    """Keep the speed of a complete prediction. ``receipts``: of the blocks that it computed itself, on this
    machine."""
    rated = rated_model(plan, model)
    if rated is None or not receipts:
        return
    busy_s = _covered([spell for s in block_intervals([*receipts]).values() for spell in s])
    tiles = sum(receipt["tiles"] - receipt["skipped"] for receipt in receipts)
    first = [receipt["first"] for receipt in receipts if "first" in receipt]
    first_s = sum(s for _, s in first) / max(1, len(first))  # each worker has one, at the same time
    steady, steady_s = tiles - sum(n for n, _ in first), busy_s - first_s
    cold = steady < 1 or steady_s <= 0
    tiles, busy_s = (tiles, busy_s) if cold else (steady, steady_s)
    rated.observe(Observation(tiles * _passes(plan, model), busy_s, plan.workers, cold))


def _covered(spells: list[list[float]]) -> float:
    """The time in which at least one block was at work."""
    total, end = 0.0, -np.inf
    for start, stop in sorted(spells):
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total


def measure_speed(plan: Decisions, model: Model, least_s: float = MEASURED_S) -> None:
    """Compute patches of noise for some seconds, and keep the speed; each model once in a process. The model is
    loaded first, and its first call does not count. BundleError for a function, whose speed is not kept."""
    rated = rated_model(plan, model)
    if rated is None:
        raise BundleError(
            f"{model.card.name} is a function, whose speed can't be kept: leave out --measure, or name a "
            "bundle with --model"
        )
    if rated in _measured:
        return
    predictor = load_predictor_of(model, plan)
    shape = (plan.batch, *plan.patch_seen[-plan.rank :], len(model.card.channels or (0,)))
    patches = noise(shape)
    predictor(patches)
    calls, spent = timed(lambda: predictor(patches), least_s)
    rated.observe(Observation(calls * plan.batch * _passes(plan, model), spent, 1))
    _measured.add(rated)


def timed(call: Callable[[], Any], least_s: float) -> tuple[int, float]:
    """Calls in so many seconds or a little more, one at least; and the seconds."""
    start, calls = time.perf_counter(), 0
    while (spent := time.perf_counter() - start) < least_s or not calls:
        call()
        calls += 1
    return calls, spent


_measured: set[RatedModel] = set()
