"""Training holds no more memory after many epochs than after a few."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import pytest

from seg_batch.datasets.build import make_patches
from seg_batch.datasets.patch_set import PatchSet
from seg_batch.datasets.samples import Samples
from seg_batch.nn.networks.registry import build
from seg_batch.nn.training.fit import Row, fit
from tests.support.nn.squares import OnRow
from tests.support.training.pairs import scene_pair, scene_recipe

STATM = Path("/proc/self/statm")
STEPS, SETTLED = 2000, 500
MOST_GROWTH = 12 << 20  # 74 kB of arrays a step: one batch in nine that is kept would show


@pytest.mark.slow
@pytest.mark.needs("linux")
def test_memory_is_flat_over_two_thousand_steps(tmp_path: Path) -> None:
    how: dict[str, Any] = {"flip": [0, 1], "rotate_degrees": 10, "elastic": 1.0, "cutmix": 0.2}
    each = {"validate_every": 250, "checkpoint_every": 250}
    recipe = scene_recipe(
        augment=how, network={"filters": [2, 4]}, fit={"batch": 8, "steps": STEPS, **each}
    )
    make_patches([scene_pair(tmp_path)], tmp_path / "d.zarr", recipe)
    samples = Samples(PatchSet(tmp_path / "d.zarr"), recipe)
    assert STEPS * recipe.fit.batch > 100 * samples.epoch, "many epochs"
    resident: dict[int, int] = {}

    def noted(row: Row) -> None:
        resident[row.step] = int(STATM.read_text().split()[1]) * resource.getpagesize()

    fit(
        build("anunet", rank=2, channels=1, classes=3, filters=(2, 4)),
        samples,
        recipe=recipe,
        validate=lambda predict: {"score": float(predict(samples(0)[0][None]).mean())},
        work=tmp_path / "work",
        callback=OnRow(noted),
    )
    later = [size for step, size in resident.items() if step > SETTLED]
    assert len(later) > 50
    assert max(later) - resident[SETTLED] < MOST_GROWTH
