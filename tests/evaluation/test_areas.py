"""Scores of scenes whose pixels differ in area: sizes are those of pyproj, and objects those of predict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
from affine import Affine

from seg_batch.config.predict_options import PredictOptions
from seg_batch.evaluation.evaluate import evaluate_bundle, evaluate_files
from seg_batch.inference.api.predict import predict
from tests.support.evaluation.label_files import CARD, CLASSES, IDS, labels, thirds
from tests.support.files import write_raster

PIXEL = 0.02
DEGREES = {"crs": "EPSG:4326", "transform": Affine(PIXEL, 0, 10, 0, -PIXEL, 60)}


def test_sizes_are_hectares_of_the_ellipsoid(tmp_path: Path) -> None:
    truth, found = labels((900, 40), 1)
    a = write_raster(tmp_path / "a_labels.tif", found[None], **DEGREES)
    b = write_raster(tmp_path / "a.tif", truth[None], **DEGREES)
    scores = evaluate_files(a, b, classes=CLASSES)["scores"]
    geod = pyproj.Geod(ellps="WGS84")
    rows = []
    for row in range(900):
        low, high = 60 - (row + 1) * PIXEL, 60 - row * PIXEL
        area, _ = geod.polygon_area_perimeter([0, PIXEL, PIXEL, 0], [low, low, high, high])
        rows.append(area / 1e4)
    assert (scores["size_unit"], scores["distance_unit"]) == ("ha", "voxels")
    for k, numbers in zip(IDS, scores["classes"].values(), strict=True):
        excess = (found == k).sum(1) - (truth == k).sum(1)
        expected = float(excess @ np.array(rows))
        whole = float((truth == k).sum(1) @ np.array(rows))
        assert numbers["size_error"]["mean"] == pytest.approx(expected, abs=1e-3 * whole)


def test_objects_in_hectares_are_scored_as_predict_writes_them(tmp_path: Path) -> None:
    values = np.random.default_rng(3).integers(0, 256, (70, 60)).astype(np.uint8)
    image = write_raster(tmp_path / "a.tif", values[None], **DEGREES)
    truth, _ = labels((70, 60), 1)
    label = write_raster(tmp_path / "label.tif", truth[None], **DEGREES)
    model: Any = (CARD.model_copy(update={"post": ()}), thirds)
    out, post = tmp_path / "out.tif", ("min_size:1000ha",)
    assert predict(image, out, model=model, post=post)["post"][0]["objects_changed"]
    expected = evaluate_files(out, label)["scores"]["confusion"]
    options = PredictOptions(post=post)
    scored = evaluate_bundle(model, f"{image}={label}", split="all", options=options)
    assert scored["scores"]["confusion"] == expected
