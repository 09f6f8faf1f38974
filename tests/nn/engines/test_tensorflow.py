"""The predictor: fixed batches, the same bytes whatever surrounds a patch, safe loading."""

import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from seg_batch.core.errors import BundleError, InputError, PlanError
from seg_batch.nn import engines
from seg_batch.nn.backend import keras, tf
from seg_batch.nn.engines import load_predictor
from seg_batch.nn.engines.batched import Batched
from seg_batch.nn.engines.tensorflow import KerasPredictor, exhausted

pytestmark = pytest.mark.full  # left to make test: whole runs, or many networks

SHAPES = {"2d": (32, 48, 3), "3d": (16, 24, 20, 1)}

# Prints digests of predictions; the number of threads comes from the environment.
DIGESTS = """
import hashlib, sys
import numpy as np
from seg_batch.nn.engines.tensorflow import KerasPredictor
for path, shape in ((sys.argv[1], (32, 48, 3)), (sys.argv[2], (16, 24, 20, 1))):
    for precision in ("float32", "mixed"):
        x = np.random.default_rng(5).normal(size=(2, *shape)).astype(np.float32)
        y = KerasPredictor(path, batch=2, precision=precision)(x)
        print(hashlib.sha256(y.tobytes()).hexdigest())
"""


def patches(kind: str, n: int, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, *SHAPES[kind])).astype(np.float32)


@pytest.mark.full
@pytest.mark.parametrize("precision", ["float32", "mixed"])
@pytest.mark.parametrize("kind", ["2d", "3d"])
def test_a_patch_has_one_result_wherever_it_stands(models, kind: str, precision: str) -> None:  # type: ignore[no-untyped-def]
    predictor = KerasPredictor(models[kind], batch=4, precision=precision)
    x = patches(kind, 11)
    alone = predictor(x[:1])[0]
    for place in range(4):
        among = patches(kind, 4, seed=place + 10) * 1e3
        among[place] = x[0]
        np.testing.assert_array_equal(predictor(among)[place], alone)
    whole = predictor(x)
    assert whole.shape == (11, *SHAPES[kind][:-1], predictor.classes)
    assert whole.dtype == np.float32
    for i in (1, 5, 10):
        np.testing.assert_array_equal(whole[i], predictor(x[i : i + 1])[0])


@pytest.mark.full
def test_threads_do_not_change_a_bit(models) -> None:  # type: ignore[no-untyped-def]
    command = [sys.executable, "-c", DIGESTS, str(models["2d"]), str(models["3d"])]
    digests = set()
    for threads in ("1", "7"):
        env = {**os.environ, "TF_NUM_INTRAOP_THREADS": threads}
        done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
        digests.add(tuple(done.stdout.split()))
    assert len(digests) == 1
    assert len(set(digests.pop())) == 4


@pytest.mark.parametrize("kind", ["2d", pytest.param("3d", marks=pytest.mark.full)])
def test_the_engine_equals_the_model(models, kind: str) -> None:  # type: ignore[no-untyped-def]
    x = patches(kind, 3)
    plain = keras.models.load_model(models[kind], compile=False)
    np.testing.assert_allclose(KerasPredictor(models[kind], batch=2)(x), plain(x), atol=1e-5)


@pytest.mark.full
def test_mixed_precision_is_near(models) -> None:  # type: ignore[no-untyped-def]
    x = patches("2d", 2)
    exact, near = (KerasPredictor(models["2d"], precision=p)(x) for p in ("float32", "mixed"))
    np.testing.assert_allclose(near, exact, atol=0.05)
    assert (near.argmax(-1) == exact.argmax(-1)).mean() > 0.97


def test_a_sigmoid_becomes_two_classes(tmp_path) -> None:  # type: ignore[no-untyped-def]
    image = keras.Input((None, None, 1))
    model = keras.Model(image, keras.layers.Conv2D(1, 1, activation="sigmoid")(image))
    model.save(tmp_path / "m.keras")
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 1)).astype(np.float32)
    y = KerasPredictor(tmp_path / "m.keras")(x)
    p = np.asarray(model(x))
    np.testing.assert_allclose(y, np.concatenate([1 - p, p], axis=-1), atol=1e-6)


class Fake:
    """Compiles functions that double their input and refuse batches above what fits."""

    def __init__(self, fits: int, error: Exception) -> None:
        self.fits, self.error, self.seen = fits, error, []  # type: ignore[var-annotated]

    def __call__(self, shape: tuple[int, ...]):  # type: ignore[no-untyped-def]
        def forward(x: np.ndarray) -> np.ndarray:
            self.seen.append(x.shape)
            assert x.shape == shape
            if len(x) > self.fits:
                raise self.error
            return 2 * x

        return forward


@pytest.mark.parametrize(
    "error", [tf.errors.ResourceExhaustedError(None, None, "oom"), MemoryError()]
)
def test_out_of_memory_halves_the_batch_for_good(error: Exception) -> None:
    fake = Fake(fits=3, error=error)
    predictor = Batched(fake, 8, exhausted())
    x = np.arange(10, dtype=np.float32).reshape(10, 1)
    np.testing.assert_array_equal(predictor(x), 2 * x)
    assert predictor.batch == 2
    assert [shape[0] for shape in fake.seen] == [8, 4, 2, 2, 2, 2, 2]
    np.testing.assert_array_equal(predictor(x[:3]), 2 * x[:3])
    assert {shape[0] for shape in fake.seen[7:]} == {2}


def test_out_of_memory_at_one_patch_is_said() -> None:
    predictor = Batched(Fake(fits=0, error=MemoryError()), 4)
    with pytest.raises(PlanError, match=r"single patch of shape \(5, 1\)"):
        predictor(np.zeros((2, 5, 1), np.float32))
    assert predictor.batch == 1


# A tensor of 4 MiB per patch, in a process that may take 128 MiB more than it has.
SHORT_OF_MEMORY = """
import resource, sys
import numpy as np
from seg_batch.nn.engines.tensorflow import KerasPredictor
x = np.random.default_rng(0).normal(size=(3, 16, 16, 1)).astype(np.float32)
expected = KerasPredictor(sys.argv[1], batch=1)(x)
predictor = KerasPredictor(sys.argv[1], batch=64)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 128 * 2**20,) * 2)
np.testing.assert_array_equal(predictor(x), expected)
print(predictor.batch)
"""


@pytest.mark.slow  # TensorFlow waits ten seconds for memory before it gives up
@pytest.mark.needs("linux")  # limits address space
def test_a_real_allocation_failure_halves_the_batch(tmp_path: Path) -> None:
    """Of an allocation by TensorFlow, that is: where oneDNN's own fail, the process may die."""
    image = keras.Input((None, None, 1))
    wide = keras.layers.UpSampling2D(64)(image)
    narrow = keras.layers.MaxPooling2D(64)(wide)
    keras.Model(image, keras.layers.Conv2D(2, 1)(narrow)).save(tmp_path / "m.keras")
    command = [sys.executable, "-c", SHORT_OF_MEMORY, str(tmp_path / "m.keras")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 1 <= int(done.stdout) < 64


def test_wrong_arrays_are_refused(models) -> None:  # type: ignore[no-untyped-def]
    predictor = KerasPredictor(models["2d"])
    with pytest.raises(InputError, match="3 channels"):
        predictor(np.zeros((1, 16, 16, 4), np.float32))
    with pytest.raises(InputError, match="multiple of 2"):
        predictor(np.zeros((1, 18, 16, 3), np.float32))
    with pytest.raises(InputError, match="precision"):
        KerasPredictor(models["2d"], precision="float8")
    with pytest.raises(InputError, match="batch is 0"):
        KerasPredictor(models["2d"], batch=0)
    assert predictor(np.zeros((0, 16, 16, 3), np.float32)).shape == (0, 16, 16, 4)


def test_loading_checks_the_hash_and_happens_once(models, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(engines, "_loaded_already", {})
    right = hashlib.sha256(models["2d"].read_bytes()).hexdigest()
    found = []
    threads = [
        threading.Thread(
            target=lambda: found.append(
                load_predictor(models["2d"], sha256=right, engine="tensorflow")
            )
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(p) for p in found}) == 1
    assert load_predictor(str(models["2d"]), sha256=right, engine="tensorflow") is found[0]
    with pytest.raises(BundleError, match="damaged or was exchanged"):
        load_predictor(models["2d"], sha256="0" * 64, engine="tensorflow")


def test_damaged_foreign_and_unsafe_files_are_refused(models, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(BundleError, match="no model file"):
        load_predictor(tmp_path / "none.keras", engine="tensorflow")
    (tmp_path / "cut.keras").write_bytes(models["2d"].read_bytes()[:5000])
    with pytest.raises(BundleError, match="can be loaded safely") as caught:
        load_predictor(tmp_path / "cut.keras", engine="tensorflow")
    assert "\n" not in str(caught.value)
    image = keras.Input((8, 8, 1))
    keras.Model(image, keras.layers.Lambda(lambda x: x)(image)).save(tmp_path / "lambda.keras")
    with pytest.raises(BundleError, match="can be loaded safely"):
        load_predictor(tmp_path / "lambda.keras", engine="tensorflow")
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save(tmp_path / "dense.keras")
    with pytest.raises(BundleError, match="a segmentation model"):
        load_predictor(tmp_path / "dense.keras", engine="tensorflow")


def test_an_old_keras_is_refused(models, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(keras, "__version__", "3.14.1")
    with pytest.raises(BundleError, match=r"3\.14\.1"):
        KerasPredictor(models["2d"])
