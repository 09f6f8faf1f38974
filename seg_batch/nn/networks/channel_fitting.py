"""A convolution's kernel for other channels than it was trained on."""

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

    A channel whose name the source knows too keeps its part of the kernel. The others share evenly
    what belonged to the channels that are gone, so the sum over the channels, and with it the response
    to equal channels, is kept: without names each gets the old mean times ``c / channels``. If every
    new channel is known, those that are gone are just left out.
    """
    old = {name: i for i, name in enumerate(names.source)} if names else {}
    matched = [old.get(name) for name in names.model] if names else [None] * channels
    gone = [i for i in range(kernel.shape[-2]) if i not in matched]
    rest = kernel[..., gone, :].sum(axis=-2) / max(matched.count(None), 1)
    parts = [rest if i is None else kernel[..., i, :] for i in matched]
    return np.stack(parts, axis=-2).astype(kernel.dtype)
