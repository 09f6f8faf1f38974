"""Predictions of inputs that are not to be known: which code stands for each, and what is told of it.

Products are named by codes, reports tell of codes, and the identity of an input is a digest with a secret key. What is
not listed here as known to be harmless passes the gate of ``core.privacy.pseudonym``, also what later versions add.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from seg_batch.config.predict_options import RequestArguments
from seg_batch.core.errors import InputError, PlanError
from seg_batch.core.privacy.pseudonym import Pseudonym
from seg_batch.core.privacy.table import SourceOf, pseudonyms, read_table
from seg_batch.core.registry.formats import FORMATS
from seg_batch.inference.plan import Decisions
from seg_batch.inference.report import Report
from seg_batch.inference.request import Prepared
from seg_batch.io.sinks.store_folder import StoreFolder
from seg_batch.io.sources.protocol import SourceInfo

# Parts of a report that are made of the command, the model and counts, never of the input's name or header.
KEPT = frozenset(
    [
        "segbatch",
        "status",
        "input",
        "output",
        "blocks",
        "n_tiles",
        "tiles_predicted",
        "tiles_skipped",
        "recompute",
        "promised_bytes",
        "peak_rss_bytes",
        "seconds",
        "stages_s",
        "spells",
        "classes",
        "background",
        "post",
        "seams",
        "unclassified_voxels",
        "product",
        "probabilities",
        "model",
        "plan",
        "geometry",
        "executor",
        "machine",
        "versions",
    ]
)


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
        require_untold(pseudonym, os.path.basename(str(output).rstrip("/")))
    return made


def require_untold(pseudonym: Pseudonym, name: str) -> None:
    """PlanError for a product whose name, given by hand, has that of its input in it."""
    stem = os.path.basename(pseudonym.paths[0]).casefold().split(".")[0]
    if len(stem) > 2 and stem in name.casefold():
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


def known_as(prepared: Prepared[Any]) -> SourceInfo:
    """What is known of the input, as its report may tell it: without paths, series, names of files, and its identity
    sealed."""
    info, pseudonym = prepared.info, prepared.request.pseudonym
    if pseudonym is None:
        return info
    return replace(
        info,
        path=pseudonym.code,
        channels=tuple(map(pseudonym.told, info.channels)),
        identity=prepared.plan.fingerprint["input"],
        series="",
        stack=(),
    )


def told_report(report: Report, pseudonym: Pseudonym | None) -> Report:
    """The report with all texts that could hold something of the input as they may be told."""
    if pseudonym is None:
        return report
    plain = cast(dict[str, Any], report)
    told = {key: v if key in KEPT else pseudonym.told_of(v) for key, v in plain.items()}
    told["source"]["identity"] = plain["source"]["identity"]
    return cast(Report, {**told, "deidentified": True})


@contextmanager
def leaving_no_copy(prepared: Prepared[Decisions]) -> Iterator[None]:
    """The plain copy that workers read has the header of the input, and its name: nobody else may read it, and it goes
    however the work ends."""
    if prepared.request.pseudonym is None:
        yield
        return
    outputs = prepared.outputs
    try:
        if any(FORMATS[file.format].stage for file in prepared.info.files):
            outputs.staging.parent.mkdir(parents=True, exist_ok=True)
            outputs.staging.mkdir(mode=0o700, exist_ok=True)
        yield
    finally:
        if not StoreFolder(outputs.store).is_held():  # by another process, which reads the copy
            shutil.rmtree(outputs.staging, ignore_errors=True)


def source_of(code: str, path: str) -> tuple[Pseudonym, SourceOf]:
    """What a code stands for, by the table at ``path``."""
    table = read_table(path)
    source = table.source(code)
    if source is None:
        raise InputError(
            f"the table of codes {path} has no {code}: name the table of the run that made the product"
        )
    return table.pseudonym(source), source
