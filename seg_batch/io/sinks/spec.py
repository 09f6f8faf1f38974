"""Specifications of a store and of a product in any format, and the order of reading."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from seg_batch.config.card import ClassInfo, ModelCard
from seg_batch.config.image_options.scene import PLAIN, FurtherOptions
from seg_batch.core.errors import DamagedError
from seg_batch.core.geometry import Blocks, Box, Shape
from seg_batch.core.georef import Georef, georef_from_json, georef_to_json
from seg_batch.io.sources.views.image_spec import ImageSpec

# ``read(box)`` gives labels of the box's shape, or probabilities ``(classes, *shape)``.
Read = Callable[[Box], np.ndarray]

PIECE_BYTES = 8 << 20
_SIDE = {2: 1024, 3: 128}


@dataclass(frozen=True)
class StoreSpec:
    """The specification of a store. ``fill``: the label of voxels that were never written.
    ``fingerprint``: what must be equal to resume. Shapes are voxels in the file's own axes."""

    extent: Shape
    chunk: Shape
    label_dtype: str
    fill: int
    n_classes: int
    probabilities: bool
    georef: Georef
    card: dict[str, Any]
    plan: dict[str, Any]
    fingerprint: dict[str, Any]
    versions: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "georef": georef_to_json(self.georef)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> StoreSpec:
        shapes = {name: tuple(data[name]) for name in ("extent", "chunk")}
        return cls(**{**data, **shapes, "georef": georef_from_json(data["georef"])})


@dataclass(frozen=True)
class MainProduct:
    """The finished map that a further product is made of. ``model``: where its model is described as an item of STAC; empty
    where it is not."""

    path: Path
    bytes: int
    sha256: str
    model: str = ""


@dataclass(frozen=True)
class ProductSpec:
    """``extent`` in the file's own axes; ``nodata``: the label of no data (rasters) or None;
    ``tags``: provenance; ``like``: the input if it has the product's format (a NIfTI copies its header);
    ``chunk``: the shape of a box that ``read`` returns cheaply; ``with_probabilities``: a Zarr product
    keeps them too; ``side_file``: the text of ``<product>.aux.xml``, which holds the CRS instead of the
    product; empty where there is none. ``image``: what the labels are of, for products that need more of it than its place;
    ``card``: that of the model, by which ``open_view(image, card).native`` is the image on the grid of the labels; ``seg``: how
    segments are stored, for products that have segments; ``compress``: how a GeoTIFF is compressed; ``further``: how further
    products are made; ``main``: the map that this further product is made of; ``window``: where the extent lies in that of the
    store, if it is a part."""

    extent: Shape
    dtype: str
    nodata: int | None
    classes: tuple[ClassInfo, ...]
    georef: Georef
    is_probabilities: bool = False
    tags: dict[str, str] = field(default_factory=dict)
    like: Path | None = None
    chunk: Shape | None = None
    with_probabilities: bool = True
    side_file: str = ""
    image: ImageSpec | None = None
    card: ModelCard | None = None
    seg: Literal["labelmap", "binary"] = "labelmap"
    compress: str = "auto"
    further: FurtherOptions = PLAIN
    main: MainProduct | None = None
    window: Box | None = None

    @property
    def background(self) -> int | None:
        """The label that is no segment and has no colour; None where each label is a class to be seen."""
        return 0 if self.card is None else self.card.background

    @property
    def bands(self) -> int:
        return len(self.classes) if self.is_probabilities else 1

    def halved(self) -> ProductSpec:
        """The same at half the resolution, for the overview of a raster."""
        return replace(self, extent=tuple(-(-n // 2) for n in self.extent), chunk=None)

    def boxes(self) -> list[Box]:
        """The extent in boxes of whole chunks, grown from the last axis to the first up to ``PIECE_BYTES``, for any
        extent."""
        side = _SIDE[len(self.extent)]
        shape = list(self.chunk or (min(n, side) for n in self.extent))
        voxels = PIECE_BYTES // (self.bands * np.dtype(self.dtype).itemsize)
        for axis in reversed(range(len(shape))):
            shape[axis] *= max(1, voxels // math.prod(shape))
            shape[axis] = min(shape[axis], self.extent[axis])
        return [block.box for block in Blocks(self.extent, tuple(shape))]


def read_ahead(read: Read, boxes: list[Box]) -> Iterator[tuple[Box, np.ndarray]]:
    """``(box, read(box))`` in order; the next box is read while the caller works on this one."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(read, boxes[0])
        for box, following in zip(boxes, [*boxes[1:], None], strict=True):
            values = coming.result()
            if following is not None:
                coming = thread.submit(read, following)
            yield box, values


def damaged(path: Path, wrong: list[str]) -> DamagedError:
    """The error for a closed product that does not read back; ``wrong``: the differences."""
    return DamagedError(
        f"{path} does not read back as it was written ({'; '.join(wrong[:3])}): the work store "
        "is kept; run the same command again, and check the disk if it stays"
    )


def samples(extent: Shape, side: int = 128) -> list[Box]:
    """Boxes at the corners, at the centre and at eight fixed random places."""
    rng = np.random.default_rng(0)
    corners = np.array(list(itertools.product((0.0, 1.0), repeat=len(extent))))
    places = np.concatenate([corners, 0 * corners[:1] + 0.5, rng.random((8, len(extent)))])
    size = np.minimum(extent, side)
    starts = {tuple((place * (extent - size)).astype(int).tolist()) for place in places}
    return [Box(start, tuple((start + size).tolist())) for start in sorted(starts)]
