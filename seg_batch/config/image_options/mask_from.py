"""Bands whose values say where there is no data, as ``--mask-from`` names them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from seg_batch.core.errors import PlanError

_BIT = re.compile(r"bit(\d{1,2})", re.ASCII | re.IGNORECASE)
_VALUE = re.compile(r"-?\d{1,18}", re.ASCII)


@dataclass(frozen=True)
class MaskRule:
    """Where ``band`` has one of the ``values``, or any of the ``bits`` (a number in which they are set), there is no
    data."""

    band: str
    values: tuple[int, ...]
    bits: int

    def __str__(self) -> str:
        bits = [f"bit{k}" for k in range(self.bits.bit_length()) if self.bits >> k & 1]
        return f"{self.band}:{','.join([*map(str, self.values), *bits])}"


def mask_rules(texts: Sequence[str]) -> tuple[MaskRule, ...]:
    """The rules of ``SCL:3,8,9,10`` and ``QA_PIXEL:bit3,bit4``. PlanError for what is none."""
    return tuple(map(_rule, texts))


def require_masks(where: str, texts: Sequence[str]) -> None:
    """PlanError unless each text is a band with its values."""
    mask_rules(texts)


def _rule(text: str) -> MaskRule:
    band, _, said = text.rpartition(":")
    words = [word.strip() for word in said.split(",")]
    bits = [int(match[1]) for word in words if (match := _BIT.fullmatch(word))]
    values = [int(word) for word in words if _VALUE.fullmatch(word)]
    if not band.strip() or len(bits) + len(values) < len(words) or any(bit > 62 for bit in bits):
        raise PlanError(
            f"--mask-from {text[:60]!r} names no band with values that mean no data: write it like SCL:3,8,9,10, or "
            "QA_PIXEL:bit3,bit4 for bits, counted from 0"
        )
    return MaskRule(band.strip(), tuple(sorted({*values})), sum(1 << bit for bit in {*bits}))
