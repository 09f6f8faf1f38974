"""What a writer of a format is given, and what its reader gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

INPUT, OUTPUT = "image", "probabilities"  # the names that every format gives its tensors
SIGNATURE = "serving_default"


@dataclass(frozen=True)
class ExportJob:
    """Write the model of a Keras file, for patches ``(n, *patch, channels)``, as ``name``.

    ``calibration``: such patches, from which int8 learns its ranges.
    """

    weights: Path
    sha256: str
    patch: tuple[int, ...]
    name: str
    quantize: str = "float32"
    calibration: np.ndarray | None = None


@dataclass(frozen=True)
class Exported:
    """An exported file, loaded: what predicts ``(n, *patch, C) -> (n, *patch, K)``, and what it
    says of itself: ``tensors`` (name, dtype, shape with None for any number of patches) and
    ``versions`` of the format and of what runs it."""

    predict: Callable[[np.ndarray], np.ndarray]
    tensors: dict[str, Any]
    versions: dict[str, Any] = field(default_factory=dict)


def tensor(name: str, dtype: Any, shape: Any) -> dict[str, Any]:
    """One row of ``Exported.tensors``; sizes that are no positive number are None."""
    sizes = [n if isinstance(n, int) and n > 0 else None for n in shape]
    return {"name": name, "dtype": str(dtype), "shape": sizes}
