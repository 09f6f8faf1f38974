"""Paths in a workflow: environment variables, results of earlier steps, and relative paths.

A relative path starts at the folder of its file. One that begins with a variable of the environment starts
at the current folder, because the variable was set in a shell. All paths are resolved while the file is
read, so that a resumed workflow means the same in any folder.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from seg_batch.config.yaml_source import SourceText
from seg_batch.core.files import kind_of_address, why_not_local
from seg_batch.core.privacy.addresses import is_remote
from seg_batch.core.text import nearest

_REFERENCE = re.compile(r"\$\{([^{}]*)\}")
_EQUALS = re.compile(r"=(?![^{}]*\})")  # outside of variables
_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_RESULT = re.compile(r"steps\.([^.]+)\.output")


@dataclass(frozen=True)
class ReadingContext:
    """The context of reading a workflow: the environment, and the outputs of the steps read so far."""

    env: Mapping[str, str]
    outputs: dict[str, str] = field(default_factory=dict)


def expanded(text: str, reading: ReadingContext) -> str:
    """``text`` with ``${NAME}``, ``${NAME:-default}`` and ``${steps.NAME.output}`` replaced, and
    ``~/`` at its start; ValueError for a variable that is not set or not closed."""
    if text.startswith("~/"):
        text = "${HOME}" + text[1:]
    if "${" in _REFERENCE.sub("", text):
        raise ValueError(f"{text!r} has a ${{ that is not closed: write ${{NAME}}")
    return _REFERENCE.sub(lambda match: _value_of(match[1], reading), text)


def _value_of(name: str, reading: ReadingContext) -> str:
    if name.startswith("steps."):
        return _result(name, reading.outputs)
    match = _VARIABLE.fullmatch(name)
    if match is None:
        raise ValueError(f"${{{name}}} is no variable: write ${{NAME}} or ${{NAME:-default}}")
    variable, default = match.groups()
    value = reading.env.get(variable)
    if default is not None:
        return value or default  # as in a shell, :- also replaces an empty value
    if value is None:
        raise ValueError(
            f"the environment variable {variable} is not set: set it, or write "
            f"${{{variable}:-default}}"
        )
    return value


def _result(name: str, outputs: Mapping[str, str]) -> str:
    match = _RESULT.fullmatch(name)
    if match is None:
        raise ValueError(f"${{{name}}} is no result of a step: write ${{steps.NAME.output}}")
    if match[1] not in outputs:
        known = nearest(match[1], outputs) if outputs else "there is none"
        raise ValueError(f"no earlier step is called {match[1]!r}: {known}")
    return outputs[match[1]]


def _resolved(value: object, info: ValidationInfo) -> object:
    """Text with its variables replaced. Values that come from no file are resolved already."""
    reading = info.context
    if not isinstance(value, str) or not isinstance(reading, ReadingContext):
        return value
    if "\0" in value:
        raise ValueError("a path can't hold a zero byte")
    text = expanded(value, reading)
    if not isinstance(value, SourceText):
        return text
    first = _REFERENCE.match(value)
    from_shell = first is not None and reading.env.get(first[1].partition(":-")[0])
    return SourceText(text, Path.cwd() if from_shell else value.folder)


def path_of(value: object, info: ValidationInfo) -> object:
    """Text as a path that starts at the folder of its file; other values unchanged."""
    value = _local(_resolved(value, info))
    return os.path.join(value.folder, value) if isinstance(value, SourceText) and value else value


def _local(value: object) -> object:
    """The value; ValueError for an address that is no path of this machine."""
    if isinstance(value, str) and (why := why_not_local(value)):
        raise ValueError(why)
    return value


def _image(value: object, info: ValidationInfo) -> object:
    value = _resolved(value, info)
    return value if isinstance(value, str) and is_remote(value) else path_of(value, info)


def _glob(value: object, info: ValidationInfo) -> object:
    value = _resolved(value, info)
    if not isinstance(value, SourceText) or kind_of_address(value):
        return value
    if value and not os.path.isabs(value):
        return os.path.join(glob.escape(str(value.folder)), value)
    return value


def _if_path(value: object, info: ValidationInfo) -> object:
    value = _resolved(value, info)
    return path_of(value, info) if isinstance(value, str) and "/" in value else value


def program_of(value: object, info: ValidationInfo) -> object:
    """The words of a command; the first may be a path, which starts at the folder of its file."""
    if not isinstance(value, list | tuple) or not value or not isinstance(value[0], SourceText):
        return value
    first = os.path.join(value[0].folder, value[0]) if "/" in value[0] else value[0]
    return [first, *value[1:]]


def _pair(value: object, info: ValidationInfo) -> object:
    if not isinstance(value, SourceText):
        return _resolved(value, info)
    sides = [SourceText(side, value.folder) for side in _EQUALS.split(value, maxsplit=1)]
    return "=".join(str(path_of(side, info)) for side in sides)


_Plain = Annotated[str, Field(min_length=1), AfterValidator(str)]  # str: without the folder
PathText = Annotated[_Plain, BeforeValidator(path_of)]  # a file or folder
ImageText = Annotated[_Plain, BeforeValidator(_image)]  # the same, or an address of an image
GlobText = Annotated[_Plain, BeforeValidator(_glob)]  # a file, a folder or a pattern
NameText = Annotated[_Plain, BeforeValidator(_if_path)]  # with a slash a path, else a name
ExpandedText = Annotated[_Plain, BeforeValidator(_resolved)]  # no path
PairText = Annotated[_Plain, BeforeValidator(_pair)]  # a path, or IMAGE=LABEL
