"""What a person should look at in a finished map: classes that are not as they were in training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from seg_batch.config.card import ClassInfo, ModelCard
from seg_batch.config.card_parts.channels import Span
from seg_batch.core.georef import MM3_PER_ML, Georef, VolumeGeoref
from seg_batch.core.units import share_in_line

FEWEST_IMAGES = 5  # of a training, whose ranges say something of other images
FACTOR = 2.0  # outside a range by this
# Where there are fewer images: above a range by this factor, and of the map.
FEW_FACTOR, FEW_SHARE = 10.0, 0.1
WHOLE = 0.999  # the share of a class that leaves nothing to the others


def review_of(card: ModelCard, voxels: Mapping[int, int], georef: Georef) -> list[str]:
    """Reasons to look at a map, in words; none for one like the maps of the training.

    ``voxels``: of each class by its id; ``georef``: of the map.
    """
    voxel_ml = georef.voxel_mm3 / MM3_PER_ML if isinstance(georef, VolumeGeoref) else None
    total = sum(voxels.get(c.id, 0) for c in card.classes)
    if total == 0:
        return ["no voxel has a label"]
    return list(_reasons(card, voxels, total, voxel_ml))


def _reasons(
    card: ModelCard, voxels: Mapping[int, int], total: int, voxel_ml: float | None
) -> Iterator[str]:
    for each in card.classes:
        share = voxels.get(each.id, 0) / total
        most = each.share[1] if each.share else None
        if share >= WHOLE and (each.id == card.background or (most is not None and most < WHOLE)):
            seen = "" if most is None else f", in training at most {share_in_line(most)}"
            yield f"all of it is {each.name}{seen}"
            return
    if (card.images or 0) < FEWEST_IMAGES:
        yield from _far_out(card, voxels, total)
        return
    for each in card.classes:
        count = voxels.get(each.id, 0)
        if each.id != card.background:
            yield from _out_of_range(each, count, count / total, voxel_ml)


def _far_out(card: ModelCard, voxels: Mapping[int, int], total: int) -> Iterator[str]:
    """Few images say little of the shares in another: only much more of a class than they had is told."""
    for each in card.classes:
        share = voxels.get(each.id, 0) / total
        if (
            each.share
            and each.id != card.background
            and share > max(FEW_FACTOR * each.share[1], FEW_SHARE)
        ):
            words = f"in training at most {share_in_line(each.share[1])}"
            yield f"{each.name} has {share_in_line(share)}, {words}"


def _out_of_range(
    each: ClassInfo, count: int, share: float, voxel_ml: float | None
) -> Iterator[str]:
    span = each.volume_ml if voxel_ml is not None else each.share
    if span is None:
        return
    if count == 0:
        if span[0] > 0:
            yield f"there is no {each.name}, which every training image has"
        return
    value = share if voxel_ml is None else count * voxel_ml
    if not span[0] / FACTOR <= value <= span[1] * FACTOR:
        yield f"{each.name} has {_size(value, voxel_ml)}, in training {_range(span, voxel_ml)}"


def _size(value: float, voxel_ml: float | None) -> str:
    return share_in_line(value) if voxel_ml is None else f"{value:.3g} mL"


def _range(span: Span, voxel_ml: float | None) -> str:
    return f"{_size(span[0], voxel_ml)} to {_size(span[1], voxel_ml)}"
