"""Inputs of all sorts, small, and nights over them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seg_batch.config.workflow import Workflow
from seg_batch.inference.predict import predict_one
from seg_batch.inference.request import Request
from tests.support.files import address_raster, address_volume, write_raster, write_volume

BLOCK = [1024, 1024]


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five scenes of one block and two of six, when cut by ``BLOCK``; one is no image."""
    folder = tmp_path_factory.mktemp("scenes")
    for i in range(5):
        write_raster(folder / f"small{i}.tif", address_raster((300 + 40 * i, 333), 1, "uint8"))
    for i in range(2):
        write_raster(folder / f"large{i}.tif", address_raster((2100 + i, 1100), 1, "uint8"))
    (folder / "bad.tif").write_text("no image")
    return folder


@pytest.fixture(scope="session")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("volumes")
    for i in range(2):
        affine = np.diag([1.0, 1.0, 2.0, 1.0])
        write_volume(folder / f"v{i}.nii.gz", address_volume((40, 35 + i, 30)), affine)
    return folder


@pytest.fixture(scope="session")
def alone(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What ``predict`` makes of each scene by itself, by name."""
    folder = tmp_path_factory.mktemp("alone")
    for path in sorted(scenes.glob("[sl]*.tif")):
        predict_one(Request(str(path), f"{folder}/", model="probe", cluster="inline"))
    return {path.name: path.read_bytes() for path in folder.glob("*.tif")}


@pytest.fixture
def night(scenes: Path, tmp_path: Path) -> Callable[..., Workflow]:
    """A workflow over the scenes, with products in ``out``."""

    def made(**changes: Any) -> Workflow:
        whole = {
            "name": "night",
            "inputs": str(scenes),
            "model": "probe",
            "outputs": str(tmp_path / "out"),
            "options": {"block": BLOCK},
            "cluster": "inline",
        }
        return Workflow.model_validate({**whole, **changes})

    return made
