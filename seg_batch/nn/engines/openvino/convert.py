"""A Keras model as OpenVINO's own files, made in a process that ends: ``python -m`` this module.

TensorFlow takes 700 MiB and seconds to start; a process that only predicts never loads it, and
needs the same memory in its first run as in later ones.

The batch normalisations are folded, the model is traced with its weights as constants,
and OpenVINO reads the graph. ``openvino.convert_model`` and ``model.export(format="openvino")``,
which calls it, fail on Python 3.13 (they delete a local variable in ``exec``, OpenVINO 2026.4), and
are slower. The sides of a patch stay open: one file serves every patch and batch, and set to a
shape it computes the same bits as one made for that shape.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.core.errors import BundleError
from seg_batch.nn import own_process
from seg_batch.nn.engines.openvino.library import openvino, openvino_core


def convert(weights: Path, xml: Path) -> None:
    """Write ``xml`` and the ``.bin`` beside it from a ``.keras`` file, in a process of its own.

    BundleError if the file is no model, or one that OpenVINO does not understand.
    """
    done = own_process.run(
        __name__,
        *(str(weights), str(xml)),
        KERAS_BACKEND="tensorflow",
        CUDA_VISIBLE_DEVICES="-1",
        TF_CPP_MIN_LOG_LEVEL="2",
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        # The operation that OpenVINO lacks, else the last line.
        reason = next((line.strip() for line in lines if "No conversion rule" in line), lines[-1])
        raise BundleError(
            f"{weights} can't be converted for OpenVINO ({reason}); use --engine tensorflow"
        )


def to_openvino(model: Any) -> Any:
    """A Keras model (one input, one output) as OpenVINO's, with the same open sides."""
    from seg_batch.nn.analysis.batchnorm_folding import fold_batchnorm
    from seg_batch.nn.backend import keras, tf

    folded = _with_open_sides(fold_batchnorm(model))
    numbers = [(variable, np.asarray(variable)) for variable in folded.variables]

    def forward(x: Any) -> Any:
        constants = [(variable, tf.constant(value)) for variable, value in numbers]
        with keras.StatelessScope(state_mapping=constants):
            return tf.cast(folded(x, training=False), tf.float32)  # mixed models may end in float16

    signature = [tf.TensorSpec(model.input_shape, tf.float32)]
    traced = tf.function(forward, input_signature=signature, autograph=False)
    graph = traced.get_concrete_function().graph
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "graph.pb"
        file.write_bytes(graph.as_graph_def().SerializeToString())
        read = openvino_core().read_model(file)
    # A graph names no outputs, so each tensor that no node reads became one (SiLU leaves such).
    result = read.output(graph.outputs[0].name).node
    return openvino.Model([result], read.get_parameters(), read.get_friendly_name())


def _with_open_sides(model: Any) -> Any:
    """The model with layers that can be traced for any sides: Keras' own bilinear enlarging can't
    (its `resize` compares sides with 0, which a graph can't)."""
    from seg_batch.nn.analysis.graph import inner
    from seg_batch.nn.backend import keras, tf

    class Enlarged(keras.layers.UpSampling2D):
        def call(self, inputs: Any) -> Any:
            sides = tf.shape(inputs)[1:3] * self.size
            return tf.image.resize(inputs, sides, method=self.interpolation)

    def copy(layer: Any) -> Any:
        if isinstance(layer, keras.layers.UpSampling2D) and layer.interpolation == "bilinear":
            return Enlarged.from_config(layer.get_config())
        return _with_open_sides(layer) if inner(layer) else layer

    return keras.models.clone_model(model, clone_function=copy)


def _write(weights: str, xml: str) -> None:
    from seg_batch.nn.loading import load_model

    openvino.save_model(to_openvino(load_model(weights)), xml, compress_to_fp16=False)


if __name__ == "__main__":
    sys.exit(own_process.answer(_write, *sys.argv[1:]))
