"""Training samples: sample k is a pure function of the dataset, the recipe and k.

Its random generator is ``default_rng([seed, k])``, so nothing is shuffled in memory, threads may
make samples in any order, and a run is resumed from the number k alone.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from seg_batch.config.recipe import Recipe
from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box, Shape
from seg_batch.core.units import share_in_line
from seg_batch.datasets.augment.intensity import vary_intensity
from seg_batch.datasets.augment.resolution import PatchGrid, vary_slices
from seg_batch.datasets.augment.spatial import cutmix, mixed_box, place_crop, vary_space
from seg_batch.datasets.patch_set import PatchSet

type Sample = tuple[np.ndarray, np.ndarray, np.ndarray]


class Samples:
    """The training part of a patch dataset, drawn and augmented as a recipe says; without end.

    ``epoch``: samples after which an even draw has seen every usable row once. ``histogram`` int64
    ``(classes,)``: labelled voxels of the usable rows. ``rows``: their numbers. Safe to call from
    several threads. Raises InputError when no row is usable.
    """

    def __init__(self, patches: PatchSet, recipe: Recipe) -> None:
        self.patches, self.recipe = patches, recipe
        self.rows = _usable(patches, recipe.sampling.min_valid)
        self.epoch = len(self.rows)
        self.fingerprint = patches.fingerprint
        self.histogram: np.ndarray = patches.histogram[self.rows].sum(0, dtype=np.int64)
        self._draw = SampleDraw(self.rows, patches.histogram[self.rows], recipe)
        rank = recipe.card.rank
        self._spacing = (recipe.card.spacing_mm or ())[-rank:] or None
        self._grid = PatchGrid(self._spacing or (1.0,) * rank, recipe.card.resampling)

    def __call__(self, k: int) -> Sample:
        """Sample ``k``: ``(*patch, C)`` float32, ``(*patch)`` int32 class indices (0 where ignored)
        and ``(*patch)`` bool, where labels count."""
        how, rng = self.recipe.augment, self._rng(k)
        pair = self._pair(*self._draw(k, rng), rng)
        if how.cutmix and rng.random() < how.cutmix:
            other = self._pair(int(rng.choice(self.rows)), None, rng)
            pair = cutmix(pair, other, mixed_box(self.recipe.fit_patch, rng))
        image = vary_slices(pair[0], how.thick_slices, rng, self._grid)
        image, label = vary_intensity(image, how, rng), pair[1]
        valid = label != self.patches.ignore
        return image, np.where(valid, label, 0).astype(np.int32), valid

    def describe(self, k: int) -> str:
        """Which case and tile sample ``k`` comes from, in the case's voxels."""
        row, _ = self._draw(int(k), self._rng(k))
        case, start = self.patches.cases[self.patches.case[row]], self.patches.start[row]
        side = (*(1,) * (len(start) - len(self.patches.patch)), *self.patches.patch)
        tile = Box.at(tuple(map(int, start)), side)
        return f"case {case['case']}, tile [{tile.intersection(Box.whole(tuple(case['extent'])))}]"

    def _rng(self, k: int) -> np.random.Generator:
        return np.random.default_rng([self.recipe.fit.seed, int(k)])

    def _pair(
        self, row: int, wanted: np.ndarray | None, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """A crop of a row, augmented in space; it contains a voxel of a ``wanted`` class."""
        image, label = self.patches.read(row)
        how = self.recipe.augment
        voxel = None if wanted is None else _any_voxel(label, wanted, rng)
        at = place_crop(label.shape, self.recipe.fit_patch, how, rng, voxel)
        return vary_space(image, label, at, how, rng, self._spacing)


class SampleDraw:
    """Which row sample k comes from, and which class it must show.

    The shares of ``sampling`` are kept exactly, not on average: of any n consecutive samples, n times
    the share (to within one) are balanced, and these take the classes in turn. The evenly drawn
    ones take the rows in a new order each epoch.
    """

    def __init__(self, rows: np.ndarray, histogram: np.ndarray, recipe: Recipe) -> None:
        self._rows, self._seed = rows, recipe.fit.seed
        self._balance = recipe.sampling.balance
        self._special = self._balance + recipe.sampling.foreground
        self._present = np.flatnonzero(histogram.sum(0))
        self._upto = histogram.cumsum(0, dtype=np.int64)
        self._front = self._present[self._present != recipe.background]
        self._front_upto = self._upto[:, self._front].sum(1)
        if recipe.sampling.foreground and len(self._front) == 0:
            raise InputError(
                "no training patch has a voxel of a class other than the background, and "
                "sampling.foreground asks for some: check the labels"
            )
        self._order = lru_cache(2)(self._shuffled)

    def __call__(self, k: int, rng: np.random.Generator) -> tuple[int, np.ndarray | None]:
        """The row, and the classes one of whose voxels the crop has to contain (None: any crop)."""
        special = _count(k, self._special)
        if _count(k + 1, self._special) == special:
            epoch, place = divmod(k - special, len(self._rows))
            return int(self._rows[self._order(epoch)[place]]), None
        part = self._balance / self._special
        balanced = _count(special, part)
        if _count(special + 1, part) == balanced:
            return self._with_voxels(self._front_upto, rng), self._front
        wanted = self._present[balanced % len(self._present)]
        return self._with_voxels(self._upto[:, wanted], rng), wanted[None]

    def _shuffled(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self._seed, epoch, 1]).permutation(len(self._rows))

    def _with_voxels(self, upto: np.ndarray, rng: np.random.Generator) -> int:
        """A row in proportion to its voxels, counted up to and with each row."""
        return int(self._rows[np.searchsorted(upto, rng.integers(upto[-1]), side="right")])


def _usable(patches: PatchSet, min_valid: float) -> np.ndarray:
    """Rows of the training part with enough labelled voxels, at least one."""
    rows = patches.rows("training")
    if len(rows) == 0:
        raise InputError(
            f"{patches.path} has no training patch: hold out less, or cut smaller patches"
        )
    labelled = patches.histogram[rows].sum(1)
    kept: np.ndarray = rows[labelled >= max(min_valid * np.prod(patches.patch), 1)]
    if len(kept) == 0:
        most = labelled.max() / np.prod(patches.patch)
        raise InputError(
            f"{patches.path} has no training patch of which {share_in_line(min_valid, 0)} is labelled "
            f"(the best has {share_in_line(most, 0)}): lower sampling.min_valid"
        )
    return kept


def _count(k: int, share: float) -> int:
    """How many of the first ``k`` are taken, where every ``1/share``-th is; robust to rounding."""
    return int(k * share + 1e-9)


def _any_voxel(label: np.ndarray, wanted: np.ndarray, rng: np.random.Generator) -> Shape | None:
    """A random voxel of one of the classes."""
    voxels = np.flatnonzero(np.isin(label, wanted) if len(wanted) > 1 else label == wanted[0])
    at = np.unravel_index(int(voxels[rng.integers(len(voxels))]), label.shape)
    return tuple(map(int, at))
