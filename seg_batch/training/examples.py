"""The same few held-out patches, predicted again and again while a training goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seg_batch.config.card import ModelCard
from seg_batch.core.geometry import Box
from seg_batch.core.normalise import Pixels
from seg_batch.datasets.patch_set import Held
from seg_batch.inference.sliding_window.stitch import cut
from seg_batch.training.curves import write_examples

MOST = 3

type PredictFn = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Shown:
    """Patches as the model sees them: ``x (n, *patch, C)``, class indices ``truth`` and ``valid``
    ``(n, *patch)``, and where they come from."""

    x: np.ndarray
    truth: np.ndarray
    valid: np.ndarray
    names: tuple[str, ...]


def chosen(regions: Sequence[Held], card: ModelCard, most: int = MOST) -> Shown:
    """One patch from the middle of each of up to ``most`` regions, evenly spaced among them."""
    places = np.linspace(0, len(regions) - 1, min(most, len(regions))).round().astype(int)
    picked = [regions[k] for k in places]
    parts = [_patch(region, card) for region in picked]
    x, truth, valid = (np.stack(some) for some in zip(*parts, strict=True))
    return Shown(x, truth, valid, tuple(region.case for region in picked))


def _patch(region: Held, card: ModelCard) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut and normalised by the functions of ``predict``; mirrored where the case is smaller."""
    assert card.patch is not None
    lead = len(region.extent) - len(card.patch)
    side = (1,) * lead + card.patch
    middle = ((a + b) // 2 for a, b in zip(region.box.start, region.box.stop, strict=True))
    start = tuple(
        max(0, min(m - s // 2, n - s)) for m, s, n in zip(middle, side, region.extent, strict=True)
    )
    box = Box(start, tuple(a + s for a, s in zip(start, side, strict=True)))
    known = box.intersection(region.window)
    labels, counts = region.truth(known)
    truth = Pixels(np.stack([labels, counts.astype(labels.dtype)], -1))
    whole = Box.whole(region.extent)
    if known != box.intersection(whole):
        raise ValueError(f"{region.case}: a patch in the middle reaches out of the window")
    x = region.normaliser(cut(region.read(known), known, box, region.extent))
    both = cut(truth, known, box, region.extent).values
    shape = card.patch
    inside = np.zeros(box.shape, bool)
    inside[box.intersection(whole).slices(box.start)] = True  # what is mirrored was never labelled
    valid = (both[..., 1].astype(bool) & inside).reshape(shape)
    return x.reshape(*shape, -1), np.where(valid, both[..., 0].reshape(shape), 0), valid


class Examples:
    """Called with a step and what predicts: writes the examples' pictures of that step."""

    def __init__(self, folder: Path, shown: Shown, card: ModelCard) -> None:
        self.folder, self.shown, self.card = folder, shown, card

    def __call__(self, step: int, predict: PredictFn) -> list[Path]:
        """``predict``: ``(n, *patch, C)`` to probabilities ``(n, *patch, K)``."""
        shown = self.shown
        found = np.argmax(predict(shown.x.astype(np.float32)), -1)
        return write_examples(
            self.folder,
            step,
            shown.x,
            shown.truth,
            found,
            self.card,
            valid=shown.valid,
            names=shown.names,
        )
