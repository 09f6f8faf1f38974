"""What a bundle does on this machine: speed and memory per engine and precision, each in a process of its own.

The network computes patches of noise; nothing is read or written. The speed is kept as that of a run is, so plans
go by it. ``python -m`` this module measures one engine and prints its figures.
"""

from __future__ import annotations

import json
import math
import re
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from seg_batch.config.card import ModelCard
from seg_batch.config.predict_options import PredictOptions
from seg_batch.core import hardware
from seg_batch.core.errors import BundleError, PlanError
from seg_batch.core.registry.engines import AUTO, ENGINES
from seg_batch.inference.bundles import Model, find_bundle, model_in, require_intact
from seg_batch.inference.loading.predictors import load_predictor_of
from seg_batch.inference.measuring.time import MEASURED_S, rated_on, timed
from seg_batch.inference.sliding_window.grid import DEFAULT_PATCH, layout_for
from seg_batch.inference.sliding_window.tta import symmetries
from seg_batch.nn import own_process
from seg_batch.nn.engines.choice import choose
from seg_batch.nn.engines.rates import Observation
from seg_batch.nn.noise import noise

PRECISIONS = ("mixed", "float32")
ON_GPU = 8  # patches at a time, on a GPU
VOLUME = (512, 512, 300)  # voxels of a CT, in which an hour is told
HOUR_S = 3600


def bench(
    name: str, *, engine: str = AUTO, precision: str = AUTO, seconds: float = MEASURED_S
) -> dict[str, Any]:
    """Figures of a bundle for each engine and precision that can run it here; ``not_here``: why others can't.

    `engine` and `precision` choose one of each. PlanError where none is left; BundleError for what is no bundle.
    """
    model = require_intact(find_bundle(name))
    if model.path is None:
        raise BundleError(
            f"{name} is a function, not a network: name a bundle with a network in a file"
        )
    if precision not in (AUTO, *PRECISIONS):
        raise PlanError(f"--precision {precision!r} is unknown: use auto, float32 or mixed")
    figures, refused = [], dict[str, str]()
    for candidate, how in _wanted(model.card, engine, precision):
        try:
            choose(candidate, gpus=hardware.gpus(), precision=how, formats=[model.card.format])
            figures.append(_figures(model, candidate, how, seconds))
        except PlanError as error:
            refused[f"{candidate} {how}"] = str(error)
    if not figures:
        raise PlanError(next(iter(refused.values())))
    return {
        "model": model.name,
        "patch": list(_patch(model.card)),
        "views": _views(model.card),
        "networks": len(model.all),
        "cores": hardware.cores(),
        "gpus": hardware.gpus(),
        "figures": figures,
        "not_here": refused,
    }


def _wanted(card: ModelCard, engine: str, precision: str) -> Iterator[tuple[str, str]]:
    reading = [name for name, info in ENGINES.items() if card.format in info.formats]
    for name in reading if engine == AUTO else [engine]:
        for how in PRECISIONS if precision == AUTO else [precision]:
            yield name, how


def _patch(card: ModelCard) -> tuple[int, ...]:
    return card.patch or DEFAULT_PATCH[card.rank or 2]


def _views(card: ModelCard) -> int:
    return len(symmetries(card.tta, _patch(card)))


def _figures(model: Model, engine: str, precision: str, seconds: float) -> dict[str, Any]:
    """Those of one engine, whose speed is kept."""
    measured = _in_a_process(model, engine, precision, seconds)
    kept = rated_on(engine, precision, model)
    assert kept is not None
    kept.observe(Observation(measured["tiles"], measured["seconds"], 1))
    tile_s = measured["seconds"] / measured["tiles"]
    flops = sum(card.compute.flops for card in model.cards)
    return {
        "engine": engine,
        "precision": precision,
        "tile_s": tile_s,
        "voxels_per_s": math.prod(_patch(model.card)) / tile_s,
        "flops_per_s": flops / tile_s,
        "memory_bytes": measured["memory_bytes"],
        "start_s": measured["start_s"],
        "hour": in_an_hour(model.card, tile_s),
    }


def in_an_hour(card: ModelCard, tile_s: float) -> dict[str, float]:
    """What the network labels in an hour, with the overlap and the views of its card: pixels and km2 of a raster with a known
    pixel, or voxels and volumes of `VOLUME`."""
    patch = _patch(card)
    options = PredictOptions(patch="card", overlap="card")
    layout = layout_for(tuple(8 * n for n in patch), card, options)
    shrink = card.output.shrink or (0,) * len(patch)
    sides = zip(patch, layout.overlap, shrink, strict=True)
    step = math.prod(p - 2 * s - o for p, o, s in sides)
    voxels = HOUR_S / tile_s / _views(card) * step
    if card.kind == "raster":
        km2 = {"km2": voxels * card.pixel_m**2 / 1e6} if card.pixel_m else {}
        return {"pixels": voxels, **km2}
    return {"voxels": voxels, "volumes": voxels / math.prod(VOLUME)}


def _in_a_process(model: Model, engine: str, precision: str, seconds: float) -> dict[str, Any]:
    """What `measure` gives in a new process; its errors of ours are raised here."""
    done = own_process.run(__name__, str(model.path), engine, precision, str(seconds))
    try:
        facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        words = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise PlanError(f"--engine {engine} stopped while it was measured ({words})") from None
    return facts


def measure(model: Model, engine: str, precision: str, seconds: float) -> dict[str, Any]:
    """Compute patches of noise for some seconds: ``tiles`` in ``seconds``, after a first call that is told
    apart (``start_s``, with the loading); ``memory_bytes``: the most that this process ever had."""
    card, batch = model.card, ON_GPU if ENGINES[engine].uses_gpu and hardware.gpus() else 1
    options = PredictOptions(engine=engine, precision=precision, batch=batch, tta="none")
    shape = (batch, *_patch(card), len(card.channels or (0,)))
    patches = noise(shape)
    start = time.perf_counter()
    predictor = load_predictor_of(model, options)
    predictor(patches)
    start_s = time.perf_counter() - start
    calls, spent = timed(lambda: predictor(patches), seconds)
    return {
        "tiles": calls * batch,
        "seconds": spent,
        "start_s": start_s,
        "memory_bytes": _peak_bytes(),
    }


def _peak_bytes() -> int:
    """The most that this process ever had. On Linux ``ru_maxrss`` may be that of the process which started it."""
    with suppress(OSError):
        if line := re.search(r"^VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.M):
            return int(line[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024)


def _measure_in(folder: str, engine: str, precision: str, seconds: str) -> dict[str, Any]:
    return measure(model_in(Path(folder)), engine, precision, float(seconds))


if __name__ == "__main__":
    sys.exit(own_process.answer(_measure_in, *sys.argv[1:]))
