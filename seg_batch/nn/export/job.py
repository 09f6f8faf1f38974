"""The argument of a format's writer, and the result of its reader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

INPUT, OUTPUT = "image", "probabilities"  # names of the tensors in every format
SIGNATURE = "serving_default"


@dataclass(frozen=True)
class ExportJob:
    """Write the model of a Keras file, for patches ``(n, *patch, channels)``, as ``name``.

    ``calibration``: such patches, for the ranges of int8.
    """

    weights: Path
    sha256: str
    patch: tuple[int, ...]
    name: str
    quantize: str = "float32"
    calibration: np.ndarray | None = None


@dataclass(frozen=True)
class Exported:
    """A loaded export. ``predict``: ``(n, *patch, C) -> (n, *patch, K)``. ``tensors``: name, dtype
    and shape (None: any number of patches) of input and output. ``versions``: of format and runtime."""

    predict: Callable[[np.ndarray], np.ndarray]
    tensors: dict[str, Any]
    versions: dict[str, Any] = field(default_factory=dict)


def tensor(name: str, dtype: Any, shape: Any) -> dict[str, Any]:
    """A row of ``Exported.tensors``; sizes that are no positive number become None."""
    sizes = [n if isinstance(n, int) and n > 0 else None for n in shape]
    return {"name": name, "dtype": str(dtype), "shape": sizes}
