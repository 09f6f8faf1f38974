"""Views of patches that a model never saw in its training."""

from __future__ import annotations

from seg_batch.core.errors import SegbatchError
from seg_batch.inference.bundles import Model
from seg_batch.inference.sliding_window.tta import symmetries
from seg_batch.io.sinks.zarr.attributes import AXES


def tta_warnings(model: Model, tta: str) -> list[str]:
    """A line for each member whose recipe never mirrored an axis that ``tta`` mirrors.

    A model without a recipe beside it gets no line. The effect of mirrored patches on a model
    that never saw one depends on the data: left and right may be what its classes differ in.
    """
    unseen = {member.name: _unseen_axes(member, tta) for member in model.all}
    return [
        f"{name} was trained without patches mirrored along {', '.join(axes)}, which --tta {tta} "
        "shows it: the map may be much worse; compare both with segbatch evaluate"
        for name, axes in unseen.items()
        if axes
    ]


def _unseen_axes(model: Model, tta: str) -> list[str]:
    """The axes that ``tta`` mirrors and the model's training did not."""
    card = model.card
    if tta == "none" or model.path is None or card.rank is None or card.patch is None:
        return []
    from seg_batch.config.recipe import read_recipe  # with all of training's settings

    try:
        seen = read_recipe(model.path / "recipe.yaml").augment.flip
    except SegbatchError:
        return []
    mirrored = {axis for view in symmetries(tta, card.patch) for axis in view.flipped}
    return [AXES[card.rank][axis] for axis in sorted(mirrored - set(seen))]
