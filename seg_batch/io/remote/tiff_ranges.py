"""The bytes of a GeoTIFF that a read of a box needs: the places of its tiles, which its own index names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from seg_batch.core.geometry import Box
from seg_batch.io.remote.ranges import Range


def ranges_of(dataset: Any, bands: Iterable[int], box: Box, most_bytes: int) -> list[Range]:
    """Where the tiles of these bands lie that touch a box, in order; of those beyond ``most_bytes`` none, which are then
    read one by one."""
    rows, columns = (
        range(start // side, -(-stop // side))
        for start, stop, side in zip(box.start, box.stop, dataset.block_shapes[0], strict=True)
    )
    found, size = dict[Range, None](), 0
    for band in bands:
        for y in rows:
            for x in columns:
                start = dataset.get_tag_item(f"BLOCK_OFFSET_{x}_{y}", "TIFF", bidx=band)
                length = dataset.get_tag_item(f"BLOCK_SIZE_{x}_{y}", "TIFF", bidx=band)
                if not start or not length:
                    continue
                size += int(length)
                if size > most_bytes:
                    return list(found)
                found[int(start), int(start) + int(length)] = None
    return list(found)
