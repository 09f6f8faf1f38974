"""The look before the work: header and sample of an input, held against a card."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from seg_batch.config.card import ModelCard
from seg_batch.core.errors import InputError, ReadError
from seg_batch.core.geometry import Box
from seg_batch.inference.fit.grid import grid_findings
from seg_batch.inference.fit.values import value_findings
from seg_batch.inference.fit.verdict import Finding, Verdict
from seg_batch.io.sources.protocol import Source
from seg_batch.io.sources.sample import Sample, sample
from seg_batch.io.sources.views.before_grid.crop import Cropped
from seg_batch.io.sources.views.open_view import View
from seg_batch.io.vectors.area import Area


def look(view: View, cards: Sequence[ModelCard], area: Area | None = None) -> Verdict:
    """Whether an image, opened as a model sees it, fits it and all that are averaged with it. Reads a bounded
    sample, from an area where only that is wanted; ``InputError`` where no part of it can be read."""
    seen = taken(_wanted(view, area))
    verdicts = [verdict_on(view, card, seen) for card in cards]
    return Verdict.of(dict.fromkeys(each for verdict in verdicts for each in verdict.findings))


def _wanted(view: View, area: Area | None) -> Source:
    """The image, or the box around an area that is a small part of it."""
    file = view.file
    whole = Box.whole(file.info.extent)
    part = area.part(whole) if area is not None and area.extent == file.info.extent else None
    return file if part in (None, whole) else Cropped(file, part)


def taken(file: Source) -> Sample:
    """The sample of an image; ``InputError`` where no part of it can be read."""
    try:
        return sample(file)
    except ReadError as error:
        raise InputError(error.message) from error


def verdict_on(view: View, card: ModelCard, seen: Sample) -> Verdict:
    """The same for a sample that was taken before."""
    return Verdict.of(_findings(view, card, seen))


def _findings(view: View, card: ModelCard, seen: Sample) -> Iterator[Finding]:
    yield from grid_findings(card, view.coarse, view.options)
    yield from value_findings(card, view.file.info, seen)


def refuse_unfit(verdict: Verdict, model: str, path: str, *, force: bool) -> None:
    """``InputError`` for an input that does not fit, unless ``force``."""
    if verdict.outcome == "does not fit" and not force:
        raise InputError(
            f"{path} does not fit {model}: {verdict.line}; --force goes on all the same (in a workflow: options of these names)"
        )
