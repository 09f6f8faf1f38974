"""A bundle from a file of PyTorch, by way of ONNX: converted in another process, by a Python with torch."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from seg_batch.config.card import ModelCard
from seg_batch.conversion import onnx_import
from seg_batch.conversion.declared import Fields
from seg_batch.core import files
from seg_batch.core.errors import InputError
from seg_batch.nn.torch_conversion.process import convert
from seg_batch.nn.torch_conversion.safe_archive import kind_of, require_safe

ENDINGS = (".pt", ".pt2", ".pth", ".ts", ".torchscript", ".ckpt", ".bin", ".pkl", ".safetensors")


def into(
    folder: Path, source: Path, fields: Fields, python: str | None
) -> tuple[ModelCard, tuple[str, ...]]:
    """Write the network of ``source`` and its card into ``folder``; the card, and the choices made.

    ``python``: the interpreter with torch. Raises InputError for what holds no network, or can't be converted.
    """
    kind = kind_of(source)
    require_safe(source, kind)
    if kind == "torchscript" and fields.get("patch") is None:
        raise InputError(
            f"{source} is converted for patches of one shape, and none is said: give --patch 256,256, as it was trained"
        )
    layout = fields.get("tensors", {}).get("layout", "channels_first")
    sides, channels = fields.get("patch") or (1, 1), len(fields["channels"])
    shape = (1, channels, *sides) if layout == "channels_first" else (1, *sides, channels)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as scratch:
        order = [str(source.resolve()), kind, ",".join(map(str, shape))]
        made = convert("torchscript_script", order, Path(scratch), python=python)
        said = {**fields, "tensors": {"layout": layout}, "origin": _origin(source, fields, made)}
        card, notes = onnx_import.into(folder, [Path(scratch, "model.onnx")], said)
    return card, (f"converted from {source.name} by torch {made['torch']}", *notes)


def _origin(source: Path, fields: Fields, made: dict[str, Any]) -> dict[str, Any]:
    own = {"file": source.name, "sha256": files.sha256(source), **made}
    return {**fields.get("origin", {}), "pytorch": own}
