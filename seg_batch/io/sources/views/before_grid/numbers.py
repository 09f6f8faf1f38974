"""The numbers by which an image is normalised."""

from __future__ import annotations

from functools import partial

from seg_batch.config.card_parts.normalisation import Normalisation
from seg_batch.core.normalise import Normaliser
from seg_batch.core.statistics.schemes import measured, measured_each
from seg_batch.io.sources.iterate import pieces
from seg_batch.io.sources.protocol import Source


def image_numbers(source: Source, rule: Normalisation) -> Normaliser:
    """The numbers of the card; else the image's own, from one pass over it for each scheme that there is."""
    info = source.info
    if known := rule.normaliser():
        return known
    if rule.kind != "mixed":
        return measured(rule.kind, pieces(source), info.channels, info.path)
    each = rule.kinds, rule.each, partial(pieces, source), info.channels, info.path
    return measured_each(*each)
