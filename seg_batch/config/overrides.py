"""``--set part.key=value``: values put over a file, each read as YAML."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from seg_batch.config.yaml_source import Place, Tree, Where, parse_tree
from seg_batch.core.errors import WorkflowError


def parse_setting(text: str, folder: Path | None = None) -> tuple[list[str], Tree, str]:
    """The path ``[part, key]`` of a setting, its value, and its name in messages.

    Relative paths in the value start at ``folder``. WorkflowError for text of another form.
    """
    name, equals, value = text.partition("=")
    path = name.split(".")
    if not equals or not all(path):
        raise WorkflowError(f"--set {text[:80]!r} is no setting: write it as part.key=value")
    source = f"--set {name[:80]}"
    return path, parse_tree(value, source, folder), source


def with_settings(tree: Tree, settings: Iterable[str]) -> Tree:
    """``tree`` with each setting put in. A relative path in a setting starts at the current folder.

    An item of a list is named by its number from 0, a step also by its name:
    ``steps.train.minutes=5``. WorkflowError for a setting of another form, or one that leads nowhere.
    """
    for text in settings:
        tree = _put(tree, *parse_setting(text, Path.cwd()))
    return tree


def _put(tree: Tree, path: list[str], value: Tree, source: str) -> Tree:
    """A copy of ``tree`` with ``value`` at ``path``, its position being ``source``."""
    where: Where = ()
    plain = parent = _copy(tree.plain if tree.plain is not None else {})
    for depth, name in enumerate(path):
        key = _key(parent, name, ".".join(path[:depth]), source)
        where = (*where, key)
        if depth == len(path) - 1:
            parent[key] = value.plain
        else:
            if isinstance(parent, dict) and parent.get(key) is None:
                parent[key] = {}
            parent = parent[key]
    return replace(tree, plain=plain, **_places(tree, where, source))


def _places(tree: Tree, where: Where, source: str) -> dict[str, dict[Where, Place]]:
    """The positions in ``tree``; at ``where`` and below they are now ``source``."""
    here, length = Place(0, 0, source), len(where)
    changed = {}
    for name, places in (("keys", tree.keys), ("values", tree.values)):
        changed[name] = {at: place for at, place in places.items() if at[:length] != where}
        for depth in range(1, length + 1):
            changed[name].setdefault(where[:depth], here)
    return changed


def _key(parent: Any, name: str, so_far: str, source: str) -> int | str:
    if isinstance(parent, dict):
        return name
    if isinstance(parent, list):
        names = [_step_name(item) for item in parent]
        if name in names:
            return names.index(name)
        if name.isascii() and name.isdecimal() and int(name[:9]) < len(parent):
            return int(name[:9])
        raise WorkflowError(f"{source}: {so_far} has no item {name[:60]!r}: it has {len(parent)}")
    raise WorkflowError(
        f"{source}: {so_far} is {str(parent)[:60]!r} in the file and holds no keys: set it as a whole, "
        f"as in --set '{so_far}={{{name}: ...}}'"
    )


def _step_name(item: Any) -> str | None:
    return item.get("name", item.get("do")) if isinstance(item, dict) else None


def _copy(plain: Any) -> Any:
    """A deep copy that keeps each ``Text`` with its folder."""
    if isinstance(plain, dict):
        return {key: _copy(value) for key, value in plain.items()}
    return [_copy(value) for value in plain] if isinstance(plain, list) else plain
