"""Every format of both packaged bundles, run by its own runtime on the packaged samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seg_batch.config.card import read_card
from seg_batch.conversion import export as verb
from seg_batch.conversion.export import REPORT, export
from seg_batch.conversion.sample_patches import for_comparing
from seg_batch.core.errors import InputError
from seg_batch.inference import bundles
from seg_batch.nn.export import formats, savedmodel, subprocess_run
from seg_batch.nn.export.job import INPUT, OUTPUT

PLAIN, SOLID = "landsat8-landcover", "hippocampus-mri"
SCENE = Path(verb.__file__).parents[1] / "data" / "samples" / "zion_landsat8.tif"


def require_whole(model: str, folder: Path, report: dict[str, Any]) -> None:
    """What every export has: the file, the card, and a report whose numbers are within tolerance."""
    told = json.loads((folder / REPORT).read_text())
    assert told == {k: v for k, v in report.items() if k != "output"}
    allowed, found = told["tolerance"], told["difference"]
    assert 0 <= found["largest"] <= allowed["difference"]
    assert 0 <= found["mean"] <= allowed["mean"]
    assert allowed["agreement"] <= found["label_agreement"] <= 1
    assert told["size_bytes"] > 10_000
    assert (folder / told["file"]).exists()
    patch = told["patch"]
    batch = None if told["batch"] == "any" else 1
    source = bundles.find_bundle(model).card
    sides = {"input": (INPUT, len(source.channels or ())), "output": (OUTPUT, len(source.classes))}
    if told["format"] not in ("keras", "h5"):  # whose sides stay open
        for side, (name, last) in sides.items():
            tensor = told["tensors"][side]
            inner = [None] * len(patch) if told["format"] == "onnx" else patch  # open, as Keras's
            assert (tensor["name"], tensor["shape"]) == (name, [batch, *inner, last])
    card = read_card(folder)
    assert card.classes == source.classes
    assert card.normalisation == source.normalisation
    assert sorted(p.name for p in folder.parent.iterdir()) == [folder.name]


@pytest.mark.full
def test_onnx(flat: tuple[str, str], tmp_path: Path) -> None:
    report = export(flat[0], "onnx", tmp_path / "out", check=flat[1])
    require_whole(flat[0], tmp_path / "out", report)
    assert report["versions"]["opset"] == 17


@pytest.mark.full
def test_tflite_in_3d_keeps_every_bit_of_its_poolings(
    solid: tuple[str, str], tmp_path: Path
) -> None:
    report = export(solid[0], "tflite", tmp_path / "out", check=solid[1])
    require_whole(solid[0], tmp_path / "out", report)
    assert report["difference"]["largest"] < 1e-5


@pytest.mark.full
def test_tensorflow_serving_finds_named_tensors_and_any_batch(
    flat: tuple[str, str], tmp_path: Path
) -> None:
    """A version folder and, in ``saved_model.pb``, the signature that REST and gRPC go by."""
    report = export(flat[0], "savedmodel", tmp_path / "out", check=flat[1])
    require_whole(flat[0], tmp_path / "out", report)
    found = savedmodel.served(tmp_path / "out" / "1")
    assert found["input"] == {"name": "image", "dtype": "float32", "shape": [None, 32, 48, 3]}
    assert found["output"] == {
        "name": "probabilities",
        "dtype": "float32",
        "shape": [None, 32, 48, 4],
    }


@pytest.mark.parametrize(
    "quantize",
    [
        pytest.param("float32", marks=pytest.mark.slow),
        pytest.param("int8", marks=pytest.mark.full),
    ],
)
def test_an_openvino_export_is_a_bundle_that_predicts(
    flat: tuple[str, str], tmp_path: Path, quantize: str
) -> None:
    """It is found, and the production engine says with it what it says with the Keras bundle."""
    from seg_batch.nn.engines import load_predictor

    data = flat[1] if quantize == "int8" else None
    report = export(
        flat[0], "openvino", tmp_path / "out", quantize=quantize, calibrate=data, check=flat[1]
    )
    require_whole(flat[0], tmp_path / "out", report)
    found = bundles.require_intact(bundles.find_bundle(str(tmp_path / "out")))
    name = "int8" if quantize == "int8" else "openvino"
    assert (found.card.name, found.card.format) == (f"flat-{name}", "openvino")
    patches = for_comparing(found.card, 4, flat[1]).values
    ours, theirs = (
        load_predictor(m.weights, engine="openvino", sha256=m.card.weights_sha256)(patches)
        for m in (found, bundles.find_bundle(flat[0]))
    )
    assert (ours.argmax(-1) == theirs.argmax(-1)).mean() >= report["tolerance"]["agreement"]
    assert (np.abs(ours - theirs).max() > 1e-4) == (quantize == "int8")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "to", "quantize"),
    [
        (PLAIN, "savedmodel", "float32"),
        (PLAIN, "onnx", "float32"),
        (PLAIN, "openvino", "float32"),
        (PLAIN, "tflite", "float32"),
        (PLAIN, "tflite", "float16"),
        (PLAIN, "tflite", "dynamic"),
        (PLAIN, "keras", "float32"),
        (PLAIN, "h5", "float32"),
        (SOLID, "savedmodel", "float32"),
        (SOLID, "tflite", "float32"),
        (SOLID, "tflite", "float16"),
        (SOLID, "onnx", "float32"),
        (SOLID, "openvino", "float32"),
        (SOLID, "keras", "float32"),
        (SOLID, "h5", "float32"),
    ],
)
def test_the_other_formats(tmp_path: Path, model: str, to: str, quantize: str) -> None:
    report = export(model, to, tmp_path / "out", quantize=quantize)
    require_whole(model, tmp_path / "out", report)
    if quantize != "float32":
        assert report["size_bytes"] < 0.6 * report["keras_bytes"]


@pytest.mark.full
def test_8_bits_in_name_only_are_refused(solid: tuple[str, str], tmp_path: Path) -> None:
    """LiteRT has no 3-D convolution in int8, and its converter says nothing."""
    with pytest.raises(InputError, match="no 8-bit form") as refused:
        export(solid[0], "tflite", tmp_path / "out", quantize="int8", calibrate=solid[1])
    assert "--to openvino --int8" in refused.value.message
    assert not list(tmp_path.iterdir())


@pytest.mark.full
def test_a_spoilt_file_is_not_kept(
    flat: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that change between writing and checking are seen: the file itself is what is run."""
    honest = subprocess_run.write

    def spoilt(
        module: str, order: Any, folder: Path, patches: np.ndarray
    ) -> subprocess_run.WrittenFile:
        written = honest(module, order, folder, patches)
        file = folder / "model.onnx"
        import onnx

        model = onnx.load(str(file))
        largest = max(model.graph.initializer, key=lambda one: len(one.raw_data))
        weights = onnx.numpy_helper.to_array(largest)
        largest.raw_data = (weights * 1.5).tobytes()
        onnx.save(model, str(file))
        return written

    monkeypatch.setattr(subprocess_run, "write", spoilt)
    with pytest.raises(InputError, match="does not say what Keras says") as refused:
        export(flat[0], "onnx", tmp_path / "out", check=flat[1])
    assert "\n" not in refused.value.message
    assert not list(tmp_path.iterdir())


def test_tolerances_are_stated_for_every_precision() -> None:
    for form in formats.FORMATS.values():
        for quantize in form.quantize:
            allowed = form.allowed(quantize)
            assert allowed.why
            assert 0 < allowed.mean < allowed.difference <= 1
            assert 0.95 < allowed.agreement < 1
