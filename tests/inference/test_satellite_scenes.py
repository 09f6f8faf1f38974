"""Scenes of satellites through the whole of a prediction: the same bytes in any blocks, and what a run is known by."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from seg_batch.config.card import ClassInfo, ModelCard, Normalisation
from seg_batch.core.errors import StoreError
from seg_batch.inference.api.predict import predict
from seg_batch.inference.verify import verify_product
from tests.support.io.satellites import write_sentinel2

CLASSES = tuple(ClassInfo(id=i, name=f"k{i}", colour=(i, i, i)) for i in (1, 2))


def _card(**more: Any) -> ModelCard:
    known = {
        "name": "darker",
        "kind": "raster",
        "rank": 2,
        "channels": ("swir16", "red"),
        "classes": CLASSES,
        "patch": (32, 32),
        "overlap": (8, 8),
        "normalisation": Normalisation(kind="card", mean=(0.0, 0.0), std=(1.0, 1.0)),
    }
    return ModelCard(**{**known, **more})


def _darker(patches: np.ndarray) -> np.ndarray:
    """Whether the first channel is less than the second, as a model with two classes."""
    share = (patches[..., :1] > patches[..., 1:2]).astype(np.float32)
    return np.concatenate([share, 1 - share], -1)


@pytest.fixture(scope="module")
def safe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sentinel2(tmp_path_factory.mktemp("scene"), side=60)[0]


def _labels(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        labels: np.ndarray = file.read(1)
        return labels


@pytest.mark.parametrize(
    ("pixel_m", "extent"), [pytest.param(10.0, 60, marks=pytest.mark.full), (20.0, 30)]
)
def test_blocks_change_no_byte(safe: Path, tmp_path: Path, pixel_m: float, extent: int) -> None:
    made = list[bytes]()
    for block in [(60, 60), (24, 36)]:
        out = tmp_path / f"map{len(made)}.tif"
        model = (_card(pixel_m=pixel_m), _darker)
        report = predict(safe, out, model=model, block=block, mask_from=("SCL:3,8,9,10",))
        assert _labels(out).shape == (extent, extent)
        assert report["plan"]["fingerprint"]["stack_grid"]["pixel_m"] == pixel_m
        assert verify_product(out)["ok"]
        made.append(out.read_bytes())
    assert made[0] == made[1]


def test_another_mask_is_another_plan(safe: Path, tmp_path: Path) -> None:
    out, model = tmp_path / "map.tif", (_card(), _darker)
    predict(safe, out, model=model, mask_from=("SCL:3",))
    made, labels = os.stat(out).st_mtime_ns, _labels(out)
    predict(safe, out, model=model, mask_from=("SCL:3",))
    assert os.stat(out).st_mtime_ns == made
    with pytest.raises(StoreError, match="mask_from: "):
        predict(safe, out, model=model, mask_from=("SCL:4",))
    predict(safe, out, model=model, overwrite=True)
    assert not np.array_equal(_labels(out), labels)


def test_a_changed_band_is_noticed(tmp_path: Path) -> None:
    path, _ = write_sentinel2(tmp_path, side=60)
    out, model = tmp_path / "map.tif", (_card(), _darker)
    predict(path, out, model=model)
    (band,) = path.rglob("*_B11_20m.jp2")
    band.touch()
    assert not verify_product(out)["ok"]
