"""What a report says of the pieces of a mosaic."""

from __future__ import annotations

from typing import NotRequired, TypedDict


class BorderFacts(TypedDict):
    """Label flips between neighbouring voxels of two pieces of a mosaic, against those of one piece; ``index``: how many times
    as often."""

    index: float | None
    pairs: dict[str, int]
    flips: dict[str, int]


class TilesFacts(TypedDict):
    """The maps of the pieces of a mosaic. ``sha256``: of their rows in the list in ``folder``; ``of``: of the main product."""

    folder: str
    files: int
    bytes: int
    sha256: str
    of: str


class BlockCounts(TypedDict):
    """``resumed``: those of ``done`` that an earlier run had left; ``outside``, ``empty``: those not read (`Receipt.idle`), if any."""

    total: int
    done: int
    failed: int
    resumed: int
    outside: NotRequired[int]
    empty: NotRequired[int]
