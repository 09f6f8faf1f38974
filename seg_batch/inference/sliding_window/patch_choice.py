"""The patch that a model is applied on: as it was trained, as asked for, or the one that costs least.

A network whose receptive field ends gives a voxel the same scores in every patch that holds the field. So its patch may
grow, and less of the image is computed twice. The time of a voxel hardly depends on the patch (within 6 % from 256 x 256
to 1024 x 1024, and from 48 x 56 x 48 to 160 x 160 x 160: OpenVINO, Zen 4, float32 and bfloat16), so the patch that costs
least computes the fewest voxels::

    cost = prod over axes of  side * sum over blocks of the tiles that touch the block

Blocks are those of one size, whatever the blocks of a run: the choice, and with it every byte, depends on the card, the
extent, the engine and a coarse step of memory only.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from seg_batch.config.card import ModelCard
from seg_batch.core import hardware
from seg_batch.core.geometry import Axis, Blocks, Shape
from seg_batch.core.registry.engines import info_of

# Blocks beyond this gain little and cost memory.
BLOCK_VOXELS = {2: 1 << 24, 3: 1 << 26}
MOST_BYTES = 2 << 30  # of the activations of a patch: beyond, next to nothing is gained
EIGHTH = 8  # sides are multiples of an eighth of the card's, so that inputs of many sizes share few patches
# A single tile reaches at most so far past the extent: voxels that are mirrored there are context that is not there.
# Twelve mirrored columns made a pond at the edge of a scene barren ground, four did not.
MIRRORED = 8

By = Literal["auto", "card", "asked"]


@dataclass(frozen=True)
class Layout:
    """The tiles of a model, in voxels of its input along each of its axes. ``by``: who chose the patch; ``why``: in
    words; ``step_bytes``: the step of memory that an automatic choice went by, else 0; ``least``: what tiles have to
    share, of which ``overlap`` is what they do share; ``least_margin``: that of the card."""

    patch: Shape
    overlap: Shape
    margin: Shape
    by: By
    why: str
    step_bytes: int = 0
    least: Shape = ()
    least_margin: Shape = ()

    @property
    def choice(self) -> dict[str, Any]:
        """As JSON, for plans: what the patch was chosen by."""
        return {
            "by": self.by,
            "why": self.why,
            "step_bytes": self.step_bytes,
            "least_overlap": list(self.least),
            "least_margin": list(self.least_margin),
        }


def memory_step(memory_bytes: int = 0) -> int:
    """The power of two at or below what a worker may use, in bytes; 0: the share of one core of this machine, so that
    the number of workers changes nothing."""
    share = hardware.memory_bytes() * hardware.MEMORY_SHARE / hardware.cores()
    return 1 << int(math.log2(max(1, memory_bytes or share)))


def most_voxels(card: ModelCard, engine: str, step_bytes: int) -> int:
    """The largest patch: its activations take a quarter of the step."""
    assert card.patch is not None
    each = card.compute.activation_bytes * info_of(engine).activation_share / math.prod(card.patch)
    return int(min(MOST_BYTES, step_bytes // 4) / each)


@dataclass(frozen=True)
class _Side:
    """A side along one axis: the voxels that are computed along it for one across, and the shared overlap."""

    patch: int
    cost: int
    overlap: int


def _fewest_tiles(extent: int, patch: int, overlap: int) -> int:
    return 1 if extent <= patch else -(-(extent - overlap) // (patch - overlap))


def _side(extent: int, patch: int, overlap: int, margin: int, blocks: Blocks) -> _Side:
    """The overlap is shared evenly by as few tiles as cover the extent, so that the last is not mostly computed twice;
    unless fewer of them touch the blocks as they are."""
    tiles = _fewest_tiles(extent, patch, overlap)
    shared = patch - -(-(extent - patch) // (tiles - 1)) if tiles > 1 else overlap
    spans = [(block.box.start[0], block.box.stop[0]) for block in blocks]

    def side(overlap: int) -> _Side:
        axis = Axis(extent, patch, overlap, margin)
        return _Side(patch, patch * sum(len(axis.touching(*span)) for span in spans), overlap)

    return min(side(shared), side(overlap), key=lambda side: side.cost)


def _sides(
    extent: int, least: int, multiple: int, most: int, overlap: int, margin: int, block: int
) -> Iterator[_Side]:
    """For each number of tiles the shortest side, from one tile on to the side of the card, ``least``."""
    blocks = Blocks((extent,), (block,))
    coarse, seen = multiple * max(1, least // (EIGHTH * multiple)), set[int]()
    for tiles in itertools.count(_fewest_tiles(extent, max(most, least), overlap)):
        needed = -(-(extent + (tiles - 1) * overlap) // tiles)
        step = multiple if tiles == 1 else coarse
        patch = least if needed <= least else -(-needed // step) * step
        alone = tiles == 1 and patch > least
        if not (
            patch in seen
            or (patch > most and patch > least)
            or (alone and patch > extent + MIRRORED)
        ):
            seen.add(patch)
            yield _side(extent, patch, overlap, margin, blocks)
        if needed <= least:
            return


def nominal_block(extent: Shape, voxels: int) -> Shape:
    """The extent, halved along its longest axis until it has no more voxels."""
    block = list(extent)
    while math.prod(block) > voxels:
        axis = block.index(max(block))
        block[axis] = -(-block[axis] // 2)
    return tuple(block)


def cheapest(
    extent: Shape,
    card: ModelCard,
    overlap: Shape,
    margin: Shape,
    *,
    block: Shape,
    most: int,
    square: bool,
) -> tuple[Shape, Shape]:
    """``(patch, overlap)`` of at most ``most`` voxels and at least the card's sides. ``square``: the last two sides are
    equal, as views that swap them need."""
    assert card.patch is not None
    assert card.multiple is not None
    choices: list[list[_Side]] = []
    for k, least in enumerate(card.patch):
        widest = most * least // math.prod(card.patch)
        choices.append(
            list(
                _sides(extent[k], least, card.multiple[k], widest, overlap[k], margin[k], block[k])
            )
        )
    trained = tuple(sides[-1] for sides in choices)
    fitting = (
        sides
        for sides in itertools.product(*choices)
        if _volume(sides) <= max(most, math.prod(card.patch))
        and not (square and sides[-1].patch != sides[-2].patch)
    )
    best = min(
        fitting,
        key=lambda sides: (math.prod(side.cost for side in sides), _volume(sides)),
        default=trained,
    )
    return tuple(side.patch for side in best), tuple(side.overlap for side in best)


def _volume(sides: Sequence[_Side]) -> int:
    return math.prod(side.patch for side in sides)
