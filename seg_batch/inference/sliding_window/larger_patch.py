"""Whether a model labels voxels alike in its own patch and in a larger one around it.

What the graph of a network says of its receptive field may be incomplete: a layer of an unknown class, a field that is
longer than the patch. So it is tried, where a bundle is made::

    larger    |-----------------------------|
    trained          |---------------|
    compared              |-----|              farther from the border of the patch than its effect reaches
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seg_batch.config.card import ModelCard
from seg_batch.core.geometry import Box, Shape
from seg_batch.core.normalise import Pixels
from seg_batch.core.units import share
from seg_batch.inference.sliding_window.stitch import Predictor, cut

DIFFERENT = 0.01  # of the foreground: the same share is the least that a border effect counts from
GROWS = 4  # the larger patch has a quarter of the patch more on each side


def why_not_larger(
    predictor: Predictor, card: ModelCard, images: Sequence[np.ndarray]
) -> str | None:
    """The reason for ``card.patch_fixed``; None where the labels are the same, or another reason is known already.

    ``predictor``: ``(1, *patch, channels) -> (1, *patch, classes)``. ``images``: normalised, ``(*spatial, channels)``,
    mirrored where smaller than the patches.
    """
    if card.why_fixed is not None or not images:
        return None
    more = _more(card)
    worst = max(_different(predictor, card, image, more) for image in images)
    if worst <= DIFFERENT:
        return None
    larger = " x ".join(map(str, larger_patch(card)))
    return f"{share(worst)} of its labels inside a patch are others in one of {larger}"


def _more(card: ModelCard) -> Shape:
    """What the larger patch has more on each side."""
    sides = zip(card.patch or (), card.multiple or (), strict=False)
    return tuple(m * max(1, n // (GROWS * m)) for n, m in sides)


def larger_patch(card: ModelCard) -> Shape:
    """The patch that is tried; that of the card where others are not known to fit."""
    more = _more(card) or (0,) * len(card.patch or ())
    return tuple(n + 2 * m for n, m in zip(card.patch or (), more, strict=True))


def _different(predictor: Predictor, card: ModelCard, image: np.ndarray, more: Shape) -> float:
    """The share of voxels in the middle whose labels differ, of those that either gives another class than the commonest:
    a volume is background nearly everywhere, whatever the model does."""
    patch = card.patch or ()
    extent = image.shape[:-1]
    start = tuple((n - p) // 2 for n, p in zip(extent, patch, strict=True))
    own = Box.at(start, patch)
    labels = [_labels(predictor, image, box, own) for box in (own, own.grown(more))]
    reach = card.border.reach if card.border else tuple(n // 4 for n in patch)
    middle = tuple(
        slice(r * card.finer, (n - r) * card.finer)
        for r, n in zip(
            (min(r, (n - 1) // 2) for r, n in zip(reach, patch, strict=True)), patch, strict=True
        )
    )
    one, other = (part[middle] for part in labels)
    common = np.bincount(one.ravel()).argmax()
    counted = int(((one != common) | (other != common)).sum())
    return float((one != other).sum() / counted) if counted else 0.0


def _labels(predictor: Predictor, image: np.ndarray, box: Box, own: Box) -> np.ndarray:
    """The labels of ``own``, of which the patch ``box`` holds more around it."""
    extent = image.shape[:-1]
    patch = cut(Pixels(image), Box.whole(extent), box, extent).values
    labels = np.asarray(predictor(patch[None]))[0].argmax(-1)
    finer = labels.shape[0] // box.shape[0]
    sides = zip(own.start, own.stop, box.start, strict=True)
    return labels[tuple(slice((a - o) * finer, (b - o) * finer) for a, b, o in sides)]
