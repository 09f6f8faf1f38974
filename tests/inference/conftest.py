"""A scene and a volume for whole runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.files import address_raster, address_volume, segbatch, write_raster, write_volume


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """700 x 533 pixels, 3 bands of uint16: no whole number of anything."""
    return write_raster(tmp_path / "scene.tif", address_raster((700, 533), 3, "uint16"))


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """An oblique volume, axes permuted and flipped (LPS-like), 1.5 x 0.9 x 2 mm."""
    turn = np.array([[0.96, -0.28, 0], [0.28, 0.96, 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-1.5, -0.9, 2.0])
    affine[:3, 3] = (30, -20, 7)
    return write_volume(tmp_path / "volume.nii.gz", address_volume((61, 45, 37)), affine)


@pytest.fixture
def run() -> Any:
    return segbatch
