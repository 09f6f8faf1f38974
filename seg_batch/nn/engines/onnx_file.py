"""The bytes of a bundle's ONNX file, their hash compared, and no number of them in another file.

Both engines read what a tensor calls its external data from any path, or from an address in memory, and the hash
in a card covers the one file alone. So the file is searched for such tensors by protobuf's wire format, which
needs no library: a process that only predicts has none.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from seg_batch.core.errors import BundleError
from seg_batch.nn.weights import require_same, stamp

# Message -> number of a field -> the message in it, as far as tensors lie in it (onnx.proto).
FIELDS: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Graph": {1: "Node", 5: "Tensor", 15: "Sparse"},
    "Function": {7: "Node", 11: "Attribute"},
    "Node": {5: "Attribute"},
    "Attribute": {
        **{5: "Tensor", 10: "Tensor", 6: "Graph", 11: "Graph"},
        **{22: "Sparse", 23: "Sparse"},
    },
    "Sparse": {1: "Tensor", 2: "Tensor"},
}
GRAPH = 7  # of a model
EXTERNAL = (13, 14)  # of a tensor: where its numbers are, and that they are elsewhere
DEEPEST = 100  # messages within one another, as protobuf reads them


def read_whole(path: Path, sha256: str | None) -> bytes:
    """The content of the file; BundleError where it has not that hash (hex), or is no ONNX file, or needs others."""
    stamp(path)
    data = path.read_bytes()
    require_same(path, hashlib.sha256(data).hexdigest(), sha256)
    try:
        external = _has_external(memoryview(data), "Model")
        if not any(number == GRAPH for number, _ in _fields(memoryview(data))):
            raise ValueError("it holds no graph")
    except ValueError as error:
        raise BundleError(f"{path} is no ONNX model ({error}): get the bundle again") from None
    if external:
        raise BundleError(
            f"{path} has numbers in other files, which its hash does not cover: import the model again, which "
            "makes one file of it"
        )
    return data


def _has_external(data: memoryview, message: str, depth: int = 0) -> bool:
    """Whether a tensor within the message says that its numbers are elsewhere; ValueError where it is damaged."""
    if depth > DEEPEST:
        raise ValueError("its graphs are nested too deep")
    inner = FIELDS.get(message, {})
    for number, value in _fields(data):
        if message == "Tensor" and number in EXTERNAL and value not in (0, b""):
            return True
        if (
            number in inner
            and isinstance(value, memoryview)
            and _has_external(value, inner[number], depth + 1)
        ):
            return True
    return False


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Number and content of each field of a message: bytes, or a whole number."""
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
        elif kind == 2:
            size, at = _varint(data, at)
            if size > end - at:
                raise ValueError("it is cut short")
            yield key >> 3, data[at : at + size]
            at += size
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise ValueError("it is damaged")
    if at > end:
        raise ValueError("it is cut short")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """A whole number and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("it is cut short")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("it is damaged")
