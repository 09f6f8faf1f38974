"""One pass over a case before anything is cut: the label values are checked, the voxels of each class
and the pixels' mean and standard deviation counted, and the digests of the files taken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.config.recipe import Recipe
from seg_batch.core.errors import InputError, ReadError
from seg_batch.core.files import sha256
from seg_batch.core.geometry import Box
from seg_batch.core.normalise import Pixels
from seg_batch.core.statistics.histogram import EXACT, Histogram
from seg_batch.core.statistics.moments import Moments
from seg_batch.core.statistics.schemes import count_values, measured
from seg_batch.datasets.label_classes import ignored
from seg_batch.datasets.layout import Case
from seg_batch.datasets.pairs import Pair, axes_of, open_pair
from seg_batch.datasets.trained_on import describe_case
from seg_batch.datasets.work_folder import SURVEY, DatasetJob
from seg_batch.io.sources.iterate import piece_boxes
from seg_batch.io.sources.protocol import Source
from seg_batch.io.sources.views.open_view import View

_MOST_VALUES = 65536  # more distinct values than this are no labels of any kind
_INSTANCES = 3  # so many times more distinct values than classes look like numbered objects


def survey_case(job: DatasetJob, case: Case) -> dict[str, Any]:
    """The task. InputError for labels that are no class, or for none at all; returns plain JSON:

    ``training``: voxels per class index that training may see; ``moments`` (for ``ct`` with the ``values`` that they
    are of), or ``normaliser`` and ``training_normaliser``; ``scale`` and ``offset`` of the image; ``sha256`` of its files; ``seen``: see ``describe_case``.
    """
    recipe = job.recipe
    with (
        readable(case.pair),
        open_pair(case.pair, axes_of(recipe), job.align) as (image, label),
    ):
        corner = image.read(Box.whole((1,) * len(case.extent)))
        survey = {
            "training": _class_voxels(label, case, recipe),
            **_statistics(image, label, case, recipe),
            "scale": corner.scale,
            "offset": corner.offset,
            "sha256": _digests(case.pair),
            "seen": describe_case(
                image, label, case, [c.id for c in recipe.card.classes], recipe.cut.ignore
            ),
        }
    job.work.note(SURVEY, case.name, survey)
    return survey


@contextmanager
def readable(pair: Pair) -> Iterator[None]:
    """Turn a ReadError into an InputError that names the case: nothing is cut around a hole."""
    try:
        yield
    except ReadError as error:
        raise InputError(f"case {pair.case}: {error.message}, or take the case out") from error


def _class_voxels(label: View, case: Case, recipe: Recipe) -> list[int]:
    """Voxels per class outside the held-out boxes and their gap; the label's values are checked."""
    ids = np.array([c.id for c in recipe.card.classes])
    values, training = Counter[float](), Counter[float]()
    hidden = [box.grown(case.gap) for _, box in case.held]
    for box in piece_boxes(label.info):
        piece = label.read(box)
        kept = ~ignored(piece, recipe.cut.ignore)
        physical = piece.physical(np.float64)[..., 0]
        _count(values, physical[kept])
        if not case.whole:
            _count(training, physical[kept & ~_mask(box, hidden)] if hidden else physical[kept])
        if len(values) > _MOST_VALUES:
            break
    _require_classes(label.info.path, values, ids)
    return [training[float(k)] for k in ids]


def _count(counter: Counter[float], values: np.ndarray) -> None:
    if values.dtype in (np.uint8, np.uint16):  # a histogram is faster than sorting
        counts = np.bincount(values)
        distinct = np.flatnonzero(counts)
        counts = counts[distinct]
    else:
        distinct, counts = np.unique(values, return_counts=True)
    counter.update(dict(zip(distinct.tolist(), counts.tolist(), strict=True)))


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


def _statistics(image: View, label: View, case: Case, recipe: Recipe) -> dict[str, Any]:
    """The numbers that training patches are normalised by see no held-out voxel (law 6).

    With statistics per image, held-out boxes are scored as ``predict`` will see them: by the numbers
    of the whole image. Both are of the voxels of the files, as those of ``predict`` are, not of what was made of them
    on the grid of the model.
    """
    kind, info = recipe.card.normalisation, image.file.info
    if kind == "identity":
        return {}
    if kind == "card":
        pieces = iter(()) if case.whole else _without(image, _held(case))
        return _moments(Moments.of(pieces, len(info.channels)))
    if kind == "ct":
        return _of_foreground(image, label, case, recipe)
    whole = asdict(image.statistics(kind))
    if not case.held or case.whole:
        return {"normaliser": whole, "training_normaliser": whole}
    held = [image.touched(box) for box in _held(case)]
    training = measured(kind, _without(image.as_stored, held), info.channels, info.path)
    return {"normaliser": whole, "training_normaliser": asdict(training)}


def _moments(moments: Moments) -> dict[str, Any]:
    numbers = (moments.count, moments.mean, moments.squares)
    return {"moments": [array.tolist() for array in numbers]}


def _of_foreground(image: View, label: View, case: Case, recipe: Recipe) -> dict[str, Any]:
    """Moments and values of the voxels of a class other than the background that training may see, in one pass."""
    channels = len(image.info.channels)
    moments = Moments.of((), channels)
    values = [Histogram(EXACT) for _ in range(channels)]
    for pixels in () if case.whole else _foreground(image, label, case, recipe):
        moments.add(pixels)
        count_values(values, pixels)
    return {**_moments(moments), "values": [channel.to_json() for channel in values]}


def _foreground(image: View, label: View, case: Case, recipe: Recipe) -> Iterator[Pixels]:
    """What is not held out, valid only where the label is a class other than the background."""
    ids = [c.id for c in recipe.card.classes if c.id != recipe.card.background]
    boxes = piece_boxes(image.info)
    for box, pixels in zip(boxes, _without(image, _held(case)), strict=True):
        labels = label.read(box)
        front = np.isin(labels.physical(np.float64)[..., 0], ids)
        yield pixels.only(front & ~ignored(labels, recipe.cut.ignore))


def _held(case: Case) -> list[Box]:
    return [box for _, box in case.held]


def _without(image: Source, held: list[Box]) -> Iterator[Pixels]:
    """An image in pieces of bounded size, its voxels in these boxes invalid."""
    for box in piece_boxes(image.info):
        pixels = image.read(box)
        yield pixels.only(~_mask(box, held))


def _digests(pair: Pair) -> dict[str, str]:
    """sha256 of each file, whole, by its role (image 1, ..., label), since image and label often
    share a name. A Zarr folder has none: its identity is in the dataset."""
    files = {f"image {k}": Path(path) for k, path in enumerate(pair.images, 1)}
    files["label"] = Path(pair.label)
    return {name: sha256(path) for name, path in files.items() if path.is_file()}
