"""The options of a prediction, and the names that some of them take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from seg_batch.core.geometry import Shape

TTA = ("none", "flips", "d4", "d4z")


@dataclass(frozen=True)
class Options:
    """What the user asked for. ``memory_bytes``: per worker process; 0: a share of the machine.
    ``overlap``: voxels; None: the card's; ``auto``: what was measured for the model, if it was.
    ``tta``: the views of each patch that are predicted and averaged. ``post``: steps that follow
    prediction, as on the command line; None: the card's."""

    overlap: int | Literal["auto"] | None = None
    taper: str = "hann"
    probabilities: bool = False
    precision: str = "auto"
    engine: str = "auto"
    tta: str = "none"
    post: tuple[str, ...] | None = None
    memory_bytes: int = 0
    workers: int = 1
    batch: int = 0
    block: Shape | None = None
