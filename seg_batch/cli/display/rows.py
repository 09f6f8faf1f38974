"""How lines of a name and a value look."""

from __future__ import annotations

from typing import Any


def by(shape: Any) -> str:
    """``384 x 564``."""
    return " x ".join(str(n) for n in shape)


def rows(pairs: list[tuple[str, Any]]) -> str:
    """A line for each pair, the values below one another."""
    width = max(len(key) for key, _ in pairs)
    return "\n".join(f"{key:<{width}}  {value}" for key, value in pairs)
