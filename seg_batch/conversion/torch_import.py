"""A bundle from a file of PyTorch, by way of ONNX: converted in another process, by a Python with torch."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from seg_batch.config.card import ModelCard
from seg_batch.conversion import onnx_import
from seg_batch.conversion.declared import Fields
from seg_batch.core import files
from seg_batch.core.errors import InputError
from seg_batch.nn.torch_conversion.process import convert
from seg_batch.nn.torch_conversion.safe_archive import HOW, copy_safe, kind_of

ENDINGS = (".pt", ".pt2", ".pth", ".ts", ".torchscript", ".ckpt", ".bin", ".pkl", ".safetensors")


def into(
    folder: Path, source: Path, fields: Fields, python: str | None
) -> tuple[ModelCard, tuple[str, ...]]:
    """Write the network of ``source`` and its card into ``folder``; the card, and the choices made.

    ``python``: the interpreter with torch. Raises InputError for what holds no network, or can't be converted.
    """
    kind = kind_of(source)
    if re.fullmatch(r"checkpoint_(?:final|best|latest)\.pth", source.name):
        raise InputError(
            f"{source} is a checkpoint of nnU-Net, whose network is in its plans: import the results folder, with plans.json and "
            "dataset.json"
        )
    if any(fields.get("tensors", {}).get(name) for name in ("input", "output")):
        raise InputError(
            f"{source} has no names for its tensors, so that --output-name chooses none: leave it out, or export to ONNX the one "
            "output that is meant"
        )
    layout = fields.get("tensors", {}).get("layout", "channels_first")
    sides, channels = fields.get("patch") or (1, 1), len(fields["channels"])
    shape = (1, channels, *sides) if layout == "channels_first" else (1, *sides, channels)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as scratch:
        checked = source.resolve()
        if kind != "pickle":
            checked = Path(scratch, "checked.pt2" if kind == "exported" else "checked.pt").resolve()
            copy_safe(source, kind, checked)
        if kind == "torchscript" and fields.get("patch") is None:
            raise InputError(
                f"{source} is converted for patches of one shape, and none is said: give --patch 256,256, as it was trained"
            )
        order = [str(checked), kind, ",".join(map(str, shape)), str(source), HOW]
        made = convert("torchscript_script", order, Path(scratch), python=python)
        said = {**fields, "tensors": {"layout": layout}, "origin": _origin(source, fields, made)}
        place = Path(scratch, "model.onnx")
        with _named_as_given(source, place):
            card, notes = onnx_import.into(folder, [place], said)
    return card, (f"converted from {source.name} by torch {made['torch']}", *notes)


@contextmanager
def _named_as_given(source: Path, place: Path) -> Iterator[None]:
    """What is wrong with the converted file at ``place`` is told of the file that people know; InputError."""
    try:
        yield
    except InputError as error:
        raise InputError(
            error.message.replace(str(place), str(source)).replace(
                ", or export it with open sides", ""
            )
        ) from None


def _origin(source: Path, fields: Fields, made: dict[str, Any]) -> dict[str, Any]:
    own = {"file": source.name, "sha256": files.sha256(source), **made}
    return {**fields.get("origin", {}), "pytorch": own}
