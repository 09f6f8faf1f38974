"""How bands marked as alpha are read, where the number of channels of the model decides."""

from __future__ import annotations

from collections.abc import Sequence

from seg_batch.config.card import ModelCard
from seg_batch.core.errors import InputError
from seg_batch.io.sources.protocol import AlphaOption, AlphaReading, SourceInfo

_IS = {"data": "data", "mask": "a mask"}


def settled_reading(info: SourceInfo, channels: int | None) -> AlphaOption:
    """``data`` or ``mask``, by which an image has the ``channels`` of a model; ``auto`` where the file as it was
    opened has them, where no reading gives them, or where ``channels`` is None."""
    alpha = info.alpha
    if alpha is None or alpha.fixed:
        return "auto"
    if channels == len(info.channels):
        return alpha.reading
    return alpha.other if channels == alpha.otherwise else "auto"


def require_settled(
    info: SourceInfo, why: str = "a model that takes any number of channels"
) -> None:
    """``InputError`` for an image that leaves open what its alpha is, where no number of channels tells.
    ``why``: there is none."""
    alpha = info.alpha
    if alpha is not None and alpha.open:
        raise InputError(
            f"{info.path}: {alpha} may be a mask or data, and {why} does not tell: give --alpha mask or "
            "--alpha data (options.alpha in a workflow)"
        )


def reading_beside(info: SourceInfo, taken: Sequence[int]) -> AlphaOption:
    """The reading of alpha where these channels are taken by hand: data where they are among them, else by the
    number of them. ``InputError`` where that leaves it open."""
    alpha = info.alpha
    if alpha is None or alpha.fixed:
        return "auto"
    if {*alpha.indices} & {*taken}:
        return "data"
    reading = settled_reading(info, len(taken))
    if reading == "auto":
        require_settled(info, "a choice of other bands")
    return reading


def alpha_hint(info: SourceInfo, channels: int) -> str:
    """What follows the words for a wrong number of channels: the option that gives so many, if one does."""
    alpha = info.alpha
    if alpha is None or alpha.otherwise != channels:
        return ""
    return f"; with --alpha {alpha.other} it has {channels}, as {alpha} is then {_IS[alpha.other]}"


def contrary_reading(info: SourceInfo, card: ModelCard) -> AlphaReading | None:
    """The reading of alpha where an option alone decided it, and not the file or the channels of the model."""
    alpha = info.alpha
    if card.channels is not None or alpha is None or alpha.reading == alpha.marks:
        return None
    return alpha.reading
