"""Whether a patch dataset was cut for a model, and how large its voxels are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from seg_batch.config.card import ModelCard
from seg_batch.config.recipe.card_draft import CardTemplate
from seg_batch.core.errors import InputError
from seg_batch.datasets.patch_set import PatchSet
from seg_batch.io.sources.views.model_grid import target_extent


def spacing_of_card(card: ModelCard | CardTemplate, rank: int) -> tuple[float, ...] | None:
    """Length of a voxel per axis (m, mm) of a dataset of ``rank`` axes that was cut for this card."""
    if rank == 2:
        return None if card.pixel_m is None else (card.pixel_m,) * 2
    return card.spacing_mm


def as_cut(draft: CardTemplate, cases: Iterable[Mapping[str, Any]]) -> CardTemplate:
    """The template of a dataset without its voxel size, where a case of it has another and was not resampled: datasets
    of before were cut from files as they are, whatever their recipe says."""
    if _other_sizes(draft, cases) is None:
        return draft
    return draft.model_copy(update={"spacing_mm": None, "pixel_m": None})


def _other_sizes(
    card: ModelCard | CardTemplate, cases: Iterable[Mapping[str, Any]]
) -> tuple[float, ...] | None:
    """The voxel size of the first case that a model of this card would see resampled, and that was not."""
    for case in cases:
        seen = case.get("seen") or {}
        sizes = tuple(seen.get("spacing_mm") or seen.get("pixel_m") or ())
        wanted = spacing_of_card(card, len(sizes))
        if "grid" in case["identities"] or not wanted or len(wanted) != len(sizes):
            continue
        seen_axes = slice(-(card.rank or len(sizes)), None)
        extent = tuple(case["extent"])[seen_axes]
        near = card.resampling.tolerance
        if target_extent(extent, sizes[seen_axes], wanted[seen_axes], near) != extent:
            return sizes
    return None


def require_card(patches: PatchSet, card: ModelCard) -> None:
    """InputError where the dataset was cut for another model."""
    draft = as_cut(patches.recipe.card, patches.cases)
    pairs = {
        "kind": (draft.kind, card.kind),
        "channels": (draft.channel_names, card.channel_names),
        "classes": ([c.id for c in draft.classes], [c.id for c in card.classes]),
        "orientation": (draft.orientation, card.orientation),
        "normalisation": (_own_scheme(draft.card()), _own_scheme(card)),
        "voxel size": _sizes(draft, card, patches.cases),
    }
    for name, (cut, wanted) in pairs.items():
        if cut != wanted:
            raise InputError(
                f"{patches.path} was cut for a model with other {name} ({cut} against {wanted}) than "
                f"{card.name}: evaluate it on a dataset that was cut for it, or on a manifest"
            )


def _own_scheme(card: ModelCard) -> str:
    """How each image gets its own numbers; ``card`` where all have those of a card, or none."""
    rule = card.normalisation
    return rule.kind if rule.per_image else "card"


def _sizes(
    draft: CardTemplate, card: ModelCard, cases: Iterable[Mapping[str, Any]]
) -> tuple[object, object]:
    """Of the voxels of both, or nothing where they are the same to the model, or not known of both. Without a size of
    the dataset the ``cases`` have their own."""
    axes = 2 if draft.kind == "raster" else 3
    cut, wanted = spacing_of_card(draft, axes), spacing_of_card(card, axes)
    cut = cut or _other_sizes(card, cases)
    if cut is None or wanted is None or len(cut) != len(wanted):
        return None, None
    seen = list(zip(cut, wanted, strict=True))[-draft.rank :]
    tolerance = card.resampling.tolerance
    return (None, None) if all(abs(a / b - 1) <= tolerance for a, b in seen) else (cut, wanted)
