"""Whether a patch dataset was cut for a model, and how large its voxels are."""

from __future__ import annotations

from seg_batch.config.card import ModelCard
from seg_batch.config.recipe.card_draft import CardTemplate
from seg_batch.core.errors import InputError
from seg_batch.datasets.patch_set import PatchSet


def spacing_of_card(card: ModelCard | CardTemplate, rank: int) -> tuple[float, ...] | None:
    """Length of a voxel per axis (m, mm) of a dataset of ``rank`` axes that was cut for this card."""
    if rank == 2:
        return None if card.pixel_m is None else (card.pixel_m,) * 2
    return card.spacing_mm


def require_card(patches: PatchSet, card: ModelCard) -> None:
    """InputError where the dataset was cut for another model."""
    draft = patches.recipe.card
    pairs = {
        "kind": (draft.kind, card.kind),
        "channels": (draft.channel_names, card.channel_names),
        "classes": ([c.id for c in draft.classes], [c.id for c in card.classes]),
        "orientation": (draft.orientation, card.orientation),
        "normalisation": (_own_scheme(draft.card()), _own_scheme(card)),
        "voxel size": _sizes(draft, card),
    }
    for name, (cut, wanted) in pairs.items():
        if cut != wanted:
            raise InputError(
                f"{patches.path} was cut for a model with other {name} ({cut} against {wanted}) than "
                f"{card.name}: evaluate it on its own dataset, or on a manifest"
            )


def _own_scheme(card: ModelCard) -> str:
    """How each image gets its own numbers; ``card`` where all have those of a card, or none."""
    rule = card.normalisation
    return rule.kind if rule.per_image else "card"


def _sizes(draft: CardTemplate, card: ModelCard) -> tuple[object, object]:
    """Of the voxels of both, or nothing where they are the same to the model, or not known of both."""
    axes = 2 if draft.kind == "raster" else 3
    cut, wanted = spacing_of_card(draft, axes), spacing_of_card(card, axes)
    if cut is None or wanted is None or len(cut) != len(wanted):
        return None, None
    seen = list(zip(cut, wanted, strict=True))[-draft.rank :]
    tolerance = card.resampling.tolerance
    return (None, None) if all(abs(a / b - 1) <= tolerance for a, b in seen) else (cut, wanted)
