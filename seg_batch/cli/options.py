"""What several commands take in the same words, and what is made of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from seg_batch.config.options import Option, declared
from seg_batch.core.errors import StoppedError

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier result.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")]

Run = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="A run's folder, the folder of its outputs, or its workflow file."
    ),
]


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the options that its dataclass parameters declare as parameters of its own.

    Typer reads a command's options from its signature: ``f(bag: Bag)`` with ``Bag(a, b)`` is read as
    ``f(a, b)``, and called with the checked values. PlanError or InputError names the option that makes no sense.
    """
    own = inspect.signature(command, eval_str=True).parameters.values()
    bags: dict[str, Any] = {p.name: p.annotation for p in own if is_dataclass(p.annotation)}
    options = {name: declared(bag) for name, bag in bags.items()}
    parameters = [q for p in own for q in _parameters(p, options.get(p.name))]

    def called(**given: Any) -> None:
        filled = {
            name: bag(**{n: o.value(given.pop(n), o.flag) for n, o in options[name].items()})
            for name, bag in bags.items()
        }
        command(**given, **filled)

    called.__name__, called.__doc__ = command.__name__, command.__doc__
    called.__annotations__ = {p.name: p.annotation for p in parameters}
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return called


def _parameters(
    parameter: inspect.Parameter, options: dict[str, Option] | None
) -> list[inspect.Parameter]:
    """The parameter itself, or one for each option that it stands for; all by keyword."""
    if options is None:
        return [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)]
    return [_parameter(one) for one in options.values()]


def _parameter(one: Option) -> inspect.Parameter:
    kind, default = _parsed(one), one.unsaid
    if default is MISSING:
        default = inspect.Parameter.empty
    elif one.read or not isinstance(default, str | int | float):
        kind, default = kind | None, None
    said = typer.Option(
        *(one.flags or ([one.flag] if kind is bool else [])),
        help=one.help,
        metavar=one.metavar,
        min=None if one.free or one.read else one.least,
    )
    return inspect.Parameter(
        one.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind, said],
    )


def _parsed(one: Option) -> Any:
    """The type that Typer makes of what is typed: text where we read it, or check it ourselves."""
    kind = one.kinds[0]
    if one.read or str in one.kinds or (one.free and get_origin(kind) is Literal):
        return str
    return list[get_args(kind)[0]] if get_origin(kind) in (tuple, list) else kind  # type: ignore[misc]


def stopped(why: str) -> StoppedError:
    """That a run was stopped, why, and how it goes on, said once."""
    more = "" if "same command" in why else "; run the same command again to resume"
    return StoppedError(f"stopped: {why}{more}")


def run_named(run: str) -> Path:
    """The run folder that the argument ``Run`` means; InputError where there is none."""
    from seg_batch.batch.journal.status import run_folder

    if not run.endswith((".yaml", ".yml")):
        return run_folder(Path(run))
    from seg_batch.config.workflow import read

    return run_folder(Path(read(run).run_folder))
