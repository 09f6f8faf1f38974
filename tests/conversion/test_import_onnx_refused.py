"""ONNX files that make no bundle are refused in one line, and nothing is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from seg_batch.config.command_options import ImportOptions
from seg_batch.conversion.import_model import import_model
from seg_batch.core.errors import InputError, SegbatchError
from tests.support.nn.onnx_models import (
    channels_last,
    convolution,
    fixed,
    graph_of,
    node,
    saved,
    unet,
)

RGB = ("a", "b", "c")


def refused(path: Path, folder: Path, **said: Any) -> str:
    said = {"channels": RGB, "classes": "background,x", "patch": (16, 16), **said}
    before = sorted(folder.rglob("*"))
    with pytest.raises(SegbatchError) as caught:
        import_model(path, folder / "bundle", ImportOptions(**said))
    assert isinstance(caught.value, InputError)
    assert sorted(folder.rglob("*")) == before
    assert "\n" not in caught.value.message
    return caught.value.message


def by(kind: str, *more: Any, outputs: int = 3, **attributes: Any) -> Any:
    """One node from three channels."""
    inputs = "x" + "".join(f" {tensor.name}" for tensor in more)
    nodes = [node(kind, inputs, "y", **attributes)]
    return graph_of(nodes, list(more), ("n", 3, "h", "w"), ("n", outputs, "i", "j"))


def with_nan() -> Any:
    model = unet()
    model.graph.initializer[0].CopyFrom(
        helper.make_tensor("w1", TensorProto.FLOAT, (8, 3, 3, 3), np.full(216, np.nan))
    )
    return model


LOGITS = {"logits": True}
THREE = {"classes": "background,x,y"}
WIDE = {"patch": (64, 64)}
REVERSED = (fixed("from", -1), fixed("to", -(2**31)), fixed("axis", 3), fixed("step", -1))


def shifted() -> Any:
    """Without its first rows and columns, and as many zeros after the last."""
    border = fixed("border", 0, 0, -8, -8, 0, 0, 8, 8)
    return by("Pad", border)


@pytest.mark.parametrize(
    ("model", "said", "words"),
    [
        (unet(), {}, "use --logits"),
        (by("Softmax", axis=1), {**THREE, **LOGITS}, "leave out --logits"),
        (by("Sigmoid"), {**THREE, **LOGITS, "activation": "sigmoid"}, "leave out --logits"),
        (by("Sigmoid"), THREE, "use --activation sigmoid"),
        (by("Softmax", axis=1), {**THREE, "activation": "sigmoid"}, "leave out --activation"),
        (by("Softmax", axis=1), {}, "gives 3 classes and 2 are named"),
        (by("Softmax", axis=1), {**THREE, "threshold": 0.4}, "--threshold is for"),
        (unet(), {**LOGITS, "classes": "x,y,z", "activation": "sigmoid"}, "call it background"),
        (
            unet(),
            {**LOGITS, "classes": "x,y", "activation": "sigmoid", "threshold": 0.9},
            "call it background",
        ),
        (by("Transpose", perm=(0, 1, 3, 2)), {**THREE, **LOGITS, **WIDE}, "axes y,x as x,y"),
        (by("Slice", *REVERSED), {**THREE, **LOGITS, **WIDE}, "mirrored along x"),
        (shifted(), {**THREE, **LOGITS, **WIDE}, "lies -8, -8 voxels beside"),
        (unet(), {**LOGITS, "channels": ("a",)}, "1 channels are named"),
        (unet(), {**LOGITS, "layout": "channels_last"}, "the other --layout"),
        (unet(), {**LOGITS, "patch": (17, 16)}, "use --patch 16,16 or 18,18"),
        (unet(), {**LOGITS, "patch": (16, 16, 16)}, "give 2 sides"),
        (unet(side=32), LOGITS, "patches of 32,32 alone"),
        (unet(), {**LOGITS, "patch": (10**8, 16)}, "smaller --patch"),
        (with_nan(), LOGITS, "not finite"),
        (by("MaxPool", kernel_shape=(2, 2), strides=(2, 2)), {**THREE, **LOGITS}, "upsample"),
        (
            by("Resize", fixed("e", dtype=np.float32), fixed("f", 1, 1, 9, 9, dtype=np.float32)),
            {**THREE, **LOGITS},
            "voxels per voxel|upsample",
        ),
        (channels_last(channels=3), {**THREE, "output_name": "z"}, "has no output 'z'"),
        (convolution(channels=3, outputs=3), {**THREE, **LOGITS, "threshold": 2.0}, "threshold"),
    ],
)
def test_models_and_words_that_make_no_bundle(
    tmp_path: Path, model: Any, said: dict[str, Any], words: str
) -> None:
    path = saved(model, tmp_path / "m.onnx")
    message = refused(path, tmp_path, **said)
    assert any(word in message for word in words.split("|")), message


def test_shapes_that_do_not_tell_where_the_channels_are(tmp_path: Path) -> None:
    """As many channels as there are columns, and as many classes: people say which."""
    model = graph_of([node("Softmax", "x", "y", axis=1)], [], ("n", 3, 3, 3), ("n", 3, 3, 3))
    path = saved(model, tmp_path / "m.onnx")
    assert "--layout" in refused(path, tmp_path, **THREE, patch=None)
    said = ImportOptions(RGB, "background,x,y", layout="channels_first")
    assert import_model(path, tmp_path / "b", said)["card"]["patch"] == [3, 3]


def test_files_that_hold_no_network_of_patches(tmp_path: Path) -> None:
    text = tmp_path / "text.onnx"
    text.write_text("weights")
    custom = graph_of(
        [node("Wobble", "x", "y", domain="mine")],
        [],
        ("n", 3, 8, 8),
        ("n", 2, 8, 8),
        domains=("mine",),
    )
    vectors = graph_of([node("Softmax", "x", "y")], [], ("n", 3), ("n", 3))
    two = unet()
    two.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ("n", 3, 8, 8)))
    how = {"save_as_external_data": True, "location": "gone.data", "size_threshold": 0}
    missing = saved(unet(), tmp_path / "missing.onnx", **how)
    (tmp_path / "gone.data").unlink()
    for path, words in (
        (tmp_path / "none.onnx", "no file"),
        (text, "no ONNX model"),
        (saved(custom, tmp_path / "custom.onnx"), "mine.Wobble"),
        (saved(vectors, tmp_path / "vectors.onnx"), "rank 4 or 5"),
        (saved(two, tmp_path / "two.onnx"), "2 inputs"),
        (missing, "gone.data"),
    ):
        assert words in refused(path, tmp_path)


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ("chanels: [a, b, c]", "did you mean channels"),
        ("channels: [a, b, c]\nclasses: [x]\n", "card.yaml:2"),
        ("[1, 2]", "card.yaml:1:1"),
        ("", "empty"),
        ("classes: [x, y]", "--channels"),
        ("channels: [a, b, c]", "--classes"),
        ("channels: [a, b, c]\nclasses: [x, y]\nfiner: 2\noutput: {gives: logits}", "finer 2"),
        ("channels: [a, b, c]\nclasses: [x, y]\nrank: 3\noutput: {gives: logits}", "rank 3"),
        ("channels: [a, b, c]\nclasses: [x, y]\nweights_sha256: abc", "another file"),
        (
            "channels: [a, b, c]\nclasses: [x, y]\noutput: {gives: logits, shrink: [2, 2]}",
            "output.shrink",
        ),
        ("channels: 3", "channels: found 3"),
        ("schema_version: 99", "schema_version: found 99"),
        ("normalisation: {kind: z-score}", "kind: found 'z-score'"),
        ("patch: [64, big]", "patch.1: found 'big', it takes a whole number"),
        ("classes: [a]", "classes: found a list"),
        ("name: ../x", "name: found '../x'"),
        ("folds_sha256: [abc]", "several networks"),
        ("name: check\nchannels: [a, b, c]\nclasses: [x, y]", "is a command"),
        ("channels: [a]\nnormalisation: {kind: card, mean: [1, 2], std: [1, 1]}", "one mean"),
    ],
)
def test_cards_that_are_wrong_or_not_of_the_model(tmp_path: Path, card: str, words: str) -> None:
    path = saved(unet(), tmp_path / "m.onnx")
    (tmp_path / "card.yaml").write_text(card)
    said = {"card": str(tmp_path / "card.yaml"), "channels": (), "classes": None}
    assert words in refused(path, tmp_path, **said)


@pytest.mark.parametrize(
    ("key", "value"), [("offset", "-5"), ("length", str(10**18)), ("length", "abc")]
)
def test_numbers_in_other_files_lie_within_them(tmp_path: Path, key: str, value: str) -> None:
    model = unet()
    path = tmp_path / "m.onnx"
    onnx.save_model(model, path, save_as_external_data=True, location="m.data", size_threshold=0)
    held = onnx.load(path, load_external_data=False)
    entries = held.graph.initializer[0].external_data
    next(entry for entry in entries if entry.key == key).value = value
    path.write_bytes(held.SerializeToString())
    assert "m.data" in refused(path, tmp_path) or value in refused(path, tmp_path)


def test_an_opset_that_is_too_new_is_named(tmp_path: Path) -> None:
    model = unet()
    model.opset_import[0].version = 99
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    assert "has opset 99" in refused(path, tmp_path)


def test_a_file_that_is_missing_is_told_first(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file or folder"):
        import_model(tmp_path / "nothere", tmp_path / "b", ImportOptions())
