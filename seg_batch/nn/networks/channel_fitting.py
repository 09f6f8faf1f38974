"""The kernel of a trained convolution for other channels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Names:
    """Names of channels or classes, in order: those of the source, those of the new model."""

    source: Sequence[str]
    model: Sequence[str]

    @property
    def same(self) -> bool:
        return list(self.source) == list(self.model)


def fitted(kernel: np.ndarray, channels: int, names: Names | None = None) -> np.ndarray:
    """A convolution's kernel ``(*k, c, filters)`` for another number or order of channels.

    A channel whose name the source has too keeps its part of the kernel. The other new channels
    share the parts of the removed channels evenly, which keeps the sum over the channels, and so
    the response to equal channels: without names each gets the old mean times ``c / channels``.
    Without new names, the parts of removed channels are dropped.
    """
    old = {name: i for i, name in enumerate(names.source)} if names else {}
    matched = [old.get(name) for name in names.model] if names else [None] * channels
    gone = [i for i in range(kernel.shape[-2]) if i not in matched]
    rest = kernel[..., gone, :].sum(axis=-2) / max(matched.count(None), 1)
    parts = [rest if i is None else kernel[..., i, :] for i in matched]
    return np.stack(parts, axis=-2).astype(kernel.dtype)
