"""Which code stands for each input of a command, and back."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from seg_batch.config.predict_options import RequestArguments
from seg_batch.core.errors import InputError, PlanError
from seg_batch.core.privacy.pseudonym import Pseudonym
from seg_batch.core.privacy.table import SourceOf, pseudonyms, read_table
from seg_batch.core.registry.formats import split


def pseudonyms_for(
    table: str,
    images: Sequence[str | tuple[str, ...]],
    output: str | Path | None,
    arguments: RequestArguments,
    *,
    is_dry: bool = False,
) -> list[Pseudonym]:
    """What stands for each image of a command. PlanError where its products would lie beside the images, whose folder would
    tell of them, or be named after them."""
    if output is None:
        raise PlanError(
            "--deidentify needs -o: name a folder for the products, whose path tells nothing of the inputs"
        )
    sources = [
        SourceOf.at(
            (image,) if isinstance(image, str) else image, arguments.series, arguments.volume
        )
        for image in images
    ]
    folder = os.path.abspath(output)
    if not (str(output).endswith("/") or os.path.isdir(output) or len(images) > 1):
        folder = os.path.dirname(folder)
    models = map(str, arguments.model or ())
    public = (folder, os.path.abspath(output), str(output), *models)
    made = pseudonyms(table, sources, public, is_dry=is_dry)
    for pseudonym in made:
        for name in (str(output), *arguments.also):
            require_untold(pseudonym, os.path.basename(name.rstrip("/")))
    return made


def require_untold(pseudonym: Pseudonym, name: str) -> None:
    """PlanError for a product whose name, given by hand, has that of its input or of the input's folder in it."""
    folder, file = os.path.split(pseudonym.paths[0])
    parts = (os.path.basename(folder).casefold(), split(file)[0].casefold())
    if any(len(part) > 2 and part in name.casefold() for part in parts):
        raise PlanError(
            "the output is named after its input, which --deidentify is to keep back: name a folder, in which the product is "
            "called by its code, or another name"
        )


def one_pseudonym(
    table: str | None,
    files: str | tuple[str, ...],
    output: str | Path | None,
    arguments: RequestArguments,
) -> Pseudonym | None:
    return pseudonyms_for(table, [files], output, arguments)[0] if table else None


def source_of(code: str, path: str) -> tuple[Pseudonym, SourceOf]:
    """What a code stands for, by the table at ``path``."""
    table = read_table(path)
    source = table.source(code)
    if source is None:
        raise InputError(
            f"the table of codes {path} has no {code}: name the table of the run that made the product"
        )
    return table.pseudonym(source), source
