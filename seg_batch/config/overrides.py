"""``--set part.key=value``: values put over a file, each read as YAML."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from seg_batch.config.yaml_source import SourcePlace, Where, YamlSource, parse_tree
from seg_batch.core.errors import WorkflowError


def parse_setting(text: str, folder: Path | None = None) -> tuple[list[str], YamlSource, str]:
    """The path ``[part, key]`` of a setting, its value, and its name in messages.

    Relative paths in the value start at ``folder``. WorkflowError for text of another form.
    """
    name, equals, value = text.partition("=")
    path = name.split(".")
    if not equals or not all(path):
        raise WorkflowError(f"--set {text[:80]!r} is no setting: write it as part.key=value")
    source = f"--set {name[:80]}"
    return path, parse_tree(value, source, folder), source


def with_settings(tree: YamlSource, settings: Iterable[str]) -> YamlSource:
    """``tree`` with each setting put in. A relative path in a setting starts at the current folder.

    An item of a list is named by its number from 0, a step also by its name:
    ``steps.train.minutes=5``. WorkflowError for a setting of another form, or one that leads nowhere.
    """
    for text in settings:
        path, value, source = parse_setting(text, Path.cwd())
        root = {} if tree.plain is None else tree.plain
        plain, where = _put(root, path, value.plain, source)
        tree = YamlSource(
            plain, _places(tree.keys, where, source), _places(tree.values, where, source)
        )
    return tree


def _put(
    parent: Any, path: list[str], value: Any, source: str, depth: int = 0
) -> tuple[Any, Where]:
    """A copy of ``parent`` with ``value`` at ``path[depth:]``, and the keys and indices of those steps."""
    key = _key(parent, path[depth], ".".join(path[:depth]), source)
    where: Where = ()
    if depth < len(path) - 1:
        is_new = isinstance(parent, dict) and parent.get(key) is None
        value, where = _put({} if is_new else parent[key], path, value, source, depth + 1)
    copy = parent.copy()
    copy[key] = value
    return copy, (key, *where)


def _places(
    places: dict[Where, SourcePlace], where: Where, source: str
) -> dict[Where, SourcePlace]:
    """The positions; at ``where`` and below they are now ``source``."""
    changed = {at: place for at, place in places.items() if at[: len(where)] != where}
    for depth in range(1, len(where) + 1):
        changed.setdefault(where[:depth], SourcePlace(0, 0, source))
    return changed


def _key(parent: Any, name: str, so_far: str, source: str) -> int | str:
    if isinstance(parent, dict):
        return name
    if isinstance(parent, list):
        steps = (item if isinstance(item, dict) else {} for item in parent)
        names = [step.get("name", step.get("do")) for step in steps]
        if name in names:
            return names.index(name)
        if name.isascii() and name.isdecimal() and int(name[:9]) < len(parent):
            return int(name[:9])
        raise WorkflowError(f"{source}: {so_far} has no item {name[:60]!r}: it has {len(parent)}")
    raise WorkflowError(
        f"{source}: {so_far} is {str(parent)[:60]!r} in the file and holds no keys: set it as a whole, "
        f"as in --set '{so_far}={{{name}: ...}}'"
    )
