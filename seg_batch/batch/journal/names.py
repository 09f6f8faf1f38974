"""What people call an input: a series by its number and description, since nobody reads 64 digits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seg_batch.core.text import with_short_uids
from seg_batch.core.units import number


def input_name(key: str, image: Mapping[str, Any] | None = None) -> str:
    """The key of an input, with a series named as people do where ``image`` (its ``ImageFacts``) knows it, else by the
    last digits of its UID."""
    facts = image or {}
    told = [f"series {facts['number']}" if "number" in facts else "", facts.get("description", "")]
    return with_short_uids(key, " ".join(filter(None, told)))


def image_words(image: Mapping[str, Any]) -> str:
    """What an image is, in words: ``CT, Abdomen portal, series 3, 120 slices, 0.7 x 0.7 x 3 mm, tilted by 12°``."""
    spacing = " \N{MULTIPLICATION SIGN} ".join(map(number, image.get("spacing_mm", ())))
    slices, tilt, series = (image.get(key) for key in ("slices", "tilt_deg", "number"))
    parts = [
        image.get("modality"),
        image.get("description"),
        f"series {series}" if series is not None else "",
        f"{slices} slice{'s' if slices != 1 else ''}" if slices else "",
        f"{spacing} mm" if spacing else "",
        f"tilted by {tilt:.3g}°" if tilt else "",
    ]
    return ", ".join(filter(None, parts))
