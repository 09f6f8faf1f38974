"""How the image of a report is opened again as one of several files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seg_batch.config.image_options.scene import SceneOptions
from seg_batch.inference.report import Report


def as_mosaic(source: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an ``ImageSpec`` for the pieces of a mosaic; none for other images. ``source``: ``Report["source"]``."""
    if not source.get("mosaic"):
        return {}
    identity = source["identity"] if isinstance(source.get("identity"), dict) else {}
    said = {name: identity[name] for name in ("order", "align") if name in identity}
    return {"mosaic": True, "scene": SceneOptions(**said)}


def input_files(report: Report) -> list[str]:
    """The files of the input of a product."""
    return report["source"].get("files") or [report["input"]]
