"""A scene for whole runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.files import address_raster, write_raster


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_raster(tmp_path / "scene.tif", address_raster((400, 300), 1, "uint8"))
