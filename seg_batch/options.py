"""What the user asked for, and the steps after prediction that it means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from seg_batch.card import ModelCard
from seg_batch.chain import AnyStep, parse_chain
from seg_batch.geometry import Shape
from seg_batch.postprocess.setting import Setting, require_fit
from seg_batch.sources.protocol import SourceInfo


@dataclass(frozen=True)
class Options:
    """What the user asked for. ``memory_bytes``: per worker process; 0: a share of the machine.
    ``overlap``: voxels; None: the card's; ``auto``: what was measured for the model, if it was.
    ``tta``: the views of each patch that are predicted and averaged. ``post``: steps that follow
    prediction, as on the command line; None: the card's."""

    overlap: int | Literal["auto"] | None = None
    taper: str = "hann"
    probabilities: bool = False
    precision: str = "auto"
    engine: str = "auto"
    tta: str = "none"
    post: tuple[str, ...] | None = None
    memory_bytes: int = 0
    workers: int = 1
    batch: int = 0
    block: Shape | None = None


def chain_of(info: SourceInfo, card: ModelCard, options: Options) -> tuple[AnyStep, ...]:
    """The steps that follow prediction: those asked for, else the card's. PlanError when they do
    not fit the model or the input."""
    chain = asked_chain(card, options)
    require_fit(chain, card, Setting.of(card, info.georef))
    return chain


def asked_chain(card: ModelCard, options: Options) -> tuple[AnyStep, ...]:
    """The steps of ``options``, else those of the card; not looked at yet."""
    return card.post if options.post is None else parse_chain(options.post)
