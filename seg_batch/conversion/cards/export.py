"""The cards of other worlds, written beside an exported file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.config.card import ModelCard
from seg_batch.config.yaml_source import dumped
from seg_batch.conversion.cards.bioimageio import reading as bioimageio
from seg_batch.conversion.cards.bioimageio import writing as bioimageio_writing
from seg_batch.conversion.cards.entry import Entry
from seg_batch.conversion.cards.example import Example, normaliser_for
from seg_batch.conversion.cards.exported import ExportedFile
from seg_batch.conversion.cards.foreign import lost
from seg_batch.conversion.cards.monai import reading as monai
from seg_batch.conversion.cards.monai import writing as monai_writing
from seg_batch.conversion.cards.stac import reading as stac
from seg_batch.conversion.cards.stac import writing as stac_writing
from seg_batch.core import files
from seg_batch.core.errors import InputError
from seg_batch.core.normalise import Pixels
from seg_batch.core.text import nearest
from seg_batch.inference.bundles import MODEL_ITEM

ALL, NONE = "all", "none"
ITEM = MODEL_ITEM


@dataclass(frozen=True)
class _Job:
    folder: Path
    card: ModelCard
    file: ExportedFile
    patch: np.ndarray
    scores: np.ndarray


def chosen(text: str) -> tuple[str, ...]:
    """The worlds that are asked for; InputError for an unknown one."""
    if text in (ALL, NONE):
        return tuple(_WORLDS) if text == ALL else ()
    names = tuple(part.strip() for part in text.split(","))
    for name in names:
        if name not in _WORLDS:
            raise InputError(
                f"--cards {name!r} is no world whose cards are written; {nearest(name, (*_WORLDS, ALL, NONE))}"
            )
    return names


def seen_of(card: ModelCard, patch: np.ndarray) -> np.ndarray:
    """What a model sees of the test input that is written for a normalised patch ``(1, *patch, channels)``: about that
    patch, but where each image has its own numbers."""
    pixels = Pixels(bioimageio_writing.raw(card, patch)[0])
    return normaliser_for(card, pixels)(pixels)[None].astype(np.float32)


def write(
    worlds: Sequence[str],
    folder: Path,
    card: ModelCard,
    file: ExportedFile,
    patch: np.ndarray,
    scores: np.ndarray,
) -> dict[str, Any]:
    """Write the card of each world that has one into ``folder``; of each, its file and what it does not say, or why
    there is none. ``patch``: a normalised one; ``scores``: the probabilities of the classes that the file gives for
    what is ``seen_of`` it, ``(1, *sides, classes)``."""
    job, report = _Job(folder, card, file, patch, scores), {}
    for name in worlds:
        several = "the model has several networks" if card.folds_sha256 else None
        if why := several or _WORLDS[name].why_not(card, file):
            report[name] = {"left_out": why}
        else:
            report[name] = _WORLDS[name].write(job)
    return report


def lines(report: dict[str, Any]) -> list[str]:
    """What was written, in lines for people."""
    text = []
    for name, facts in report.items():
        if "left_out" in facts:
            text.append(f"  no card for {name}: {facts['left_out']}")
        else:
            text.append(f"  {facts['file']}, the card for {name}")
            text += [f"    {sentence}" for sentence in facts["not_carried"]]
    return text


def _stac(job: _Job) -> dict[str, Any]:
    item = stac_writing.item(job.card, job.file)
    files.write_json(job.folder / ITEM, item, for_people=True)
    entry = Entry(item, ITEM)
    fields, _ = stac.card_fields(entry, entry["assets"]["model"])
    return _report(ITEM, lost(job.card, fields, "a STAC item"))


def _bioimageio(job: _Job) -> dict[str, Any]:
    example, hashes = _example(job), {}
    arrays = {
        bioimageio_writing.INPUT: example.input,
        bioimageio_writing.OUTPUT: example.output,
    }
    for name, array in arrays.items():
        first = job.file.layout == "channels_first"
        np.save(job.folder / name, np.moveaxis(array, -1, 1) if first else array)
        hashes[name] = files.sha256(job.folder / name)
    rdf = bioimageio_writing.description(job.card, job.file, hashes)
    name = bioimageio.NAMES[0]
    (job.folder / name).write_text(dumped(rdf), encoding="utf-8")
    fields, _ = bioimageio.card_fields(Entry(rdf, name), example)
    return _report(name, lost(job.card, fields, "a description of bioimage.io"))


def _example(job: _Job) -> Example:
    """Test tensors as the description has them: values before its first step, scores after its last."""
    kept = list(range(job.scores.shape[-1]))
    if job.file.outputs < len(kept) and job.card.background_index is not None:
        kept.remove(job.card.background_index)
    values = bioimageio_writing.raw(job.card, job.patch)
    return Example(values, np.ascontiguousarray(job.scores[..., kept]), activated=True)


def _monai(job: _Job) -> dict[str, Any]:
    metadata = monai_writing.metadata(job.card, job.file)
    inference = monai_writing.inference(job.card, job.file)
    folder = job.folder / monai.FOLDER
    folder.mkdir()
    files.write_json(folder / monai.METADATA, metadata, for_people=True)
    files.write_json(folder / "inference.json", inference, for_people=True)
    name = f"{monai.FOLDER}/{monai.METADATA}"
    fields, _ = monai.card_fields(Entry(metadata, name), Entry(inference, "inference.json"))
    return _report(name, lost(job.card, fields, "a bundle of MONAI"))


def _report(name: str, not_carried: list[str]) -> dict[str, Any]:
    return {"file": name, "not_carried": not_carried}


@dataclass(frozen=True)
class _World:
    why_not: Callable[[ModelCard, ExportedFile], str | None]
    write: Callable[[_Job], dict[str, Any]]


_WORLDS = {
    "stac": _World(stac_writing.why_not, _stac),
    "bioimageio": _World(bioimageio_writing.why_not, _bioimageio),
    "monai": _World(monai_writing.why_not, _monai),
}
