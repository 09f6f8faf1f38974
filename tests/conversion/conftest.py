"""A small bundle of each rank with lively weights, and an image for each: for tests of minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seg_batch.config.card import ModelCard
from seg_batch.core.files import sha256
from tests.support.files import address_raster, address_volume, write_raster, write_volume
from tests.support.nn.small_models import SMALL_2D, SMALL_3D, lively

CLASSES = [{"id": k, "name": f"class {k}", "colour": (k, 0, 0)} for k in range(4)]


def _bundle(folder: Path, config: Any, image: Path, **card: Any) -> tuple[str, str]:
    folder.mkdir()
    lively(config).save(folder / "model.keras")
    whole = ModelCard(
        name=folder.name,
        rank=config.rank,
        channels=tuple("abc"[: config.channels]),
        classes=CLASSES[: config.classes],
        normalisation={"kind": "source"},
        weights_sha256=sha256(folder / "model.keras"),
        **card,
    )
    (folder / "card.json").write_text(whole.model_dump_json())
    return str(folder), str(image)


@pytest.fixture(scope="session")
def flat(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Bundle and image: 2-D, 3 channels, 4 classes, patches of 32 x 48."""
    folder = tmp_path_factory.mktemp("flat")
    image = write_raster(folder / "scene.tif", address_raster((70, 90), 3, "uint16"))
    return _bundle(folder / "flat", SMALL_2D, image, kind="raster", patch=(32, 48))


@pytest.fixture(scope="session")
def solid(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Bundle and image: 3-D, 1 channel, 3 classes, patches of 16 x 12 x 8."""
    folder = tmp_path_factory.mktemp("solid")
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    image = write_volume(folder / "volume.nii.gz", address_volume((20, 18, 22)), affine)
    return _bundle(folder / "solid", SMALL_3D, image, kind="volume", patch=(16, 12, 8))
