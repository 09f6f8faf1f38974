"""Which engine a run takes: what is there decides, and what can't be is said in one line."""

import subprocess
import sys
from dataclasses import replace

import pytest

from seg_batch.core import hardware
from seg_batch.core.errors import PlanError
from seg_batch.core.registry.engines import ENGINES
from seg_batch.nn.engines import choice
from seg_batch.nn.engines.choice import Choice, choose
from seg_batch.nn.engines.onnxruntime import INFO


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Libraries that are installed, and no word from the environment."""
    installed = {"openvino", "tensorflow"}
    monkeypatch.setattr(choice, "find_spec", lambda name: name if name in installed else None)
    monkeypatch.setattr(hardware, "has_bfloat16", lambda: True)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    return installed


def test_a_cpu_takes_openvino_and_a_gpu_tensorflow() -> None:
    assert choose("auto", gpus=0) == Choice("openvino", "mixed", "the fastest on a CPU")
    assert choose("auto", gpus=2) == Choice("tensorflow", "mixed", "there are 2 GPUs")


def test_without_openvino_tensorflow_says_what_to_install(here: set[str]) -> None:
    here.remove("openvino")
    found = choose("auto", gpus=0, precision="float32")
    assert (found.engine, found.precision) == ("tensorflow", "float32")
    assert "pip install 'segbatch[cpu]'" in found.why
    with pytest.raises(PlanError, match=r"pip install 'segbatch\[cpu\]'"):
        choose("openvino", gpus=0)


def test_the_precision_is_what_the_cpu_computes_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "has_bfloat16", lambda: False)
    assert choose("auto", gpus=0).precision == "float32"
    assert choose("openvino", gpus=1).precision == "float32"  # the GPU is not its own


def test_keras_backend_is_followed(here: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with pytest.raises(PlanError, match="pip install jax"):
        choose("auto", gpus=0)
    here.add("jax")
    assert choose("auto", gpus=0) == Choice("keras", "float32", "KERAS_BACKEND is jax")
    assert choose("openvino", gpus=0).engine == "openvino"
    with pytest.raises(PlanError, match="KERAS_BACKEND is jax: unset it"):
        choose("tensorflow", gpus=0)


def test_what_can_not_be_is_refused() -> None:
    with pytest.raises(PlanError, match="'fast' is unknown: use one of auto, openvino"):
        choose("fast", gpus=0)
    with pytest.raises(PlanError, match="jax or torch and KERAS_BACKEND is tensorflow"):
        choose("keras", gpus=0)
    with pytest.raises(PlanError, match="can't run an OpenVINO model"):
        choose("tensorflow", gpus=0, formats=["openvino"])
    assert choose("auto", gpus=1, formats=["openvino"]).engine == "openvino"


def test_onnx_goes_through_the_same_choice(here: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    onnx = {"formats": ["onnx"]}
    assert choose("auto", gpus=0, **onnx) == Choice("openvino", "mixed", "the fastest on a CPU")
    of_gpu = choose("auto", gpus=1, **onnx)
    hint = "the fastest on a CPU; for the GPU: pip install 'segbatch[onnx-gpu]'"
    assert (of_gpu.engine, of_gpu.why) == ("openvino", hint)
    with pytest.raises(
        PlanError, match=r"onnxruntime is not installed: pip install 'segbatch\[onnx"
    ):
        choose("onnxruntime", gpus=0, **onnx)
    here.add("onnxruntime")
    monkeypatch.setitem(ENGINES, "onnxruntime", replace(INFO, uses_gpu=True, gpu_install=""))
    assert choose("auto", gpus=1, **onnx) == Choice("onnxruntime", "mixed", "there is a GPU")
    assert choose("auto", gpus=0, **onnx).engine == "openvino"
    here.remove("openvino")
    alone = choose("auto", gpus=0, **onnx)
    assert (alone.engine, alone.precision) == ("onnxruntime", "float32")
    assert "is not installed: pip install 'segbatch[cpu]'" in alone.why
    here.remove("onnxruntime")
    with pytest.raises(PlanError, match=r"openvino is not installed: pip install 'segbatch\[cpu"):
        choose("auto", gpus=0, **onnx)


def test_what_can_not_run_onnx_or_its_precision_is_refused(here: set[str]) -> None:
    here.add("onnxruntime")
    with pytest.raises(
        PlanError, match="tensorflow can't run an ONNX model: use --engine openvino"
    ):
        choose("tensorflow", gpus=1, formats=["onnx"])
    with pytest.raises(PlanError, match="onnxruntime can't run a Keras model: use --engine"):
        choose("onnxruntime", gpus=0, formats=["keras"])
    with pytest.raises(PlanError, match="float32 on a CPU: use --precision float32"):
        choose("onnxruntime", gpus=0, precision="mixed", formats=["onnx"])
    both = choose("auto", gpus=1, formats=["onnx", "keras"])
    assert (both.engine, both.why) == (
        "openvino",
        "it alone runs both a Keras model and an ONNX model",
    )


@pytest.mark.full
def test_choosing_imports_no_engine() -> None:
    code = (
        "import sys; from seg_batch.nn.engines import choose; choose('auto', gpus=0); "
        "print([m for m in ('openvino', 'tensorflow', 'keras', 'jax') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
