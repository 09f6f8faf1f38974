"""What torch may run of a file: operators on tensors and arithmetic on sizes, by the text of its programs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seg_batch.core import units
from seg_batch.core.errors import InputError

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
# Words of TorchScript that reach files, other machines or libraries, or run while the file is opened, wherever they stand; `getattr`
# of a text that is not plain could spell them.
_REACHES = re.compile(
    r"(?:\b\w+\s*\.\s*)?\b(?:save|from_file|rpc_\w+|__setstate__|torch\s*\.\s*classes)\b"
    r"|(?<!\.)\bops\b(?!\.(?:aten|prim)\.| : )[\s.\w]{0,40}"
    r"|\bgetattr\b(?!\([^\"'\\#]*\"[^\"\\]*\"\)).{0,40}",
    re.ASCII,
)
_CUSTOM = re.compile(rb"torch[.\s]+classes[.\s]+[\w.]*")  # an object of a library, in a pickle


def require_script(path: Path, name: str, content: bytes) -> None:
    """InputError, naming what it is, where a part of TorchScript could do more than arithmetic."""
    if name.endswith(".pkl"):
        if held := _CUSTOM.search(content):
            what = units.shown(held[0].decode("latin-1"))
            raise unsafe(path, f"{name} holds an object of a library, {what}")
    elif match := _REACHES.search(content.decode("latin-1")):
        raise unsafe(path, f"{name} has {units.shown(match[0])}, by which it can reach files")


def require_plain(path: Path, name: str, content: bytes) -> None:
    """InputError unless a part of a ``.pt2`` file calls operators alone and has no pickled objects."""
    try:
        values = list(_walk(json.loads(content)))
    except (ValueError, RecursionError):
        raise InputError(f"{path} is damaged ({name} is no JSON): export it again") from None
    for key, value in values:
        if key == "use_pickle" and value is not False:
            raise unsafe(path, f"{name} has pickled tensors")
        if key == "path_name" and str(value).startswith(("custom_obj", "opaque_obj")):
            raise unsafe(path, f"{name} has pickled objects")
        if key in ("target", "as_operator") and not _CALLS.fullmatch(str(value)):
            raise unsafe(path, f"{name} calls {units.shown(value)}")
        if key == "expr_str" and not _SIZES.fullmatch(str(value)):
            raise unsafe(path, f"{name} evaluates {units.shown(value)}")


def unsafe(path: Path, what: str) -> InputError:
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
