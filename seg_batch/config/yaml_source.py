"""YAML with places: what a file says, and the line and column where it says it.

All that people write for us (workflows, cluster specs, recipes, manifests) is read here, by the rules of
YAML 1.2: ``yes``, ``on`` and ``12:00:00`` are text, ``1e3`` is a number. What none of them has a use for,
and an attacker has, is refused: aliases, tags, endless nesting.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from seg_batch.core.errors import WorkflowError
from seg_batch.core.units import whole_mib

MOST_BYTES = 1 << 20
MOST_DEEP = 40
MOST_DIGITS = 40

type Where = tuple[int | str, ...]  # the keys and list indices that lead to a value


@dataclass(frozen=True, order=True)
class SourcePlace:
    """Where something was said, counted from 1; line 0: in ``source`` as a whole."""

    line: int
    column: int
    source: str

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


class SourceText(str):
    """Text that knows the folder of the file that it stood in, which its relative paths start at."""

    folder: Path

    def __new__(cls, text: str, folder: Path) -> SourceText:
        made = super().__new__(cls, text)
        made.folder = folder
        return made

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)  # to other processes it goes as what it says


@dataclass(frozen=True)
class YamlSource:
    """``plain`` values, and the places of each ``key`` and each ``value``."""

    plain: Any
    keys: dict[Where, SourcePlace] = field(default_factory=dict)
    values: dict[Where, SourcePlace] = field(default_factory=dict)

    def found(self, where: Where) -> Where:
        """``where`` without the steps that the file does not have: those that a short way of
        writing left out."""
        plain, steps = self.plain, []
        for step in where:
            if _has(plain, step):
                plain = plain[step]
                steps.append(step)
        return tuple(steps)

    def place(self, where: Where, *, of_key: bool = False) -> SourcePlace:
        """Of ``where``, or of the innermost thing around it that has one."""
        places = self.keys if of_key else self.values
        for length in range(len(where), -1, -1):
            if where[:length] in places:
                return places[where[:length]]
        return SourcePlace(0, 0, next(iter(self.values.values())).source)


def _has(plain: Any, step: int | str) -> bool:
    if isinstance(plain, list):
        return isinstance(step, int) and step < len(plain)
    return isinstance(plain, dict) and step in plain


class _Loader(Reader, Scanner, Parser, Composer, BaseResolver):
    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        for part in (Scanner, Parser, Composer, BaseResolver):
            part.__init__(self)  # type: ignore[call-arg,arg-type]
        self.deep = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _refused(event, "aliases are not read here: write the value out")
        if self.deep >= MOST_DEEP:
            raise _refused(event, f"more than {MOST_DEEP} levels: nothing here is so deep")
        self.deep += 1
        try:
            return super().compose_node(parent, index)  # type: ignore[no-untyped-call]
        finally:
            self.deep -= 1


class YamlDumper(yaml.SafeDumper):
    """Writes what is read here: texts that would be numbers are quoted, nothing is an alias."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_CORE = "tag:yaml.org,2002:"
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
):
    for _either in (_Loader, YamlDumper):
        _either.add_implicit_resolver(_CORE + _tag, re.compile(rf"(?:{_pattern})\Z"), list(_first))


def _refused(event: Any, why: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=why, problem_mark=event.start_mark)


def read_tree(path: Path) -> YamlSource:
    """What the file says, its texts as ``SourceText``; WorkflowError, with line and column, where it is not
    YAML."""
    return parse_tree(text_of(path), str(path), path.absolute().parent)


def text_of(path: Path, most_bytes: int = MOST_BYTES) -> str:
    """The text of a file in UTF-8; WorkflowError where it is none, or too large to be meant."""
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
        place = _at(data[: error.start].decode("utf-8", "replace"), str(path))
        raise WorkflowError(f"{place}: not UTF-8: store the file as UTF-8") from None


def parse_tree(text: str, source: str, folder: Path | None = None) -> YamlSource:
    """What ``text`` says; ``folder``: where its relative paths start, where texts are to know that."""
    try:
        node = _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = (
            SourcePlace(mark.line + 1, mark.column + 1, source)
            if mark
            else SourcePlace(0, 0, source)
        )
        line = "".join(text.splitlines()[mark.line : mark.line + 1]) if mark else ""
        raise WorkflowError(f"{place}: {_words(error, line)}") from None
    except yaml.reader.ReaderError as error:
        place = _at(text[: error.position], source)
        raise WorkflowError(
            f"{place}: a control character, which YAML can't hold: remove it"
        ) from None
    except RecursionError:
        raise WorkflowError(f"{source}: nested too deeply: nothing here is so deep") from None
    tree = YamlSource(None)
    if node is None:
        return tree
    return YamlSource(_Built(tree, source, folder).value(node, ()), tree.keys, tree.values)


def _words(error: yaml.MarkedYAMLError, line: str) -> str:
    said = " ".join(filter(None, [error.context, error.problem]))
    if said.startswith(("aliases", "more than")):
        return said
    hint = ": quote what holds ${...} between {} or []" if "${" in line else ": mend it"
    return f"not YAML ({said}){hint}"


def _at(before: str, source: str) -> SourcePlace:
    """The place right after the text ``before``."""
    lines = before.split("\n")
    return SourcePlace(len(lines), len(lines[-1]) + 1, source)


class _Built:
    """Nodes made into plain values; what was where goes into the tree."""

    def __init__(self, tree: YamlSource, source: str, folder: Path | None) -> None:
        self.tree, self.source, self.folder = tree, source, folder

    def value(self, node: Any, where: Where) -> Any:
        self.tree.values[where] = self.place(node)
        if isinstance(node, yaml.SequenceNode):
            self.require(node, "seq")
            return [self.value(item, (*where, i)) for i, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            self.require(node, "map")
            return {key: self.value(item, (*where, key)) for key, item in self.pairs(node, where)}
        return self.scalar(node)

    def pairs(self, node: Any, where: Where) -> Iterator[tuple[str, Any]]:
        """Keys, each known to be text and to stand there once, with the nodes of their values."""
        seen: dict[str, SourcePlace] = {}
        for key_node, item in node.value:
            place = self.place(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                raise WorkflowError(
                    f"{place}: a key is a word, and this is a list or mapping: mend it"
                )
            key = key_node.value
            if key in seen:
                raise WorkflowError(
                    f"{place}: the key {key[:60]!r} stands there twice, first in line "
                    f"{seen[key].line}: one of them would be lost, drop one"
                )
            seen[key] = self.tree.keys[(*where, key)] = place
            yield key, item

    def scalar(self, node: Any) -> Any:
        text, kind = node.value, node.tag.removeprefix(_CORE)
        if kind == "str":
            return text if self.folder is None else SourceText(text, self.folder)
        if kind in ("int", "float"):
            if len(text) > MOST_DIGITS:
                raise WorkflowError(
                    f"{self.place(node)}: a number of {len(text)} digits: shorten it"
                )
            return self.number(node, int if kind == "int" else float)
        if kind in ("bool", "null"):
            return None if kind == "null" else text.lower() == "true"
        raise self.tagged(node)

    def number(self, node: Any, kind: type[int] | type[float]) -> int | float:
        try:
            return kind(node.value)
        except ValueError:  # of an explicit tag, such as !!int x
            raise self.tagged(node) from None

    def require(self, node: Any, kind: str) -> None:
        if node.tag != _CORE + kind:
            raise self.tagged(node)

    def tagged(self, node: Any) -> WorkflowError:
        return WorkflowError(
            f"{self.place(node)}: the tag {node.tag.replace(_CORE, '!!')[:60]!r} is not read here: "
            "write the value alone"
        )

    def place(self, node: Any) -> SourcePlace:
        return SourcePlace(node.start_mark.line + 1, node.start_mark.column + 1, self.source)
