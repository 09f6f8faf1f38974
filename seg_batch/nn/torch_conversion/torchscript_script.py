"""A TorchScript or ``torch.export`` file as ``model.onnx`` in the working folder. Runs in a Python with torch.

Arguments: the file, its kind, the shape of the input as ``1,3,256,256``. A pickled checkpoint is opened with
``weights_only``: it runs no code, and what it holds is told.
"""

import warnings
from pathlib import Path
from typing import Any

import torch

OPSET = 18


def main(arguments: list) -> dict:
    path, kind, shape = arguments
    if kind == "pickle":
        raise ValueError(_why_no_network(path))
    patch = torch.rand(*map(int, shape.split(",")))
    if kind == "torchscript":
        model = torch.jit.load(path, map_location="cpu").eval().float()
    else:
        model = torch.export.load(path).module()
    return to_onnx(model, patch, Path("model.onnx"))


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


def _why_no_network(path: str) -> str:
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return f"{path} is a pickle that is not of weights alone, so it was not opened ({reason[:200]})"
    count = len(held) if hasattr(held, "__len__") else 1
    return f"{path} holds {count} weights and no network"
