"""What the words of others mean: which class is the background, and what images were taken with."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

BACKGROUND = "background"
_BACKGROUND = re.compile(r"background|bg|unlabell?ed", re.IGNORECASE)
# Modalities of a card by the words for them in other worlds; the first of each is what is written.
_MODALITIES = {
    "ct": "CT",
    "mri": "MR",
    "mr": "MR",
    "pet": "PET",
    "ultrasound": "ultrasound",
    "us": "ultrasound",
    "microscopy": "microscopy",
    "fluorescence-light-microscopy": "microscopy",
    "electron-microscopy": "microscopy",
    "fluorescence": "microscopy",
    "brightfield": "microscopy",
    "em": "microscopy",
}
_SEQUENCES = re.compile(r"mri?|t1\w{0,2}|t2\w?|flair|dwi|adc|swi|pd", re.IGNORECASE)


def is_background(name: str) -> bool:
    """Whether a class of this name is what none of the others is. Not "other", which maps of land have as a class."""
    return _BACKGROUND.fullmatch(name) is not None


def background_of(classes: Iterable[dict[str, Any]]) -> int | None:
    """The id of the class that is called so."""
    return next((c["id"] for c in classes if is_background(str(c["name"]))), None)


def modality_of(words: Iterable[str]) -> str | None:
    """What the first word that is known says."""
    return next((_MODALITIES[w] for w in map(str.lower, words) if w in _MODALITIES), None)


def word_of(modality: str | None) -> str | None:
    """The word for a modality of a card; None where there is none."""
    return next((word for word, known in _MODALITIES.items() if known == modality), None)


def is_sequence(channel: str) -> bool:
    """Whether a channel of this name is of MR."""
    return _SEQUENCES.fullmatch(channel) is not None
