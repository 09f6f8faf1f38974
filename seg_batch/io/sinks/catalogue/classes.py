"""A class as the classification extension of STAC writes it."""

from __future__ import annotations

import re
from typing import Any

from seg_batch.config.card import ClassInfo


def stac_class(known: ClassInfo) -> dict[str, Any]:
    """``name`` is of letters, digits, ``_`` and ``-``; ``title`` is the class's own."""
    slug = re.sub(r"[^0-9A-Za-z_-]+", "_", known.name).strip("_") or f"class_{known.id}"
    return {
        "value": known.id,
        "name": slug,
        "title": known.name,
        "description": known.name,
        "color_hint": "".join(f"{part:02X}" for part in known.colour),
    }
