"""Pictures of the same few held-out patches, predicted at several steps of a training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seg_batch.config.card import ModelCard
from seg_batch.core.geometry import Box
from seg_batch.core.normalise import Pixels
from seg_batch.datasets.patch_set import HeldRegion
from seg_batch.inference.sliding_window.stitch import cut
from seg_batch.io.pictures import UPRIGHT, Composite, coloured, middle, planes, stretch

MOST = 3

type PredictFn = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class ExamplePatches:
    """Patches as the model sees them: ``x (n, *patch, C)``, class indices ``truth`` and ``valid``
    ``(n, *patch)``, and the names of their cases."""

    x: np.ndarray
    truth: np.ndarray
    valid: np.ndarray
    names: tuple[str, ...]


def choose_examples(
    regions: Sequence[HeldRegion], card: ModelCard, most: int = MOST
) -> ExamplePatches:
    """One patch from the middle of each of up to ``most`` regions, evenly spaced among them."""
    places = np.linspace(0, len(regions) - 1, min(most, len(regions))).round().astype(int)
    picked = [regions[k] for k in places]
    parts = [_patch(region, card) for region in picked]
    x, truth, valid = (np.stack(some) for some in zip(*parts, strict=True))
    return ExamplePatches(x, truth, valid, tuple(region.case for region in picked))


def _patch(region: HeldRegion, card: ModelCard) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut and normalised by the functions of ``predict``; mirrored where the case is smaller."""
    assert card.patch is not None
    lead = len(region.extent) - len(card.patch)
    side = (1,) * lead + card.patch
    middle = ((a + b) // 2 for a, b in zip(region.box.start, region.box.stop, strict=True))
    start = tuple(
        max(0, min(m - s // 2, n - s)) for m, s, n in zip(middle, side, region.extent, strict=True)
    )
    box = Box.at(start, side)
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
    inside[box.intersection(whole).slices(box.start)] = True  # mirrored voxels have no label
    valid = (both[..., 1].astype(bool) & inside).reshape(shape)
    return x.reshape(*shape, -1), np.where(valid, both[..., 0].reshape(shape), 0), valid


class Examples:
    """Writes the pictures of one step, a PNG per example: image, truth and prediction side by side.

    Volumes show three planes through the middle of the foreground, superior or anterior at the top.
    """

    def __init__(self, folder: Path, shown: ExamplePatches, card: ModelCard) -> None:
        self.folder, self.shown, self.card = folder, shown, card

    def __call__(self, step: int, predict: PredictFn) -> list[Path]:
        """``predict``: ``(n, *patch, C)`` to probabilities ``(n, *patch, K)``."""
        self.folder.mkdir(parents=True, exist_ok=True)
        shown = self.shown
        paths = [self.folder / f"step_{step:06d}_{k + 1}.png" for k in range(len(shown.names))]
        predictions = np.argmax(predict(shown.x.astype(np.float32)), -1)
        parts = zip(shown.x, shown.truth, predictions, shown.valid, strict=True)
        for path, name, example in zip(paths, shown.names, parts, strict=True):
            _write(path, f"step {step}, {name}", _planes(example, self.card), self.card)
        return paths


def _planes(example: tuple[np.ndarray, ...], card: ModelCard) -> list[tuple[np.ndarray, ...]]:
    """The example itself in 2-D; of a volume the planes across z, y and x, the right way up."""
    _, truth, _, valid = example
    background = -1 if card.background_index is None else card.background_index
    foreground = valid & (truth != background)
    box = Box.whole(truth.shape)
    places = middle(lambda part: foreground[part.slices()], box, box.shape)
    return [
        tuple(array[part.slices()][UPRIGHT[axis]] for array in example)
        for axis, part in planes(box, places)
    ]


def _write(path: Path, title: str, cuts: list[tuple[np.ndarray, ...]], card: ModelCard) -> None:
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    names = [(name,) for name in card.channel_names or ()]
    composite = Composite.of(cuts[0][0].shape[-1], names)
    images, _ = stretch([Pixels(image) for image, *_ in cuts], composite)
    palette = {k: c.colour for k, c in enumerate(card.classes)}
    figure = Figure(figsize=(9.0, 3.1 * len(cuts) + 1.0), dpi=100, layout="constrained")
    grid = figure.subplots(len(cuts), 3, squeeze=False)
    for k, (_, truth, prediction, valid) in enumerate(cuts):
        panels = {
            "image": images[k],
            "truth": coloured(truth, valid, palette),
            "prediction": coloured(prediction, np.ones_like(valid), palette),
        }
        for axes, (name, rgb) in zip(grid[k], panels.items(), strict=True):
            axes.imshow(rgb, interpolation="nearest")
            axes.set_axis_off()
            if k == 0:
                axes.set_title(name, fontsize=10)
    seen = sorted({int(v) for _, t, p, ok in cuts for v in (*np.unique(t[ok]), *np.unique(p))})
    handles = [
        Patch(color=np.divide(palette[k], 255).tolist(), label=card.classes[k].name) for k in seen
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(4, len(handles)), frameon=False
    )
    figure.suptitle(title, fontsize=11)
    figure.savefig(path)
