"""One input as it was named: a path, and what was said of it."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Wish:
    """``path``, named by ``where`` (``inputs.paths``, or a line of a list); ``output``: its name below
    the output folder; ``error``: why it can be no input, as far as that is known already."""

    path: str
    where: str
    output: str | None = None
    volume: int | None = None
    model: tuple[str, ...] | None = None
    error: str | None = None

    @property
    def key(self) -> str:
        """What the run calls it."""
        path = os.path.abspath(self.path) if self.error is None else self.path
        return path if self.volume is None else f"{path}#{self.volume}"

    @property
    def asked(self) -> tuple[object, ...]:
        """All that was said of it: who names a file twice with the same words means it once."""
        return (self.key, self.output, self.volume, self.model)
