"""A bundle as it lies in a folder, checked without running anything of it, and before anybody uses it."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from seg_batch.core.errors import BundleError, InputError, SegbatchError
from seg_batch.core.text import visible
from seg_batch.core.units import show_bytes
from seg_batch.inference.bundles import Model, model_in, require_intact
from seg_batch.io.archive import Bounded

_LONGEST = 600  # of a message: a card may have any words
_MOST_INSIDE, _MOST_PACKED = 1 << 30, 20  # bytes, and times the size of the file


def checked(folder: Path, where: str) -> Model:
    """The bundle in ``folder``, which is told as ``where``; BundleError in one line if its card is unsound, a network
    is missing or not the one of the card, or could run code."""
    try:
        model = model_in(folder)
        for part in model.all:
            require_intact(part)
            _STRUCTURE[part.card.format](part.weights, part.card.weights_sha256)
        return model
    except SegbatchError as error:
        said = error.message.replace(f"{folder}/", f"{where}: ").replace(str(folder), where)
        raise BundleError(visible(said[:_LONGEST])) from None
    except RecursionError:
        raise BundleError(f"{where} is nested too deeply to be a bundle: get it again") from None


def _keras(path: Path, sha256: str) -> None:
    from seg_batch.nn.safe_config import require_safe_layers

    _require_small_inside(path)
    require_safe_layers(path, lambda name: False)


def _require_small_inside(path: Path) -> None:
    """InputError where a Keras file, which is a zip of numbers, would unpack to far more than it is."""
    try:
        with path.open("rb") as file, zipfile.ZipFile(Bounded(file)) as packed:  # type: ignore[arg-type]
            size = sum(info.file_size for info in packed.infolist())
    except (ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is no Keras model ({error}): get it again") from None
    if size > max(_MOST_INSIDE, _MOST_PACKED * path.stat().st_size):
        raise InputError(
            f"{path} unpacks to {show_bytes(size)}, far more than numbers do: get it again"
        )


def _onnx(path: Path, sha256: str) -> None:
    """Whether engines would take it; and whether it needs operators of others, where the library ``onnx`` is here."""
    from seg_batch.nn.engines.onnx_file import read_whole

    read_whole(path, sha256)
    if find_spec("onnx") is not None:
        from seg_batch.nn.analysis.onnx.describe import describe

        describe(path)


def _openvino(path: Path, sha256: str) -> None:
    with path.open("rb") as file:
        if b"<net" not in file.read(4096):
            raise InputError(f"{path} is no OpenVINO model: export it again")


_STRUCTURE: dict[str, Callable[[Path, str], None]] = {
    "keras": _keras,
    "onnx": _onnx,
    "openvino": _openvino,
}
