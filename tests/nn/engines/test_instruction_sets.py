"""Law 2 on any CPU: what a patch gives depends on nothing but the patch, whatever instructions there are.

Each set of instructions is tried in processes of its own, since libraries choose when they start.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from seg_batch.core import hardware
from seg_batch.core.files import sha256
from seg_batch.nn.backend import keras
from seg_batch.nn.engines import steady
from seg_batch.nn.engines.tensorflow import KerasPredictor

pytestmark = pytest.mark.full

# Prints digests of the results of eleven patches, after it has compared them with those that the same
# patches give alone, in another place and among others, by models of other batches.
LAWS = """
import hashlib, sys
from pathlib import Path
import numpy as np
from seg_batch.core.files import sha256
from seg_batch.nn.engines import load_predictor
engine, trial, *files = sys.argv[1:]
SHAPES = {"2d": (32, 48, 3), "3d": (16, 24, 20, 1)}
for file in map(Path, files):
    shape = SHAPES[file.stem]
    tried = {"sha256": sha256(file), "patch": shape[:-1]} if trial == "trial" else {}
    x = np.random.default_rng(5).normal(size=(11, *shape)).astype(np.float32)
    for precision in ("float32", "mixed") if (engine, trial) == ("tensorflow", "") else ("float32",):
        def load(batch):
            return load_predictor(file, engine=engine, batch=batch, precision=precision, **tried)
        whole = load(4)(x)
        for place in range(4):
            among = np.random.default_rng(place).normal(size=(4, *shape)).astype(np.float32) * 1e3
            among[place] = x[7]
            assert np.array_equal(load(4)(among)[place], whole[7]), (engine, precision, place)
        print(hashlib.sha256(whole.tobytes()).hexdigest())
"""


def digests(engine: str, files: list[Path], trial: str = "", **environment: str) -> list[str]:
    env = {**os.environ, **environment}
    command = [sys.executable, "-c", LAWS, engine, trial, *map(str, files)]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.split() if len(line) == 64]


@pytest.mark.parametrize("isa", ["SSE41", "AVX2", "AVX512_CORE"])
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


def test_instructions_are_really_reduced(models: dict[str, Path]) -> None:
    """Products of fused and of separate multiplications and additions differ in the last bits."""
    for engine in ("openvino", "tensorflow"):
        few, all_there_are = (
            digests(engine, [models["2d"]], **environment)
            for environment in ({"ONEDNN_MAX_CPU_ISA": "SSE41"}, {})
        )
        assert few[0] != all_there_are[0], engine


def test_the_result_of_keras_on_jax_does_not_depend_on_the_number_of_cores(tmp_path: Path) -> None:
    """In three dimensions XLA splits sums among threads, of which it takes one per core."""
    image = keras.Input((None, None, None, 1))
    y = image
    for _ in range(3):
        y = keras.layers.Conv3D(4, 3, padding="same", activation="relu")(y)
    keras.Model(image, keras.layers.Conv3D(3, 1, activation="softmax")(y)).save(
        tmp_path / "3d.keras"
    )
    cores = sorted(os.sched_getaffinity(0))
    found = []
    for some in (cores, cores[:1]):
        os.sched_setaffinity(0, some)
        try:
            found.append(digests("keras", [tmp_path / "3d.keras"], KERAS_BACKEND="jax"))
        finally:
            os.sched_setaffinity(0, cores)
    assert len(found[0]) == 1
    assert found[0] == found[1]


def test_an_engine_that_fails_the_trial_gets_one_thread(
    models: dict[str, Path], tmp_path: Path
) -> None:
    """TensorFlow without AVX-512: the trial finds that, says so, keeps it, and the bytes hold."""
    environment = {"ONEDNN_MAX_CPU_ISA": "AVX2", "XDG_CACHE_HOME": str(tmp_path)}
    found = [
        digests(
            "tensorflow", [models["2d"]], "trial", TF_NUM_INTRAOP_THREADS=threads, **environment
        )
        for threads in ("7", "2")
    ]
    (answer,) = (tmp_path / "segbatch" / "threads").iterdir()
    assert answer.read_text() == "different"
    assert found[0] == found[1]


def test_one_answer_is_kept_for_all_that_it_follows_from(
    models: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(steady, "is_known", lambda engine: False)
    hashed = sha256(models["2d"])

    def threads(precision: str = "float32", side: int = 32) -> int:
        return steady.threads_for("openvino", models["2d"], hashed, precision, (side, 32))

    assert threads() == steady.ANY
    (kept,) = (tmp_path / "segbatch" / "threads").iterdir()
    assert kept.read_text() == "same"
    kept.write_text("different")
    assert threads() == 1
    assert "one thread" in caplog.text
    kept.write_text("damaged")
    assert threads() == steady.ANY
    assert threads(side=48) == steady.ANY
    assert len(list(kept.parent.iterdir())) == 2


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
    from seg_batch.nn.engines.batched import ModelPredictor

    x = np.random.default_rng(0).normal(size=(3, 3, 3, 1)).astype(np.float32)
    image = keras.Input((3, 3, 1))
    model = keras.Model(image, keras.layers.Activation("sigmoid")(image))
    seen = []

    def compiler(shape: tuple[int, ...]):  # type: ignore[no-untyped-def]
        seen.append(shape)
        return lambda patches: np.asarray(model(patches))

    predictor = ModelPredictor(compiler, 3, channels=1, rank=2, outputs=1, precision="float32")
    together, alone = predictor(x), predictor(x[2:])
    assert seen == [(1, 3, 3, 1)]
    np.testing.assert_array_equal(together[2:], alone)
