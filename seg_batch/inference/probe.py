"""The probe: a built-in predictor that needs no network and takes any input.

``class = floor(value of the first channel, in physical units) mod 8``. Every tile agrees on
every voxel, so the product can be checked exactly against the input, whatever the tiling.
"""

from __future__ import annotations

import numpy as np

from seg_batch.config.card import ClassInfo, ModelCard, Normalisation
from seg_batch.config.colours import OKABE_ITO

CLASSES = 8

PROBE_CARD = ModelCard(
    name="probe",
    description="class = floor(first channel, physical units) mod 8; needs no network",
    kind="any",
    classes=tuple(
        ClassInfo(id=i, name=f"residue {i}", colour=colour)
        for i, colour in enumerate(((20, 20, 20), *OKABE_ITO))
    ),
    missing="all",  # it looks at the first channel, and takes any number
    normalisation=Normalisation(kind="identity"),
    licence="Apache-2.0",
    training_data="none",
)


def classes_of(values: np.ndarray) -> np.ndarray:
    """``floor(values) mod 8`` as uint8, exact for every integer type and for floats."""
    if values.dtype.kind in "iub":
        return np.bitwise_and(values, values.dtype.type(7)).astype(np.uint8)
    return np.mod(np.floor(values), CLASSES).astype(np.uint8)


def predict(patches: np.ndarray) -> np.ndarray:
    """``(n, *patch, channels)`` physical values -> ``(n, *patch, 8)`` uint8, 1 for the class and else 0; in memory the classes
    come first."""
    classes = np.arange(CLASSES, dtype=np.uint8).reshape(-1, *(1,) * (patches.ndim - 2))
    hit = classes_of(patches[..., 0])[:, None] == classes
    return np.moveaxis(hit.view(np.uint8), 1, -1)
