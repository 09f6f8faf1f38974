"""Declarations of options: each option is a field of a frozen dataclass, with its help and bounds.

The field is a keyword in Python. ``cli.options.spread`` makes an option of the command line of it, and
``config.workflow.option_keys`` a key of workflows. Modules with declarations import neither pydantic nor
NumPy, because ``segbatch --help`` imports them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from seg_batch.core.errors import PlanError
from seg_batch.core.text import nearest


@dataclass(frozen=True)
class Option:
    """The declaration of an option; its name, type and default are those of the field.

    ``flags``: on the command line; none: ``--name``. ``known``: the accepted names. ``least``: the smallest
    number. ``free``: the command line accepts any value, because the command has its own message for a wrong
    one. ``read``: ``read(where, text)`` parses its text. ``check``: PlanError unless a list of values is right. ``unsaid``: the value where a command line or
    a workflow omits it, if that is not the default in Python. ``text``: the kind of its text in a workflow.
    ``key``: its path in a workflow; None: among the keys of its step, or the ``options`` of a
    prediction; empty: it has no key.
    """

    help: str
    flags: tuple[str, ...] = ()
    metavar: str | None = None
    known: Callable[[], Iterable[str]] | None = None
    least: int | None = None
    free: bool = False
    read: Callable[[str, str], Any] | None = None
    check: Callable[[str, Any], None] | None = None
    unsaid: Any = ...
    text: Literal["plain", "path", "name"] = "plain"
    key: str | None = None
    name: str = ""
    hint: Any = None

    @property
    def flag(self) -> str:
        return self.flags[-1] if self.flags else f"--{self.name.replace('_', '-')}"

    @property
    def alias(self) -> str | None:
        """Its key in a workflow where that is not the name of the field: the flag without hyphens."""
        return self.flag.removeprefix("--") if self.flags else None

    @property
    def kinds(self) -> tuple[Any, ...]:
        """The types of its values, without None."""
        union = get_origin(self.hint) in (Union, UnionType)
        kinds = get_args(self.hint) if union else [self.hint]
        return tuple(kind for kind in kinds if kind is not NoneType)

    def value(self, raw: Any, where: str) -> Any:
        """The checked value; PlanError (or the error of ``read``) where ``raw`` is none."""
        if raw is None or raw == []:
            return self.unsaid
        if isinstance(raw, list):
            return get_origin(self.kinds[0])(raw)
        if self.read and isinstance(raw, str):
            return self.read(where, raw)
        if self.known and raw not in (names := tuple(self.known())):
            raise PlanError(f"there is no {where} {raw[:40]!r}; {nearest(raw, names)}")
        return raw

    def checked(self, raw: Any) -> Any:
        """The value of a keyword in Python, where text counts as on the command line; PlanError where
        ``raw`` is none."""
        if raw is None and NoneType in get_args(self.hint):
            return None
        if isinstance(raw, str) and (self.read or self.known):
            return self.value(raw, self.name)
        for kind in self.kinds:
            if get_origin(kind) is Literal and raw in get_args(kind):
                return raw
            if get_origin(kind) is tuple and (items := _items(raw, get_args(kind)[0])) is not None:
                if self.check:
                    self.check(self.name, items)
                return items
            if kind in _IS and _IS[kind](raw):
                return self._bounded(raw)
        raise PlanError(f"{self.name} is {repr(raw)[:40]}: it takes {self._wanted()}")

    def _bounded(self, raw: Any) -> Any:
        if self.least is not None and raw < self.least:
            raise PlanError(f"{self.name} is {raw}: it takes a number from {self.least} on")
        return int(raw) if isinstance(raw, Integral) and not isinstance(raw, bool) else raw

    def _wanted(self) -> str:
        words = []
        for kind in self.kinds:
            if get_origin(kind) is tuple:
                words.append(f"several of {_WORDS[get_args(kind)[0]]}, as a tuple")
            elif get_origin(kind) is Literal:
                words += map(repr, get_args(kind))
            else:
                words.append(_WORDS[kind])
        return " or ".join(words)


_IS: dict[Any, Callable[[Any], bool]] = {
    bool: lambda raw: isinstance(raw, bool),
    int: lambda raw: isinstance(raw, Integral) and not isinstance(raw, bool),
    float: lambda raw: isinstance(raw, Real) and not isinstance(raw, bool),
    str: lambda raw: isinstance(raw, str),
    str | int: lambda raw: isinstance(raw, str) or _IS[int](raw),
}
_WORDS = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "text",
    str | int: "names or numbers",
}


def _items(raw: Any, kind: Any) -> tuple[Any, ...] | None:
    """The tuple that was meant; None where ``raw`` is none. One text or number is a tuple of one."""
    if isinstance(raw, str) or (kind is float and _IS[float](raw)):
        raw = (raw,)
    if not isinstance(raw, Sequence) or not all(map(_IS[kind], raw)):
        return None
    return tuple(raw)


def option(default: Any, help: str, **declaration: Any) -> Any:
    """A field with its declaration; the default ``MISSING``: the option is required."""
    return field(default=default, metadata={"option": Option(help, **declaration)})


def declared(kind: type) -> dict[str, Option]:
    """All options of a dataclass by the names of its fields, in order."""
    hints, options = get_type_hints(kind), {}
    for item in fields(kind):
        own: Option = item.metadata["option"]
        unsaid = item.default if own.unsaid is ... else own.unsaid
        options[item.name] = replace(own, name=item.name, hint=hints[item.name], unsaid=unsaid)
    return options


def as_checked[T](bag: T) -> T:
    """The options with the values of all checked, for those that come from Python; PlanError names one
    that is wrong."""
    options = declared(type(bag)).items()
    return replace(bag, **{name: o.checked(getattr(bag, name)) for name, o in options})  # type: ignore[type-var]


def unset_options[T](kind: type[T]) -> T:
    """The options of a command line that names none of them."""
    return kind(**{name: option.unsaid for name, option in declared(kind).items()})
