"""The commands ``models``, ``models NAME`` and ``models import``, added by ``register``."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from seg_batch.cli.options import Json, Overwrite
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

Numbers = typer.Option(metavar="N,N", help="Voxels per axis.")


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


@app.command("import")
def import_(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE.keras", help="Saved by model.save.")],
    output: Annotated[str, typer.Option("-o", "--output", help="The bundle folder to write.")],
    channels: Annotated[str, typer.Option(help="red,green,blue: names, in the model's order.")],
    classes: Annotated[
        str, typer.Option(help="background,forest or 0=background,3=forest, in the model's order.")
    ],
    patch: Annotated[str | None, Numbers] = None,
    overlap: Annotated[str | None, Numbers] = None,
    normalisation: Annotated[
        Literal["identity", "source", "card"] | None,
        typer.Option(help="What the model was trained on; card takes --mean and --std."),
    ] = None,
    mean: Annotated[str | None, typer.Option(help="One per channel, like 104.2,99.1.")] = None,
    std: Annotated[str | None, typer.Option(help="One per channel.")] = None,
    kind: Annotated[
        Literal["raster", "volume"] | None, typer.Option(help="What it is for.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Of the bundle; its folder's, if not given.")
    ] = None,
    description: Annotated[str, typer.Option(help="In one sentence.")] = "",
    licence: Annotated[str, typer.Option(help="Of the weights.")] = "",
    pixel_m: Annotated[float | None, typer.Option(help="Pixel size it was trained at.")] = None,
    spacing_mm: Annotated[
        str | None, typer.Option(help="Voxel size it was trained at, z,y,x.")
    ] = None,
    head: Annotated[
        str | None, typer.Option(help="Which of several outputs; the last, if not given.")
    ] = None,
    logits: Annotated[
        bool, typer.Option("--logits", help="It ends in raw scores: add a softmax.")
    ] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Wrap a Keras model of any design into a bundle, checked by running it once."""
    from seg_batch.conversion.import_model import Foreign, import_model, imported_lines

    told = Foreign(
        channels=tuple(part.strip() for part in channels.split(",")),
        classes=classes,
        patch=_whole("--patch", patch),
        overlap=_whole("--overlap", overlap),
        normalisation=normalisation,
        mean=_numbers("--mean", mean) or (),
        std=_numbers("--std", std) or (),
        kind=kind,
        name=name,
        description=description,
        licence=licence,
        pixel_m=pixel_m,
        spacing_mm=_numbers("--spacing-mm", spacing_mm),
        head=head,
        logits=logits,
    )
    result = import_model(file, output, told, overwrite=overwrite)
    assert context.parent is not None
    if as_json or context.parent.params["as_json"]:
        typer.echo(json.dumps(result))
    else:
        typer.echo("\n".join(imported_lines(result)))


def _numbers(option: str, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = (math.nan,)
    if not all(map(math.isfinite, found)):
        raise InputError(f"{option} {text!r} is no list of numbers: write them like 1.5,2,0.25")
    return found


def _whole(option: str, text: str | None) -> tuple[int, ...] | None:
    found = _numbers(option, text)
    if found is not None and any(n != int(n) or n < 0 for n in found):
        raise InputError(f"{option} {text!r} is no list of voxels: write them like 256,256")
    return None if found is None else tuple(map(int, found))


def register(parent: typer.Typer) -> None:
    parent.add_typer(app, name="models")
