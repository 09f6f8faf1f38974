"""Patches, network and batch size, from extents, memory and cores."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from seg_batch.core.units import whole_gib
from seg_batch.training.autoconfig.dataset_stats import DatasetFacts, Shape
from seg_batch.training.autoconfig.reasons import Reason, show

FEW_CASES = 5  # with fewer, strips of each case are held out, and a patch must fit beside them
DEEPEST = 4  # least side of a patch at the lowest level, in voxels
# A training step of ANU-Net held 430 to 870 bytes per voxel and filter of the first level, and took two
# cores 0.4 microseconds per voxel and filter (measured in 2-D and 3-D, 8 to 32 filters).
BYTES_PER_FILTER = 900
MEMORY_SHARE = 0.35  # of the machine's memory; the system, readers and validation need the rest
VOXELS_PER_CORE = {2: 48 << 10, 3: 40 << 10}
VOXELS_ON_GPU = 2 << 20
FIRST_FILTERS = {(2, False): 16, (3, False): 8, (2, True): 32, (3, True): 16}
DEPTH = {False: 3, True: 4}
LEAST_BATCH, MOST_BATCH = {2: 6, 3: 2}, 16
SMALL_SET = 50_000_000  # voxels; larger sets are cut with less overlap, to spare the disk


@dataclass(frozen=True)
class PatchSizes:
    """Sizes for the other choices. ``order``: the axes of the facts in the recipe's orientation;
    ``fit``, ``cut``, ``card``: sides of the patches for training, cutting, prediction; ``stride``:
    of the cut."""

    rank: int
    order: tuple[int, ...]
    fit: Shape
    cut: Shape
    card: Shape
    stride: Shape
    batch: int
    filters: tuple[int, ...]


def choose_sizes(facts: DatasetFacts) -> tuple[PatchSizes, list[Reason]]:
    rank, order = facts.chosen.rank, facts.chosen.order
    space, gpu = _space(facts, order)[-rank:], facts.gpus > 0
    depths = (d for d in range(1, DEPTH[gpu] + 1) if min(space) >> d >= DEEPEST)
    depth, first = max(depths, default=1), FIRST_FILTERS[rank, gpu]
    side, allowed = 1 << depth, _voxels_per_step(facts, rank, first)
    whole = tuple(facts.extent[a] for a in order)[-rank:]
    fit = _fit_patch(space, whole, side, allowed // LEAST_BATCH[rank])
    batch = max(1, min(MOST_BATCH, allowed // prod(fit)))
    card = _card_patch(facts, order, fit, side)
    cut = _cut_patch(facts, space, fit, card, side)
    # Half a training patch, to spare the disk a whole one.
    part = 2 if facts.size <= SMALL_SET else 1
    stride = tuple(max(1, min(c, f // part)) for f, c in zip(fit, cut, strict=True))
    filters = tuple(first << k for k in range(depth + 1))
    sizes = PatchSizes(rank, order, fit, cut, card, stride, batch, filters)
    return sizes, [*facts.chosen.reasons, *_reasons(facts, sizes, allowed)]


def _space(facts: DatasetFacts, order: tuple[int, ...]) -> Shape:
    """The median extent in the recipe's orientation, or what held-out strips leave of it."""
    extent = list(facts.extent)
    if facts.strips is not None:
        extent[facts.strips.axis] = int(extent[facts.strips.axis] * 0.3)
    return tuple(max(1, extent[a]) for a in order)


def _voxels_per_step(facts: DatasetFacts, rank: int, first: int) -> int:
    """Voxels that the cores, or the GPU, process in half a second; fewer if memory is short."""
    speed = VOXELS_ON_GPU if facts.gpus else VOXELS_PER_CORE[rank] * facts.cores
    return max(1, min(speed, int(MEMORY_SHARE * facts.memory_bytes / (BYTES_PER_FILTER * first))))


def _fit_patch(space: Shape, whole: Shape, side: int, most: int) -> Shape:
    """The largest patch inside ``space`` of at most ``most`` voxels, sides multiples of ``side``.

    The side with the largest share of the ``whole`` extent shrinks first, as in nnU-Net (Isensee et al.
    2021), also where strips are held out; 2-D patches are squares.
    """
    patch = [max(side, n // side * side) for n in space]
    if len(space) == 2:
        patch = [min(patch)] * 2
    while prod(patch) > most and max(patch) > side:
        if len(space) == 2:
            patch = [patch[0] - side] * 2
            continue
        longest = max((a for a in range(3) if patch[a] > side), key=lambda a: patch[a] / whole[a])
        patch[longest] -= side
    return tuple(patch)


def _card_patch(facts: DatasetFacts, order: tuple[int, ...], fit: Shape, side: int) -> Shape:
    """The patch of predictions: the largest or else the median volume as a whole, if at most four
    training patches; otherwise sides up to twice (2-D) or one and a half times (3-D) as long."""
    wholes = []
    for extent in (facts.largest, facts.extent):
        wholes.append(tuple(max(side, -(-extent[a] // side) * side) for a in order[-len(fit) :]))
        if len(fit) == 3 and prod(wholes[-1]) <= 4 * prod(fit):
            return wholes[-1]
    times = 2 if len(fit) == 2 else 1.5
    pairs = zip(wholes[-1], fit, strict=True)
    return tuple(min(e, int(times * f) // side * side) for e, f in pairs)


def _cut_patch(facts: DatasetFacts, space: Shape, fit: Shape, card: Shape, side: int) -> Shape:
    """Half again as large as a training patch in 2-D; the predicted patch in 3-D where it fits."""
    if len(fit) == 3:
        fits = facts.strips is None or all(c <= r for c, r in zip(card, space, strict=True))
        return tuple(map(max, fit, card)) if fits else fit
    larger = (3 * f // 2 // side * side for f in fit)
    return tuple(max(f, min(n, m)) for f, n, m in zip(fit, space, larger, strict=True))


def _reasons(facts: DatasetFacts, sizes: PatchSizes, allowed: int) -> list[Reason]:
    rank, fit, cut, card = sizes.rank, sizes.fit, sizes.cut, sizes.card
    machine = "a GPU" if facts.gpus else f"{facts.cores} cores"
    side = 1 << (len(sizes.filters) - 1)
    share = 2 if rank == 3 else 4
    overlap = [c - s for c, s in zip(cut, sizes.stride, strict=True)]
    voxels = f"{allowed / 1000:.0f} thousand voxels, what {machine} and {whole_gib(facts.memory_bytes)} allow a step"
    return [
        Reason("network.filters", list(sizes.filters), f"{sizes.filters[0]} at full resolution suit {machine}; halved {len(sizes.filters) - 1} times, a patch keeps {min(fit) // side} voxels a side"),
        Reason("fit.patch", list(fit), f"inside the median extent {show(facts.extent)}, sides multiples of {side}, so that {LEAST_BATCH[rank]} fit in {voxels}"),
        Reason("fit.batch", sizes.batch, f"as many patches as fit in {voxels}, {MOST_BATCH} at most"),
        Reason("card.patch", list(card), _why_card(facts, sizes)),
        Reason("card.overlap", [c // share for c in card], f"{'half' if share == 2 else 'a quarter of'} a patch, until training has measured the border (--overlap auto)"),
        Reason("cut.patch", list(cut), "larger than fit.patch, so that each step crops at another place" if cut != fit else "that of fit.patch: there is no room for more"),
        Reason("cut.overlap", overlap, f"tiles begin every {show(sizes.stride)} voxels: {facts.size / 1e6:.3g} million voxels are {'few' if facts.size <= SMALL_SET else 'many, and the disk is spared'}"),
    ]  # fmt: skip


def _why_card(facts: DatasetFacts, sizes: PatchSizes) -> str:
    for name, extent in (("largest", facts.largest), ("median", facts.extent)):
        if all(c >= extent[a] for c, a in zip(sizes.card, sizes.order[-sizes.rank :], strict=True)):
            return f"holds the {name} extent {show(extent)} whole, without seams"
    return "larger than fit.patch: prediction needs less memory than training, and has fewer seams"
