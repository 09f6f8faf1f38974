"""The pictures of one input of a run, from its file, its product and the report beside it, as a page holds them."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg_batch.core.normalise import Pixels
from seg_batch.inference.products.reopened import as_mosaic
from seg_batch.io import quicklook
from seg_batch.io.pictures import Composite, jpeg_bytes, png_bytes
from seg_batch.io.quicklook import Palette, Plane, Windows, draw_planes, open_seen
from seg_batch.io.sources.views.image_spec import ImageSpec
from seg_batch.io.sources.views.joined.lattice import OneGrid


@dataclass(frozen=True)
class PlaneView:
    """One picture. ``image``: a JPEG; ``labels``: a PNG with a transparent background; the rest as in ``Plane``."""

    title: str
    image: bytes | None
    labels: bytes | None
    aspect: float
    width: float = 1.0
    letters: str = ""
    window: str = ""


def draw_quicklook(
    image: str | Path | None,
    labels: str | Path | None,
    report: dict[str, Any],
    windows: Windows | None = None,
) -> tuple[PlaneView, ...]:
    """The views of one input. ``labels``: the path of its product; ``report``: the one beside the
    product (classes, background, volume, series); ``windows``: those to show it by, else its own. ``InputError`` for a
    file too large to be read."""
    with ExitStack() as opened:
        pictured = None if image is None else open_seen(_image(image, report), opened)
        labelled = None if labels is None else open_seen(ImageSpec((str(labels),)), opened)
        drawn = draw_planes(pictured, labelled, _palette(report), _channels(report), windows)
        return tuple(map(_encoded, drawn))


def sample(image: str | Path, report: dict[str, Any]) -> tuple[Composite, list[Pixels]]:
    """How an input is shown, and a few of the pixels that are shown of it."""
    with ExitStack() as opened:
        return quicklook.sample(open_seen(_image(image, report), opened), _channels(report))


def _encoded(plane: Plane) -> PlaneView:
    return PlaneView(
        plane.title,
        None if plane.image is None else jpeg_bytes(plane.image),
        None if plane.labels is None else png_bytes(plane.labels),
        plane.aspect,
        plane.width,
        plane.letters,
        plane.window,
    )


def _image(path: str | Path, report: dict[str, Any]) -> ImageSpec:
    """The image as it was read for the product."""
    source = report.get("source", {})
    files = source.get("files") or [str(path)]
    read = report.get("plan", {}).get("fingerprint", {})
    volume, last = read.get("volume"), bool(read.get("channels_last_axis"))
    return ImageSpec(
        tuple(files),
        None if volume is None else int(volume),
        channels_last_axis=last,
        series=source.get("series") or None,
        one_grid=OneGrid.stated(read),
        **as_mosaic(source),
    )


def _channels(report: dict[str, Any]) -> list[str]:
    return report.get("model", {}).get("channels") or []


def _palette(report: dict[str, Any]) -> Palette:
    """Opaque RGBA colours of the classes other than background, by id."""
    rows, background = report.get("classes", ()), report.get("background")
    return {row["id"]: (*row["colour"], 255) for row in rows if row["id"] != background}
