"""What can't be exported is refused in one line, before anything is written."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seg_batch.conversion.export import difference_of, export, require_alike
from seg_batch.core.errors import BundleError, InputError, OutputError, SegbatchError
from seg_batch.nn.export import subprocess_run
from seg_batch.nn.export.formats import Tolerance
from tests.support.files import segbatch

BUNDLE = "landsat8-landcover"


def refused(kind: type[SegbatchError], *arguments: Any, **options: Any) -> str:
    with pytest.raises(kind) as caught:
        export(*arguments, **options)
    assert caught.value.status == 2
    assert "\n" not in caught.value.message
    return caught.value.message


def test_an_unknown_format_gets_the_nearest_name(tmp_path: Path) -> None:
    assert "did you mean openvino?" in refused(InputError, BUNDLE, "openvin", tmp_path / "out")
    assert "savedmodel" in refused(InputError, BUNDLE, "pickle", tmp_path / "out")


def test_a_precision_that_a_format_lacks(tmp_path: Path) -> None:
    told = refused(InputError, BUNDLE, "onnx", tmp_path / "out", quantize="float16")
    assert "tflite (float32, float16, dynamic, int8)" in told


def test_int8_without_data(tmp_path: Path) -> None:
    for to in ("openvino", "tflite"):
        assert "--calibrate" in refused(InputError, BUNDLE, to, tmp_path / "o", quantize="int8")
    told = refused(InputError, BUNDLE, "onnx", tmp_path / "o", calibrate=str(tmp_path))
    assert "--calibrate is for int8" in told
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("to", "quantize", "library", "extra"),
    [
        ("onnx", "float32", "tf2onnx", "export"),
        ("tflite", "float32", "ai_edge_litert", "export"),
        ("openvino", "float32", "openvino", "cpu"),
        ("openvino", "int8", "nncf", "int8"),
    ],
)
def test_a_missing_library_comes_with_the_line_that_installs_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    to: str,
    quantize: str,
    library: str,
    extra: str,
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == library else real(name)
    )
    data = str(tmp_path) if quantize == "int8" else None
    told = refused(InputError, BUNDLE, to, tmp_path / "out", quantize=quantize, calibrate=data)
    assert library in told
    assert f"pip install 'segbatch[{extra}]'" in told


def test_what_is_no_keras_bundle(tmp_path: Path) -> None:
    assert "has no network" in refused(BundleError, "probe", "onnx", tmp_path / "out")
    assert "there is no model" in refused(BundleError, "nothing", "onnx", tmp_path / "out")


def test_an_output_that_is_called_like_a_file_or_is_not_ours(tmp_path: Path) -> None:
    assert "use -o m" in refused(OutputError, BUNDLE, "onnx", tmp_path / "m.onnx")
    (tmp_path / "theirs").mkdir()
    told = refused(OutputError, BUNDLE, "onnx", tmp_path / "theirs", overwrite=True)
    assert "exists" in told


def test_images_that_do_not_fit(tmp_path: Path) -> None:
    sample = Path(str(importlib.util.find_spec("seg_batch").origin)).parent / "data/samples"  # type: ignore[union-attr]
    volume = str(sample / "hippocampus_001.nii.gz")
    told = refused(InputError, BUNDLE, "onnx", tmp_path / "out", check=volume)
    assert "does not fit" in told
    told = refused(
        InputError, BUNDLE, "openvino", tmp_path / "o", quantize="int8", calibrate=volume
    )
    assert "does not fit" in told
    assert not list(tmp_path.iterdir())


def test_differences_are_of_probabilities_and_of_labels() -> None:
    expected = np.array([[[0.9, 0.1], [0.6, 0.4]]], np.float32)
    found = np.array([[[0.8, 0.2], [0.4, 0.6]]], np.float32)
    difference = difference_of(found, expected)
    assert difference["largest"] == pytest.approx(0.2)
    assert difference["mean"] == pytest.approx(0.15)
    assert difference["label_agreement"] == 0.5
    worst = {"largest": 1.0, "mean": 1.0, "label_agreement": 0.0}
    assert difference_of(found[..., :1], expected) == worst
    assert difference_of(found * np.nan, expected) == worst


def test_each_limit_alone_refuses() -> None:
    allowed = Tolerance(0.1, 0.01, 0.99, "for the test")
    within = {"largest": 0.1, "mean": 0.01, "label_agreement": 0.99}
    require_alike(within, allowed, "x")
    with pytest.raises(InputError, match=r"differ by up to 0\.2"):
        require_alike({**within, "largest": 0.2}, allowed, "x")
    with pytest.raises(InputError, match=r"0\.02 on average"):
        require_alike({**within, "mean": 0.02}, allowed, "x")
    with pytest.raises(InputError, match=r"98\.000%"):
        require_alike({**within, "label_agreement": 0.98}, allowed, "x")


@pytest.mark.full
def test_trouble_of_a_library_comes_back_as_one_line(tmp_path: Path) -> None:
    """A damaged file, a library's own exception, from the process that has nothing of ours."""
    (tmp_path / "model.onnx").write_bytes(b"this is no network")
    with pytest.raises(InputError, match=r"model\.onnx can't be run") as caught:
        subprocess_run.run("onnx", tmp_path / "model.onnx", np.zeros((1, 4, 4, 1), np.float32))
    assert "\n" not in caught.value.message


@pytest.mark.full
def test_the_command_says_one_line_and_leaves_with_2(tmp_path: Path) -> None:
    done = segbatch("export", BUNDLE, "--to", "onx", "-o", str(tmp_path / "out"))
    assert done.status == 2
    assert done.err == "segbatch: --to 'onx' is no format of ours; did you mean onnx?\n"
