"""Spacing, pixel size and field of view of an input, against those that the model was trained on."""

from __future__ import annotations

import math
from collections.abc import Iterator

from seg_batch.config.card import TRAINED_FACTOR, ModelCard
from seg_batch.config.card_parts.channels import Span
from seg_batch.config.image_options.grid import AS_STORED, GridOptions
from seg_batch.core.georef import VolumeGeoref
from seg_batch.inference.fit.verdict import Finding
from seg_batch.io.sources.protocol import SourceInfo
from seg_batch.io.sources.views.model_grid import voxel_sizes, wanted_sizes

# Beyond a range by this factor an input does not fit; within it, it is unusual. Where nothing is resampled it is that
# of the worst axis.
GRID_FACTOR = 1.4
# Where the input is brought to the grid of the model, voxels can't be too small, but what was never measured does not
# come back: as the geometric mean over the axes. An axis may be finer or coarser by FARTHEST.
COARSE_UNUSUAL, COARSE_FACTOR = 1.2, 1.75
FARTHEST = 8.0
SLACK = 0.01  # within which a size is that of a limit
VIEW_FACTOR, VIEW_FACTOR_REFUSED = 1.5, 3.0


def grid_findings(
    card: ModelCard, info: SourceInfo, options: GridOptions = AS_STORED
) -> Iterator[Finding]:
    """``info``: of the input in the axes of the model, with the voxels of its file; ``options``: how it comes to the
    grid of the model."""
    ranges, sizes = size_ranges(card, info), voxel_sizes(info)
    if ranges is not None and sizes is not None and len(ranges) <= len(sizes):
        wanted = None if options.resample == "never" else wanted_sizes(info, card, options)
        within = slice(
            -len(ranges), None
        )  # of a 2-D model a card may say the sizes in slices alone
        sizes, wanted = sizes[within], wanted and wanted[within]
        volume = isinstance(info.georef, VolumeGeoref)
        name, unit = ("voxels", "mm") if volume else ("pixels", "m")
        flat = len(sizes) - (card.rank or len(sizes))  # slices of a 2-D model stay slices
        yield from (
            _stored(ranges, sizes, name, unit)
            if wanted is None
            else _resampled(
                *(ranges[flat:], sizes[flat:], wanted[flat:], name, unit),
                asked=options.spacing is not None,
            )
        )
    if isinstance(info.georef, VolumeGeoref):
        yield from _field_of_view(card, info.georef, info)


def size_ranges(card: ModelCard, info: SourceInfo) -> tuple[Span, ...] | None:
    """The sizes that the model takes, for each axis of the input or the last two; None: the card does not say."""
    if isinstance(info.georef, VolumeGeoref):
        return spacing_ranges(card)
    span = pixel_range(card)
    return None if span is None else (span,) * len(info.extent)


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


def _stored(
    ranges: tuple[Span, ...], sizes: tuple[float, ...], name: str, unit: str
) -> Iterator[Finding]:
    """Sizes that the model has to take as they are."""
    worst = max(map(_beyond, sizes, ranges))
    if worst > 1:
        yield Finding(
            "unusual" if worst <= GRID_FACTOR else "does not fit",
            _unlike(ranges, sizes, name, unit),
            "let it be resampled (--resample auto), or name another --model",
        )


def _resampled(
    ranges: tuple[Span, ...],
    sizes: tuple[float, ...],
    wanted: tuple[float, ...],
    name: str,
    unit: str,
    *,
    asked: bool,
) -> Iterator[Finding]:
    """Sizes that the model gets at those that it wants, or that were ``asked`` for."""
    coarser = [_beyond(size, (0.0, span[1])) for size, span in zip(sizes, ranges, strict=True)]
    mean = math.prod(coarser) ** (1 / len(coarser))
    farthest = max(max(a / b, b / a) for a, b in zip(sizes, wanted, strict=True))
    if asked and farthest > FARTHEST:
        yield Finding(
            "does not fit",
            f"its {name} of {_by(sizes)} {unit} are {farthest:.3g} times as large as those of --spacing, or as small",
            f"at most {FARTHEST:g} times is made up for: use another --spacing",
        )
    elif mean > COARSE_FACTOR or farthest > FARTHEST:
        yield Finding(
            "does not fit",
            _unlike(ranges, sizes, name, unit),
            "resampling can't make up for that: name another --model",
        )
    elif mean > COARSE_UNUSUAL:
        yield Finding(
            "unusual", f"{_unlike(ranges, sizes, name, unit)}, and finer ones are made of them"
        )


def _unlike(ranges: tuple[Span, ...], sizes: tuple[float, ...], name: str, unit: str) -> str:
    taken = _by_span(ranges)
    return (
        f"its {name} of {_by(sizes)} {unit} are not those of the model, which takes {taken} {unit}"
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
