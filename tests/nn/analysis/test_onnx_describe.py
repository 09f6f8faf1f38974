"""What an ONNX file says of itself, and the files that are refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from seg_batch.core.errors import InputError
from seg_batch.nn.analysis.onnx.describe import OnnxTensor, describe
from tests.support.nn import onnx_models as made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.onnx"


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as error:
        describe(path)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_tensors_opset_and_operators_are_those_of_the_file(path: Path) -> None:
    it = describe(made.saved(made.unet(side=64), path))
    assert it.inputs == (OnnxTensor("x", (None, 3, 64, 64), "float32"),)
    assert it.output() == OnnxTensor("y", (None, 2, 64, 64), "float32")
    assert (it.opset, it.domains, it.external) == (made.OPSET, {"": made.OPSET}, ())
    assert {"Conv", "ConvTranspose", "MaxPool"} <= set(it.operators)


def test_numbers_listed_among_the_inputs_are_none(path: Path) -> None:
    """As files of IR version 3 have it."""
    model = made.convolution()
    weight = helper.make_tensor_value_info("w", TensorProto.FLOAT, (2, 1, 3, 3))
    model.graph.input.append(weight)
    assert describe(made.saved(model, path)).input().name == "x"


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"PK\x03\x04 no model", b"\x08\x09"])
def test_a_file_that_is_no_onnx_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert "is no ONNX model" in refusal(path)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_truncated_file_is_refused(path: Path, share: float) -> None:
    data = made.saved(made.unet(), path).read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    assert "cut short" in refusal(path)


def test_what_is_no_file_or_too_long_is_refused(path: Path, tmp_path: Path) -> None:
    assert "there is no file" in refusal(tmp_path)
    with path.open("wb") as file:
        file.truncate(3 << 30)  # sparse
    assert "more than an ONNX file can have" in refusal(path)


def test_custom_operators_are_refused_by_name(path: Path) -> None:
    nodes = [helper.make_node("DeformAttn", ["x"], ["y"], domain="mmdeploy")]
    shape = ("n", 1, "h", "w")
    made.saved(made.graph_of(nodes, [], shape, shape, domains=("mmdeploy",)), path)
    assert "(mmdeploy.DeformAttn)" in refusal(path)
    nodes = [made.node("Convolve", "x", "y")]
    made.saved(made.graph_of(nodes, [], shape, shape), path)
    assert "(Convolve)" in refusal(path)


def test_custom_operators_inside_a_branch_are_seen(path: Path) -> None:
    shape = ("n", 1, 8, 8)
    inner = helper.make_graph(
        [helper.make_node("Hidden", ["x"], ["t"], domain="mine")],
        "branch",
        [],
        [helper.make_tensor_value_info("t", TensorProto.FLOAT, shape)],
    )
    branch = made.node("If", "yes", "y", then_branch=inner, else_branch=inner)
    yes = made.fixed("yes", 1, dtype=np.bool_)
    made.saved(made.graph_of([branch], [yes], shape, shape, domains=("mine",)), path)
    assert "(mine.Hidden)" in refusal(path)


def outside(model: Any, name: str) -> Any:
    """The model, which says that its weights are in the file of that name."""
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in {"location": name, "offset": "0", "length": "72"}.items():
        weight.external_data.add(key=key, value=value)
    return model


def test_external_data_are_listed_or_refused(path: Path, tmp_path: Path) -> None:
    made.saved(
        made.convolution(), path, save_as_external_data=True, size_threshold=0, location="w.bin"
    )
    assert describe(path).external == (tmp_path / "w.bin",)
    (tmp_path / "w.bin").write_bytes(b"short")
    assert "is shorter than" in refusal(path)
    (tmp_path / "w.bin").unlink()
    assert "external data in w.bin, which is missing" in refusal(path)


def test_external_data_in_a_function_are_refused_too(path: Path) -> None:
    model = made.convolution()
    constant = helper.make_node("Constant", [], ["k"], value=model.graph.initializer[0])
    value = outside(made.convolution(), "w.bin").graph.initializer[0]
    constant.attribute[0].t.CopyFrom(value)
    body = [constant, helper.make_node("Add", ["a", "k"], ["b"])]
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("own", "Shifted", ["a"], ["b"], body, opsets))
    path.write_bytes(model.SerializeToString())
    assert "external data in w.bin, which is missing" in refusal(path)


@pytest.mark.parametrize("name", ["../w.bin", "/etc/hostname", "", "link.bin"])
def test_external_data_outside_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "w.bin").write_bytes(b"\0" * 72)
    (folder / "link.bin").symlink_to(tmp_path / "w.bin")
    path = folder / "model.onnx"
    path.write_bytes(outside(made.convolution(), name).SerializeToString())
    assert "outside its folder" in refusal(path)


def test_one_input_and_one_output_are_chosen_or_asked_for(path: Path) -> None:
    shape = ("n", 1, "h", "w")
    nodes = [made.node("Relu", "x", "y"), made.node("Abs", "x", "z")]
    more = (helper.make_tensor_value_info("z", TensorProto.FLOAT, shape),)
    model = made.graph_of(nodes, [], shape, shape, more=more)
    it = describe(made.saved(model, path))
    assert it.output("z").name == "z"
    with pytest.raises(InputError, match=r"2 outputs .*y float32 .*--output-name"):
        it.output()
    with pytest.raises(InputError, match="no output 'a'"):
        it.output("a")
    model.graph.input.append(helper.make_tensor_value_info("size", TensorProto.INT64, (2,)))
    with pytest.raises(InputError, match=r"2 inputs .*size int64"):
        describe(made.saved(model, path)).input()


@pytest.mark.parametrize(
    ("shape", "dtype"), [((1, 10), TensorProto.FLOAT), (("n", 3, 8, 8), TensorProto.UINT8)]
)
def test_a_wrong_rank_and_wrong_numbers_are_refused(path: Path, shape: Any, dtype: int) -> None:
    model = made.graph_of([made.node("Identity", "x", "y")], [], shape, shape, dtype=dtype)
    with pytest.raises(InputError, match="is floats of rank 4 or 5"):
        describe(made.saved(model, path)).input()
