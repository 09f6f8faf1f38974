"""An option is declared once: as a field of a frozen dataclass, with what is said of it.

The field is a keyword in Python. ``cli.options.spread`` makes an option of the command line of it, and
``config.workflow.option_keys`` a key of workflows. Modules with declarations import neither pydantic nor
NumPy, since ``segbatch --help`` reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from seg_batch.core.errors import PlanError
from seg_batch.core.text import nearest


@dataclass(frozen=True)
class Option:
    """What is said of an option; its name, type and default are those of the field.

    ``flags``: on the command line; none: ``--name``. ``known``: the names that it takes. ``least``: of
    a number. ``free``: the command line takes any, because the command has its own words for a wrong
    one. ``read``: what its text means, told where it stands. ``unsaid``: its value where a command line
    or a workflow says nothing, if that is not the default in Python. ``text``: what a workflow's text
    is. ``key``: its place in a workflow; None: among the keys of its step, or the ``options`` of a
    prediction; empty: it has none.
    """

    help: str
    flags: tuple[str, ...] = ()
    metavar: str | None = None
    known: Callable[[], Iterable[str]] | None = None
    least: int | None = None
    free: bool = False
    read: Callable[[str, str], Any] | None = None
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
        """Its key in a workflow: that of the command line, if it is not the name of the field."""
        return self.flag.removeprefix("--") if self.flags else None

    @property
    def kinds(self) -> tuple[Any, ...]:
        """The types that it may have, but for None."""
        union = get_origin(self.hint) in (Union, UnionType)
        return tuple(
            k for k in (get_args(self.hint) if union else [self.hint]) if k is not NoneType
        )

    def value(self, given: Any, where: str) -> Any:
        """What was given, checked; PlanError (or that of ``read``) for what makes no sense."""
        if given is None or given == []:
            return self.unsaid
        if isinstance(given, list):
            return get_origin(self.kinds[0])(given)
        if self.read and isinstance(given, str):
            return self.read(where, given)
        if self.known and given not in (names := tuple(self.known())):
            raise PlanError(f"there is no {where} {given[:40]!r}; {nearest(given, names)}")
        return given


def option(default: Any, help: str, **more: Any) -> Any:
    """A field with its declaration; ``MISSING`` for a default: it must be given."""
    return field(default=default, metadata={"option": Option(help, **more)})


def declared(kind: type) -> dict[str, Option]:
    """All options of a dataclass by the names of its fields, in order."""
    hints, options = get_type_hints(kind), {}
    for one in fields(kind):
        said: Option = one.metadata["option"]
        unsaid = one.default if said.unsaid is ... else said.unsaid
        options[one.name] = replace(said, name=one.name, hint=hints[one.name], unsaid=unsaid)
    return options


def unsaid[T](kind: type[T]) -> T:
    """The options where a command line says none of them."""
    return kind(**{name: one.unsaid for name, one in declared(kind).items()})
