"""The command ``docs``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from seg_batch.core.errors import InputError
from seg_batch.core.resources import DOCS
from seg_batch.core.text import nearest


def docs(
    page: Annotated[
        str | None, typer.Argument(metavar="PAGE", help="Its name; none: list all pages.")
    ] = None,
) -> None:
    """List the pages of the manual, or show one."""
    pages = {path.stem: path for path in sorted(DOCS.glob("*.md"))}
    if page is None:
        width = max(map(len, pages))
        for name, path in pages.items():
            lines = path.read_text(encoding="utf-8").splitlines()
            # What is below the title.
            typer.echo(f"{name:{width}}  {next(filter(None, lines[1:]))}")
        typer.echo("\nsegbatch docs PAGE shows one.")
        return
    name = page.removesuffix(".md")
    if name not in pages:
        raise InputError(f"there is no page {page[:40]!r}; {nearest(name, pages)}")
    text = pages[name].read_text(encoding="utf-8")
    if not sys.stdout.isatty():
        typer.echo(text, nl=False)
        return
    from rich.console import Console
    from rich.markdown import Markdown

    Console().print(Markdown(text))
