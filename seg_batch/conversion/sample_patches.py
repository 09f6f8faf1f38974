"""Real patches, normalised for the model: for comparing an exported model and calibrating int8.

They come from a patch dataset, from images or from the packaged samples, are cut and normalised as
in ``predict``, and are spread evenly over their source.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seg_batch.config.card import ModelCard
from seg_batch.config.image_options.grid import ON_MODEL
from seg_batch.core.errors import InputError, SegbatchError
from seg_batch.core.geometry import Box, Shape
from seg_batch.core.normalise import Pixels
from seg_batch.core.registry.formats import image_endings, names_folder
from seg_batch.core.resources import SAMPLES
from seg_batch.datasets.patch_set import PatchSet
from seg_batch.evaluation.dataset_card import require_card
from seg_batch.evaluation.held_out_cases import collect_cases
from seg_batch.evaluation.postprocess_region import SeenRegion
from seg_batch.evaluation.view_region import whole_region
from seg_batch.inference.bundles import mismatch
from seg_batch.inference.sliding_window.grid import AS_TRAINED, DEFAULT_PATCH, make_grid
from seg_batch.inference.sliding_window.stitch import cut
from seg_batch.io.sources import open_source
from seg_batch.io.sources.protocol import without_volume_option
from seg_batch.io.sources.views.image_spec import ImageSpec, takes_last_axis
from seg_batch.io.sources.views.open_view import open_view


@dataclass(frozen=True)
class SamplePatches:
    """``values``: normalised float32 ``(n, *patch, channels)``. ``origin``: their source in words."""

    values: np.ndarray
    origin: str


def patch_of(card: ModelCard) -> Shape:
    """The patch that a model is exported for: the card's, else the default of predict."""
    return card.patch or DEFAULT_PATCH[card.rank or 2]


def for_comparing(card: ModelCard, most: int, named: str | None) -> SamplePatches:
    """Patches of a dataset's held-out part, of images, or (without a name) of packaged samples.

    Raises InputError if none of them fits the card.
    """
    if named is None:
        return _of_samples(card, most)
    if is_dataset(Path(named)):
        return of_held_out(Path(named), card, most)
    return of_images(Path(named), card, most)


def for_calibrating(card: ModelCard, most: int, named: str) -> SamplePatches:
    """Patches of a dataset's training part, or of images."""
    path = Path(named)
    return of_training(path, card, most) if is_dataset(path) else of_images(path, card, most)


def held_part(dataset: Path) -> str | None:
    """The part of a dataset that is scored: test, else validation, else None."""
    patches = PatchSet(dataset)
    return next((part for part in ("test", "validation") if patches.held(part)), None)


def is_dataset(path: Path) -> bool:
    """Whether it is a patch dataset; raises its error if unfinished or of another version."""
    try:
        PatchSet(path)
    except SegbatchError as error:
        if "is not finished" in error.message or "has version" in error.message:
            raise
        return False
    return True


def of_training(path: Path, card: ModelCard, most: int) -> SamplePatches:
    """Patches of the training part, mirrored at their borders if smaller than the card's patch."""
    patches = PatchSet(path)
    require_card(patches, card)
    if card.normalisation.kind == "card" and patches.normaliser != card.normalisation.normaliser():
        raise InputError(
            f"{path} was normalised by other numbers than {card.name} goes by, so its patches are "
            "not what the model sees: cut it anew from the data of the card"
        )
    rows = patches.rows("training")
    if len(rows) == 0:
        raise InputError(f"{path} has no training patch to calibrate on: give another --calibrate")
    side = patch_of(card)
    images = [_fitted(patches.read(row)[0], side) for row in _spread(rows.tolist(), most)]
    return SamplePatches(np.stack(images), f"{len(images)} training patches of {path.name}")


def of_held_out(path: Path, card: ModelCard, most: int) -> SamplePatches:
    """Tiles of the held-out regions, cut as in predict."""
    part = held_part(path)
    if part is None:
        raise InputError(f"{path} holds nothing out to compare on: give images with --check")
    held_out = collect_cases(path, part, card, AS_TRAINED, ())
    each = -(-most // len(held_out.cases))
    images: list[np.ndarray] = []
    for case in _spread(held_out.cases, most):
        with held_out.open(case) as (region, _):
            images += tiles(region, card, each)
    images = images[:most]
    return SamplePatches(np.stack(images), f"{len(images)} {part} patches of {path.name}")


def of_images(path: Path, card: ModelCard, most: int) -> SamplePatches:
    """Tiles of an image, or of the images in a folder; raises InputError if they don't fit the card."""
    return _of_files(_files(path), card, most, path.name)


def _of_files(files: Sequence[Path], card: ModelCard, most: int, names: str) -> SamplePatches:
    each = -(-most // len(files))
    images = [tile for file in _spread(files, most) for tile in _of_image(file, card, each)][:most]
    return SamplePatches(np.stack(images), f"{len(images)} patches of {names}")


def _files(path: Path) -> list[Path]:
    if names_folder(path.name.lower()) or not path.is_dir():
        return [path]
    files = sorted(f for f in path.iterdir() if f.name.lower().endswith(image_endings()))
    if not files:
        raise InputError(f"{path} holds no raster and no volume: name images, or a patch dataset")
    return files


def _of_samples(card: ModelCard, most: int) -> SamplePatches:
    fits = [path for path in _files(SAMPLES) if _fits(path, card)]
    if not fits:
        raise InputError(
            f"no packaged sample fits {card.name}, and an export is compared with Keras on real "
            "patches only: give an image or a patch dataset with --check"
        )
    return _of_files(fits, card, most, ", ".join(path.name for path in fits))


def _fits(path: Path, card: ModelCard) -> bool:
    with closing(open_source(path)) as source:
        return mismatch(card, source.info) is None


def _of_image(path: Path, card: ModelCard, most: int) -> list[np.ndarray]:
    of_input = card.model_copy(update={"finer": 1})  # the grid of the model's input
    last = takes_last_axis(card.channels)
    image = ImageSpec((str(path),), channels_last_axis=last, grid=ON_MODEL)
    with without_volume_option(), open_view(image, of_input) as view:
        if reason := mismatch(card, view.file.info):
            raise InputError(f"{path} does not fit {card.name}: {reason}; give other images")
        return tiles(whole_region(view, card), card, most)


def tiles(region: SeenRegion, card: ModelCard, most: int) -> list[np.ndarray]:
    """At most ``most`` tiles of a region, spread over it, ``(*patch, channels)`` each."""
    coarse = card.model_copy(update={"finer": 1})  # the grid of the model's input
    grid, rank = make_grid(region.extent, coarse, AS_TRAINED)
    patches = []
    for tile in _spread(list(grid.touching(region.box)), most):
        box = grid.seen(tile)
        window = box.intersection(Box.whole(region.extent))
        pixels = cut(region.read(window), window, box, region.extent)
        patch = region.normaliser(pixels)
        patches.append(patch.reshape(patch.shape[-1 - rank :]).astype(np.float32))
    return patches


def _spread[T](items: Sequence[T], most: int) -> list[T]:
    """At most ``most`` of the items, at even distances."""
    places = np.linspace(0, len(items) - 1, min(most, len(items))).astype(int)
    return [items[place] for place in places]


def _fitted(image: np.ndarray, patch: Shape) -> np.ndarray:
    """The middle of an image, or the image mirrored at its border, in the shape of a patch."""
    extent = image.shape[:-1]
    start = tuple((n - p) // 2 if n > p else 0 for n, p in zip(extent, patch, strict=True))
    return cut(Pixels(image), Box.whole(extent), Box.at(start, patch), extent).values
