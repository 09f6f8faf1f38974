"""OpenVINO: the same network as Keras', the same bytes whatever surrounds a patch, files kept safely."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from seg_batch.config.card import ModelCard
from seg_batch.config.predict_options import PredictOptions
from seg_batch.core import files, hardware
from seg_batch.core.errors import BundleError, InputError, PlanError
from seg_batch.inference import bundles
from seg_batch.inference.bundles import Model
from seg_batch.inference.loading.predictors import load_predictor_of
from seg_batch.nn.backend import keras
from seg_batch.nn.engines.openvino.convert import to_openvino
from seg_batch.nn.engines.openvino.engine import OpenVINOPredictor, _threads
from seg_batch.nn.engines.openvino.library import openvino as ov
from seg_batch.nn.engines.openvino.library import openvino_core

PRECISIONS = ["float32", pytest.param("mixed", marks=pytest.mark.needs("bfloat16"))]
SHAPES = {"2d": (32, 48, 3), "3d": (16, 24, 20, 1)}

# Prints digests of predictions, and whether anything heavy was needed for them.
DIGESTS = """
import hashlib, sys
import numpy as np
from seg_batch.nn.engines import load_predictor
for path, shape in ((sys.argv[1], (32, 48, 3)), (sys.argv[2], (16, 24, 20, 1))):
    x = np.random.default_rng(5).normal(size=(2, *shape)).astype(np.float32)
    predictor = load_predictor(path, engine="openvino", batch=2, precision=sys.argv[3])
    print(hashlib.sha256(predictor(x).tobytes()).hexdigest())
print([m for m in ("keras", "tensorflow") if m in sys.modules])
"""


@pytest.fixture(scope="session")
def bundle_files(models, tmp_path_factory) -> dict[str, Path]:  # type: ignore[no-untyped-def]
    """The small models as OpenVINO bundles have them: converted here, without a process."""
    folder = tmp_path_factory.mktemp("openvino")
    for name, path in models.items():
        model = keras.models.load_model(path, compile=False)
        ov.save_model(to_openvino(model), folder / name / "model.xml", compress_to_fp16=False)
    return {name: folder / name / "model.xml" for name in models}


def patches(kind: str, n: int, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, *SHAPES[kind])).astype(np.float32)


@pytest.mark.full
@pytest.mark.parametrize("kind", ["2d", "3d"])
def test_the_engine_equals_the_model(models, bundle_files, kind: str) -> None:  # type: ignore[no-untyped-def]
    x = patches(kind, 3)
    plain = np.asarray(keras.models.load_model(models[kind], compile=False)(x))
    found = OpenVINOPredictor(bundle_files[kind], batch=2)(x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, plain, atol=1e-5)


@pytest.mark.needs("bfloat16")
@pytest.mark.full
@pytest.mark.parametrize("kind", ["2d", "3d"])
def test_mixed_precision_is_near(bundle_files, kind: str) -> None:  # type: ignore[no-untyped-def]
    x = patches(kind, 3)
    exact, near = (
        OpenVINOPredictor(bundle_files[kind], precision=p)(x) for p in ("float32", "mixed")
    )
    np.testing.assert_allclose(near, exact, atol=0.05)
    assert (near.argmax(-1) == exact.argmax(-1)).mean() > 0.97
    assert not np.array_equal(near, exact)


@pytest.mark.full
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", ["2d", "3d"])
def test_a_patch_has_one_result_wherever_it_stands(bundle_files, kind: str, precision: str) -> None:  # type: ignore[no-untyped-def]
    predictor = OpenVINOPredictor(bundle_files[kind], batch=4, precision=precision)
    x = patches(kind, 7)
    alone = predictor(x[:1])[0]
    for place in range(4):
        among = patches(kind, 4, seed=place + 10) * 1e3
        among[place] = x[0]
        np.testing.assert_array_equal(predictor(among)[place], alone)
    whole = predictor(x)
    assert whole.shape == (7, *SHAPES[kind][:-1], predictor.classes)
    np.testing.assert_array_equal(whole[5], predictor(x[5:6])[0])


@pytest.mark.full
@pytest.mark.parametrize("precision", PRECISIONS)
def test_threads_and_processes_do_not_change_a_bit(bundle_files, precision: str) -> None:  # type: ignore[no-untyped-def]
    files = [str(bundle_files[kind]) for kind in ("2d", "3d")]
    told = set()
    for threads in ("1", "2", "7"):
        env = {**os.environ, "TF_NUM_INTRAOP_THREADS": threads}
        command = [sys.executable, "-c", DIGESTS, *files, precision]
        done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
        told.add(tuple(done.stdout.split()))
    assert len(told) == 1
    *digests, heavy = told.pop()
    assert len(set(digests)) == 2
    assert heavy == "[]"


@pytest.mark.full
def test_openvino_tells_nobody(bundle_files, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Its telemetry keeps an identity in the home folder, and sends from a process of its own."""
    code = (
        "import os, sys; sys.addaudithook(lambda e, a: e in ('os.fork', 'socket.connect') and os._exit(9)); "
        "from seg_batch.nn.engines.openvino.engine import OpenVINOPredictor; OpenVINOPredictor(sys.argv[1])"
    )
    env = {**os.environ, "HOME": str(tmp_path)}
    env.pop("CI", None)
    command = [sys.executable, "-c", code, str(bundle_files["2d"])]
    subprocess.run(command, env=env, check=True)
    assert not (tmp_path / "intel").exists()


# Counts cores: where one of two goes, the next signal may run on memory that was freed.
CORES = """
import sys
import numpy as np
from seg_batch.nn.engines.openvino.engine import OpenVINOPredictor
from seg_batch.nn.engines.openvino.library import openvino
from seg_batch.nn.export.openvino import read
made = []
class Counted(openvino.Core):
    def __init__(self):
        super().__init__()
        made.append(self)
openvino.Core = Counted
for _ in range(3):
    OpenVINOPredictor(sys.argv[1])(np.zeros((1, 32, 48, 3), np.float32))
    read(sys.argv[1])
print(len(made))
"""


@pytest.mark.full
def test_there_is_one_core_however_many_predictors(bundle_files) -> None:  # type: ignore[no-untyped-def]
    command = [sys.executable, "-c", CORES, str(bundle_files["2d"])]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "1"


def test_threads_are_those_of_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "3")
    assert _threads() == 3


@pytest.mark.full
@pytest.mark.parametrize("kind", ["2d", "3d"])
def test_the_parts_of_a_network_are_together_the_whole(  # type: ignore[no-untyped-def]
    bundle_files, all_in_float32: list[str], kind: str
) -> None:
    """And of those that mixed precision makes, the first and the last are to run in float32."""
    x = patches(kind, 2)
    whole = OpenVINOPredictor(bundle_files[kind])(x)
    assert all_in_float32 == ["f32"]
    parts = OpenVINOPredictor(bundle_files[kind], precision="mixed")(x)
    assert all_in_float32[1:] == ["f32", "bf16", "f32"]
    np.testing.assert_allclose(parts, whole, atol=1e-6)


@pytest.mark.needs("bfloat16")
@pytest.mark.full
def test_pixels_and_probabilities_are_never_rounded(bundle_files) -> None:  # type: ignore[no-untyped-def]
    y = OpenVINOPredictor(bundle_files["2d"], precision="mixed")(patches("2d", 1))
    coarse = y.view(np.uint32) & 0xFFFF == 0  # what a bfloat16 is in a float32
    assert coarse.mean() < 0.01
    np.testing.assert_allclose(y.sum(-1), 1, atol=1e-6)


def test_openvino_can_do_what_a_plan_thinks_of_this_cpu() -> None:
    """A plan does not ask OpenVINO: that takes longer than all of the planning."""
    able = "BF16" in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert able or not hardware.has_bfloat16()


@pytest.mark.full
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_sigmoid_becomes_two_classes_and_few_layers_are_no_trouble(
    tmp_path: Path, precision: str
) -> None:
    image = keras.Input((None, None, 1))
    model = keras.Model(image, keras.layers.Conv2D(1, 1, activation="sigmoid")(image))
    ov.save_model(to_openvino(model), tmp_path / "model.xml", compress_to_fp16=False)
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 1)).astype(np.float32)
    p = np.asarray(model(x))
    y = OpenVINOPredictor(tmp_path / "model.xml", precision=precision)(x)
    np.testing.assert_allclose(y, np.concatenate([1 - p, p], axis=-1), atol=1e-6)


@pytest.mark.full
def test_wrong_arrays_and_files_are_refused(bundle_files, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    predictor = OpenVINOPredictor(bundle_files["2d"])
    with pytest.raises(InputError, match="3 channels"):
        predictor(np.zeros((1, 16, 16, 4), np.float32))
    with pytest.raises(InputError, match="multiple of 2"):
        predictor(np.zeros((1, 18, 16, 3), np.float32))
    assert predictor(np.zeros((0, 16, 16, 3), np.float32)).shape == (0, 16, 16, 4)
    with pytest.raises(BundleError, match="damaged or was exchanged"):
        OpenVINOPredictor(bundle_files["2d"], sha256="0" * 64)
    shutil.copytree(bundle_files["2d"].parent, tmp_path / "cut")
    (tmp_path / "cut" / "model.xml").write_text("<net>")
    with pytest.raises(BundleError, match="no model that OpenVINO can read") as caught:
        OpenVINOPredictor(tmp_path / "cut" / "model.xml")
    assert "\n" not in str(caught.value)


def hostile(kind: str) -> ov.Model:
    """A description that OpenVINO reads, and that is no segmentation model."""
    op, open_sides = ov.opset8, ov.PartialShape([-1, -1, -1, 3])
    if kind == "rank":
        image = op.parameter(ov.PartialShape.dynamic(), np.float32)
    else:
        image = op.parameter(open_sides, np.int32 if kind == "whole numbers" else np.float32)
    found = [op.relu(image), op.abs(image)] if kind == "two outputs" else [op.relu(image)]
    found = [op.convert(y, "f64") for y in found] if kind == "double" else found
    return ov.Model(found, [image])


@pytest.mark.parametrize("kind", ["rank", "whole numbers", "two outputs", "double"])
def test_descriptions_of_something_else_are_refused(tmp_path: Path, kind: str) -> None:
    ov.save_model(hostile(kind), tmp_path / "model.xml", compress_to_fp16=False)
    with pytest.raises(BundleError, match="has inputs and outputs") as caught:
        OpenVINOPredictor(tmp_path / "model.xml")
    assert "\n" not in str(caught.value)


def bundle_of(model: ov.Model, folder: Path, classes: int) -> Model:
    """An OpenVINO bundle whose card vouches for it."""
    ov.save_model(model, folder / "model.xml", compress_to_fp16=False)
    table = [{"id": k, "name": f"k{k}", "colour": (k, k, k)} for k in range(classes)]
    card = ModelCard(
        name="x",
        kind="raster",
        rank=2,
        format="openvino",
        classes=table,
        normalisation={"kind": "identity"},
        weights_sha256=files.sha256(folder / "model.xml"),
    )
    return Model(card, folder)


def test_a_card_of_other_classes_than_the_model_is_refused(tmp_path: Path) -> None:
    image = ov.opset8.parameter(ov.PartialShape([-1, -1, -1, 3]), np.float32)
    made = bundle_of(ov.Model([ov.opset8.relu(image)], [image]), tmp_path, 2)
    with pytest.raises(BundleError, match="3 classes apart and its card names 2"):
        load_predictor_of(made, PredictOptions(engine="openvino", precision="float32"))


def test_a_bundle_without_its_second_file_is_incomplete(tmp_path: Path) -> None:
    image = ov.opset8.parameter(ov.PartialShape([-1, -1, -1, 3]), np.float32)
    made = bundle_of(ov.Model([ov.opset8.relu(image)], [image]), tmp_path, 3)
    assert bundles.require_intact(made) is made
    made.weights.with_suffix(".bin").unlink()
    with pytest.raises(BundleError, match=r"has no model\.bin"):
        bundles.require_intact(made)


def test_bfloat16_is_never_imitated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Plain:
        def get_property(self, *_: str) -> list[str]:
            return ["FP32"]

    monkeypatch.setattr("seg_batch.nn.engines.openvino.engine.openvino_core", Plain)
    with pytest.raises(PlanError, match="use --precision float32"):
        OpenVINOPredictor(tmp_path / "model.xml", precision="mixed")


@pytest.mark.full
def test_a_real_conversion_in_a_process_of_its_own(models, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """And nothing is imported from the current folder, which may be anybody's."""
    (tmp_path / "numpy.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    weights = Path(shutil.copy(models["2d"], tmp_path / "model.keras"))
    x = patches("2d", 2)
    plain = np.asarray(keras.models.load_model(weights, compile=False)(x))
    np.testing.assert_allclose(OpenVINOPredictor(weights)(x), plain, atol=1e-5)
    bad = tmp_path / "bad" / "model.keras"
    bad.parent.mkdir()
    bad.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(BundleError, match="can be loaded safely"):
        OpenVINOPredictor(bad)
