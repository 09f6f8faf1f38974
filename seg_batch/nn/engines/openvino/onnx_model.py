"""An ONNX file as OpenVINO's model of patches: channels last, one input, one output, float32.

The file is kept as it came; what differs in it is put around its graph here. Its numbers are those of the bytes
whose hash was compared: external data would be other files, which no hash in a card covers.
"""

from typing import Any

from seg_batch.config.card_parts.network import Network, Tensors
from seg_batch.core.errors import BundleError
from seg_batch.core.text import without_colours
from seg_batch.nn.engines.openvino.library import openvino

LAYOUTS = {4: ("NCHW", "NHWC"), 5: ("NCDHW", "NDHWC")}
FLOATS = ("f32", "f16", "f64", "bf16")


def parsed_onnx(core: Any, data: bytes, where: str, network: Network) -> Any:
    """The model in `data`, float32 ``(B, *s, C)`` to ``(B, *s, K)``, with the activation that `network` asks for.

    Batch and sides stay as the file has them, open or not. BundleError, in one line, where the file is no ONNX, has operators that OpenVINO lacks,
    external data, or not the tensors that `network` names.
    """
    try:
        return laid_out(core.read_model(data), where, network)
    except RuntimeError as error:
        words = " ".join(without_colours(str(error)).split())[-300:]
        raise BundleError(
            f"{where} is no ONNX model that OpenVINO can read ({words}); get the bundle again, or use "
            "--engine onnxruntime"
        ) from error


def laid_out(model: Any, where: str, network: Network) -> Any:
    """`model`, as read from an ONNX file, with channels last and one output."""
    tensors = network.tensors or Tensors()
    (image, scores) = _chosen(model, where, tensors)
    end = _activated(scores.node.input_value(0), tensors, network)
    result = openvino.opset8.result(end)
    model = openvino.Model([result], [image.node], "network")
    _open_channels(model, tensors)
    steps = openvino.preprocess.PrePostProcessor(model)
    inner, last = LAYOUTS[len(image.partial_shape)]
    inner = last if tensors.layout == "channels_last" else inner
    f32 = openvino.Type.f32
    for tensor in (steps.input(), steps.output()):
        tensor.tensor().set_element_type(f32).set_layout(openvino.Layout(last))
        tensor.model().set_layout(openvino.Layout(inner))
    return steps.build()


def _chosen(model: Any, where: str, tensors: Tensors) -> tuple[Any, Any]:
    """The input and the output that are used."""
    if len(model.inputs) != 1:
        raise BundleError(f"{where} has {len(model.inputs)} inputs, a network of patches has one")
    (image,) = model.inputs
    outputs = [o for o in model.outputs if not tensors.output or tensors.output in o.get_names()]
    names = sorted(name for o in model.outputs for name in o.get_names())
    if len(outputs) != 1 or not (not tensors.input or tensors.input in image.get_names()):
        raise BundleError(
            f"{where} has the input {', '.join(image.get_names())} and the outputs {', '.join(names)}: its card "
            f"names {tensors.input or 'no input'} and {tensors.output or 'no output'}"
        )
    for end in (image, outputs[0]):
        rank = end.partial_shape.rank
        known = rank.is_static and rank.get_length() in LAYOUTS
        if not known or end.element_type.to_string() not in FLOATS:
            raise BundleError(
                f"{where} has a tensor {end.partial_shape} of {end.element_type.to_string()}: a network of patches "
                "takes and gives floats of rank 4 or 5"
            )
    if len(image.partial_shape) != len(outputs[0].partial_shape):
        raise BundleError(
            f"{where} takes {image.partial_shape} and gives {outputs[0].partial_shape}, of another rank: it labels no "
            "voxels"
        )
    return image, outputs[0]


def _activated(scores: Any, tensors: Tensors, network: Network) -> Any:
    """`scores` with the activation of `output.finished`, in the graph: in NumPy it takes one core."""
    output = network.output
    if output.gives == output.blend:
        return scores
    axis = 1 if tensors.layout == "channels_first" else len(scores.partial_shape) - 1
    if output.classes == "exclusive" and scores.partial_shape[axis] != 1:
        return openvino.opset8.softmax(scores, axis).output(0)
    return openvino.opset8.sigmoid(scores).output(0)


def _open_channels(model: Any, tensors: Tensors) -> None:
    """Channels that the file leaves open, from the first convolution's weights."""
    (image,) = model.get_parameters()
    shape = image.partial_shape
    axis = 1 if tensors.layout == "channels_first" else len(shape) - 1
    if shape[axis].is_static:
        return
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Convolution":
            weights = node.input_value(1).partial_shape
            if weights[1].is_static:
                shape[axis] = weights[1].get_length()
                model.reshape(shape)
            return
