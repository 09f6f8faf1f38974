"""YAML with source positions: the values of a file, and the line and column of each key and value.

Workflows, cluster specs, recipes and manifests are all read here, by the rules of YAML 1.2: ``yes``, ``on``
and ``12:00:00`` are text, ``1e3`` is a number. Aliases, tags and deep nesting are refused: no such file needs
them, and an attacker does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from seg_batch.core.errors import WorkflowError
from seg_batch.core.files import require_local_input
from seg_batch.core.units import whole_mib

MOST_BYTES = 1 << 20
MOST_DEEP = 40
MOST_DIGITS = 40

type Where = tuple[int | str, ...]  # the keys and list indices that lead to a value


@dataclass(frozen=True, order=True)
class SourcePlace:
    """A position in ``source``; lines and columns count from 1, and line 0 is the source as a whole."""

    line: int
    column: int
    source: str

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


class SourceText(str):
    """Text with the folder of its file, at which relative paths in it start."""

    folder: Path

    def __new__(cls, text: str, folder: Path) -> SourceText:
        made = super().__new__(cls, text)
        made.folder = folder
        return made

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)  # pickled as plain text


@dataclass(frozen=True)
class YamlSource:
    """The ``plain`` values, and the position of each key and of each value."""

    plain: Any
    keys: dict[Where, SourcePlace] = field(default_factory=dict)
    values: dict[Where, SourcePlace] = field(default_factory=dict)

    def existing(self, where: Where) -> Where:
        """``where`` without the steps that the file lacks, such as those that a short form omits."""
        plain, steps = self.plain, []
        for step in where:
            if _has(plain, step):
                plain = plain[step]
                steps.append(step)
        return tuple(steps)

    def place(self, where: Where, *, of_key: bool = False) -> SourcePlace:
        """The position of ``where``, or of the innermost value around it that has one."""
        places = self.keys if of_key else self.values
        for length in range(len(where), -1, -1):
            if where[:length] in places:
                return places[where[:length]]
        return SourcePlace(0, 0, next(iter(self.values.values())).source)


def _has(plain: Any, step: int | str) -> bool:
    if isinstance(plain, list):
        return isinstance(step, int) and step < len(plain)
    return isinstance(plain, dict) and step in plain


class _Loader(yaml.BaseLoader):
    """Composes the nodes of a text, and builds plain values of them with their positions."""

    deep = 0

    def __init__(self, text: str, source: str, folder: Path | None) -> None:
        self.source, self.folder = source, folder
        self.keys: dict[Where, SourcePlace] = {}
        self.values: dict[Where, SourcePlace] = {}
        super().__init__(text)

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise WorkflowError(
                f"{self.place(event)}: aliases are not read here: write the value out"
            )
        if self.deep >= MOST_DEEP:
            raise WorkflowError(
                f"{self.place(event)}: more than {MOST_DEEP} levels: nothing here is so deep"
            )
        self.deep += 1
        try:
            return super().compose_node(parent, index)  # type: ignore[no-untyped-call]
        finally:
            self.deep -= 1

    def value(self, node: Any, where: Where = ()) -> Any:
        self.values[where] = self.place(node)
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node)
        if node.tag != _CORE + node.id[:3]:  # of a sequence or a mapping: seq, map
            raise self.tagged(node)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*where, i)) for i, item in enumerate(node.value)]
        return {key: self.value(item, (*where, key)) for key, item in self.pairs(node, where)}

    def pairs(self, node: Any, where: Where) -> Iterator[tuple[str, Any]]:
        """The keys, checked to be distinct texts, with the nodes of their values."""
        for key_node, item in node.value:
            place = self.place(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                raise WorkflowError(
                    f"{place}: a key is a word, and this is a list or mapping: mend it"
                )
            key = key_node.value
            if first := self.keys.get((*where, key)):
                raise WorkflowError(
                    f"{place}: the key {key[:60]!r} stands there twice, first in line "
                    f"{first.line}: one of them would be lost, drop one"
                )
            self.keys[(*where, key)] = place
            yield key, item

    def scalar(self, node: Any) -> Any:
        text, kind = node.value, node.tag.removeprefix(_CORE)
        if kind == "str":
            return text if self.folder is None else SourceText(text, self.folder)
        if kind in ("int", "float") and len(text) > MOST_DIGITS:
            raise WorkflowError(f"{self.place(node)}: a number of {len(text)} digits: shorten it")
        try:
            return _PARSE[kind](text)
        except (KeyError, ValueError):  # another tag, or one that does not fit, such as !!int x
            raise self.tagged(node) from None

    def tagged(self, node: Any) -> WorkflowError:
        return WorkflowError(
            f"{self.place(node)}: the tag {node.tag.replace(_CORE, '!!')[:60]!r} is not read here: "
            "write the value alone"
        )

    def place(self, node: Any) -> SourcePlace:
        return _place(node.start_mark, self.source)


class YamlDumper(yaml.SafeDumper):
    """Writes YAML that this module reads: texts like numbers are quoted, and there are no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def dumped(plain: Any) -> str:
    """Plain values as YAML that this module reads, keys in their order."""
    return yaml.dump(plain, Dumper=YamlDumper, sort_keys=False, width=100)


_CORE = "tag:yaml.org,2002:"
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
):
    for _either in (_Loader, YamlDumper):
        _either.add_implicit_resolver(_CORE + _tag, re.compile(rf"(?:{_pattern})\Z"), list(_first))

_PARSE: dict[str, Callable[[str], Any]] = {
    "bool": lambda text: text.lower() == "true",
    "int": int,
    "float": float,
    "null": lambda _: None,
}


def read_tree(path: Path) -> YamlSource:
    """The values of a file, its texts as ``SourceText``; WorkflowError, with line and column, where it is not
    YAML."""
    return parse_tree(text_of(path), str(path), path.absolute().parent)


def text_of(path: Path, most_bytes: int = MOST_BYTES) -> str:
    """The text of a file in UTF-8; WorkflowError where it is not UTF-8 or has more than ``most_bytes``."""
    require_local_input(path)
    try:
        with path.open("rb") as file:
            data = file.read(most_bytes + 1)
    except OSError as error:
        raise WorkflowError(f"{path}: can't be read ({error.strerror}): check the path") from None
    if len(data) > most_bytes:
        raise WorkflowError(
            f"{path}: larger than {whole_mib(most_bytes)}: is it the right file? Long lists "
            "of inputs go into files of their own (inputs: {list: files.txt})"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = _after(data[: error.start].decode("utf-8", "replace"), str(path))
        raise WorkflowError(f"{place}: not UTF-8: store the file as UTF-8") from None


def parse_tree(text: str, source: str, folder: Path | None = None) -> YamlSource:
    """The values of ``text``; with a ``folder``, at which relative paths start, its texts as ``SourceText``."""
    try:
        loader = _Loader(text, source, folder)
        node = loader.get_single_node()  # type: ignore[no-untyped-call]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = _place(mark, source) if mark else SourcePlace(0, 0, source)
        line = "".join(text.splitlines()[mark.line : mark.line + 1]) if mark else ""
        hint = "quote what holds ${...} between {} or []" if "${" in line else "mend it"
        problem = " ".join(filter(None, [error.context, error.problem]))
        raise WorkflowError(f"{place}: not YAML ({problem}): {hint}") from None
    except yaml.reader.ReaderError as error:
        place = _after(text[: error.position], source)
        raise WorkflowError(
            f"{place}: a control character, which YAML can't hold: remove it"
        ) from None
    except RecursionError:
        raise WorkflowError(f"{source}: nested too deeply: nothing here is so deep") from None
    plain = None if node is None else loader.value(node)
    return YamlSource(plain, loader.keys, loader.values)


def _place(mark: Any, source: str) -> SourcePlace:
    return SourcePlace(mark.line + 1, mark.column + 1, source)


def _after(before: str, source: str) -> SourcePlace:
    """The position right after the text ``before``."""
    lines = before.split("\n")
    return SourcePlace(len(lines), len(lines[-1]) + 1, source)
