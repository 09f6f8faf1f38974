"""A sample of voxels of the training part, of bounded size, the same each time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from seg_batch.core.errors import SegbatchError
from seg_batch.core.geometry import Blocks, Box, Shape
from seg_batch.core.normalise import Normaliser
from seg_batch.datasets.patch_set import PatchSet
from seg_batch.evaluation.held_out_cases import EvalCase, EvalSet
from seg_batch.evaluation.predict_region import Region

MOST_VOXELS = 100_000
MOST_BOXES = 256
_PER_BOX = 2_000
_MOST_CASES = 32
_SIDE = {2: 128, 3: 24}

type Sample = tuple[np.ndarray, np.ndarray]  # physical values (n, channels), class indices (n,)


def sample_of(data: Path, held_out: EvalSet) -> Sample | None:
    """Voxels that a training on the same data would have learnt from; None where there are none."""
    parts = _of_dataset(data) if held_out.learnt is None else _of_pairs(held_out, held_out.learnt)
    values, labels, total = [], [], 0
    for some, classes in parts:
        finite = np.isfinite(some).all(1)
        values.append(some[finite])
        labels.append(classes[finite].astype(np.int64))
        total += len(values[-1])
        if total >= MOST_VOXELS:
            break
    return (np.concatenate(values), np.concatenate(labels)) if total else None


def _some(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.permutation(count)[:_PER_BOX]


def _of_dataset(data: Path) -> Iterator[Sample]:
    patches, rng = PatchSet(data), np.random.default_rng(0)
    for row in rng.permutation(patches.rows("training"))[:MOST_BOXES].tolist():
        image, label = patches.read(row)
        there = np.flatnonzero(label.reshape(-1) != patches.ignore)
        there = there[_some(rng, len(there))]
        numbers = Normaliser.from_json(patches.cases[patches.case[row]]["training_normaliser"])
        values = image.reshape(-1, image.shape[-1])[there].astype(np.float64)
        if not numbers.identity:  # back to what regions are read as
            values = values * np.array(numbers.std) + np.array(numbers.mean)
        yield values, label.reshape(-1)[there]


def _of_pairs(held_out: EvalSet, learnt: list[EvalCase]) -> Iterator[Sample]:
    rng = np.random.default_rng(0)
    chosen = [learnt[k] for k in rng.permutation(len(learnt))[:_MOST_CASES].tolist()]
    for case in chosen:
        try:
            with held_out.open(case) as (region, _):
                held = held_out.held_of(case, region)
                boxes = _boxes(region.extent, rng, MOST_BOXES // len(chosen) + 1)
                yield from (_labelled(region, box, held, rng) for box in boxes)
        except SegbatchError:
            continue  # what is learnt from is not what is evaluated


def _boxes(extent: Shape, rng: np.random.Generator, most: int) -> list[Box]:
    blocks = Blocks(extent, (_SIDE[len(extent)],) * len(extent))
    some = rng.permutation(len(blocks))[
        :most
    ]  # in no order: the sample may be full before the last
    places = zip(*np.unravel_index(some, blocks.counts), strict=True)
    return [blocks.block(tuple(map(int, place))).box for place in places]


def _labelled(region: Region, box: Box, held: list[Box], rng: np.random.Generator) -> Sample:
    """Voxels of a box that lie in none that is held out."""
    truth, valid = region.truth(box)
    for other in held:
        part = other.intersection(box)
        if part.size:
            valid[part.slices(box.start)] = False
    there = np.flatnonzero(valid.reshape(-1))
    there = there[_some(rng, len(there))]
    values = region.read(box).physical(np.float64)
    return values.reshape(-1, values.shape[-1])[there], truth.reshape(-1)[there]
