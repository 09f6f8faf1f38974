"""Which kind of file of PyTorch it is, and that what torch would run of it is arithmetic alone.

To open TorchScript or a ``.pt2`` file is to run parts of it: a ``.pt2`` file names functions of Python, and holds expressions
that are evaluated and pickles; TorchScript can write files. So both are read here first, without torch.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from seg_batch.core import units
from seg_batch.core.errors import InputError

MOST_TEXT: Final = 256 << 20  # bytes of one program
HOW: Final = (
    "a bundle needs both, so export the network with torch.jit.trace(model, patch).save('model.pt'), torch.export.save "
    "or torch.onnx.export, and import that"
)
# What a program may call: operators on tensors, and arithmetic on sizes.
_CALLS = re.compile(
    r"torch\.ops\.(aten|prims)\.(?!save\b|from_file\b)(?!__)\w+\.(?!__)\w+|torch\.sym_\w+|torch\._sym_sqrt"
    r"|_operator\.(add|sub|mul|truediv|floordiv|mod|neg|pow|getitem|eq|ne|lt|le|gt|ge|and_|or_|not_)"
    r"|math\.(ceil|floor|trunc|sqrt)"
)
# Expressions of sizes: numbers, symbols and functions of SymPy; no attribute, no other name, no other text.
_SIZES = re.compile(
    r"(?:\b(?:[su]|zuf)\d+\b|'(?:[su]|zuf)\d+'|\b(?:Symbol|Integer|Float|Rational|Add|Mul|Pow|Max|Min|Mod|PythonMod|Ne|Eq"
    r"|FloorDiv|CleanDiv|CeilDiv|CeilToInt|FloorToInt|IntTrueDiv|FloatTrueDiv|ModularIndexing|ToFloat|TruncToInt|And|Or|Not"
    r"|Equality|Unequality|StrictLessThan|LessThan|StrictGreaterThan|GreaterThan|precision|positive|nonnegative|integer"
    r"|true|false|True|False|oo|int_oo)\b|\d+|[-+*/%(),<>=!&|~\s]|\.(?=\d))*"
)
_WRITES = re.compile(r"\b(?:torch|aten)\.(?:save|from_file)\b|\bfrom_file\s*\(")


def kind_of(path: Path) -> str:
    """``torchscript``, ``exported`` (by torch.export) or ``pickle``, by the names in the file alone."""
    if path.is_dir():
        raise InputError(f"{path} is a folder: name the file of the model")
    if not path.is_file():
        raise InputError(
            f"there is no file {path}: name a model of PyTorch, as TorchScript or .pt2"
        )
    if path.suffix.lower() == ".safetensors":
        raise InputError(f"{path} holds weights and no network: {HOW}")
    names = [name for name, _ in _members(path)]
    if any(
        name.startswith("models/") or name == "serialized_exported_program.json" for name in names
    ):
        return "exported"
    return "torchscript" if any(name.startswith("code/") for name in names) else "pickle"


def require_safe(path: Path, kind: str) -> None:
    """InputError, naming what it found, where opening or running the file could do more than arithmetic."""
    if kind == "pickle":
        return  # it is opened as weights alone
    for name, text in _texts(path, "code/" if kind == "torchscript" else ""):
        if kind == "torchscript":
            if match := _WRITES.search(text):
                raise _unsafe(path, f"{name} calls {match[0]}, which reaches files")
        elif name.endswith(".json"):
            _require_plain(path, name, text)


def _require_plain(path: Path, name: str, text: str) -> None:
    """InputError unless a part of a ``.pt2`` file calls operators alone and has no pickled objects."""
    try:
        values = list(_walk(json.loads(text)))
    except (ValueError, RecursionError):
        raise InputError(f"{path} is damaged ({name} is no JSON): export it again") from None
    for key, value in values:
        if key == "use_pickle" and value is not False:
            raise _unsafe(path, f"{name} has pickled tensors")
        if key == "path_name" and str(value).startswith(("custom_obj", "opaque_obj")):
            raise _unsafe(path, f"{name} has pickled objects")
        if key in ("target", "as_operator") and not _CALLS.fullmatch(str(value)):
            raise _unsafe(path, f"{name} calls {units.shown(value)}")
        if key == "expr_str" and not _SIZES.fullmatch(str(value)):
            raise _unsafe(path, f"{name} evaluates {units.shown(value)}")


def _unsafe(path: Path, what: str) -> InputError:
    return InputError(
        f"{path} is not opened: {what[:200]}, and a file of somebody else's may do no more than arithmetic; export it to "
        "ONNX yourself if you trust it"
    )


def _walk(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """All plain values with the key that each stands under."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _walk(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from _walk(item, key)
    else:
        yield key, value


def _members(path: Path) -> Iterator[tuple[str, zipfile.ZipInfo]]:
    """The names in an archive, without its own folder; none in what is no archive.

    Its directory is read whole: ``io.archive`` bounds that for archives from the net, and is of no lower layer than this.
    A file that torch opens lies here already, and torch, too, reads its directory whole.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for item in archive.infolist():
                yield item.filename.partition("/")[2] or item.filename, item
    except (zipfile.BadZipFile, OSError):
        return


def _texts(path: Path, under: str) -> Iterator[tuple[str, str]]:
    """The programs and tables of an archive, as text."""
    with zipfile.ZipFile(path) as archive:
        for name, item in _members(path):
            if name.startswith(under) and name.endswith((".py", ".json")):
                if item.file_size > MOST_TEXT:
                    raise InputError(
                        f"{path}: {name} has {units.show_bytes(item.file_size)}, more than any network: it is damaged"
                    )
                try:
                    text = archive.read(item).decode("utf-8", "replace")
                except Exception as error:  # of many types: what is packed may be anything
                    words = " ".join(str(error).split())[:120]
                    raise InputError(
                        f"{path} is damaged ({name}: {words}): export it again"
                    ) from None
                yield name, text
