"""What the images of a dataset are like, for the card of a model that is trained on them.

Each case is looked at once, by a thinned sample of what training may see; the cases are put together by
their quantiles. A later look holds an input against the result (``inference.fit``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from seg_batch.config.card import TRAINED_FACTOR
from seg_batch.config.card_parts.channels import Channel, ChannelStatistics
from seg_batch.config.recipe.card_draft import CardTemplate
from seg_batch.core.geometry import Box
from seg_batch.core.georef import MM3_PER_ML, RasterGeoref, VolumeGeoref
from seg_batch.core.normalise import Pixels
from seg_batch.datasets.label_classes import ignored
from seg_batch.datasets.layout import Case
from seg_batch.io.sources.areas.pixel_size import pixel_sides_m
from seg_batch.io.sources.protocol import Source
from seg_batch.io.sources.sample import sample
from seg_batch.io.sources.views.open_view import View

_RANKS = np.linspace(0, 100, 201)  # of the quantiles that a case keeps
_PERCENTILES = (0, 1, 50, 99, 100)


class _Shown:
    """A source whose held-out voxels are invalid."""

    def __init__(self, source: Source, held: Sequence[Box]) -> None:
        self.info, self._source, self._held = source.info, source, held

    def read(self, box: Box) -> Pixels:
        pixels = self._source.read(box)
        shown = np.ones(box.shape, bool)
        for other in self._held:
            part = other.intersection(box)
            if part.size:
                shown[part.slices(box.start)] = False
        valid = shown[..., None] if pixels.valid is None else pixels.valid & shown[..., None]
        valid = np.broadcast_to(valid, pixels.values.shape)
        return Pixels(pixels.values, valid, pixels.scale, pixels.offset)

    def close(self) -> None: ...


def describe_case(
    image: View, label: View, case: Case, ids: Sequence[int], ignore: Sequence[int]
) -> dict[str, Any] | None:
    """Plain JSON; None for a case of which training sees nothing.

    ``channels``: count, mean, sum of squared deviations and quantiles of each; ``nodata``: share of each;
    ``shares`` of the classes among labelled voxels; of a volume ``spacing_mm``, ``view_mm`` and ``volumes_ml``, of
    a raster ``pixel_m``.
    """
    if case.whole:
        return None
    held = [box for _, box in case.held]
    seen = sample(_Shown(image, held))
    hidden = sum(box.size for box in held) / image.info.voxels
    shares = _class_shares(_Shown(label, held), ids, ignore)
    missing = 1 - seen.valid.mean(0) / max(1 - hidden, 1e-9) if len(seen.valid) else []
    return {
        "channels": [_numbers(seen.channel(n)) for n in range(seen.values.shape[1])],
        "nodata": np.clip(missing, 0, 1).tolist(),
        "shares": shares,
        **_place(image, shares),
    }


def _numbers(values: np.ndarray) -> dict[str, Any] | None:
    if not len(values):
        return None
    wide = values.astype(np.float64)
    mean = float(wide.mean())
    squares = float(np.square(wide - mean).sum())
    quantiles = np.percentile(wide, _RANKS).tolist()
    return {"count": len(wide), "mean": mean, "squares": squares, "quantiles": quantiles}


def _class_shares(label: Source, ids: Sequence[int], ignore: Sequence[int]) -> list[float]:
    seen = sample(label)
    pixels = Pixels(seen.values, seen.valid)
    values = seen.values[~ignored(pixels, tuple(ignore)), 0]
    return [float((values == k).mean()) if len(values) else 0.0 for k in ids]


def _place(image: View, shares: list[float]) -> dict[str, Any]:
    info = image.coarse  # of the file: the model also takes what was resampled for it
    if isinstance(info.georef, VolumeGeoref):
        spacing, voxels = info.georef.spacing_mm, info.voxels * info.georef.voxel_mm3 / MM3_PER_ML
        return {
            "spacing_mm": spacing,
            "view_mm": [n * size for n, size in zip(info.extent, spacing, strict=True)],
            "volumes_ml": [share * voxels for share in shares],
        }
    sides = None
    if isinstance(info.georef, RasterGeoref):
        sides = pixel_sides_m(info.georef, info.extent)
    return {"pixel_m": sides}


def card_fields(card: CardTemplate, cases: Sequence[dict[str, Any] | None]) -> dict[str, Any]:
    """The fields of a card that the cases of ``describe_case`` tell. What the template says is kept."""
    known = [case for case in cases if case]
    if not known:
        return {}
    fields: dict[str, Any] = {
        "channels": tuple(
            _channel(c, n, known, card.per_image) for n, c in enumerate(card.channels)
        ),
        "images": len(known),
    }
    spans = np.array([case["shares"] for case in known])
    volumes = [case["volumes_ml"] for case in known if "volumes_ml" in case]
    fields["classes"] = tuple(
        c.model_copy(
            update={
                "share": c.share or _span(spans[:, k]),
                "volume_ml": c.volume_ml or (_span([v[k] for v in volumes]) if volumes else None),
            }
        )
        for k, c in enumerate(card.classes)
    )
    return {**fields, **_grid(card, known)}


def _channel(channel: Channel, n: int, cases: list[dict[str, Any]], per_image: bool) -> Channel:
    parts = [(case["channels"][n], case["nodata"][n]) for case in cases if case["channels"][n]]
    if per_image and channel.quantity is None:  # each image has a scale of its own
        channel = channel.model_copy(update={"quantity": "arbitrary"})
    if channel.statistics or not parts:
        return channel
    counts = np.array([part["count"] for part, _ in parts], float)
    means = np.array([part["mean"] for part, _ in parts])
    mean = float(np.average(means, weights=counts))
    squares = sum(part["squares"] for part, _ in parts) + (counts * (means - mean) ** 2).sum()
    quantiles = np.array([part["quantiles"] for part, _ in parts])
    weights = np.repeat(counts[:, None], quantiles.shape[1], 1).ravel()
    order = quantiles.ravel().argsort()
    rising, ranks = quantiles.ravel()[order], weights[order].cumsum() - weights[order] / 2
    percentiles = np.interp(np.array(_PERCENTILES) / 100 * weights.sum(), ranks, rising)
    statistics = ChannelStatistics(
        mean=mean,
        std=float(np.sqrt(squares / counts.sum())),
        percentiles=tuple(percentiles.tolist()),
        nodata_share=float(np.mean([share for _, share in parts])),
    )
    return channel.model_copy(update={"statistics": statistics})


def _grid(card: CardTemplate, cases: list[dict[str, Any]]) -> dict[str, Any]:
    """Sizes of voxels and of images. A model takes what lies between the sizes of its training and a factor
    more on both sides. Where the recipe gives no grid, files are as they are: that of the model is theirs if
    they share one."""
    if card.kind == "volume":
        sizes = np.array([case["spacing_mm"] for case in cases])
        views = np.array([case["view_mm"] for case in cases])
        return {
            "spacing_mm": card.spacing_mm or _shared(card, sizes),
            "spacing_range_mm": tuple(_span(axis, TRAINED_FACTOR) for axis in sizes.T),
            "field_of_view_mm": tuple(_span(axis) for axis in views.T),
        }
    pixels = [side for case in cases for side in case.get("pixel_m") or ()]
    if not pixels:
        return {}
    shared = _shared(card, np.array(pixels)[:, None])
    size = card.pixel_m or (None if shared is None else shared[0])
    return {"pixel_m": size, "pixel_range_m": _span(pixels, TRAINED_FACTOR)}


def _shared(card: CardTemplate, sizes: np.ndarray) -> tuple[float, ...] | None:
    """The median of ``(n, axes)``, unless a model would see some of these voxels resampled, which it was not trained on."""
    middle = np.median(sizes, 0)
    seen = slice(-card.rank, None)
    near = np.abs(sizes / np.where(middle > 0, middle, 1) - 1)[:, seen] <= card.resampling.tolerance
    return tuple(middle.tolist()) if near.all() else None


def _span(values: Any, factor: float = 1.0) -> tuple[float, float]:
    return float(np.min(values)) / factor, float(np.max(values)) * factor
