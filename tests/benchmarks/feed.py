"""Whether the model waits for data: the recipes of the starter bundles on cached patches, the
volumes bent elastically too. Compared, turn by turn: the bare compiled training step on one batch
that stays in memory, and the same step on the feed. Targets: less than 5 % of the time spent
waiting, at least 0.85 of the bare throughput. The real data is looked for in SEGBATCH_DATA."""

import itertools
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from timing import DATA, interleaved, seconds_of, show

from seg_batch.config.recipe import Recipe
from seg_batch.config.recipe.reading import read_recipe
from seg_batch.core.hardware import cores
from seg_batch.datasets.build import make_patches
from seg_batch.datasets.patch_set import PatchSet
from seg_batch.datasets.samples import Samples
from seg_batch.nn.networks.registry import build
from seg_batch.nn.training.fit import loss_of
from seg_batch.nn.training.input_pipeline import feed
from seg_batch.nn.training.step import Trainer

WORKFLOWS = Path(__file__).parents[2] / "workflows"
ZION = DATA / "zion_landsat8_nlcd"
SETS = {
    "landsat8-landcover": (
        f"{ZION / 'landsat8_b2345.tif'}={ZION / 'label_nlcd8_on_landsat_grid.tif'}",
        ["hold_out.gap=0"],
    ),
    "hippocampus-mri": (str(DATA / "msd_hippocampus"), ["augment.elastic=1.5"]),
}
STEPS, ROUNDS, DRAWN = 20, 3, 200
MOST_WAITING, LEAST_RATE = 0.05, 0.85


class Side:
    """Training steps on whatever batches come; how long all of them and the waiting took."""

    def __init__(self, trainer: Trainer, batches: Any) -> None:
        self._trainer, self._batches = trainer, iter(batches)
        self.waited: list[float] = []
        for _ in range(3):
            self._trainer(*next(self._batches), 1e-4, 0.9)

    def __call__(self) -> float:
        """Seconds per step."""
        start, waited = time.perf_counter(), 0.0
        for _ in range(STEPS):
            asked = time.perf_counter()
            batch = next(self._batches)
            waited += time.perf_counter() - asked
            self._trainer(*batch, 1e-4, 0.9)
        whole = time.perf_counter() - start
        self.waited.append(waited / whole)
        return whole / STEPS


def per_sample(samples: Samples, threads: int) -> float:
    """Seconds per sample of the feed with nothing beside it."""
    batches = iter(feed(samples, 0, 1, threads))
    for _ in range(10):
        next(batches)
    return seconds_of(lambda: [next(batches) for _ in range(DRAWN)]) / DRAWN


def trainer(recipe: Recipe, samples: Samples) -> Trainer:
    card, how = recipe.card, recipe.network
    model = build(
        how.arch,
        rank=card.rank,
        channels=len(card.channels),
        classes=len(card.classes),
        filters=how.filters,
    )
    return Trainer(model, recipe, loss_of(recipe, samples.histogram))


def measured(name: str, folder: Path) -> bool:
    """Measure and show one recipe; whether it reached both targets."""
    pair, settings = SETS[name]
    recipe = read_recipe(WORKFLOWS / f"{name}.yaml", settings)
    make_patches([pair], folder / f"{name}.zarr", recipe)
    samples = Samples(PatchSet(folder / f"{name}.zarr"), recipe)
    for k in range(samples.epoch):
        samples.patches.read(int(samples.rows[k]))
    alone: dict[str, Callable[[], float]] = {
        f"feed_{n}_threads_s": lambda n=n: per_sample(samples, n) for n in (1, 2)
    }
    made = interleaved(ROUNDS, **alone)
    source, step = feed(samples, 0, recipe.fit.batch, cores()), trainer(recipe, samples)
    one = next(iter(source))
    fed = Side(step, source)
    found = interleaved(ROUNDS, bare_step_s=Side(step, itertools.repeat(one)), fed_step_s=fed)
    waiting, rate = max(fed.waited), found["bare_step_s"] / found["fed_step_s"]
    show(
        f"feed, {name}",
        f"{1e3 * made['feed_1_threads_s']:.1f} ms a sample with one thread, "
        f"{1e3 * made['feed_2_threads_s']:.1f} with two; a bare step of {recipe.fit.batch} takes "
        f"{1e3 * found['bare_step_s']:.0f} ms; fed, {waiting:.1%} of the time is waiting (target below "
        f"{MOST_WAITING:.0%}) and the throughput is {rate:.2f} of the bare step's (target {LEAST_RATE})",
        waiting=waiting,
        rate=rate,
        **made,
        **found,
    )
    return waiting < MOST_WAITING and rate >= LEAST_RATE


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        reached = [measured(name, Path(folder)) for name in SETS]
    return 0 if all(reached) else 1


if __name__ == "__main__":
    sys.exit(main())
