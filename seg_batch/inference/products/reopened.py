"""How the image of a report is opened again as one of several files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seg_batch.config.image_options.scene import SceneOptions


def as_mosaic(source: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an ``ImageSpec`` for the pieces of a mosaic; none for other images. ``source``: ``Report["source"]``."""
    if not source.get("mosaic"):
        return {}
    identity = source["identity"] if isinstance(source.get("identity"), dict) else {}
    said = {name: identity[name] for name in ("order", "align") if name in identity}
    return {"mosaic": True, "scene": SceneOptions(**said)}
