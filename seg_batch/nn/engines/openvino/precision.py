"""The parts of a network that keep float32 where the rest computes in bfloat16.

bfloat16 has 8 bits of mantissa. Rounding the pixels, the weights that multiply them and the logits
causes a large part of all changed labels, and these layers are a small part of the work: the first
convolutions up to the first fork (at most `STEM`) and the last one, up to the probabilities, stay
float32. On patches of the packaged scene other labels than float32's are 0.14 % where all is bfloat16,
0.13 % with the last convolution kept, 0.10 % with the first one, too, 0.08 % with the second; of the
time they take 3 %, 9 % and 8 % (base 32). OpenVINO has no precision per layer, so the network is cut.
Parts hand on arrays with the channels last, as OpenVINO's convolutions hold them: with the channels first
each end would be rearranged, which takes a tenth of the time.
"""

from typing import Any

import numpy as np

from seg_batch.nn.engines.openvino.library import openvino

STEM = 1
CONVOLUTIONS = {
    *("Convolution", "ConvolutionBackpropData"),
    *("GroupConvolution", "GroupConvolutionBackpropData", "MatMul"),
}


def split_by_precision(model: Any, precision: str) -> list[tuple[Any, str]]:
    """`model` (every size known) as models to be run one after the other, each with its precision.

    ``f32`` or ``bf16``. A network that is quantised or can't be cut stays whole. Changes `model`.
    """
    if precision == "float32":
        return [(model, "f32")]
    if any(node.get_type_name() == "FakeQuantize" for node in model.get_ops()):
        return [(model, "bf16")]
    # Fold what depends on shapes alone, and would tie the parts.
    manager = openvino.passes.Manager()
    manager.register_pass(openvino.passes.ConstantFolding())
    manager.run_passes(model)
    (image,), results = model.get_parameters(), model.get_results()
    stem = _after_stem(image.output(0))
    if stem is None:
        return [(model, "f32")]
    first: list[tuple[Any, str]] = []
    if stem.get_node() is not image:
        readers = list(stem.get_target_inputs())
        first = [(openvino.Model([_result(stem)], [image]), "f32")]
        image = _cut(stem, readers)
    head = _head(results[0])
    if head is None:
        return [*first, (openvino.Model(results, [image]), "bf16")]
    features = head.get_source_output()
    last = _cut(features, [head])
    middle = openvino.Model([_result(features)], [image])
    return [*first, (middle, "bf16"), (openvino.Model(results, [last]), "f32")]


def _after_stem(image: Any) -> Any | None:
    """The tensor after the first convolutions; None where nothing else follows."""
    tensor, convolutions = image, 0
    while len(readers := list(tensor.get_target_inputs())) == 1:
        node = readers[0].get_node()
        if node.get_type_name() == "Result":
            return None
        convolutions += node.get_type_name() in CONVOLUTIONS
        if convolutions > STEM or len(_inputs(node)) != 1:
            break
        tensor = node.output(0)
    return tensor


def _head(result: Any) -> Any | None:
    """The input of the last convolution; None where more than one tensor leads to the result."""
    node = result
    while len(inputs := _inputs(node)) == 1:
        if node.get_type_name() in CONVOLUTIONS:
            return inputs[0]
        node = inputs[0].get_source_output().get_node()
    return None


def _inputs(node: Any) -> list[Any]:
    """The inputs that are computed, unlike weights and axes."""
    inputs = [node.input(i) for i in range(node.get_input_size())]
    return [i for i in inputs if i.get_source_output().get_node().get_type_name() != "Constant"]


def _result(tensor: Any) -> Any:
    """The end of a part, channels last."""
    rank = len(tensor.get_shape())
    return openvino.opset8.result(_transposed(tensor, [0, *range(2, rank), 1]))


def _cut(tensor: Any, readers: list[Any]) -> Any:
    """A parameter, channels last, in the place of `tensor` for these readers."""
    sides = list(tensor.get_shape())
    shape = [sides[0], *sides[2:], sides[1]]
    parameter = openvino.opset8.parameter(shape, tensor.get_element_type())
    last = len(shape) - 1
    image = _transposed(parameter.output(0), [0, last, *range(1, last)])
    for reader in readers:
        reader.replace_source_output(image)
    return parameter


def _transposed(tensor: Any, axes: list[int]) -> Any:
    return openvino.opset8.transpose(tensor, np.array(axes)).output(0)
