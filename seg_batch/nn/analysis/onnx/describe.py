"""What is in an ONNX file, by its protobuf alone: nothing is computed, no other file is opened.

The file is hostile until checked: its size is bounded, its custom operators are refused by name, and so is
external data that is missing or lies outside the folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg_batch.core import units
from seg_batch.core.errors import InputError

INSTALL = "pip install 'segbatch[onnx]'"
LARGEST = (2 << 30) - 1  # bytes: protobuf has no longer messages
STANDARD = ("", "ai.onnx")
# Domains that engines know in part: what they lack of these they name when they read the file.
ENGINES_KNOW = (*STANDARD, "ai.onnx.ml", "com.microsoft", "org.openvinotoolkit")
FLOATS = ("float32", "float16", "float64")
_MOST_NAMED = 3


@dataclass(frozen=True)
class OnnxTensor:
    """An input or an output of a graph. ``shape``: a side is None where it is open; None as a whole where the
    file does not say the rank. ``dtype``: as NumPy has it; "other" for what is no tensor."""

    name: str
    shape: tuple[int | None, ...] | None
    dtype: str

    @property
    def line(self) -> str:
        """As in ``image float32 (?, 6, 256, 256)``."""
        sides = "of unknown rank"
        if self.shape is not None:
            sides = f"({', '.join('?' if n is None else str(n) for n in self.shape)})"
        return f"{self.name} {self.dtype} {sides}"


@dataclass(frozen=True)
class OnnxDescription:
    """What a file says of itself. ``opset``: of the standard operators; ``domains``: of all. ``operators``: the types of its
    nodes, sorted, with the domain before those that are not standard. ``external``: the files that hold its numbers,
    in its folder or below; empty where it holds them itself."""

    path: Path
    inputs: tuple[OnnxTensor, ...]
    outputs: tuple[OnnxTensor, ...]
    opset: int
    domains: dict[str, int]
    operators: tuple[str, ...]
    external: tuple[Path, ...]
    producer: str

    def input(self, name: str = "") -> OnnxTensor:
        """The input of that name, or the only one; InputError where there are several or none."""
        if len(self.inputs) != 1:
            raise InputError(
                f"{self.path} has {len(self.inputs)} inputs ({_lines(self.inputs)}), a network of patches has "
                "one: export it with the image alone"
            )
        return _usable(self, self.inputs, name, "input")

    def output(self, name: str = "") -> OnnxTensor:
        """The output of that name, or the only one; InputError where none is named of several."""
        if len(self.outputs) != 1 and not name:
            raise InputError(
                f"{self.path} has {len(self.outputs)} outputs ({_lines(self.outputs)}): name the one that holds "
                "the scores with --output-name"
            )
        return _usable(self, self.outputs, name, "output")


def describe(path: Path) -> OnnxDescription:
    """What an ONNX file holds. InputError, in one line, where it is none, is longer than `LARGEST`, has operators
    that no engine knows, or external data that is missing or outside its folder; also where the library
    ``onnx`` is not installed."""
    model = read_proto(path)
    graphs = list(_graphs(model))
    _require_known(path, model, graphs)
    external = external_files(path, graphs)
    numbers = {tensor.name for tensor in model.graph.initializer}
    domains = {entry.domain: int(entry.version) for entry in model.opset_import}
    return OnnxDescription(
        path=path,
        inputs=tuple(_tensor(value) for value in model.graph.input if value.name not in numbers),
        outputs=tuple(_tensor(value) for value in model.graph.output),
        opset=max(domains.get(domain, 0) for domain in STANDARD),
        domains=domains,
        operators=tuple(sorted({_named(node) for graph in graphs for node in graph.node})),
        external=external,
        producer=" ".join(filter(None, (model.producer_name[:80], model.producer_version[:80]))),
    )


def library() -> Any:
    """The library ``onnx``; InputError where it is not installed."""
    try:
        import onnx
    except ModuleNotFoundError:
        raise InputError(
            f"ONNX files are read by the library onnx, which is not installed: {INSTALL}"
        ) from None
    return onnx


def read_proto(path: Path) -> Any:
    """The ``ModelProto`` in a file, without its external data."""
    onnx = library()
    if not path.is_file():
        raise InputError(f"there is no file {path}: name an ONNX model (.onnx)")
    if (size := path.stat().st_size) > LARGEST:
        raise InputError(
            f"{path} has {units.show_bytes(size)}, more than an ONNX file can have "
            f"({units.show_bytes(LARGEST)}): it is none, or damaged"
        )
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except Exception as error:  # protobuf has errors of its own, which differ between its versions
        raise _no_onnx(path, str(error) or type(error).__name__) from None
    if not (model.ir_version > 0 and model.graph.node and model.opset_import):
        raise _no_onnx(path, "it holds no graph")
    return model


def _no_onnx(path: Path, reason: str) -> InputError:
    words = " ".join(reason.split())[:120]
    return InputError(
        f"{path} is no ONNX model, or is cut short ({words}): name a whole file, as torch.onnx.export "
        "writes it"
    )


def _graphs(model: Any) -> Iterator[Any]:
    """The graph, the functions, and the graphs inside their nodes, such as the branches of an If."""
    todo = [model.graph, *model.functions]
    while todo:
        graph = todo.pop()
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                todo.extend(attribute.graphs)
                if attribute.HasField("g"):
                    todo.append(attribute.g)


def _named(node: Any) -> str:
    return node.op_type if node.domain in STANDARD else f"{node.domain}.{node.op_type}"


def _require_known(path: Path, model: Any, graphs: list[Any]) -> None:
    """InputError with the names of the operators that neither ONNX nor an engine knows."""
    defined = {(function.domain, function.name) for function in model.functions}
    has = library().defs.has
    names = {
        _named(node)
        for graph in graphs
        for node in graph.node
        if (node.domain, node.op_type) not in defined
        and (node.domain not in ENGINES_KNOW or (node.domain in STANDARD and not has(node.op_type)))
    }
    if names:
        raise InputError(
            f"{path} has operators that are not ONNX's own ({_some(sorted(names))}), whose code a bundle can't "
            "carry: export the network with standard operators"
        )


def external_files(path: Path, graphs: list[Any]) -> tuple[Path, ...]:
    """The files of tensors that lie beside the model; InputError for one that is missing or outside."""
    names: dict[str, int] = {}  # -> the bytes that it must have
    for tensor in _tensors(graphs):
        if tensor.data_location == type(tensor).EXTERNAL:
            entries = {entry.key: entry.value for entry in tensor.external_data}
            name = entries.get("location", "")
            end = _whole(entries.get("offset")) + _whole(entries.get("length"))
            names[name] = max(names.get(name, 0), end)
    return tuple(_beside(path, name, size) for name, size in sorted(names.items()))


def _tensors(graphs: list[Any]) -> Iterator[Any]:
    for graph in graphs:
        yield from getattr(graph, "initializer", ())  # a function has none
        for sparse in getattr(graph, "sparse_initializer", ()):
            yield from (sparse.values, sparse.indices)
        for node in graph.node:
            for attribute in node.attribute:
                yield from attribute.tensors
                if attribute.HasField("t"):
                    yield attribute.t


def _beside(path: Path, name: str, size: int) -> Path:
    folder = path.resolve().parent
    file = (folder / name).resolve()
    if not name or Path(name).is_absolute() or not file.is_relative_to(folder):
        raise InputError(
            f"{path} has external data in {name!r}, outside its folder, which is not read: save the model as "
            "one file"
        )
    if not file.is_file():
        raise InputError(
            f"{path} has external data in {name}, which is missing: put the file beside it, or save the model "
            "as one file"
        )
    if file.stat().st_size < size:
        raise InputError(f"{file} is shorter than {path} says: it is cut, get both files again")
    return file


def _whole(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else 0


def _tensor(value: Any) -> OnnxTensor:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return OnnxTensor(value.name, None, "other")
    tensor = value.type.tensor_type
    shape = None
    if tensor.HasField("shape"):
        shape = tuple(d.dim_value if d.dim_value > 0 else None for d in tensor.shape.dim)
    return OnnxTensor(value.name, shape, _dtype(tensor.elem_type))


def _dtype(elem_type: int) -> str:
    try:
        return str(library().helper.tensor_dtype_to_np_dtype(elem_type))
    except (KeyError, TypeError, ValueError):
        return "other"


def _usable(
    of: OnnxDescription, tensors: tuple[OnnxTensor, ...], name: str, role: str
) -> OnnxTensor:
    """The tensor of that name; InputError unless it may be an image: floats, 2-D or 3-D with batch and channels."""
    named = [tensor for tensor in tensors if tensor.name == (name or tensors[0].name)]
    if not named:
        raise InputError(f"{of.path} has no {role} {name!r}: it has {_lines(tensors)}")
    tensor = named[0]
    if tensor.dtype not in FLOATS or (tensor.shape is not None and len(tensor.shape) not in (4, 5)):
        raise InputError(
            f"{of.path} has the {role} {tensor.line}: an {role} of patches is floats of rank 4 or 5, with a "
            "batch, a channel axis and 2 or 3 sides"
        )
    return tensor


def _lines(tensors: tuple[OnnxTensor, ...]) -> str:
    return _some([tensor.line for tensor in tensors])


def _some(names: list[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
