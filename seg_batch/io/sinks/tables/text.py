"""A text as a product: written, and read back."""

from __future__ import annotations

from pathlib import Path

from seg_batch.io.sinks.spec import damaged


def write_checked(part: Path, text: str) -> None:
    """Write ``part`` in UTF-8; DamagedError unless it reads back."""
    data = text.encode("utf-8", "surrogateescape")
    part.write_bytes(data)
    if part.read_bytes() != data:
        raise damaged(part, ["bytes differ"])
