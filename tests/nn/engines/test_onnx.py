"""ONNX files on both engines: the same scores whatever the file leaves open, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from seg_batch.config.card_parts.network import OURS, Network, Output, Tensors
from seg_batch.core import hardware
from seg_batch.core.errors import BundleError, InputError, PlanError
from seg_batch.core.files import sha256
from seg_batch.nn.engines import load_predictor
from seg_batch.nn.engines import onnxruntime as ort
from seg_batch.nn.engines.batched import ModelPredictor
from seg_batch.nn.engines.output import finished
from tests.support.nn import onnx_models as made

ENGINES = ["openvino", "onnxruntime"]
FIRST = Tensors(layout="channels_first")
LOGITS = Network(FIRST, Output(gives="logits"))
SIDES = {2: (24, 16), 3: (8, 12, 16)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.onnx"


def patches(sides: tuple[int, ...], channels: int = 3, n: int = 2) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(n, *sides, channels)).astype(np.float32)


def reference(path: Path, x: np.ndarray, network: Network, output: str = "y") -> np.ndarray:
    """ONNX Runtime as its users call it, one patch at a time, with the activation in NumPy."""
    session = onnxruntime.InferenceSession(str(path))
    first = network.tensors is not None and network.tensors.layout == "channels_first"
    rows = []
    for patch in x:
        image = np.moveaxis(patch, -1, 0) if first else patch
        (y,) = session.run([output], {session.get_inputs()[0].name: image[None]})
        rows.append(np.moveaxis(y[0], 0, -1) if first else y[0])
    return finished(np.stack(rows), network)


def loaded(path: Path, engine: str, network: Network = LOGITS, **how: Any) -> ModelPredictor:
    return load_predictor(path, engine=engine, network=network, **how)


def fails(path: Path, engine: str, network: Network = LOGITS, **how: Any) -> str:
    with pytest.raises(BundleError) as error:
        loaded(path, engine, network, **how)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("rank", [2, 3])
def test_channels_first_with_open_sides(path: Path, engine: str, rank: int) -> None:
    x = patches(SIDES[rank])
    made.saved(made.unet(rank=rank), path)
    predictor = loaded(path, engine, sha256=sha256(path), batch=2)
    y = predictor(x)
    assert (predictor.rank, predictor.channels, predictor.classes) == (rank, 3, 2)
    assert y.shape == (*x.shape[:-1], 2)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, reference(path, x, LOGITS), atol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_channels_last_and_its_own_softmax(path: Path, engine: str) -> None:
    made.saved(made.channels_last(), path)
    x = patches((8, 12), 2)
    y = loaded(path, engine, Network(Tensors()))(x)
    np.testing.assert_allclose(y, reference(path, x, OURS), atol=1e-6)
    np.testing.assert_allclose(y.sum(-1), 1, atol=1e-6)


MEANINGS = {
    "one logit": (1, Output(gives="logits")),
    "one logit, kept": (1, Output(gives="logits", blend="logits")),
    "logits, kept": (3, Output(gives="logits", blend="logits")),
    "probabilities": (3, Output()),
    "independent": (2, Output(gives="logits", classes="independent", threshold=0.3)),
    "independent, kept": (2, Output(gives="logits", classes="independent", blend="logits")),
    "background of its own": (3, Output(gives="logits", classes="independent", threshold=0.9)),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("meaning", MEANINGS)
def test_what_the_output_means_is_applied_as_by_numpy(
    path: Path, engine: str, meaning: str
) -> None:
    outputs, output = MEANINGS[meaning]
    network = Network(FIRST, output, classes=3, background=1)
    made.saved(made.unet(outputs=outputs), path)
    x = patches((16, 16), n=1)
    predictor = loaded(path, engine, network)
    y = predictor(x)
    assert y.shape[-1] == predictor.classes
    np.testing.assert_allclose(y, reference(path, x, network), atol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_fixed_batch_is_filled_and_fixed_sides_are_kept(path: Path, engine: str) -> None:
    made.saved(made.unet(batch=3, side=16), path)
    x = patches((16, 16))
    open_sides = made.saved(made.unet(), path.with_name("open.onnx"))
    y = loaded(path, engine)(x)
    np.testing.assert_allclose(y, reference(open_sides, x, LOGITS), atol=1e-5)
    with pytest.raises(InputError, match="its file fixes 16,16"):
        loaded(path, engine)(patches((24, 16)))


def grouped(batch: int) -> Any:
    """Half of the channels less their mean over all of a group, with the batch written into the graph: with a batch of 1
    the reshape would take places for patches."""
    nodes = [
        made.node("Reshape", "x groups", "g"),
        made.node("ReduceMean", "g", "m", axes=[2]),
        made.node("Sub", "g m", "d"),
        made.node("Reshape", "d whole", "y"),
    ]
    weights = [made.fixed("groups", batch, 2, -1), made.fixed("whole", -1, 4, 8, 8)]
    return made.graph_of(nodes, weights, (batch, 4, 8, 8), (batch, 4, 8, 8))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_batch_that_is_part_of_the_graph_is_left_as_it_is(path: Path, engine: str) -> None:
    made.saved(grouped(2), path)
    x = patches((8, 8), 4)
    groups = x.reshape(2, 64, 2, 2)
    expected = (groups - groups.mean(axis=(1, 3), keepdims=True)).reshape(x.shape)
    kept = Network(FIRST, Output(gives="logits", blend="logits"))
    np.testing.assert_allclose(loaded(path, engine, kept)(x), expected, atol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_smaller_outputs_pass_as_they_are(path: Path, engine: str) -> None:
    made.saved(made.convolution(pads=0), path)
    x = patches((12, 10), 1)
    y = loaded(path, engine)(x)
    assert y.shape == (2, 10, 8, 2)
    np.testing.assert_allclose(y, reference(path, x, LOGITS), atol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_one_of_several_outputs_is_chosen_by_its_name(path: Path, engine: str) -> None:
    shape = ("n", 2, "h", "w")
    nodes = [made.node("Relu", "x", "y"), made.node("Abs", "x", "z")]
    more = (helper.make_tensor_value_info("z", TensorProto.FLOAT, shape),)
    made.saved(made.graph_of(nodes, [], shape, shape, more=more), path)
    x = patches((4, 5), 2)
    network = Network(Tensors(layout="channels_first", input="x", output="z"))
    np.testing.assert_array_equal(loaded(path, engine, network)(x), np.abs(x))
    assert "card names" in fails(path, engine, Network(FIRST))
    named = Network(Tensors(layout="channels_first", output="w"))
    assert "card names" in fails(path, engine, named)


@pytest.mark.parametrize("engine", ENGINES)
def test_half_precision_at_the_ends_is_taken(path: Path, engine: str) -> None:
    shape = ("n", 2, "h", "w")
    model = made.graph_of(
        [made.node("Relu", "x", "y")], [], shape, shape, dtype=TensorProto.FLOAT16
    )
    made.saved(model, path)
    y = loaded(path, engine, Network(FIRST))(patches((4, 4), 2))
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, np.maximum(patches((4, 4), 2), 0), atol=2e-3)


def test_mixed_precision_keeps_the_first_and_the_last_layer(
    path: Path, all_in_float32: list[str]
) -> None:
    made.saved(made.unet(), path)
    x = patches((16, 16))
    y = loaded(path, "openvino", precision="mixed")(x)
    assert all_in_float32 == ["f32", "bf16", "f32"]
    np.testing.assert_allclose(y, reference(path, x, LOGITS), atol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_files_that_are_damaged_or_exchanged_are_refused(path: Path, engine: str) -> None:
    data = made.saved(made.unet(), path).read_bytes()
    assert "damaged or was exchanged" in fails(path, engine, sha256="0" * 64)
    for content in (b"", data[: len(data) // 2], b"PK\x03\x04" * 9, data[:-1] + b"\x8f"):
        path.write_bytes(content)
        assert "is no ONNX model" in fails(path, engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_operators_that_the_engine_lacks_are_named(path: Path, engine: str) -> None:
    nodes = [helper.make_node("Dream", ["x"], ["y"], domain="com.microsoft")]
    shape = ("n", 1, "h", "w")
    made.saved(made.graph_of(nodes, [], shape, shape, domains=("com.microsoft",)), path)
    assert "Dream" in fails(path, engine)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("shape", [(1, 10), ("n", 3, 8)])
def test_a_wrong_rank_is_refused(path: Path, engine: str, shape: Any) -> None:
    made.saved(made.graph_of([made.node("Relu", "x", "y")], [], shape, shape), path)
    assert "rank 4 or 5" in fails(path, engine, Network(FIRST))


@pytest.mark.parametrize("engine", ENGINES)
def test_numbers_in_other_files_are_refused(
    path: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The libraries would read them from the current folder, and no hash covers them."""
    made.saved(made.unet(), path, save_as_external_data=True, size_threshold=0, location="w.bin")
    monkeypatch.chdir(path.parent)
    assert "numbers in other files" in fails(path, engine)


def test_onnx_runtime_refuses_mixed_precision_on_a_cpu(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "gpus", lambda: 0)
    made.saved(made.unet(), path)
    with pytest.raises(PlanError, match="--precision float32"):
        loaded(path, "onnxruntime", precision="mixed")


def test_what_computes_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    every = [f"{name}ExecutionProvider" for name in ("Tensorrt", "CUDA", "CPU")]
    assert [name for name, _ in ort.providers(every, "float32")] == every[2:]  # no GPU here
    monkeypatch.setattr(hardware, "gpus", lambda: 1)
    (cuda, options), (cpu, _) = ort.providers(every, "float32")
    assert [cuda, cpu] == every[1:]
    assert options["use_tf32"] == "0"
    assert [name for name, _ in ort.providers(every[2:], "float32")] == every[2:]
    monkeypatch.setenv(ort.TENSORRT, "1")
    (tensorrt, options), *_ = ort.providers(every, "mixed")
    assert (tensorrt, options["trt_fp16_enable"]) == (every[0], "1")
