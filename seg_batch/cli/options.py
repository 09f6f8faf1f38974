"""Parameters that several commands share, and what they do with them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import MISSING, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from seg_batch.config.options import Option, declared
from seg_batch.core.errors import StoppedError
from seg_batch.core.text import legible

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier result.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")]

Pictures = Annotated[
    bool, typer.Option("--pictures/--no-pictures", help="Whether the report shows quicklooks.")
]

Run = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="A run's folder, the folder of its outputs, or its workflow file."
    ),
]


def show(
    facts: Any, lines: Callable[[Any], str | list[str]], as_json: bool, quiet: bool = False
) -> None:
    """Print ``facts`` as one JSON object, else the ``lines`` made of them; ``quiet``: no lines."""
    if as_json:
        typer.echo(json.dumps(facts))
    elif not quiet:
        text = lines(facts)
        typer.echo(text if isinstance(text, str) else "\n".join(text))


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """The command with a parameter for each option that its dataclass parameters declare.

    Typer reads a command's options from its signature: ``f(bag: Bag)`` with ``Bag(a, b)`` is read as
    ``f(a, b)``, and called with the checked values. PlanError or InputError names an option with a wrong value.
    """
    own = inspect.signature(command, eval_str=True).parameters.values()
    bags: dict[str, Any] = {p.name: p.annotation for p in own if is_dataclass(p.annotation)}
    options = {name: declared(bag) for name, bag in bags.items()}
    parameters: list[inspect.Parameter] = []
    for parameter in own:
        if parameter.name in bags:
            parameters += map(_parameter, options[parameter.name].values())
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    def called(**values: Any) -> None:
        filled = {
            name: bag(**{n: o.value(values.pop(n), o.flag) for n, o in options[name].items()})
            for name, bag in bags.items()
        }
        command(**values, **filled)

    called.__name__, called.__doc__ = command.__name__, command.__doc__
    called.__annotations__ = {p.name: p.annotation for p in parameters}
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return called


def _parameter(option: Option) -> inspect.Parameter:
    kind, default = _parsed(option), option.unsaid
    if default is MISSING:
        default = inspect.Parameter.empty
    elif option.read or not isinstance(default, str | int | float):
        kind, default = kind | None, None
    declaration = typer.Option(
        *(option.flags or ([option.flag] if kind is bool else [])),
        help=option.help,
        metavar=option.metavar,
        min=None if option.free or option.read else option.least,
    )
    kw_only, annotation = inspect.Parameter.KEYWORD_ONLY, Annotated[kind, declaration]
    return inspect.Parameter(option.name, kw_only, default=default, annotation=annotation)


def _parsed(option: Option) -> Any:
    """The type that Typer parses into: text where we parse or check the value ourselves."""
    kind = option.kinds[0]
    if option.read or str in option.kinds or (option.free and get_origin(kind) is Literal):
        return str
    return list[get_args(kind)[0]] if get_origin(kind) in (tuple, list) else kind  # type: ignore[misc]


def say(line: str) -> None:
    """A line for the user on standard error."""
    typer.echo(f"segbatch: {legible(line)}", err=True)


def stopped(reason: str) -> StoppedError:
    """The error of a stopped run, with the reason and, once, how to resume."""
    remedy = "" if "same command" in reason else "; run the same command again to resume"
    return StoppedError(f"stopped: {reason}{remedy}")


def run_named(run: str) -> Path:
    """The run folder of the argument ``Run``; InputError where there is none."""
    from seg_batch.batch.journal.status import run_folder

    if not run.endswith((".yaml", ".yml")):
        return run_folder(Path(run))
    from seg_batch.config.workflow import read

    return run_folder(Path(read(run).run_folder))
