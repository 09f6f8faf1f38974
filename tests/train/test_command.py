"""The commands from pairs to a map, as a user calls them, on a scene that is quickly learnt."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from seg_batch.bundles import sha256
from tests.engine.files import segbatch, write_raster
from tests.train.drafts import plain_recipe

SHAPE, TEST = (192, 160), ((96, 32), (160, 160))


def bright_scene(folder: Path) -> tuple[Path, Path, np.ndarray]:
    """Class 7 is bright, class 1 dark, with noise and a gradient; image, label, truth."""
    rng, (y, x) = np.random.default_rng(11), np.indices(SHAPE)
    truth = np.where((np.sin(y / 9) + np.cos(x / 13 + y / 40)) > 0.2, 7, 1).astype("uint8")
    image = np.where(truth == 7, 9000, 4000) + 3 * y + 5 * x + rng.normal(0, 500, SHAPE)
    written = write_raster(folder / "scene.tif", image[None].astype("uint16"))
    return written, write_raster(folder / "label.tif", truth[None]), truth


def write_recipe(folder: Path) -> Path:
    classes = [{"id": k, "name": n, "colour": [k, 0, 0]} for k, n in ((1, "dark"), (7, "bright"))]
    card = {"normalisation": "card", "classes": classes, "patch": [32, 32], "overlap": [16, 16]}
    held = {"validation": {"boxes": [[[0, 0], [48, 64]]]}, "test": {"boxes": [TEST]}, "gap": 0}
    changes: dict[str, Any] = {
        "card": card,
        "cut": {"patch": [40, 40], "overlap": [20, 20]},
        "hold_out": held,
        "optimiser": {"learning_rate": 0.02, "ema": 0.5},
        "fit": {"batch": 4, "validate_every": 10},
    }
    path = folder / "recipe.json"
    path.write_text(json.dumps(plain_recipe(2, **changes)))
    return path


@pytest.mark.full
def test_from_pairs_to_a_map_by_command(tmp_path: Path) -> None:
    scene, label, truth = bright_scene(tmp_path)
    dataset, bundle = tmp_path / "d.zarr", tmp_path / "bundle"
    cut = segbatch(
        "patches", f"{scene}={label}", "-o", dataset, "--recipe", write_recipe(tmp_path), "--json"
    )
    assert cut.status == 0, cut.err
    assert cut.json["patches"]["training"] > 0
    assert set(cut.json["training_voxels"]) == {"dark", "bright"}
    fitted = segbatch("train", dataset, "-o", bundle, "--steps", 30, "--json")
    assert fitted.status == 0, fitted.err
    _card_is_complete(fitted.json, bundle)
    found = _predicted(scene, bundle)
    assert (found == truth).mean() > 0.9
    box = tuple(slice(a, b) for a, b in zip(*TEST, strict=True))
    score = fitted.json["scores"]["test"]["accuracy"]
    assert score == pytest.approx((found == truth)[box].mean(), abs=1e-4), "one stitcher for both"
    _stays(dataset, bundle)
    _goes_on(dataset, bundle)


def _card_is_complete(card: dict[str, Any], bundle: Path) -> None:
    assert card == json.loads((bundle / "card.json").read_text())
    assert card["weights_sha256"] == sha256(bundle / "model.keras")
    assert min(card["compute"]["activation_bytes"], card["compute"]["flops"]) > 0
    assert card["architecture"] == {"name": "anunet", "filters": [4, 8]}
    assert len(card["normalisation"]["mean"]) == len(card["normalisation"]["std"]) == 1
    table = card["scores"]["test"]
    assert "scene [96:160,32:160]" in table["measured_on"]
    assert table["voxels"] == sum(table["true_voxels"].values()) == 64 * 128
    assert set(table["dice"]) == set(table["iou"]) == {"dark", "bright"}
    assert table["accuracy"] > max(0.9, table["accuracy_of_commonest_class"])
    assert card["scores"]["training"]["steps"] == 30
    assert "scene [0:48,0:64]" in card["scores"]["validation"]["measured_on"]


def _predicted(scene: Path, bundle: Path) -> np.ndarray:
    product = scene.with_name("map.tif")
    ran = segbatch(
        "predict", scene, "-o", product, "--model", bundle, "--precision", "float32", "-q"
    )
    assert ran.status == 0, ran.err
    with rasterio.open(product) as file:
        return file.read(1)


def _stays(dataset: Path, bundle: Path) -> None:
    """An earlier bundle is refused in one line before any training, and is still there."""
    before = {path: path.read_bytes() for path in bundle.iterdir()}
    again = segbatch("train", dataset, "-o", bundle, "--steps", 1)
    assert (again.status, again.out) == (2, "")
    assert "--overwrite" in again.err
    assert len(again.err.strip().splitlines()) == 1
    assert {path: path.read_bytes() for path in bundle.iterdir()} == before


def _goes_on(dataset: Path, bundle: Path) -> None:
    """One more step from the bundle loses less than its own first ones, and may replace a bundle."""
    first = json.loads((bundle / "history.jsonl").read_text().splitlines()[0])
    copy = Path(shutil.copytree(bundle, bundle.with_name("earlier")))
    options = ("-o", bundle, "--steps", 1, "--from", copy, "--overwrite", "--json")
    more = segbatch("train", dataset, *options)
    assert more.status == 0, more.err
    assert more.json["scores"]["training"]["steps"] == 1
    assert more.json["scores"]["test"]["accuracy"] > 0.9
    assert json.loads((bundle / "history.jsonl").read_text())["loss"] < first["loss"]
    assert not list(bundle.parent.glob(".*part"))
