"""A TorchScript or ``torch.export`` file as ``model.onnx`` in the working folder. Runs in a Python with torch.

Arguments: the file, its kind, the shape of the input as ``1,3,256,256``. A pickled checkpoint is opened with
``weights_only``: it runs no code, and what it holds is told.
"""

import re
import warnings
from pathlib import Path
from typing import Any

import torch

OPSET = 18
HOW = (
    "a bundle needs the network too, so export it with torch.jit.trace(model, patch).save('model.pt'), "
    "torch.export.save or torch.onnx.export, and import that"
)


def main(arguments: list) -> dict:
    path, kind, shape = arguments
    if kind == "pickle":
        raise ValueError(_why_no_network(path))
    patch = torch.rand(*map(int, shape.split(",")))
    if kind == "torchscript":
        model = torch.jit.load(path, map_location="cpu").eval().float()
        return to_onnx(model, patch, Path("model.onnx"))
    program = torch.export.load(path)
    program._guards_code = []  # source code: nothing that comes in a file is evaluated
    return exported_to_onnx(program, Path("model.onnx"))


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
    return {"torch": torch.__version__, "exporter": "torch.export"}


def _why_no_network(path: str) -> str:
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"it calls {named[1]}" if named else f"{type(error).__name__}"
        return f"{path} is no TorchScript, no .pt2 and no pickle of weights alone ({what}), so nothing in it was run: {HOW}"
    count = len(held) if hasattr(held, "__len__") else 1
    return f"{path} holds weights ({count} entries) and no network: {HOW}"
