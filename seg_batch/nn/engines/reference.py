"""The engine that others are compared with: the one that a format was made for, in float32."""

from seg_batch.core.errors import PlanError
from seg_batch.core.registry.engines import AUTO
from seg_batch.nn.engines.choice import choose

_MADE_FOR = {"onnx": ("onnxruntime",), "keras": ("tensorflow", "keras")}


def reference(form: str) -> str:
    """The engine for a format of weights that is here; PlanError where none is."""
    for engine in _MADE_FOR.get(form, ()):
        try:
            return choose(engine, gpus=0, precision="float32", formats=(form,)).engine
        except PlanError:
            continue
    return choose(AUTO, gpus=0, precision="float32", formats=(form,)).engine
