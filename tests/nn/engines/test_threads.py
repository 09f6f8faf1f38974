"""Law 2 for networks with sums over a whole patch: whatever the number of threads, not a bit changes."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from seg_batch.config.card_parts.network import Network, Output, Tensors
from seg_batch.nn.backend import keras
from seg_batch.nn.engines import load_predictor
from seg_batch.nn.engines.openvino import threads
from seg_batch.nn.engines.openvino.convert import to_openvino
from seg_batch.nn.engines.openvino.engine import OpenVINOPredictor
from seg_batch.nn.engines.openvino.library import openvino
from tests.support.nn import onnx_models as made

pytestmark = pytest.mark.full  # many networks or whole runs

THREADS = ("1", "2", "5")
LOGITS = Network(Tensors(layout="channels_first"), Output(gives="logits", blend="logits"))


def between_convolutions(nodes: list[Any], rank: int, *weights: Any) -> Any:
    """A network of `nodes` from ``a`` to ``n``, channels first."""
    k = (3,) * rank
    conv = {"kernel_shape": k, "pads": [1] * 2 * rank}
    nodes = [made.node("Conv", "x v", "a", **conv), *nodes, made.node("Conv", "n w", "y", **conv)]
    numbers = [made.numbers("v", (16, 3, *k)), made.numbers("w", (2, 16, *k)), *weights]
    sides = ("d", "h", "w")[-rank:]
    return made.graph_of(nodes, numbers, ("n", 3, *sides), ("n", 2, *sides))


def instance(rank: int) -> Any:
    """Instance normalisation as ONNX has it."""
    weights = made.numbers("g", (16,)), made.numbers("b", (16,))
    return between_convolutions([made.node("InstanceNormalization", "a g b", "n")], rank, *weights)


def written_out(rank: int, first: int = 2) -> Any:
    """A normalisation over the axes from `first` on, of means and a root; OpenVINO makes one of its own of it."""
    axes = list(range(first, rank + 2))
    nodes = [
        made.node("ReduceMean", "a", "m", axes=axes),
        made.node("Sub", "a m", "d"),
        made.node("Pow", "d two", "p"),
        made.node("ReduceMean", "p", "q", axes=axes),
        made.node("Add", "q eps", "e"),
        made.node("Sqrt", "e", "r"),
        made.node("Div", "d r", "n"),
    ]
    fixed = made.fixed("two", 2, dtype=np.float32), made.fixed("eps", 1e-5, dtype=np.float32)
    return between_convolutions(nodes, rank, *fixed)


def attention(rank: int) -> Any:
    """Channels that look at each other: a matrix product whose sums run over the voxels."""
    nodes = [
        made.node("Reshape", "a flat", "f"),
        made.node("Transpose", "f", "t", perm=(0, 2, 1)),
        made.node("MatMul", "f t", "s"),
        made.node("Mul", "s small", "l"),
        made.node("Softmax", "l", "p", axis=-1),
        made.node("MatMul", "p f", "o"),
        made.node("Shape", "a", "sides"),
        made.node("Reshape", "o sides", "n"),
    ]
    fixed = made.fixed("flat", 0, 0, -1), made.fixed("small", 1e-5, dtype=np.float32)
    return between_convolutions(nodes, rank, *fixed)


NETWORKS = {
    "unet": (made.unet(), (64, 48)),
    "instance": (instance(3), (40, 40, 40)),
    "written out": (written_out(2), (256, 256)),
    "of all axes": (written_out(2, 1), (64, 64)),
    "attention": (attention(2), (260, 300)),
}


def by_threads(path: Path, engine: str, x: np.ndarray, monkeypatch: Any, **how: Any) -> np.ndarray:
    """What a file gives for `x`, the same with any number of threads."""
    results = []
    for n in THREADS:
        monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", n)
        os.utime(path, ns=(int(n), int(n)))  # another file: loaded again
        results.append(load_predictor(path, engine=engine, **how)(x))
    for y in results[1:]:
        np.testing.assert_array_equal(y, results[0])
    return results[0]


def noise(sides: tuple[int, ...], channels: int) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(1, *sides, channels)).astype(np.float32)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_onnx(path: Path, engine: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, sides = NETWORKS[kind]
    made.saved(model, path)
    x = noise(sides, 3)
    y = by_threads(path, engine, x, monkeypatch, network=LOGITS)
    session = onnxruntime.InferenceSession(str(path))
    (expected,) = session.run(["y"], {"x": np.moveaxis(x, -1, 1)})
    np.testing.assert_allclose(y, np.moveaxis(expected, 1, -1), atol=1e-4)


@pytest.mark.parametrize("kind", ["instance", "written out", "of all axes"])
@pytest.mark.parametrize("sides", [(511, 387), (48, 48, 48)])
def test_onnx_at_full_size(
    path: Path, kind: str, sides: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    rank = len(sides)
    model = instance(rank) if kind == "instance" else written_out(rank, 2 - (kind == "of all axes"))
    made.saved(model, path)
    by_threads(path, "openvino", noise(sides, 3), monkeypatch, network=LOGITS)


@pytest.mark.parametrize("kind", ["operations", "group"])
@pytest.mark.parametrize("sides", [(300, 260), (48, 48, 48)])
def test_keras(
    tmp_path: Path, kind: str, sides: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, path = of_keras(kind, len(sides)), tmp_path / "model.xml"
    openvino.save_model(to_openvino(model), path, compress_to_fp16=False)
    x = noise(sides, 2)
    y = by_threads(path, "openvino", x, monkeypatch)
    np.testing.assert_allclose(y, np.asarray(model(x)), atol=1e-4)


def of_keras(kind: str, rank: int) -> Any:
    keras.utils.set_random_seed(0)
    layers, ops = keras.layers, keras.ops
    conv = layers.Conv2D if rank == 2 else layers.Conv3D
    image, axes = keras.Input((None,) * rank + (2,)), tuple(range(1, 1 + rank))
    y = conv(8, 3, padding="same")(image)
    mean = ops.mean(y, axis=axes, keepdims=True)
    spread = ops.sqrt(ops.mean(ops.square(y - mean), axis=axes, keepdims=True) + 1e-5)
    y = (y - mean) / spread if kind == "operations" else layers.GroupNormalization(4)(y)
    return keras.Model(image, conv(3, 1, activation="softmax")(y))


def test_what_is_tried(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written out becomes one flat axis, as an instance normalisation, unless OpenVINO can't be asked to fuse."""

    def is_steady(model: Any) -> bool:
        return OpenVINOPredictor(made.saved(model, path), network=LOGITS)._is_steady

    assert is_steady(written_out(2))
    assert not is_steady(written_out(2, 1))
    assert not is_steady(attention(2))
    monkeypatch.setattr(threads, "FUSION", "openvino.none")
    assert not is_steady(written_out(2))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.onnx"
