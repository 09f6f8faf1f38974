"""What several commands take in the same words, and what is made of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import typer

from seg_batch.core.errors import PlanError, StoppedError
from seg_batch.core.registry.engines import engine_names
from seg_batch.core.text import either, nearest

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier result.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")]

Run = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="A run's folder, the folder of its outputs, or its workflow file."
    ),
]

PRECISIONS = ("auto", "float32", "mixed")


@dataclass(frozen=True)
class Applied:
    """How a model is applied to patches, and what follows; each field is an option."""

    engine: Annotated[str, typer.Option(help=f"{either(engine_names())}.")] = "auto"
    precision: Annotated[str, typer.Option(help="auto, float32 or mixed.")] = "auto"
    tta: Annotated[
        str,
        typer.Option(help="Average over views of each patch: none, flips, d4 or d4z."),
    ] = "none"
    overlap: Annotated[
        str | None,
        typer.Option(
            help="Voxels that neighbouring tiles share, or auto: as measured for the model."
        ),
    ] = None
    taper: Annotated[str, typer.Option(help="hann, gaussian, linear, constant or crop.")] = "hann"
    post: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STEP",
            help="A step that follows prediction, repeatable; none: not even those of the card.",
        ),
    ] = None

    def settings(self) -> dict[str, Any]:
        """Fields of ``config.predict_options.Options``; PlanError naming the option that makes no sense."""
        from seg_batch.config.predict_options import TTA
        from seg_batch.core.taper import TAPERS

        one_of("engine", self.engine, engine_names())
        one_of("precision", self.precision, PRECISIONS)
        one_of("tta", self.tta, TTA)
        one_of("taper", self.taper, TAPERS)
        return {
            "engine": self.engine,
            "precision": self.precision,
            "tta": self.tta,
            "overlap": voxels_of(self.overlap),
            "taper": self.taper,
            "post": tuple(self.post) if self.post else None,
        }


def one_of(option: str, value: str, known: Iterable[str]) -> None:
    """PlanError, with the nearest name, unless ``value`` is one of those known."""
    if value not in known:
        raise PlanError(f"there is no --{option} {value[:40]!r}; {nearest(value, known)}")


def voxels_of(overlap: str | None) -> int | Literal["auto"] | None:
    """What ``--overlap`` says: a number, auto, or nothing."""
    if overlap is None or overlap == "auto":
        return "auto" if overlap else None
    if not (overlap.isascii() and overlap.isdecimal() and len(overlap) < 10):
        raise PlanError(
            f"--overlap {overlap[:20]!r} is no number of voxels: use one from 0 on, or auto"
        )
    return int(overlap)


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the fields of its dataclass parameters as parameters of its own.

    Typer reads a command's options from its signature, so options that commands share are written
    once, as a dataclass like ``Applied``: ``f(bag: Bag)`` with ``Bag(a, b)`` is read as ``f(a, b)``.
    """
    own = inspect.signature(command, eval_str=True)
    bags: dict[str, Any] = {
        p.name: p.annotation for p in own.parameters.values() if is_dataclass(p.annotation)
    }
    parameters = [q for p in own.parameters.values() for q in _parameters(p, bags.get(p.name))]

    def called(**given: Any) -> None:
        filled = {
            name: bag(**{f.name: given.pop(f.name) for f in fields(bag)})
            for name, bag in bags.items()
        }
        command(**given, **filled)

    called.__name__, called.__doc__ = command.__name__, command.__doc__
    called.__annotations__ = {p.name: p.annotation for p in parameters}
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return called


def _parameters(parameter: inspect.Parameter, bag: Any) -> list[inspect.Parameter]:
    """The parameter itself, or one for each field of its bag; all by keyword."""
    if bag is None:
        return [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)]
    hints = get_type_hints(bag, include_extras=True)
    return [
        inspect.Parameter(
            f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=hints[f.name]
        )
        for f in fields(bag)
    ]


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
