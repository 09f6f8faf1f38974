"""A file of a network that a card of another world is written for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ExportedFile:
    """``form``: its format, by the name in ``--to``. ``input`` and ``output``: the names of its tensors; ``outputs``:
    how many scores it gives per voxel; ``versions``: of what wrote it, such as ``opset``."""

    form: str
    name: str
    sha256: str
    size_bytes: int
    input: str = "image"
    output: str = "scores"
    outputs: int = 0
    layout: str = "channels_last"
    versions: dict[str, Any] = field(default_factory=dict)
