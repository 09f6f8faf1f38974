"""Which part of a network keeps float32 where the rest computes in bfloat16.

bfloat16 has 8 bits of mantissa. Rounded to them, the pixels, the weights that see them and the logits
change a large part of the labels that change at all, and are a small part of the work: the first
convolutions up to the first fork (at most `STEM`) and the last one, up to the probabilities, stay
float32. On patches of the packaged scene other labels than float32's are 0.14 % where all is bfloat16,
0.13 % with the last convolution kept, 0.10 % with the first one, too, 0.08 % with the second; of the
time they take 3 %, 9 % and 8 % (base 32). OpenVINO has no precision per layer, so the network is cut.
Parts hand on arrays with the channels last, as its convolutions hold them: other ways round each end
would be moved, a tenth of the time.
"""

from typing import Any

import numpy as np

from seg_batch.nn.engines.openvino_import import openvino

STEM = 1
CONVOLUTIONS = frozenset(
    (
        "Convolution",
        "ConvolutionBackpropData",
        "GroupConvolution",
        "GroupConvolutionBackpropData",
        "MatMul",
    )
)

type Part = tuple[Any, str]


def parts(model: Any, precision: str) -> list[Part]:
    """`model` (every size known) as models to be run one after the other, each with its precision.

    ``f32`` or ``bf16``. A quantised network stays whole, as does what can't be cut. Changes `model`.
    """
    if precision == "float32":
        return [(model, "f32")]
    if any(node.get_type_name() == "FakeQuantize" for node in model.get_ops()):
        return [(model, "bf16")]
    _fold(model)
    (image,), results = model.get_parameters(), model.get_results()
    stem = _after_stem(image.output(0))
    if stem is None:
        return [(model, "f32")]
    found: list[Part] = []
    if stem.get_node() is not image:
        readers = list(stem.get_target_inputs())
        found.append((openvino.Model([_result(stem)], [image]), "f32"))
        image = _cut(stem, readers)
    head = _head(results[0])
    if head is None:
        return [*found, (openvino.Model(results, [image]), "bf16")]
    features = head.get_source_output()
    last = _cut(features, [head])
    found.append((openvino.Model([_result(features)], [image]), "bf16"))
    return [*found, (openvino.Model(results, [last]), "f32")]


def _fold(model: Any) -> None:
    """Compute what only depends on shapes, so that it ties no part to another."""
    manager = openvino.passes.Manager()
    manager.register_pass(openvino.passes.ConstantFolding())
    manager.run_passes(model)


def _after_stem(image: Any) -> Any | None:
    """The tensor after the first convolutions; None where nothing else follows."""
    tensor, convolutions = image, 0
    while len(readers := list(tensor.get_target_inputs())) == 1:
        node = readers[0].get_node()
        if _is_result(node):
            return None
        convolutions += node.get_type_name() in CONVOLUTIONS
        if convolutions > STEM or len(_inputs(node)) != 1:
            break
        tensor = node.output(0)
    return tensor


def _head(result: Any) -> Any | None:
    """Where the last convolution reads; None where more than one tensor leads to the result."""
    node = result
    while len(inputs := _inputs(node)) == 1:
        if node.get_type_name() in CONVOLUTIONS:
            return inputs[0]
        node = inputs[0].get_source_output().get_node()
    return None


def _inputs(node: Any) -> list[Any]:
    """What is computed, unlike weights and axes."""
    found = [node.input(i) for i in range(node.get_input_size())]
    return [i for i in found if i.get_source_output().get_node().get_type_name() != "Constant"]


def _result(tensor: Any) -> Any:
    """The end of a part, channels last: as the convolutions of OpenVINO have them, so none are moved."""
    return openvino.opset8.result(_transposed(tensor, [0, *range(2, _rank(tensor)), 1]))


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


def _rank(tensor: Any) -> int:
    return len(tensor.get_shape())


def _is_result(node: Any) -> bool:
    return bool(node.get_type_name() == "Result")
