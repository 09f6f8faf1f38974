"""A file of a network that a card of another world is written for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seg_batch.core.files import hash_of


@dataclass(frozen=True)
class ExportedFile:
    """``form``: its format, by the name in ``--to``. ``input`` and ``output``: the names of its tensors; ``outputs``:
    how many scores it gives per voxel; ``single``: it takes one patch at once; ``versions``: of what wrote it, such as ``opset``."""

    form: str
    name: str
    sha256: str
    size_bytes: int
    input: str = "image"
    output: str = "scores"
    outputs: int = 0
    layout: str = "channels_last"
    single: bool = False
    versions: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def at(cls, path: Path, **facts: Any) -> ExportedFile:
        """The file at ``path``; a folder, as of TensorFlow, has no hash."""
        if path.is_dir():
            size = sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
            return cls(name=path.name, sha256="", size_bytes=size, **facts)
        return cls(name=path.name, sha256=hash_of(path), size_bytes=path.stat().st_size, **facts)
