"""Runs whose sums stay on the device, forced on the CPU: which runs they are, and what is said of them."""

import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from seg_batch import predict
from seg_batch.batch.dispatch import SHARING, sharing
from seg_batch.core import hardware
from seg_batch.executors import IN_FLIGHT, run_bounded
from seg_batch.executors.pool import InlinePool
from seg_batch.inference.on_device.rule import FORCED, in_words, on_host
from seg_batch.inference.probe import PROBE_CARD
from tests.support.bundles import make_bundle
from tests.support.files import address_raster, write_raster

pytestmark = pytest.mark.full


def labels(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        array: np.ndarray = file.read(1)
        return array


def test_a_run_on_the_device_says_so_and_has_the_labels_of_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = write_raster(tmp_path / "scene.tif", address_raster((150, 130), 2, "uint16"))
    bundle = make_bundle(tmp_path / "bundle", 2, 2)
    options: dict[str, Any] = {"model": bundle, "engine": "tensorflow", "precision": "float32"}
    host = predict(scene, tmp_path / "host.tif", **options, keep_store=True)
    monkeypatch.setenv(FORCED, "1")
    device = predict(scene, tmp_path / "device.tif", **options)
    assert host["plan"]["engine_why"] == "asked for"
    assert device["plan"]["engine_why"] == "asked for; sums stay on it"
    assert "sums" not in host["plan"]["fingerprint"]
    assert device["plan"]["fingerprint"]["sums"] == "device"
    assert device["tiles_predicted"] == host["tiles_predicted"]
    assert (
        device["source"]["warnings"] == host["source"]["warnings"]
    )  # no block fell back to the CPU
    expected = labels(tmp_path / "host.tif")
    assert (labels(tmp_path / "device.tif") != expected).mean() < 1e-3
    again = predict(scene, tmp_path / "host.tif", **options, overwrite=True)
    assert again["blocks"]["resumed"] == 0  # a store of the other path is not gone on with


def test_small_inputs_come_in_greater_numbers_where_a_gpu_computes_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with closing(InlinePool()) as pool:
        monkeypatch.setattr(hardware, "gpus", lambda: 0)
        with closing(sharing(pool)) as small:
            assert small.window == IN_FLIGHT + 1
        monkeypatch.setattr(hardware, "gpus", lambda: 1)
        together = threading.Barrier(SHARING)
        with closing(sharing(pool)) as small:
            ends = run_bounded(small, lambda n: together.wait(20), range(SHARING))
            assert sorted(end.result for end in ends) == list(range(SHARING))
        assert pool.window == IN_FLIGHT


def test_what_stays_on_a_gpu_and_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setattr(hardware, "gpus", lambda: 0)
    card = PROBE_CARD
    assert on_host("tensorflow", [card], "none", False) == ""
    monkeypatch.setattr(hardware, "gpus", lambda: 1)
    assert on_host("tensorflow", [card], "none", False) is None
    assert on_host("openvino", [card], "none", False) == ""
    assert on_host("function", [card], "none", False) == ""
    assert on_host("tensorflow", [card, card], "none", False) == "it is an ensemble"
    assert on_host("tensorflow", [card], "d4", False) == "it averages several views"
    assert on_host("tensorflow", [card], "none", True) == "it sees images on another grid"
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    reason = on_host("keras", [card], "none", False)
    expected = "there is a GPU; sums on the CPU, since Keras computes with PyTorch"
    assert in_words("there is a GPU", reason) == expected
