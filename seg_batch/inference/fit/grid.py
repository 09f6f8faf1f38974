"""Spacing, pixel size and field of view of an input, against those that the model was trained on."""

from __future__ import annotations

from collections.abc import Iterator

from seg_batch.config.card import TRAINED_FACTOR, ModelCard
from seg_batch.config.channels import Span
from seg_batch.core.georef import RasterGeoref, VolumeGeoref
from seg_batch.inference.fit.verdict import Finding
from seg_batch.io.sources.areas.pixel_size import pixel_sides_m
from seg_batch.io.sources.protocol import SourceInfo

# Beyond a range by this factor an input does not fit; within it, it is unusual.
GRID_FACTOR = 1.4
SLACK = 0.01  # within which a size is that of a limit
VIEW_FACTOR, VIEW_FACTOR_REFUSED = 1.5, 3.0


def grid_findings(card: ModelCard, info: SourceInfo) -> Iterator[Finding]:
    """``info``: of the input as the model sees it, with the voxels of its file."""
    georef = info.georef
    if isinstance(georef, VolumeGeoref):
        yield from _spacing(card, georef)
        yield from _field_of_view(card, georef, info)
    elif isinstance(georef, RasterGeoref):
        yield from _pixel(card, georef, info)


def spacing_ranges(card: ModelCard) -> tuple[Span, ...] | None:
    """The voxel sizes in mm that the model takes, for each axis; None: the card does not say."""
    if card.spacing_range_mm is not None or card.spacing_mm is None:
        return card.spacing_range_mm
    return tuple((size / TRAINED_FACTOR, size * TRAINED_FACTOR) for size in card.spacing_mm)


def pixel_range(card: ModelCard) -> Span | None:
    """The pixel sizes in metres that the model takes; None: the card does not say."""
    if card.pixel_range_m is not None or card.pixel_m is None:
        return card.pixel_range_m
    return card.pixel_m / TRAINED_FACTOR, card.pixel_m * TRAINED_FACTOR


def _beyond(value: float, span: Span) -> float:
    """The factor by which a size lies outside a range; at most 1 within it."""
    factor = max(span[0] / value, value / span[1]) if value > 0 else 1.0
    return factor if factor > 1 + SLACK else 1.0


def _spacing(card: ModelCard, georef: VolumeGeoref) -> Iterator[Finding]:
    ranges, sizes = spacing_ranges(card), georef.spacing_mm
    if ranges is None or len(ranges) != len(sizes):
        return
    worst = max(map(_beyond, sizes, ranges))
    if worst <= 1:
        return
    wanted = _by_span(ranges)
    yield Finding(
        "unusual" if worst <= GRID_FACTOR else "does not fit",
        f"its voxels of {_by(sizes)} mm are not those of the model, which takes {wanted} mm",
        "resample it first, or name another --model",
    )


def _pixel(card: ModelCard, georef: RasterGeoref, info: SourceInfo) -> Iterator[Finding]:
    span, sides = pixel_range(card), pixel_sides_m(georef, info.extent)
    if span is None or sides is None:
        return
    worst = max(_beyond(side, span) for side in sides)
    if worst > 1:
        yield Finding(
            "unusual" if worst <= GRID_FACTOR else "does not fit",
            f"its pixels of {_by(sides)} m are not those of the model, which takes {_span(span)} m",
            "resample it first, or name another --model",
        )


def _field_of_view(card: ModelCard, georef: VolumeGeoref, info: SourceInfo) -> Iterator[Finding]:
    """A longer scan of what the model knows is common: only more along two axes is another subject."""
    if card.field_of_view_mm is None:
        return
    sides = [n * size for n, size in zip(info.extent, georef.spacing_mm, strict=True)]
    beyond = [_beyond(side, span) for side, span in zip(sides, card.field_of_view_mm, strict=True)]
    longer = [side / span[1] for side, span in zip(sides, card.field_of_view_mm, strict=True)]
    if max(beyond) > VIEW_FACTOR:
        wanted = _by_span(card.field_of_view_mm)
        other = sorted(longer)[1] > VIEW_FACTOR_REFUSED
        yield Finding(
            "does not fit" if other else "unusual",
            f"its field of view of {_by(sides)} mm is not that of the training, {wanted} mm",
            "cut out the part that the model is for, or name another --model"
            if max(longer) > VIEW_FACTOR
            else "give an image of the whole part that the model is for",
        )


def _by(sizes: tuple[float, ...] | list[float]) -> str:
    return " x ".join(f"{size:.4g}" for size in sizes)


def _by_span(spans: tuple[Span, ...]) -> str:
    """Each axis, or the one span of all."""
    texts = [*map(_span, spans)]
    return texts[0] if len(set(texts)) == 1 else " x ".join(texts)


def _span(span: Span) -> str:
    return f"{span[0]:.3g}" if span[0] == span[1] else f"{span[0]:.3g} to {span[1]:.3g}"
