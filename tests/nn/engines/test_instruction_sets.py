"""Law 2 on any CPU: what a patch gives depends on nothing but the patch, whatever instructions there are.

Each set of instructions is tried in processes of its own, since libraries choose when they start.
"""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from seg_batch.core import hardware
from seg_batch.nn.backend import keras
from seg_batch.nn.engines import steady
from seg_batch.nn.engines.openvino.engine import OpenVINOPredictor
from seg_batch.nn.engines.tensorflow import KerasPredictor

pytestmark = pytest.mark.full

# Prints digests of the results of eleven patches, after it has compared them with those that the same
# patches give alone, in another place and among others, by models of other batches.
LAWS = """
import hashlib, sys
from pathlib import Path
import numpy as np
from seg_batch.nn.engines import load_predictor
engine, *files = sys.argv[1:]
SHAPES = {"2d": (32, 48, 3), "3d": (16, 24, 20, 1), "mean": (128, 128, 1)}
for file in map(Path, files):
    shape = SHAPES[file.stem]
    x = np.random.default_rng(5).normal(size=(11, *shape)).astype(np.float32)
    for precision in ("float32", "mixed") if engine == "tensorflow" else ("float32",):
        predictor = load_predictor(file, engine=engine, batch=4, precision=precision)
        whole = predictor(x)
        for place in range(4):
            among = np.random.default_rng(place).normal(size=(4, *shape)).astype(np.float32) * 1e3
            among[place] = x[7]
            assert np.array_equal(predictor(among)[place], whole[7]), (engine, precision, place)
        print(hashlib.sha256(whole.tobytes()).hexdigest())
"""


def digests(engine: str, files: list[Path], **environment: str) -> list[str]:
    env = {**os.environ, **environment}
    command = [sys.executable, "-c", LAWS, engine, *map(str, files)]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.split() if len(line) == 64]


@pytest.mark.parametrize(
    "isa",
    [
        pytest.param("SSE41", marks=pytest.mark.slow),
        "AVX2",
        pytest.param("AVX512_CORE", marks=pytest.mark.needs("avx512")),
    ],
)
@pytest.mark.parametrize("engine", ["openvino", "tensorflow"])
def test_a_patch_has_one_result_with_any_instructions(
    models: dict[str, Path], engine: str, isa: str
) -> None:
    found = [
        digests(engine, [*models.values()], ONEDNN_MAX_CPU_ISA=isa, TF_NUM_INTRAOP_THREADS=threads)
        for threads in ("1", "7")
    ]
    assert len(set(found[0])) == (4 if engine == "tensorflow" else 2)
    assert found[0] == found[1]


@pytest.mark.slow
def test_instructions_are_really_reduced(models: dict[str, Path]) -> None:
    """Products of fused and of separate multiplications and additions differ in the last bits."""
    for engine in ("openvino", "tensorflow"):
        few, all_there_are = (
            digests(engine, [models["2d"]], **environment)
            for environment in ({"ONEDNN_MAX_CPU_ISA": "SSE41"}, {})
        )
        assert few[0] != all_there_are[0], engine


def test_the_result_of_keras_on_jax_does_not_depend_on_the_number_of_cores(tmp_path: Path) -> None:
    """In three dimensions XLA splits sums among threads, of which it takes as many as NPROC says."""
    image = keras.Input((None, None, None, 1))
    y = image
    for _ in range(3):
        y = keras.layers.Conv3D(4, 3, padding="same", activation="relu")(y)
    keras.Model(image, keras.layers.Conv3D(3, 1, activation="softmax")(y)).save(
        tmp_path / "3d.keras"
    )
    file = tmp_path / "3d.keras"
    found = [digests("keras", [file], KERAS_BACKEND="jax", NPROC=cores) for cores in ("1", "2")]
    assert len(found[0]) == 1
    assert found[0] == found[1]


def of_a_mean(folder: Path) -> Path:
    """A model with a sum over the whole patch, which TensorFlow splits among threads on any CPU."""
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 1))
    y = keras.layers.GroupNormalization(1)(keras.layers.Conv2D(4, 3, padding="same")(image))
    keras.Model(image, keras.layers.Conv2D(3, 1, activation="softmax")(y)).save(
        folder / "mean.keras"
    )
    return folder / "mean.keras"


def test_a_model_that_sums_over_the_patch_gets_one_thread(tmp_path: Path) -> None:
    file = of_a_mean(tmp_path)
    found = [digests("tensorflow", [file], TF_NUM_INTRAOP_THREADS=n) for n in ("1", "7")]
    assert found[0] == found[1]


def test_what_decides_on_threads(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "has_avx512", lambda: True)
    monkeypatch.setattr(steady, "is_x86", lambda: True)
    may = steady.tensorflow_may_thread
    assert may(models["2d"], onednn=True)
    assert not may(models["2d"], onednn=False)
    assert not may(of_a_mean(tmp_path), onednn=True)
    image = keras.Input((8, 8, 2))
    keras.Model(image, keras.ops.mean(image, axis=(1, 2), keepdims=True)).save(tmp_path / "o.keras")
    assert not may(tmp_path / "o.keras", onednn=True), "an operation that is no layer"
    monkeypatch.setattr(hardware, "has_avx512", lambda: False)
    assert not may(models["2d"], onednn=True)


def test_openvino_on_another_cpu_is_tried(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its networks hold here, so all threads stay; what depends on them gets one, and a line."""
    x = np.random.default_rng(5).normal(size=(1, 32, 48, 3)).astype(np.float32)
    expected = OpenVINOPredictor(models["2d"])(x)
    monkeypatch.setattr("seg_batch.nn.engines.openvino.engine.is_x86", lambda: False)
    np.testing.assert_array_equal(OpenVINOPredictor(models["2d"])(x), expected)
    assert not caplog.text
    found = steady.with_equal_bits(lambda n: lambda x: x + (n - 1) * 1e-7, 3, x.shape)
    np.testing.assert_array_equal(found(x), x)
    assert "one thread" in caplog.text


def test_a_damaged_file_names_no_layers(tmp_path: Path) -> None:
    (tmp_path / "m.keras").write_bytes(b"PK no model")
    assert steady.layers_of(tmp_path / "m.keras") == set()
    assert steady.layers_of(tmp_path / "none.keras") == set()
    with zipfile.ZipFile(tmp_path / "z.keras", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(
            "config.json",
            json.dumps(
                {"module": "keras.layers", "class_name": "ReLU"}
                | dict.fromkeys(map(str, range(99)), 0)
            ),
        )
    assert steady.layers_of(tmp_path / "z.keras") == {"ReLU"}
    damaged = bytearray((tmp_path / "z.keras").read_bytes())
    damaged[50:60] = b"\xff" * 10  # within what is packed: zlib's own error
    (tmp_path / "z.keras").write_bytes(damaged)
    assert steady.layers_of(tmp_path / "z.keras") == set()


def test_mixed_is_rounded_where_bfloat16_is_imitated(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rounded between layers: away from float32, and near to what such hardware gives."""
    monkeypatch.setattr(hardware, "has_bfloat16", lambda: False)
    for kind, shape in {"2d": (32, 48, 3), "3d": (16, 24, 20, 1)}.items():
        x = np.random.default_rng(5).normal(size=(2, *shape)).astype(np.float32)
        exact, found = (KerasPredictor(models[kind], precision=p)(x) for p in ("float32", "mixed"))
        assert 1e-4 < np.abs(found - exact).max() < 0.05
        assert (found.argmax(-1) == exact.argmax(-1)).mean() > 0.97


@pytest.mark.needs("bfloat16")
def test_rounding_is_near_to_the_hardware(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    x = np.random.default_rng(5).normal(size=(2, 32, 48, 3)).astype(np.float32)
    exact, real = (KerasPredictor(models["2d"], precision=p)(x) for p in ("float32", "mixed"))
    monkeypatch.setattr(hardware, "has_bfloat16", lambda: False)
    found = KerasPredictor(models["2d"], precision="mixed")(x)
    assert np.abs(found - real).mean() < np.abs(exact - real).mean()


def test_small_gates_have_no_tail() -> None:
    """The smallest program that shows the fault: nine values through a sigmoid, eight at a time.

    The ninth is computed by other code than the same value at the first place; so models are called
    with one patch, whose values are always at the same place.
    """
    from seg_batch.nn.engines.batched import LoadedNetwork, ModelPredictor

    x = np.random.default_rng(0).normal(size=(3, 3, 3, 1)).astype(np.float32)
    image = keras.Input((3, 3, 1))
    model = keras.Model(image, keras.layers.Activation("sigmoid")(image))
    seen = []

    def compiler(shape: tuple[int, ...]):  # type: ignore[no-untyped-def]
        seen.append(shape)
        return lambda patches: np.asarray(model(patches))

    class Sigmoid(ModelPredictor):
        def load(self, weights: Path, sha256: str | None) -> LoadedNetwork:
            return LoadedNetwork(compiler, channels=1, rank=2, outputs=1)

    predictor = Sigmoid("no file", batch=3)
    together, alone = predictor(x), predictor(x[2:])
    assert seen == [(1, 3, 3, 1)]
    np.testing.assert_array_equal(together[2:], alone)
