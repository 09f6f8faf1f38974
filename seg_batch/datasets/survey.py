"""One pass over a case before anything is cut: are its labels what the recipe says, what do its
pixels amount to, and which bytes were these?"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.config.recipe import Recipe
from seg_batch.core.errors import InputError, ReadError
from seg_batch.core.geometry import Box, Shape
from seg_batch.core.normalise import Moments, Normaliser, Pixels
from seg_batch.datasets.pairs import Pair, open_pair
from seg_batch.datasets.work_folder import SURVEY, note
from seg_batch.io.sources.iterate import piece_boxes
from seg_batch.io.sources.views.open_view import View

_MOST_VALUES = 65536  # more distinct values than this are no labels of any kind
_INSTANCES = 3  # so many times more distinct values than classes look like numbered objects


@dataclass(frozen=True)
class SurveyJob:
    """What all surveys share; ``work`` is the work folder, ``digest`` that of its plan."""

    work: str
    digest: str
    recipe: Recipe
    align: str | None


@dataclass(frozen=True)
class SurveyItem:
    """One case: ``held`` boxes (none if it is held out whole, as ``whole`` says), and the gap."""

    name: str
    pair: Pair
    extent: Shape
    held: tuple[Box, ...]
    whole: bool
    gap: Shape


def survey_case(job: SurveyJob, item: SurveyItem) -> dict[str, Any]:
    """The task. InputError for labels that are no class, or for none at all; returns plain JSON:

    ``training``: voxels per class index that training may see; ``moments`` or ``normaliser`` and
    ``training_normaliser``; ``scale`` and ``offset`` of the image; ``sha256`` of its files.
    """
    with readable(item.pair):
        found = _looked_at(job, item)
    note(Path(job.work), job.digest, SURVEY, item.name, found)
    return found


@contextmanager
def readable(pair: Pair) -> Iterator[None]:
    """What can't be read is bad input, and the case is named: nothing is cut around a hole."""
    try:
        yield
    except ReadError as error:
        raise InputError(f"case {pair.case}: {error.message}, or take the case out") from error


def _looked_at(job: SurveyJob, item: SurveyItem) -> dict[str, Any]:
    with open_pair(item.pair, job.recipe.card.orientation, job.align) as (image, label):
        return {
            "training": _class_voxels(label, item, job.recipe),
            **_statistics(image, item, job.recipe),
            **_scaling(image),
            "sha256": _digests(item.pair),
        }


def _class_voxels(label: View, item: SurveyItem, recipe: Recipe) -> list[int]:
    """Voxels per class outside what is held out and its gap; the label's values are checked."""
    ids = np.array([c.id for c in recipe.card.classes])
    values, seen = Counter[float](), Counter[float]()
    hidden = [box.grown(item.gap) for box in item.held]
    for box in piece_boxes(label.info):
        piece = label.read(box)
        kept = ~ignored(piece, recipe)
        physical = piece.physical(np.float64)[..., 0]
        _count(values, physical[kept])
        if not item.whole:
            _count(seen, physical[kept & ~_mask(box, hidden)] if hidden else physical[kept])
        if len(values) > _MOST_VALUES:
            break
    _require_classes(label.info.path, values, ids)
    return [seen[float(k)] for k in ids]


def _count(counter: Counter[float], values: np.ndarray) -> None:
    if values.dtype in (np.uint8, np.uint16):
        counts = np.bincount(values)
        found = np.flatnonzero(counts)
        counter.update(dict(zip(found.tolist(), counts[found].tolist(), strict=True)))
        return
    found, counts = np.unique(values, return_counts=True)
    counter.update(dict(zip(found.tolist(), counts.tolist(), strict=True)))


def _mask(box: Box, hidden: list[Box]) -> np.ndarray:
    """bool ``box.shape``: which voxels lie in any of the boxes."""
    mask = np.zeros(box.shape, bool)
    for other in hidden:
        part = other.intersection(box)
        if part.size:
            mask[part.slices(box.start)] = True
    return mask


def _require_classes(path: str, values: Counter[float], ids: np.ndarray) -> None:
    if not values:
        raise InputError(
            f"{path} has no labelled voxel: all are nodata or in cut.ignore, so nothing can be "
            "learnt from it; take the case out, or correct the ignored values"
        )
    odd = sorted(value for value in values if value not in ids)
    if not odd:
        return
    if _looks_like_instances(values, len(ids)):
        raise InputError(
            f"{path} looks like an instance mask ({len(values)} values from {min(values):g} to "
            f"{max(values):g} for {len(ids)} classes), a number for each object instead of its "
            "class: give a mask of classes"
        )
    shown = ", ".join(f"{value:g}" for value in odd[:5])
    raise InputError(
        f"{path} has label values that are no class of the recipe ({shown}, "
        f"{sum(values[v] for v in odd)} voxels): add them to card.classes, or to cut.ignore"
    )


def _looks_like_instances(values: Counter[float], classes: int) -> bool:
    """Many more values than classes, whole numbers, with hardly a gap between them."""
    low, high = min(values), max(values)
    whole = all(float(value).is_integer() for value in values)
    return whole and len(values) > _INSTANCES * classes and len(values) >= 0.9 * (high - low + 1)


def ignored(labels: Pixels, recipe: Recipe) -> np.ndarray:
    """Where a label says nothing: nodata, or a value that the recipe lists."""
    skipped = np.isin(labels.physical(np.float64)[..., 0], recipe.cut.ignore)
    return skipped if labels.valid is None else skipped | ~labels.valid[..., 0]


def _statistics(image: View, item: SurveyItem, recipe: Recipe) -> dict[str, Any]:
    """Law 6, and no held-out voxel: what training patches are normalised by never looks there.

    With statistics per image, held-out boxes are scored as ``predict`` will see them: by the numbers
    of the whole image.
    """
    channels = len(image.info.channels)
    if recipe.card.normalisation == "identity":
        return {}
    if recipe.card.normalisation == "card":
        seen = iter(()) if item.whole else _unheld(image, item.held)
        return {"moments": _plain(Moments.of(seen, channels))}
    whole = asdict(image.statistics())
    if not item.held or item.whole:
        return {"normaliser": whole, "training_normaliser": whole}
    numbers = Moments.of(_unheld(image, item.held), channels).normaliser()
    return {"normaliser": whole, "training_normaliser": asdict(numbers)}


def _plain(moments: Moments) -> list[list[float]]:
    return [moments.count.tolist(), moments.mean.tolist(), moments.squares.tolist()]


def merged_normaliser(found: list[list[list[float]]], channels: int) -> Normaliser:
    """The numbers of all images together, from the moments of each, in order."""
    total = Moments.of((), channels)
    for numbers in found:
        total.merge(Moments(*map(np.array, numbers)))
    return total.normaliser()


def _unheld(image: View, held: tuple[Box, ...]) -> Iterator[Pixels]:
    """An image in pieces of bounded size, its held-out voxels invalid."""
    for box in piece_boxes(image.info):
        pixels = image.read(box)
        hidden = _mask(box, list(held))[..., None]
        valid = ~hidden if pixels.valid is None else pixels.valid & ~hidden
        valid = np.broadcast_to(valid, pixels.values.shape)
        yield Pixels(pixels.values, valid, pixels.scale, pixels.offset)


def _scaling(image: View) -> dict[str, Any]:
    one = image.read(Box.whole((1,) * len(image.info.extent)))
    return {"scale": one.scale, "offset": one.offset}


def _digests(pair: Pair) -> dict[str, str]:
    """sha256 of each file, whole, by what it is (image 1, ..., label): image and label often share a
    name. A Zarr folder is known by its identity alone."""
    found = {}
    named = {f"image {k}": path for k, path in enumerate(pair.images, 1)} | {"label": pair.label}
    for name, path in named.items():
        if Path(path).is_file():
            with Path(path).open("rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found
