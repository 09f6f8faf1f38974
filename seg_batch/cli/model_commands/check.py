"""The command ``models check``."""

from __future__ import annotations

from typing import Annotated

import typer

from seg_batch.cli.options import Json, show
from seg_batch.core.registry.engines import AUTO


def check(
    context: typer.Context,
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="By name or path.")],
    engine: Annotated[
        str, typer.Option(help="The engine that is tried; auto: each that is here.")
    ] = AUTO,
    as_json: Json = False,
) -> None:
    """Run the test patch of a bundle on the engines here, against what it gave when it was made; status 3 where one differs."""
    from seg_batch.conversion.test_tensor import check as run
    from seg_batch.conversion.test_tensor import lines

    result = run(bundle, engine)
    assert context.parent is not None
    show(result, lines, as_json or context.parent.params["as_json"])
    raise typer.Exit(result["status"])
