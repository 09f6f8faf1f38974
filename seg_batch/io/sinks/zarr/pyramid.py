"""Smaller copies of a map for viewers: each level has half the rows and columns of the one before, and of 2 x 2 voxels the most
frequent label."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from seg_batch.core.geometry import Blocks, Box, Shape
from seg_batch.core.georef import RasterGeoref, refined
from seg_batch.io.sinks.cog.overviews import majority_overview
from seg_batch.io.sinks.spec import ProductSpec, Read, StoreSpec
from seg_batch.io.sinks.zarr.attributes import is_label_image, is_plain, ome_of, place

SMALLEST = 512  # rows and columns of the last level, at most
LEVELS = "overviews"  # their group: who opens the map does not meet arrays of other shapes
CreateLabels = Callable[[Any, str, StoreSpec], None]


def add_levels(
    group: Any, store: StoreSpec, spec: ProductSpec, read: Read, create: CreateLabels
) -> None:
    """Add smaller copies of the map that ``read`` gives to the group of a product. ``read`` is called once for each box;
    ``create`` makes an array for labels."""
    if max(store.extent[-2:]) <= SMALLEST:
        for box in spec.boxes():
            read(box)
        return
    levels: list[tuple[str, Shape]] = [("labels", ())]
    source, boxes, extent = read, spec.boxes(), store.extent
    while max(extent[-2:]) > SMALLEST:
        extent = (*extent[:-2], *(-(-n // 2) for n in extent[-2:]))
        array = _level(group, len(levels), extent, store, create)
        for box in boxes:
            array[_halved(box).slices()] = majority_overview(source(box))
        taken = 2 ** len(levels)
        levels.append((f"{LEVELS}/{len(levels)}/labels", (*(1,) * (len(extent) - 2), taken, taken)))
        source = _reader(array)
        boxes = [block.box for block in Blocks(extent, tuple(map(min, store.chunk, extent)))]
    _describe(group, store, levels)


def _level(group: Any, level: int, extent: Shape, store: StoreSpec, create: CreateLabels) -> Any:
    """The array of a level, in a group of its own with its coordinates."""
    taken = 1 / 2**level
    georef = refined(store.georef, (*(1,) * (len(extent) - 2), taken, taken))
    chunk = tuple(map(min, store.chunk, extent))
    inside = group.require_group(LEVELS).create_group(str(level))
    create(inside, "labels", StoreSpec(**{**vars(store), "extent": extent, "chunk": chunk}))
    array = inside["labels"]
    array.attrs["_FillValue"] = store.fill
    if isinstance(georef, RasterGeoref) and is_plain(georef):
        place(inside, extent, georef)
        array.attrs.update(grid_mapping="spatial_ref", coordinates="spatial_ref")
    return array


def _halved(box: Box) -> Box:
    """The voxels of the next level; boxes begin at even rows and columns."""
    halves = slice(-2, None)
    start = (*box.start[:-2], *(n // 2 for n in box.start[halves]))
    return Box(start, (*box.stop[:-2], *(-(-n // 2) for n in box.stop[halves])))


def _reader(array: Any) -> Read:
    return lambda box: np.asarray(array[box.slices()])


def _describe(group: Any, store: StoreSpec, levels: list[tuple[str, Shape]]) -> None:
    """What the levels are: as OME-NGFF has it, or as a list of groups."""
    if is_label_image(store.georef):
        group.attrs["ome"] = ome_of(store, levels)
        return
    layout: list[dict[str, Any]] = [{"asset": "."}]
    for path, taken in levels[1:]:
        before = layout[-1]["asset"]
        layout.append(
            {
                "asset": path.removesuffix("/labels"),
                "derived_from": before,
                "transform": {"scale": list(map(float, taken))},
                "resampling_method": "mode",
            }
        )
    group.attrs["multiscales"] = {"layout": layout}
