"""The commands ``models``, ``models NAME``, ``models import``, ``models check``, and those of the library."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from seg_batch.cli.model_commands.bench import bench
from seg_batch.cli.model_commands.check import check
from seg_batch.cli.model_commands.library import COMMANDS
from seg_batch.cli.options import Json, Overwrite, show, spread
from seg_batch.config.command_options import ImportOptions
from seg_batch.core.errors import InputError

SHOW = "show-one"


class Named(TyperGroup):
    """A group of commands that takes a first word which names no command as the name of a bundle."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        word = args[0]
        if word in self.commands:
            return super().resolve_command(ctx, args)
        if not word.startswith("-"):
            _require_no_slip(word, alone=len(args) == 1)
        return super().resolve_command(ctx, [SHOW, *args])


def _require_no_slip(word: str, *, alone: bool) -> None:
    """InputError for a word that is near a command, where no bundle is called so."""
    from seg_batch.core.text import nearest, visible
    from seg_batch.inference.bundles import COMMANDS, bundle_folders

    hint = nearest(word, [name for name in COMMANDS if name != SHOW])
    named = Path(word).exists() or any((folder / word).exists() for folder in bundle_folders())
    if not named and word != "probe" and hint.startswith("did"):
        kind = "model or command" if alone else "command"
        raise InputError(f"there is no {kind} {visible(word[:80])}: {hint}")


app = typer.Typer(
    cls=Named,
    invoke_without_command=True,
    subcommand_metavar="[NAME | COMMAND ...]",
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
    """List the installed bundles, show the one called NAME, or import a model of others."""
    if context.invoked_subcommand is not None:
        if archs:
            raise InputError("--archs lists all networks: give no name with it")
        return
    if archs:
        from seg_batch.cli.display.networks import arch_facts, arch_lines

        show(arch_facts(), arch_lines, as_json)
    else:
        _show(None, as_json)


@app.command(SHOW, hidden=True)
def show_one(context: typer.Context, name: str, as_json: Json = False) -> None:
    """Show one bundle whole."""
    assert context.parent is not None
    _show(name, as_json or context.parent.params["as_json"])


def _show(name: str | None, as_json: bool) -> None:
    from seg_batch.cli.display.model_lines import model_facts, model_lines

    show(model_facts(name), model_lines, as_json)


def import_(
    context: typer.Context,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="A model: .keras, .onnx, of PyTorch (TorchScript, .pt2), a results folder of nnU-Net; or a folder, .zip or "
            "card of bioimage.io, MONAI or STAC MLM.",
        ),
    ],
    output: Annotated[str, typer.Option("-o", "--output", help="The bundle folder to write.")],
    about: ImportOptions,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Make a bundle of a model of any design, checked by running it."""
    from seg_batch.conversion.import_model import import_model, imported_lines

    result = import_model(file, output, about, overwrite=overwrite)
    assert context.parent is not None
    show(result, imported_lines, as_json or context.parent.params["as_json"])


app.command("import")(spread(import_))
for word, command in {**COMMANDS, "bench": bench, "check": check}.items():
    app.command(word)(command)
