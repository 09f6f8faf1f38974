"""An engine is one file: what is registered of it is all that choosing, planning and checking go by."""

from __future__ import annotations

import ast
import dataclasses
import itertools
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio

from seg_batch.config.card import read_card
from seg_batch.config.predict_options import PredictOptions
from seg_batch.core import hardware
from seg_batch.core.errors import PlanError
from seg_batch.core.registry.engines import ENGINES, EngineInfo, engine_names, info_of
from seg_batch.core.resources import PACKAGE
from seg_batch.core.versions import versions
from seg_batch.inference import costs
from seg_batch.inference.predict import predict_one
from seg_batch.inference.request import Request, prepare
from seg_batch.inference.worker_requirements import shared_requirements
from seg_batch.nn.engines import load_predictor
from seg_batch.nn.engines.batched import Forward, LoadedNetwork, ModelPredictor
from seg_batch.nn.engines.choice import choose
from tests.support.bundles import make_bundle
from tests.support.files import address_raster, write_raster

# Modules that spell an engine's name though they are none, and what they mean by it.
ELSEWHERE = {
    "core/registry/engines.py": "the list of engines",
    "config/card.py": "formats of weights",
    "inference/bundles.py": "formats of weights",
    "inference/on_device/rule.py": "formats of weights",
    "inference/plan.py": "what computed where a kept plan does not say",
    "nn/backend.py": "what Keras computes with",
    "nn/wrap_foreign.py": "what Keras computes with, which then checks the model",
    "nn/export/formats.py": "formats of exports",
    "nn/export/onnx.py": "the library's version, by its name",
    "nn/export/openvino.py": "the library's version, by its name",
    "nn/export/savedmodel.py": "the library's version, by its name",
    "nn/export/keras_file.py": "the library's version, by its name",
    "nn/safe_config.py": "modules of layers",
    "library/check.py": "formats of weights",
    "conversion/cards/bioimageio/writing.py": "what other cards call formats",
    "conversion/cards/stac/writing.py": "what other cards call formats",
    "conversion/export.py": "formats of weights and of exports",
    "conversion/keras_import.py": "formats of weights",
    "training/write_bundle.py": "a model is checked on what trained it",
}


class Toy(ModelPredictor):
    """The class of a voxel is what its first channel leaves, divided by three."""

    def load(self, weights: Path, sha256: str | None) -> LoadedNetwork:
        assert weights.is_file()

        def compiler(shape: tuple[int, ...]) -> Forward:
            return lambda x: np.eye(3, dtype=np.float32)[(x[..., 0] % 3).astype(int)]

        return LoadedNetwork(compiler, channels=3, rank=2, outputs=3)


class ToyInfo(EngineInfo):
    def claim(self, gpus: int, is_installed: Callable[[str], bool]) -> tuple[int, str] | None:
        return 9, "it is only a test"

    def precision(self, gpus: int) -> str:
        return "float32"


INFO = ToyInfo(
    name="toy",
    predictor=Toy,
    formats={"keras": "a Keras model"},
    libraries=("jinja2",),
    reported=("jinja2",),
    memory_bytes=77 << 20,
    activation_share=0.0,
    flops_per_core={"float32": 1e9},
    flops_below_avx512=1e9,
)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> EngineInfo:
    monkeypatch.setitem(ENGINES, "toy", INFO)
    monkeypatch.setattr(hardware, "gpus", lambda: 0)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    return INFO


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = make_bundle(tmp_path / "bundle", 2, 3)
    card = read_card(folder)
    values = {
        "normalisation": {"kind": "identity"},
        "compute": {"activation_bytes": 1 << 30, "flops": 1e9},
    }
    card = type(card).model_validate({**card.model_dump(), **values})
    (folder / "card.json").write_text(card.model_dump_json())
    return folder


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_raster(tmp_path / "scene.tif", address_raster((150, 133), 3, "uint16"))


def test_a_registered_engine_is_chosen_costed_and_required_of_workers(
    toy: EngineInfo, bundle: Path, scene: Path, tmp_path: Path
) -> None:
    assert engine_names()[-1] == "toy"
    with pytest.raises(
        PlanError, match=r"use one of auto, openvino, tensorflow, keras, onnxruntime, toy$"
    ):
        choose("fast", gpus=0)
    request = Request(str(scene), str(tmp_path / "map.tif"), model=str(bundle))
    plan = prepare(request).plan
    assert (plan.engine, plan.engine_why, plan.precision) == ("toy", "it is only a test", "float32")
    flops = plan.tiles_predicted * 1e9
    assert plan.seconds_estimate == pytest.approx(flops / (1e9 * hardware.cores()))
    other = prepare(
        Request(str(scene), None, model=str(bundle), options=PredictOptions(engine="tensorflow"))
    ).plan
    assert plan.promised_bytes < other.promised_bytes - (1 << 30)
    needs = shared_requirements([request])
    assert needs.libraries == ("jinja2",)
    assert needs.on_gpu
    assert "jinja2" in versions()


def test_a_registered_engine_predicts(
    toy: EngineInfo, bundle: Path, scene: Path, tmp_path: Path
) -> None:
    report = predict_one(Request(str(scene), str(tmp_path / "map.tif"), model=str(bundle)))
    assert (report["status"], report["plan"]["engine"]) == ("complete", "toy")
    expected = address_raster((150, 133), 3, "uint16")[0] % 3
    with rasterio.open(tmp_path / "map.tif") as file:
        np.testing.assert_array_equal(file.read(1), expected)


def test_a_library_that_this_host_lacks_is_named(
    toy: EngineInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.keras").write_bytes(b"weights")
    lacking = dataclasses.replace(INFO, predictor=_lacking, install={"toylib": "pip install toys"})
    monkeypatch.setitem(ENGINES, "toy", lacking)
    with pytest.raises(PlanError, match=r"toylib is not installed on .*: pip install toys, or use"):
        load_predictor(tmp_path / "model.keras", engine="toy")


def _lacking(*weights: object, **how: object) -> None:
    raise ModuleNotFoundError("No module named 'toylib'", name="toylib")


def test_nothing_is_known_of_what_is_no_engine() -> None:
    info = info_of("function")
    assert (info.memory_bytes, info.activation_share, info.needs()) == (0, 1.0, ())
    assert math.isclose(
        costs.estimate_seconds(
            "function", "float32", flops=3e10 * hardware.cores(), voxels=1, workers=1
        ),
        1,
    )


def test_names_of_engines_are_spelled_by_their_files() -> None:
    spelling = {str(p.relative_to(PACKAGE)): p for p in PACKAGE.rglob("*.py") if _spells(p)}
    others = {name for name in spelling if not name.startswith("nn/engines/")}
    assert others == set(ELSEWHERE)


def _spells(path: Path) -> bool:
    """Whether a text in the code is the name of an engine, or says ``--engine`` and one."""
    names = set(ENGINES)
    texts = (n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant))
    words = [text.replace(":", " ").split() for text in texts if isinstance(text, str)]
    return any(
        (len(text) == 1 and text[0] in names)
        or any(a == "--engine" and b in names for a, b in itertools.pairwise(text))
        for text in words
    )
