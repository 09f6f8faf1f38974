"""Which code stands for each input of a command, and back."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from seg_batch.config.predict_options import STEM, RequestArguments, is_ending
from seg_batch.core.errors import InputError, PlanError
from seg_batch.core.privacy.pseudonym import Pseudonym
from seg_batch.core.privacy.table import SourceOf, pseudonyms, read_table
from seg_batch.core.privacy.words import may_be_told
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
    names = [os.path.basename(str(output).rstrip("/")), *_written(arguments.also, folder)]
    for source in sources:
        for name in names:
            require_untold(source.files, name)
    return pseudonyms(table, sources, public, is_dry=is_dry)


def _written(also: Sequence[str], folder: str) -> list[str]:
    """What the names of further products, given by hand, tell beyond the folder of the products."""
    names = list[str]()
    for name in also:
        whole = name if is_ending(name) or STEM in name else os.path.abspath(name)
        names += [part for part in whole.split("/") if part not in folder.split("/")]
    return names


def require_untold(files: Sequence[str], name: str) -> None:
    """PlanError for a product whose name, given by hand, has that of its input or of the input's folder in it, or a word
    of those that is none of segbatch's own."""
    said = split(name.replace(STEM, ""))[0].casefold()
    folder, file = os.path.split(os.path.abspath(files[0]))
    whole = {os.path.basename(folder).casefold(), split(file)[0].casefold()} - {""}
    words = {word for each in whole for word in _words(each) if not may_be_told(word)}
    if any(_has(said, part) for part in whole | words):
        raise PlanError(
            "the output is named after its input, which --deidentify is to keep back: name a folder, in which the product is "
            "called by its code, or another name"
        )


def _words(name: str) -> list[str]:
    return re.findall(r"[^\W_]+", name)


def _has(said: str, part: str) -> bool:
    """Whether a name has the part; one of two letters or less as a word of its own."""
    return part in said if len(part) > 2 else part in _words(said)


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
