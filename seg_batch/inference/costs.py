"""What a run costs in memory, disk and time, and the block that costs least.

The promised memory (law 5) is a sum of the arrays that the work of one block holds; the report
shows it beside the measured peak.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from seg_batch.config.card import ModelCard
from seg_batch.config.postprocess import AnyStep, needs_probabilities
from seg_batch.core import hardware, units
from seg_batch.core.errors import NoRoomError, PlanError
from seg_batch.core.geometry import Blocks, Box, Grid, Shape, recompute_factor
from seg_batch.core.registry.engines import SLOWEST, EngineInfo, info_of
from seg_batch.core.resample.pasted import Pasted, WayBack
from seg_batch.core.resample.resampler import Resampler
from seg_batch.executors import IN_FLIGHT
from seg_batch.inference.postprocess.costs import blocks_of, postprocess_block_bytes, threads_for
from seg_batch.inference.sliding_window.patch_choice import BLOCK_VOXELS
from seg_batch.io.sinks.spec import PIECE_BYTES
from seg_batch.io.sources.protocol import SourceInfo
from seg_batch.io.sources.views.open_view import View

CHUNK = {2: 1024, 3: 128}
BASE_BYTES = 420 << 20  # interpreter, libraries, GDAL's cache, the export of the product
# For each further model of an ensemble, besides the activations that its card states. Measured with two
# and three ANU-Nets of 2 and 34 MiB: TensorFlow 10 to 100 MiB, OpenVINO 55 to 165, activations included.
MEMBER_BYTES = 150 << 20

OVERVIEWS = Fraction(4, 3)  # a raster and all halves of it

AHEAD = 2  # batches at a time: one in the model, one on its way to or from it
SLABS_BYTES = 48 << 20  # of values on their way from one grid to another
VOXELS_PER_CORE_S = 10e6


def chunk_of(extent: Shape) -> Shape:
    """The chunk of a work store."""
    return tuple(min(CHUNK[len(extent)], n) for n in extent)


def _sides(extent: int, chunk: int) -> list[int]:
    """Block sides to choose from along one axis: chunk, 2 chunks, 4 chunks, ..., all of it."""
    sides = [chunk << k for k in range(32) if chunk << k < extent]
    return [*sides, -(-extent // chunk) * chunk]


def _widest(spans: list[tuple[int, int]]) -> int:
    return max((stop - start for start, stop in spans), default=0)


@dataclass(frozen=True)
class OnModelGrid:
    """The cost of a grid of the model's own. ``values``: from the image to it; ``back``: from it to the product, None
    where that is on it; ``file_bytes``: per voxel of the image; ``finer``: voxels of the model's output per voxel of it."""

    values: Resampler
    back: WayBack | None
    file_bytes: int
    finer: Shape

    def needed(self, axis: int, start: int, stop: int) -> tuple[int, int]:
        """What the product needs of the model along an axis."""
        return (start, stop) if self.back is None else self.back.span(axis, start, stop)

    def held_bytes(self, spans: list[list[tuple[int, int]]], block: Shape) -> int:
        """The image under the widest of the windows, whose spans along each axis are given; where blocks of this shape
        may lie beside what the model sees, with all of the block."""
        sides, cropped = [], isinstance(self.back, Pasted)
        for axis, (windows, finer) in enumerate(zip(spans, self.finer, strict=True)):
            ends = (self.values.axes[axis].needed(a // finer, -(-b // finer)) for a, b in windows)
            beside = -(-block[axis] // finer) if cropped else 0
            sides.append(max((b - a for a, b in ends), default=0) + beside)
        return math.prod(sides) * self.file_bytes + SLABS_BYTES

    def returned_bytes(self, model_row: int, row: int, classes: int) -> int:
        """Rows of the model that are kept for later ones, and finished rows of the product, of so many voxels."""
        return 0 if self.back is None else (3 * model_row + 2 * row) * classes * 4 + SLABS_BYTES


@dataclass(frozen=True)
class Costs:
    """Bytes per voxel and per patch that the memory promise is made of. ``views`` of each patch are
    averaged, and ``members`` further models, all of which are loaded. ``on_model``: where the model has a grid of its own."""

    grid: Grid
    in_bytes: int
    channels: int
    classes: int
    label_bytes: int
    probabilities: bool
    batch: int
    model_bytes: int
    activation_bytes: int
    weights_bytes: int = 0
    views: int = 1
    members: int = 0
    on_model: OnModelGrid | None = None

    @property
    def extent(self) -> Shape:
        """Of the product, in the axes of the model."""
        back = self.on_model and self.on_model.back
        return back.target if back else self.grid.extent

    def needed(self, axis: int, start: int, stop: int) -> tuple[int, int]:
        """What a span of the product needs of the model along an axis."""
        return self.on_model.needed(axis, start, stop) if self.on_model else (start, stop)

    def _parts(self, block: Shape) -> list[list[tuple[int, int]]]:
        """What each block needs of the model, along each axis, without those that need nothing."""
        return [
            [
                (a, b)
                for start in range(0, n, side)
                for a, b in [self.needed(axis, start, min(start + side, n))]
                if a < b
            ]
            for axis, (side, n) in enumerate(zip(block, self.extent, strict=True))
        ]

    def _windows(self, parts: list[list[tuple[int, int]]]) -> list[list[tuple[int, int]]]:
        """What is read for each of these, along each axis."""
        windows = []
        for axis, more, spans in zip(self.grid.axes, self.grid.shrink, parts, strict=True):
            touching = (axis.touching(*span) for span in spans)
            ends = ((axis.starts[s[0]], axis.starts[s[-1]] + axis.patch) for s in touching)
            windows.append([(max(0, a - more), min(b + more, axis.extent)) for a, b in ends])
        return windows

    def one_block(self, block: Shape) -> int:
        """Held window, rolling band, two batches in and out, labels and probabilities, for a block
        whose shape is given in the view's axes."""
        side = tuple(min(b, n) for b, n in zip(block, self.extent, strict=True))
        parts = self._parts(block)
        windows = self._windows(parts)
        window = math.prod(map(_widest, windows)) * self.in_bytes
        of_model = tuple(map(_widest, parts))
        depth = min(self.grid.patch[0], of_model[0])
        band = depth * math.prod(of_model[1:]) * self.classes * 4
        if self.on_model:
            window += self.on_model.held_bytes(windows, side)
            rows = math.prod(of_model[1:]), math.prod(side[1:])
            band += self.on_model.returned_bytes(*rows, self.classes)
        averaging = self.channels * 4 if self.views > 1 else 0  # the turned copy of a patch
        sums = self.views.bit_length() - 1 + (self.members > 0)  # of views and of members
        seen = zip(self.grid.patch, self.grid.shrink, strict=True)
        patch = (self.channels * 8 + averaging) * math.prod(n + 2 * more for n, more in seen)
        patch += (self.classes * 8 + sums * self.classes * 4) * math.prod(self.grid.patch)
        out = math.prod(side) * (
            2 * self.label_bytes + 2 + (self.classes if self.probabilities else 0)
        )
        batches = 1 if len(self.grid) <= self.batch else AHEAD
        return window + band + batches * self.batch * patch + out

    def process(self, block: Shape, n_blocks: int) -> int:
        model = self.model_bytes + self.weights_bytes + self.batch * self.activation_bytes
        model += self.members * MEMBER_BYTES if self.model_bytes else 0
        early = self._early_bytes if n_blocks > 1 else 0
        return BASE_BYTES + model + early + min(IN_FLIGHT, n_blocks) * self.one_block(block)

    @property
    def _early_bytes(self) -> int:
        """Of a box of probabilities that is encoded while blocks are predicted, beyond what the base has for it."""
        if len(self.extent) != 2 or not self.probabilities:
            return 0
        return max(0, math.prod(chunk_of(self.extent)) * self.classes - PIECE_BYTES)


def choose_block(
    costs: Costs, extent: Shape, view: View, chunk: Shape, workers: int, memory_bytes: int
) -> Shape:
    """The block (file axes) that ends the run soonest within the memory: least recompute, all
    workers busy. Of equals, the longest on the first axis, where the band makes length free."""
    choices: list[tuple[float, int, Shape]] = []
    least, limit = math.inf, BLOCK_VOXELS[len(extent)]
    smallest, *larger = itertools.product(*map(_sides, extent, chunk))
    for block in (smallest, *(b for b in larger if math.prod(map(min, b, extent)) <= limit)):
        blocks = Blocks(extent, block)
        seen = view.to_view(Box.whole(block)).shape
        promised = costs.process(seen, len(blocks))
        least = min(least, promised)
        if promised > memory_bytes:
            continue
        rounds = -(-len(blocks) // workers)
        makespan = recompute_factor(costs.grid, Blocks(costs.extent, seen), costs.needed)
        makespan *= rounds * workers / len(blocks)
        choices.append((round(makespan, 3), -block[0], block))
    if not choices:
        raise NoRoomError(
            f"the smallest block needs {units.show_bytes(least)} per worker, allowed are "
            f"{units.show_bytes(memory_bytes)}: raise --memory or use fewer --workers"
        )
    return min(choices)[2]


def post_bytes(
    chain: tuple[AnyStep, ...], info: SourceInfo, card: ModelCard, chunk: Shape, workers: int
) -> int:
    """The most that a process needs while the chain runs; 0 without a chain."""
    if not chain:
        return 0
    blocks, classes = blocks_of(info.extent, chunk), len(card.classes)
    each = postprocess_block_bytes(
        chain,
        tuple(map(min, blocks.shape, info.extent)),
        classes,
        info.voxel_bytes,
        len(info.channels),
        threads_for(workers),
    )
    return BASE_BYTES + min(IN_FLIGHT, len(blocks)) * each


def disk_bytes(
    view: View,
    card: ModelCard,
    chain: tuple[AnyStep, ...],
    probabilities: bool,
    voxels: int | None = None,
) -> int:
    """At most: store, plain copy and product, all incompressible, and uncompressed copies of the input; of a raster
    the tiles instead of a plain copy, and both with overviews. The maps before and after a step, and probabilities
    that only a step needs, lie in the store alone. ``voxels``: of the blocks that are predicted; None: all."""
    label = np.dtype(card.label_dtype).itemsize
    copies = 1 + 2 * (OVERVIEWS if view.native.info.kind == "raster" else 1)
    voxel = copies * (label + (len(card.classes) if probabilities else 0))
    voxel += label * min(2, len(chain))
    if needs_probabilities(chain) and not probabilities:
        voxel += len(card.classes)
    staged = sum(map(_staged_bytes, view.file.info.files))
    voxels = view.native.info.voxels if voxels is None else voxels
    return math.ceil(voxels * voxel) + staged


def _staged_bytes(file: SourceInfo) -> int:
    """Of the uncompressed copy of a volume, of all volumes in a 4-D file, or of the plain one of a series; 0 where none is
    made."""
    if (plain := file.facts.get("staged_bytes")) is not None:
        return int(plain)
    if file.facts.get("compressed") is not True:
        return 0
    return file.voxels * np.dtype(file.dtype).itemsize * int(file.facts["volumes"])


def costs_of(view: View, card: ModelCard, engine: EngineInfo, **of_run: Any) -> Costs:
    """The costs of an input and a model on an engine; ``of_run``: what depends on the run."""
    info, file = view.native.info, view.file.info
    in_bytes, on_model = info.voxel_bytes + coarse_bytes(info, card), None
    if view.grid is not None:
        in_bytes = (
            2 * len(info.channels) * (np.dtype("float32").itemsize + 1)
        )  # one more while it is made
        on_model = OnModelGrid(view.grid.values, view.way_back, file.voxel_bytes, view.finer)
    return Costs(
        **of_run,
        in_bytes=in_bytes,
        on_model=on_model,
        channels=len(info.channels),
        classes=len(card.classes),
        label_bytes=np.dtype(card.label_dtype).itemsize,
        model_bytes=engine.memory_bytes if card.weights_sha256 else 0,
        activation_bytes=int(engine.activation_share * card.compute.activation_bytes),
        weights_bytes=int(engine.weights_share * card.compute.weights_bytes),
    )


def coarse_bytes(info: SourceInfo, card: ModelCard) -> int:
    """Bytes per voxel of a finer grid for the voxels that it is repeated from, held at the same time."""
    rank = card.rank or len(info.extent)
    return 0 if card.finer == 1 else -(-info.voxel_bytes // card.finer**rank)


def requested_block(block: Shape, extent: Shape, chunk: Shape) -> Shape:
    """The block of ``--block`` in whole chunks; PlanError when it does not fit the extent."""
    if len(block) != len(extent) or min(block) < 1:
        raise PlanError(
            f"a block of {','.join(map(str, block))} does not fit an extent of "
            f"{','.join(map(str, extent))}: --block takes one number from 1 on for each axis"
        )
    return tuple(-(-min(b, n) // c) * c for b, n, c in zip(block, extent, chunk, strict=True))


def estimate_seconds(
    engine: str, precision: str, *, flops: float, voxels: float, workers: int
) -> float:
    """A rough estimate: a model's ``flops`` at the speed of its engine on all cores; without any (a model
    that is a function), so many ``voxels`` at 10 million a second and core."""
    cores, fast = hardware.cores(), bool(hardware.gpus()) or hardware.has_avx512()
    if not flops:
        return voxels / (VOXELS_PER_CORE_S * cores)
    info = info_of(engine)
    if not hardware.gpus() and info.takes_one_thread(fast):
        cores = min(cores, max(workers, 1))
    speed = info.flops_per_core.get(precision, SLOWEST) if fast else info.flops_below_avx512
    return flops / (speed * cores)
