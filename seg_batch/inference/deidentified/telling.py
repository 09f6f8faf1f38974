"""What is told of an input that is not to be known: its code, and a digest of its identity with a secret key.

What is not listed here as known to be harmless passes the gate of ``core.privacy.pseudonym``, also what later versions add
to a report.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

from seg_batch.core.privacy.pseudonym import Pseudonym
from seg_batch.core.registry.formats import FORMATS, PRODUCTS
from seg_batch.inference.bundles import Model
from seg_batch.inference.outputs import Outputs
from seg_batch.inference.report import Report
from seg_batch.io.sinks.product import also_format_of, format_of
from seg_batch.io.sinks.store_folder import StoreFolder
from seg_batch.io.sources.protocol import SourceInfo

OF_PATIENTS = (
    "holds the patient's name, the UIDs and the dates of its series, as such files are meant to: it is not "
    "de-identified"
)
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
        "also",
        "model",
        "plan",
        "geometry",
        "executor",
        "machine",
        "versions",
    ]
)


def words_of(model: Model) -> tuple[str, ...]:
    """The names that the cards of a model give: its own, of its channels and of its classes."""
    words = [*model.names]
    for card in model.cards:
        words += [card.name, *(card.channel_names or ()), *(each.name for each in card.classes)]
    return tuple(words)


def what_holds_names(outputs: Outputs, kind: str) -> tuple[str, ...]:
    """A line for each product that tells of the patient, as is its purpose."""
    forms = {outputs.product: format_of(outputs.product, kind)}
    forms |= {path: also_format_of(path, kind) for path in outputs.also}
    return tuple(
        f"{path} {OF_PATIENTS}" for path, form in forms.items() if PRODUCTS[form].of_format
    )


def identity_of(
    pseudonym: Pseudonym | None, identity: dict[str, Any], series: dict[str, str]
) -> dict[str, Any]:
    """The input as a fingerprint names it: by its digests, dates and series, or by a digest of those with a secret key."""
    if pseudonym is None:
        return {"input": identity, **series}
    return {"input": pseudonym.sealed([identity, series.get("series", "")])}


def known_as(info: SourceInfo, pseudonym: Pseudonym | None, sealed: Any) -> SourceInfo:
    """What a report may tell of the input: no paths, series or names of files, and its identity ``sealed``."""
    if pseudonym is None:
        return info
    channels = tuple(map(pseudonym.told, info.channels))
    hidden = {"path": pseudonym.code, "identity": sealed, "series": "", "stack": (), "pieces": ()}
    return replace(info, channels=channels, **hidden)


def told_report(report: Report, pseudonym: Pseudonym | None) -> Report:
    """The report with all texts that could hold something of the input as they may be told."""
    if pseudonym is None:
        return report
    plain = cast(dict[str, Any], report)
    told = {key: v if key in KEPT else pseudonym.told_of(v) for key, v in plain.items()}
    told["source"]["identity"] = plain["source"]["identity"]
    return cast(Report, {**told, "deidentified": True})


@contextmanager
def leaving_no_copy(
    pseudonym: Pseudonym | None, info: SourceInfo, outputs: Outputs
) -> Iterator[None]:
    """The plain copy that workers read has the header of the input, and its name: nobody else may read it, and it goes
    however the work ends."""
    if pseudonym is None:
        yield
        return
    try:
        if info.pieces or any(FORMATS[file.format].stage for file in info.files):
            outputs.staging.parent.mkdir(parents=True, exist_ok=True)
            outputs.staging.mkdir(mode=0o700, exist_ok=True)
        yield
    finally:
        if not StoreFolder(outputs.store).is_held():  # by another process, which reads the copy
            shutil.rmtree(outputs.staging, ignore_errors=True)
