"""A bundle of a model that came with the card of another world: what its authors got is compared with what it gives."""

from __future__ import annotations

from pathlib import Path

from seg_batch.config.card import ModelCard
from seg_batch.conversion import test_tensor
from seg_batch.conversion.bundle_folder import write_card
from seg_batch.conversion.cards.foreign import Foreign
from seg_batch.inference import bundles


def checked(
    folder: Path, foreign: Foreign, card: ModelCard, notes: tuple[str, ...]
) -> tuple[ModelCard, tuple[str, ...]]:
    """The card and the notes with what was found. InputError where the bundle in ``folder`` does not give the test output
    of its authors."""
    remarks = (f"read from {foreign.document.name} ({foreign.world})", *notes, *foreign.not_carried)
    if foreign.example is None:
        return card, (
            *remarks,
            "no test tensors came with it, so that its results are compared with nothing",
        )
    from seg_batch.nn.engines.reference import reference

    predict = test_tensor.predictor_of(bundles.model_in(folder), reference(card.format))
    agreement = foreign.example.compare(card, predict)
    agreement.require_within()
    card = card.model_copy(update={"origin": {**card.origin, "test": agreement.facts}})
    write_card(folder, card)
    return card, (*remarks, agreement.sentence)
