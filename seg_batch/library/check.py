"""A bundle as it lies in a folder, checked without running anything of it, and before anybody uses it."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from seg_batch.core.errors import BundleError, InputError, SegbatchError
from seg_batch.core.files import file_parts
from seg_batch.core.text import visible
from seg_batch.core.units import show_bytes
from seg_batch.inference.bundles import Model, model_in, require_intact
from seg_batch.io.archive import Bounded

_LONGEST = 600  # of a message: a card may have any words
_MOST_INSIDE, _MOST_PACKED = 1 << 30, 20  # bytes, and times the size of the file
# How an ONNX file begins; and the key, as protobuf has it, of a tensor's numbers in another file.
_IR_VERSION, _ELSEWHERE = b"\x08", b"\x0a\x08location"


def checked(folder: Path, where: str) -> Model:
    """The bundle in ``folder``, which is told as ``where``; BundleError in one line if its card is unsound, a network
    is missing or not the one of the card, or could run code."""
    try:
        model = model_in(folder)
        for part in model.all:
            require_intact(part)
            _STRUCTURE[part.card.format](part.weights)
        return model
    except SegbatchError as error:
        said = error.message.replace(f"{folder}/", f"{where}: ").replace(str(folder), where)
        raise BundleError(visible(said[:_LONGEST])) from None
    except RecursionError:
        raise BundleError(f"{where} is nested too deeply to be a bundle: get it again") from None


def _keras(path: Path) -> None:
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


def _onnx(path: Path) -> None:
    """Whether it is ONNX, holds its numbers itself, and needs no operators of others, as far as the library ``onnx``
    is here; else by its first field, and by the word with which tensors name other files."""
    if find_spec("onnx") is None:
        data = path.read_bytes()
        if not data.startswith(_IR_VERSION):
            raise InputError(f"{path} is no ONNX model: export it again")
        external = [path] if _ELSEWHERE in data else []
    else:
        from seg_batch.nn.analysis.onnx.describe import describe

        hashed = [part.resolve() for part in file_parts(path)]
        external = [part for part in describe(path).external if part.resolve() not in hashed]
    if external:
        raise InputError(
            f"{path} keeps numbers in a file of its own, which the hash in its card does not cover: import it again, "
            "saved as one file"
        )


def _openvino(path: Path) -> None:
    with path.open("rb") as file:
        if b"<net" not in file.read(4096):
            raise InputError(f"{path} is no OpenVINO model: export it again")


_STRUCTURE: dict[str, Callable[[Path], None]] = {
    "keras": _keras,
    "onnx": _onnx,
    "openvino": _openvino,
}
