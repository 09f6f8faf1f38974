"""The commands ``models``, ``models NAME`` and ``models import``."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from seg_batch.cli.options import Json, Overwrite, spread
from seg_batch.config.command_options import ImportOptions
from seg_batch.core.errors import InputError

SHOW = "show-one"


class Named(TyperGroup):
    """A group of commands in which a first word that is none of them is the name of a bundle."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        return super().resolve_command(ctx, args if args[0] in self.commands else [SHOW, *args])


app = typer.Typer(
    cls=Named,
    invoke_without_command=True,
    subcommand_metavar="[NAME | import FILE]",
    rich_markup_mode=None,
    add_completion=False,
)


@app.callback()
def models(
    context: typer.Context,
    archs: Annotated[
        bool, typer.Option("--archs", help="The networks that train can build, with their costs.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the installed bundles, show the one called NAME, or import a Keras model."""
    if context.invoked_subcommand is not None:
        if archs:
            raise InputError("--archs lists all networks: give no name with it")
        return
    if archs:
        from seg_batch.cli.display.networks import arch_facts, arch_lines

        facts = arch_facts()
        typer.echo(json.dumps(facts) if as_json else "\n".join(arch_lines(facts)))
        return
    _show(None, as_json)


@app.command(SHOW, hidden=True)
def show_one(context: typer.Context, name: str, as_json: Json = False) -> None:
    """Show one bundle whole."""
    assert context.parent is not None
    _show(name, as_json or context.parent.params["as_json"])


def _show(name: str | None, as_json: bool) -> None:
    from seg_batch.cli.display.lines import model_facts, model_lines

    facts = model_facts(name)
    typer.echo(json.dumps(facts) if as_json else model_lines(facts))


def import_(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE.keras", help="Saved by model.save.")],
    output: Annotated[str, typer.Option("-o", "--output", help="The bundle folder to write.")],
    about: ImportOptions,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Wrap a Keras model of any design into a bundle, checked by running it once."""
    from seg_batch.conversion.import_model import import_model, imported_lines

    result = import_model(file, output, about, overwrite=overwrite)
    assert context.parent is not None
    if as_json or context.parent.params["as_json"]:
        typer.echo(json.dumps(result))
    else:
        typer.echo("\n".join(imported_lines(result)))


app.command("import")(spread(import_))
