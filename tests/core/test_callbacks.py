"""Progress is told in one way: events that are sent and shown, and callbacks that get them."""

from __future__ import annotations

import ast
import inspect
import re
import threading
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

from seg_batch.core import events
from seg_batch.core.callbacks import Callback, Callbacks

PACKAGE = Path(__file__).resolve().parents[2] / "seg_batch"
EVENTS = {
    name: value
    for name, value in vars(events).items()
    if inspect.isclass(value) and issubclass(value, events.Event) and value is not events.Event
}
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")}
STRANGE = re.compile(r"Listener|Silent|Observer|Subscriber")


def named(node: ast.expr) -> Iterator[str]:
    """The events that an expression names: ``events.Stage``, or several."""
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute) and ast.unparse(part).startswith("events."):
            yield from [part.attr] * part.attr[0].isupper()


def sent() -> set[str]:
    calls = (n for tree in TREES.values() for n in ast.walk(tree) if isinstance(n, ast.Call))
    return {name for call in calls for name in named(call.func)}


def shown() -> set[str]:
    """Events that a callback knows: by a pattern, or by ``isinstance``."""
    names: set[str] = set()
    for node in (node for tree in TREES.values() for node in ast.walk(tree)):
        if isinstance(node, ast.MatchClass):
            names.update(named(node.cls))
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance":
            names.update(named(node.args[1]))
    return names | {name for name, event in EVENTS.items() if event.logged}


def test_every_event_is_sent_and_shown() -> None:
    assert EVENTS.keys() - sent() == set(), "nobody sends them"
    assert EVENTS.keys() - shown() == set(), "nobody shows them"
    assert (sent() | shown()) - EVENTS.keys() <= {"Event"}, "they are declared nowhere"


def test_events_are_frozen_values_that_import_nothing_of_the_package() -> None:
    for event in EVENTS.values():
        assert is_dataclass(event)
        assert event.__dataclass_params__.frozen  # type: ignore[attr-defined]
    tree = TREES[PACKAGE / "core" / "events.py"]
    imported = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert not [name for name in imported if str(name).startswith("seg_batch")]


def test_nobody_has_another_way_to_tell_of_progress() -> None:
    """Neither another protocol, nor a parameter for one."""
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                assert not STRANGE.search(node.name), f"{path}: {node.name}"
            elif isinstance(node, ast.arg):
                assert node.arg not in ("listener", "listeners"), f"{path}: {node.arg}"


def test_what_goes_into_the_log_by_itself_has_fields_that_json_can_hold() -> None:
    plain = {"str", "int", "float", "str | None"}
    for event in EVENTS.values():
        if event.logged:
            assert {str(field.type) for field in fields(event)} <= plain, event


class Kept(Callback):
    def __init__(self) -> None:
        self.seen: list[events.Event] = []

    def on(self, event: events.Event) -> None:
        self.seen.append(event)


class Raising(Callback):
    def on(self, event: events.Event) -> None:
        raise KeyboardInterrupt


def test_several_are_called_in_their_order_and_what_one_raises_goes_on() -> None:
    first, last, event = Kept(), Kept(), events.Stage("x")
    Callbacks(first, Callback(), last).on(event)
    assert first.seen == last.seen == [event]
    with pytest.raises(KeyboardInterrupt):
        Callbacks(first, Raising(), last).on(event)
    assert (len(first.seen), len(last.seen)) == (2, 1)


def test_never_two_threads_at_once_and_one_may_send_from_within() -> None:
    class Nested(Callback):
        inside = most = 0

        def on(self, event: events.Event) -> None:
            self.inside += 1
            self.most = max(self.most, self.inside)
            if isinstance(event, events.Stopping):
                both.on(events.Stage("from within"))
            threading.Event().wait(0.001)
            self.inside -= 1

    nested = Nested()
    both = Callbacks(nested)
    threads = [threading.Thread(target=both.on, args=(events.Stage("x"),)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert nested.most == 1
    both.on(events.Stopping("enough"))
    assert nested.most == 2


def test_what_is_no_callback_is_refused_before_the_work() -> None:
    with pytest.raises(TypeError, match=r"print.*seg_batch\.Callback"):
        Callbacks(print)  # type: ignore[arg-type]
    Callbacks(None).on(events.Stage("nobody listens"))
