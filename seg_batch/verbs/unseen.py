"""Warnings of test-time augmentation that shows a model what it was never trained on."""

from __future__ import annotations

from seg_batch.bundles import Model
from seg_batch.errors import SegbatchError
from seg_batch.recipe import read_recipe
from seg_batch.sinks.annotate import AXES
from seg_batch.tta import symmetries


def unseen(model: Model, tta: str) -> list[str]:
    """A line for each member whose recipe never mirrored an axis that ``tta`` mirrors.

    Nothing is said of a model that has no recipe beside it. What a mirrored patch does to a model
    that never saw one depends on the data: left and right, say, may be what it goes by.
    """
    found = {member.card.name: _axes(member, tta) for member in model.all}
    return [
        f"{name} was trained without patches mirrored along {', '.join(axes)}, which --tta {tta} "
        "shows it: the map may be much worse; compare both with segbatch evaluate"
        for name, axes in found.items()
        if axes
    ]


def _axes(model: Model, tta: str) -> list[str]:
    """The axes that ``tta`` mirrors and the model's training did not."""
    card = model.card
    if tta == "none" or model.path is None or card.rank is None or card.patch is None:
        return []
    try:
        seen = read_recipe(model.path / "recipe.yaml").augment.flip
    except SegbatchError:
        return []
    mirrored = {axis for view in symmetries(tta, card.patch) for axis in view.flipped}
    return [AXES[card.rank][axis] for axis in sorted(mirrored - set(seen))]
