"""The commands from pairs to a map, in processes of their own, as a user calls them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from tests.support.files import segbatch
from tests.support.patience import PATIENCE_S, Gate
from tests.support.training.pairs import bright_recipe, bright_scene


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Any]:
    pair, truth = bright_scene(tmp_path)
    path = tmp_path / "recipe.yaml"
    recipe = bright_recipe(fit={"steps": 10**6, "validate_every": 10, "checkpoint_every": 10**6})
    path.write_text(recipe.model_dump_json())
    return {"pair": pair, "recipe": path, "truth": truth}


@pytest.mark.full
def test_from_pairs_to_a_map_by_command(given: dict[str, Any], tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    train = ("train", given["pair"], "-o", bundle, "--recipe", given["recipe"], "--steps", 30)
    fitted = segbatch(*train, "--json")
    assert fitted.status == 0, fitted.err
    assert fitted.json == json.loads((bundle / "card.json").read_text())
    assert fitted.json["scores"]["training"]["steps"] == 30
    before = {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    again = segbatch(*train)
    assert (again.status, again.out, again.err.count("\n")) == (2, "", 1)
    assert again.err.startswith(f"segbatch: {bundle} exists")
    assert "--overwrite" in again.err
    assert {path: path.read_bytes() for path in before} == before
    assert not (tmp_path / "bundle.work").exists()
    found = _predicted(tmp_path / "scene.tif", bundle)
    assert (found == given["truth"]).mean() > 0.9


def _predicted(scene: Path, bundle: Path) -> np.ndarray:
    product = scene.with_name("map.tif")
    ran = segbatch("predict", scene, "-o", product, "--model", bundle, "-q")
    assert ran.status == 0, ran.err
    with rasterio.open(product) as file:
        return file.read(1)


@pytest.mark.full
def test_stopped_by_signal_it_says_so_and_goes_on(given: dict[str, Any], tmp_path: Path) -> None:
    bundle, fit = tmp_path / "b", tmp_path / "b.work" / "fit"
    train = ("train", given["pair"], "-o", bundle, "--recipe", given["recipe"], "-q")
    command = [sys.executable, "-m", "seg_batch", *map(str, train)]
    gate = Gate(tmp_path, f"{fit}/checkpoint-*.json", after=1)
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, **gate.environment}
    ) as running:
        gate.wait(running)
        running.send_signal(signal.SIGTERM)
        gate.open()
        _, err = running.communicate(timeout=PATIENCE_S)
    assert (running.returncode, err.count("\n")) == (130, 1), err
    assert "run the same command again to resume" in err
    assert not bundle.exists()
    last = max(int(path.stem.partition("-")[2]) for path in fit.glob("checkpoint-*.json"))
    assert last >= 10
