"""An ONNX file with all of its numbers in it."""

from __future__ import annotations

import shutil
from pathlib import Path

from seg_batch.core import units
from seg_batch.core.errors import InputError
from seg_batch.nn.analysis.onnx.describe import LARGEST, OnnxDescription, library


def write_whole(model: OnnxDescription, place: Path) -> None:
    """Write the file to ``place``: as it is, or with its external data in it. InputError where that is too much for one
    file."""
    if not model.external:
        shutil.copyfile(model.path, place)
        return
    size = model.path.stat().st_size + sum(path.stat().st_size for path in model.external)
    if size > LARGEST:
        raise InputError(
            f"{model.path} has {units.show_bytes(size)} with its external data, more than one ONNX file holds "
            f"({units.show_bytes(LARGEST)}): export it in float16"
        )
    onnx = library()
    try:
        whole = onnx.load(str(model.path))
    except Exception as error:  # of protobuf, of the checker or of a file: each version has its own
        words = " ".join(str(error).split())[:120]
        raise InputError(
            f"{model.path} has external data that can't be read ({words}): save the model as one file"
        ) from None
    onnx.save(whole, str(place))
