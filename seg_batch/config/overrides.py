"""``--set part.key=value``: a value put over the workflow file, read as YAML."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from seg_batch.config.yaml_source import SourcePlace, Where, YamlSource, parse_tree
from seg_batch.core.errors import WorkflowError


def with_settings(tree: YamlSource, settings: Iterable[str]) -> YamlSource:
    """``tree`` with each setting put in. A relative path in one starts at the current folder.

    An item of a list is named by its number from 0, a step also by its name:
    ``steps.train.minutes=5``. WorkflowError for what is no setting or leads nowhere.
    """
    for text in settings:
        name, equals, value = text.partition("=")
        path = name.split(".")
        if not equals or not all(path):
            raise WorkflowError(f"--set {text[:80]!r} is no setting: write it as part.key=value")
        source = f"--set {name[:80]}"
        tree = _put(tree, path, parse_tree(value, source, Path.cwd()), source)
    return tree


def _put(tree: YamlSource, path: list[str], value: YamlSource, source: str) -> YamlSource:
    """A copy of the tree in which ``value`` stands at ``path``, at the place ``source``."""
    where: Where = ()
    plain = parent = _copied(tree.plain if tree.plain is not None else {})
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


def _places(tree: YamlSource, where: Where, source: str) -> dict[str, dict[Where, SourcePlace]]:
    """The places of the tree, of which all at and below ``where`` are now ``source``."""
    here, n = SourcePlace(0, 0, source), len(where)
    keys, values = (
        {at: place for at, place in places.items() if at[:n] != where}
        for places in (tree.keys, tree.values)
    )
    for depth in range(1, n + 1):
        keys.setdefault(where[:depth], here)
        values.setdefault(where[:depth], here)
    return {"keys": keys, "values": values}


def _key(parent: Any, name: str, so_far: str, source: str) -> int | str:
    if isinstance(parent, dict):
        return name
    if isinstance(parent, list):
        names = [_name(item) for item in parent]
        if name in names:
            return names.index(name)
        if name.isascii() and name.isdecimal() and int(name[:9]) < len(parent):
            return int(name[:9])
        raise WorkflowError(f"{source}: {so_far} has no item {name[:60]!r}: it has {len(parent)}")
    raise WorkflowError(
        f"{source}: {so_far} is {str(parent)[:60]!r} in the file and holds no keys: set it as a whole, "
        f"as in --set '{so_far}={{{name}: ...}}'"
    )


def _name(item: Any) -> str | None:
    """What a step is called."""
    return item.get("name", item.get("do")) if isinstance(item, dict) else None


def _copied(plain: Any) -> Any:
    if isinstance(plain, dict):
        return {key: _copied(value) for key, value in plain.items()}
    return [_copied(value) for value in plain] if isinstance(plain, list) else plain
