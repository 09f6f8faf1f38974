"""ONNX networks as others export them become bundles: what they leave open is found by running them."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import rasterio

from seg_batch.config.command_options import ImportOptions
from seg_batch.config.predict_options import PredictOptions
from seg_batch.conversion import test_tensor
from seg_batch.conversion.export import export
from seg_batch.conversion.import_model import import_model, imported_lines
from seg_batch.core.errors import BundleError
from seg_batch.core.files import sha256
from seg_batch.core.kernels.exponential import SIGMOID
from seg_batch.core.resources import SAMPLES
from seg_batch.inference.bundles import find_bundle
from seg_batch.inference.predict import predict_one
from seg_batch.inference.request import Request
from seg_batch.inference.sliding_window.scores import PROBABILITIES, Scores
from tests.support.files import segbatch, write_raster
from tests.support.nn.onnx_models import (
    channels_last,
    convolution,
    fixed,
    graph_of,
    node,
    saved,
    unet,
)

pytestmark = pytest.mark.full  # many networks or whole runs

A, B, C = "a", "b", "c"


def imported(model: Any, folder: Path, **said: Any) -> dict[str, Any]:
    path = saved(model, folder / "m.onnx")
    said = {"channels": (A, B, C), "classes": "background,x", "patch": (16, 16), **said}
    return import_model(path, folder / "bundle", ImportOptions(**said), overwrite=True)


def test_the_file_is_kept_and_what_it_leaves_open_is_found(tmp_path: Path) -> None:
    result = imported(unet(), tmp_path, logits=True, licence="CC0-1.0")
    card = result["card"]
    assert (tmp_path / "bundle" / "model.onnx").read_bytes() == (tmp_path / "m.onnx").read_bytes()
    assert card["weights_sha256"] == sha256(tmp_path / "m.onnx")
    assert card["tensors"] == {"layout": "channels_first", "input": "x", "output": "y"}
    assert (card["format"], card["kind"], card["rank"]) == ("onnx", "raster", 2)
    assert (card["multiple"], card["background"], card["overlap"]) == ([2, 2], 0, [4, 4])
    assert card["compute"]["flops"] > 0
    assert card["compute"]["activation_bytes"] > 0
    assert any("16 x 16" in line for line in imported_lines(result))


def test_predictions_are_those_of_the_network_itself(tmp_path: Path) -> None:
    imported(unet(), tmp_path, logits=True)
    values = np.random.default_rng(0).normal(size=(3, 16, 16)).astype(np.float32)
    scene = write_raster(tmp_path / "a.tif", values)
    options = PredictOptions(precision="float32", patch=(16, 16))
    out = tmp_path / "o.tif"
    predict_one(Request(str(scene), str(out), str(tmp_path / "bundle"), options))
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"))
    (scores,) = session.run(None, {"x": values[None]})
    with rasterio.open(out) as file:
        assert np.array_equal(file.read(1), scores[0].argmax(0))


@pytest.mark.parametrize(
    ("model", "said", "expected"),
    [
        (channels_last(), {"channels": (A, B), "classes": "background,x,y"}, "channels_last"),
        (unet(batch=3, side=16), {"logits": True, "patch": None}, "channels_first"),
        (convolution(side=16), {"channels": (A,), "logits": True}, "channels_first"),
    ],
)
def test_layouts_and_fixed_shapes(
    tmp_path: Path, model: Any, said: dict[str, Any], expected: str
) -> None:
    card = imported(model, tmp_path, **said)["card"]
    assert card["tensors"]["layout"] == expected
    assert card["patch"] == [16, 16]
    fixed = model.graph.input[0].type.tensor_type.shape.dim[2].dim_value > 0
    assert (card["multiple"] is None) == fixed


def test_an_output_without_its_border_is_a_shrunk_one(tmp_path: Path) -> None:
    card = imported(convolution(pads=0), tmp_path, channels=(A,), logits=True)["card"]
    assert (card["output"]["shrink"], card["finer"]) == ([1, 1], 1)
    assert card["overlap"] == [3, 3]
    with np.load(tmp_path / "bundle" / "test.npz") as held:
        assert held["input"].shape == (1, 16, 16, 1)
        assert held["output"].shape == (1, 14, 14, 2)


@pytest.mark.parametrize(
    ("outputs", "classes", "said", "independent"),
    [
        (2, "background,x,y", {"activation": "sigmoid"}, True),
        (2, "x,y", {"activation": "sigmoid"}, True),
        (3, "background,x,y", {"activation": "sigmoid", "threshold": 0.9}, True),
        (1, "background,x", {"threshold": 0.3}, True),
        (1, "background,x", {}, False),
    ],
)
def test_classes_that_do_not_exclude_one_another(
    tmp_path: Path, outputs: int, classes: str, said: dict[str, Any], independent: bool
) -> None:
    """The kept test tensor is the sigmoid of the file's own scores, with the threshold as the background's."""
    model = unet(outputs=outputs)
    card = imported(model, tmp_path, classes=classes, logits=True, **said)["card"]
    assert (card["output"]["classes"] == "independent") == independent
    with np.load(tmp_path / "bundle" / "test.npz") as held:
        image, found = held["input"], held["output"]
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"))
    (y,) = session.run(None, {"x": np.moveaxis(image, -1, 1)})
    p = 1 / (1 + np.exp(-np.moveaxis(y.astype(np.float64), 1, -1)))
    if not independent:
        p = np.concatenate([1 - p, p], -1)
    elif len(card["classes"]) > outputs:
        p = np.concatenate([np.full_like(p[..., :1], said.get("threshold", 0.5)), p], -1)
    elif "threshold" in said:
        p[..., 0] = said["threshold"]
    np.testing.assert_allclose(found, p, atol=1e-5)


def test_small_raw_scores_are_no_probabilities(tmp_path: Path) -> None:
    """Those of plain noise stay in 0..1, those of a loud image do not."""
    scale, start = (fixed(name, n, dtype=np.float32) for name, n in (("s", 0.002), ("b", 0.5)))
    nodes = [node("Mul", "x s", "m"), node("Add", "m b", "y")]
    model = graph_of(nodes, [scale, start], ("n", 1, "h", "w"), ("n", 1, "h", "w"))
    made = imported(model, tmp_path, channels=(A,), logits=True)
    assert made["card"]["output"]["gives"] == "logits"


def test_one_of_several_outputs_is_chosen_by_its_name(tmp_path: Path) -> None:
    model = unet()
    more = onnx.helper.make_tensor_value_info("r5", onnx.TensorProto.FLOAT, ("n", 8, "s", "s"))
    model.graph.output.append(more)
    path = saved(model, tmp_path / "m.onnx")
    words = ("--channels", "a,b,c", "--classes", "background,x", "--logits", "--patch", "16,16")
    ran = segbatch("models", "import", path, "-o", tmp_path / "b", *words)
    assert (ran.status, ran.err.count("\n")) == (2, 1)
    assert "--output-name" in ran.err
    ran = segbatch("models", "import", path, "-o", tmp_path / "b", *words, "--output-name", "y")
    assert ran.status == 0, ran.err
    assert find_bundle(str(tmp_path / "b")).card.tensors.output == "y"  # type: ignore[union-attr]


def test_numbers_in_other_files_are_put_into_the_one(tmp_path: Path) -> None:
    how = {"save_as_external_data": True, "location": "m.data", "size_threshold": 0}
    path = saved(unet(), tmp_path / "m.onnx", **how)
    said = ImportOptions((A, B, C), "background,x", patch=(16, 16), logits=True)
    result = import_model(path, tmp_path / "bundle", said)
    assert result["notes"] == ["the numbers in m.data are now in model.onnx"]
    (tmp_path / "m.data").unlink()
    assert test_tensor.check(str(tmp_path / "bundle"))["status"] == 0


def test_a_bundle_is_checked_on_every_engine(tmp_path: Path) -> None:
    imported(unet(), tmp_path, logits=True)
    bundle = tmp_path / "bundle"
    ran = segbatch("models", "check", bundle, "--json")
    assert ran.status == 0
    rows = {(d["engine"], d["precision"]): d for d in ran.json["differences"]}
    assert {("openvino", "float32"), ("onnxruntime", "float32")} <= rows.keys()
    assert all(d["inside"] and d["same_labels"] > 0.98 for d in rows.values())
    with np.load(bundle / "test.npz") as held:
        image, output = held["input"], held["output"]
    test_tensor.keep(bundle, image, output[..., ::-1])
    ran = segbatch("models", "check", bundle, "--engine", "onnxruntime")
    assert ran.status == 3
    assert "OUTSIDE" in ran.out
    test_tensor.keep(bundle, image[..., :2], output)
    with pytest.raises(BundleError, match="3 channels"):
        test_tensor.check(str(bundle))
    (bundle / "test.npz").write_bytes(b"PK")
    with pytest.raises(BundleError, match="can't be read"):
        test_tensor.check(str(bundle))
    with zipfile.ZipFile(bundle / "test.npz", "w") as packed:
        for n in range(5000):
            packed.writestr(f"{n:0>200}", b"")
    with pytest.raises(BundleError, match="header in it is far too large"):
        test_tensor.check(str(bundle))


def test_a_card_in_a_file_and_options_are_one(tmp_path: Path) -> None:
    """An option counts before the file, what neither says is found."""
    path = saved(unet(), tmp_path / "m.onnx")
    said = {
        "name": "clouds",
        "channels": ["red", {"name": "nir", "aliases": ["B8"]}, "swir16"],
        "classes": ["clear", "cloud"],
        "normalisation": {"kind": "card", "mean": [1, 2, 3], "std": [1, 1, 1]},
        "output": {"gives": "logits"},
        "patch": [32, 32],
        "margin": [4, 4],
        "weights_sha256": sha256(path),
    }
    (tmp_path / "card.json").write_text(json.dumps(said))
    options = ImportOptions(card=str(tmp_path / "card.json"), patch=(16, 16), missing="all")
    card = import_model(path, tmp_path / "b", options)["card"]
    assert (card["name"], card["patch"], card["margin"]) == ("clouds", [16, 16], [4, 4])
    assert card["overlap"] == [8, 8]
    assert (card["missing"], card["background"]) == ("all", None)
    assert card["classes"][1]["colour"]
    assert card["channels"][1]["aliases"] == ["B8"]


def test_labels_of_regions_are_compared_by_their_rule() -> None:
    """Of nested regions the last one counts, though the largest score is the same everywhere."""
    expected = np.float32([[[0.0, 9.0, 1.0]] * 4])
    actual = np.float32([[[0.0, 9.0, -1.0]] * 4])
    regions = Scores(SIGMOID, 0, last=True)
    assert test_tensor.difference("e", "mixed", actual, expected, regions).same_labels == 0
    assert test_tensor.difference("e", "mixed", actual, expected, PROBABILITIES).same_labels == 1


def test_our_own_export_with_its_own_card_gives_the_labels_of_its_source(tmp_path: Path) -> None:
    """Its sides stay open, so that it is predicted in the same patches."""
    model, scene = "landsat8-landcover", str(SAMPLES / "zion_landsat8.tif")
    export(model, "onnx", tmp_path / "exported")
    options = ImportOptions(card=str(tmp_path / "exported" / "card.json"))
    again = import_model(tmp_path / "exported" / "model.onnx", tmp_path / "again", options)
    assert again["card"]["multiple"]
    maps = []
    for name, bundle in (("a", model), ("b", str(tmp_path / "again"))):
        out = tmp_path / f"{name}.tif"
        predict_one(Request(scene, str(out), bundle, PredictOptions(precision="float32")))
        with rasterio.open(out) as file:
            maps.append(file.read(1))
    assert (maps[0] == maps[1]).mean() >= 0.9999
