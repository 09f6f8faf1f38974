"""A TorchScript or ``torch.export`` file as ``model.onnx`` in the working folder. Runs in a Python with torch.

Arguments: the file, its kind, the shape of the input as ``1,3,256,256``, and its name and what to do instead, for errors. A
pickled checkpoint is opened with ``weights_only``: it runs no code, and what it holds is told.
"""

import re
import warnings
from pathlib import Path
from typing import Any

import torch

OPSET = 18
# Kinds of nodes that reach files or other machines, or are known only when they run.
REACHES = re.compile(
    r"aten::(?:save|from_file)|prim::(?:rpc_\w+|\w*PythonOp|Call(?:Method|Function))"
)


def main(arguments: list) -> dict:
    path, kind, shape, name, how = arguments
    if kind == "pickle":
        raise ValueError(_why_no_network(path, name, how))
    patch = torch.rand(*map(int, shape.split(",")))
    if kind == "torchscript":
        model = torch.jit.load(path, map_location="cpu").eval().float()
        require_arithmetic(model.inlined_graph, name)
        require_fitting(model, patch, name)
        return to_onnx(model, patch, Path("model.onnx"))
    program = torch.export.load(path)
    program._guards_code = []  # source code: nothing that comes in a file is evaluated
    return exported_to_onnx(program, Path("model.onnx"))


def require_arithmetic(graph: Any, name: str) -> None:
    """ValueError where a node of the graph is more than an operator on tensors; nothing has run yet."""
    blocks = [graph]
    while blocks:
        for node in blocks.pop().nodes():
            kind = node.kind()
            if (
                not kind.startswith(("aten::", "prim::"))
                or REACHES.fullmatch(kind)
                or any("torch.classes" in str(value.type()) for value in node.outputs())
            ):
                raise ValueError(
                    f"{name} is not run: it calls {kind}, and a file of somebody else's may do no more than arithmetic; "
                    "export it to ONNX yourself if you trust it"
                )
            blocks += node.blocks()


def require_fitting(model: Any, patch: Any, name: str) -> None:
    """ValueError, with what torch says, where the network does not take the patch."""
    try:
        with torch.no_grad():
            model(patch)
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [
            type(error).__name__
        ]
        reason = next(
            (line for line in reversed(lines) if re.match(r"[\w.]*Error:", line)), lines[-1]
        )
        raise ValueError(
            f"{name} can't take a patch of {tuple(patch.shape)} ({reason[:300]}): check --channels, --patch and --layout"
        ) from None


def to_onnx(model: Any, patch: Any, path: Path) -> dict:
    """Writes ``path`` for patches of this shape, one file; says how it was made."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (patch,),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=["input"],
            output_names=["output"],
        )
    return {"torch": torch.__version__, "exporter": "torchscript", "opset": OPSET}


def exported_to_onnx(program: Any, path: Path) -> dict:
    """Writes ``path`` for patches of the shape that the program was exported for."""
    torch.onnx.export(
        program.run_decompositions(),
        f=str(path),
        dynamo=True,
        external_data=False,
        input_names=["input"],
        output_names=["output"],
    )
    forget_sources(path)
    return {"torch": torch.__version__, "exporter": "torch.export"}


def forget_sources(path: Path) -> None:
    """Takes notes out of an ONNX file: torch writes where in whose folders each operator was called."""
    import onnx

    model = onnx.load(path)
    parts = [model, model.graph, *model.functions]
    while parts:
        part = parts.pop()
        for note in ("doc_string", "metadata_props"):
            if note in part.DESCRIPTOR.fields_by_name:
                part.ClearField(note)
        for field, value in part.ListFields():
            if field.message_type is not None and not isinstance(part, onnx.TensorProto):
                parts += [value] if hasattr(value, "ListFields") else list(value)
    onnx.save(model, path)


def _why_no_network(path: str, name: str, how: str) -> str:
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"it calls {named[1]}" if named else f"{type(error).__name__}"
        return f"{name} is no TorchScript, no .pt2 and no pickle of weights alone ({what}), so nothing in it was run: {how}"
    count = len(held) if hasattr(held, "__len__") else 1
    return f"{name} holds weights ({count} entries) and no network: {how}"
