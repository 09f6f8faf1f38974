"""Whether the sums of a run stay on the GPU that computes its model (``on_device.block``), and why not.

The two paths compute the same labels up to ties, and not the same bytes, so a run keeps to one: the fingerprint says
``sums: device``. It is never said where there is no GPU, so that stores and products of before go on.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from seg_batch.config.card import ModelCard
from seg_batch.core import hardware
from seg_batch.core.registry.engines import ENGINES
from seg_batch.nn.engines.device.backends import BACKENDS

if TYPE_CHECKING:
    from seg_batch.nn.engines.device import Device

SUMS = {"sums": "device"}  # in a fingerprint
FORCED = "SEGBATCH_ON_DEVICE"  # at 1: without a GPU too, which is how this path is tested


def forced() -> bool:
    return os.environ.get(FORCED) == "1"


def on_host(engine: str, cards: Sequence[ModelCard], tta: str, resampled: bool) -> str | None:
    """Why the sums are made on the CPU, in a few words; "" where no GPU computes; None: they stay on the GPU.

    ``resampled``: the model sees a grid of its own."""
    if engine not in ENGINES or not ENGINES[engine].uses_gpu or not (hardware.gpus() or forced()):
        return ""
    reasons = {
        "it is no Keras model": any(card.format != "keras" for card in cards),
        "Keras computes with PyTorch": os.environ.get("KERAS_BACKEND", BACKENDS[0]) not in BACKENDS,
        "it is an ensemble": len(cards) > 1,
        "it averages several views": tta != "none",
        "it sees images on another grid": resampled or cards[0].finer != 1,
        **_unlike(cards[0]),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _unlike(card: ModelCard) -> dict[str, bool]:
    """What only the sums of the CPU do, and whether the card asks for it."""
    output = card.output
    return {
        "it averages logits": output.blend == "logits",
        "its classes are independent": output.classes == "independent",
        "it sees zeros beyond an image": card.padding == "zero",
        "its tiles begin before an image": any(card.lead or ()),
        "its output is smaller than its patch": any(output.shrink or ()),
    }


def in_words(why: str, reason: str | None) -> str:
    """The reason for an engine, and where the sums are made."""
    if reason is None:
        return f"{why}; sums stay on it"
    return f"{why}; sums on the CPU, since {reason}" if reason else why


def device_of(predictor: Any, fingerprint: dict[str, Any], patch: Any, batch: int) -> Device | None:
    """The device that a run with this fingerprint computes its blocks on; None: the CPU makes the sums."""
    if fingerprint.get("sums") != SUMS["sums"]:
        return None
    from seg_batch.nn.engines.device import DEVICES

    # A worker without a GPU takes one patch at a time, as the engine does (DESIGN.md, D51).
    return DEVICES.of(predictor, patch, batch if predictor.loaded.gpu or forced() else 1)
