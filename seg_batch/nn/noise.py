"""What networks are tried, timed and compared with where there is no image."""

import numpy as np

from seg_batch.core.geometry import Shape

FIELD = 12  # voxels of one value along an axis
STEP = 16  # of the values, per deviation: a test tensor takes a quarter of the space that full numbers do


def noise(shape: Shape) -> np.ndarray:
    """Standard normal, float32, always the same."""
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def fields(sides: Shape, channels: int) -> np.ndarray:
    """Fields of some voxels with noise in them: float32 ``(*sides, channels)``, deviation about 1, always the same."""
    random = np.random.default_rng(0)
    image = random.normal(size=(*(-(-n // FIELD) for n in sides), channels))
    for axis, n in enumerate(sides):
        image = np.repeat(image, FIELD, axis).take(np.arange(n), axis)
    image += random.normal(size=image.shape) / 4
    return np.asarray(np.round(image * STEP) / STEP, np.float32)
