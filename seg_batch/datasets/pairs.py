"""Pairs of image and label: finding them, and refusing those that do not lie on one grid."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from seg_batch.config.image_options.grid import ON_MODEL
from seg_batch.config.recipe import Recipe
from seg_batch.config.recipe.manifest import Manifest, read_manifest, stem
from seg_batch.core.errors import InputError
from seg_batch.core.files import require_local_input
from seg_batch.core.geometry import Shape
from seg_batch.datasets.label_classes import require_data
from seg_batch.io.sources import stage
from seg_batch.io.sources.protocol import AlphaOption, SourceInfo, without_volume_option
from seg_batch.io.sources.side_files import is_image_name, side_files_of
from seg_batch.io.sources.views.channels.alpha import alpha_hint
from seg_batch.io.sources.views.image_spec import ImageSpec, takes_last_axis
from seg_batch.io.sources.views.open_view import Axes, View, open_view
from seg_batch.io.sources.views.rescaled import own_scale, units_fault
from seg_batch.io.sources.views.same_grid import grid_differences
from seg_batch.io.vectors.labels import AS_USUAL, LabelRules, VectorLabelSource, is_vector

MOST_COARSER, MOST_VOXELS = 16, 64  # times: along an axis, and in all
MANIFESTS = (".csv", ".yaml", ".yml")


@dataclass(frozen=True)
class Pair:
    """One image and its labels, as paths; ``case``: their name in the dataset and the recipe.

    ``images``: the file, or several that are stacked as channels. ``split``: the part that a
    manifest puts the case in. ``alpha``: how bands that the image marks as alpha are read. ``rules``: how a label that is a
    vector file is drawn.
    """

    images: tuple[str, ...]
    label: str
    case: str
    split: str | None = None
    alpha: AlphaOption = "auto"
    rules: LabelRules = AS_USUAL


@dataclass(frozen=True)
class FoundPairs:
    """All pairs, sorted by case, and the manifests that some of them come from, by path."""

    pairs: list[Pair]
    manifests: dict[str, Manifest] = field(default_factory=dict)

    def drawn_by(self, rules: LabelRules) -> FoundPairs:
        """The pairs, whose vector labels are drawn so."""
        return replace(self, pairs=[replace(pair, rules=rules) for pair in self.pairs])

    def agreed(self, recipe: Recipe) -> Recipe:
        """The recipe with what the manifests add; InputError where they contradict it."""
        for where, manifest in self.manifests.items():
            recipe = manifest.agreed(recipe, where)
        return recipe


def find_pairs(given: list[str], alpha: AlphaOption = "auto") -> FoundPairs:
    """The pairs that the arguments name. Each is ``image=label``, a folder with ``images/`` and
    ``labels/`` of equal file names, or a manifest (YAML or CSV). ``alpha``: of all images."""
    pairs: list[Pair] = []
    manifests: dict[str, Manifest] = {}
    for text in given:
        for part in text.split("="):
            require_local_input(part)
        path = Path(text)
        if path.suffix.lower() in MANIFESTS and path.is_file():
            manifests[text] = read_manifest(path)
            pairs += [Pair(e.image, e.label, e.id, e.split) for e in manifests[text].cases]
        elif os.path.isdir(path / "images"):  # False also for two long names in one
            pairs += _from_folder(path)
        else:
            pairs.append(_from_text(text))
    names = sorted(pair.case for pair in pairs)
    twice = [a for a, b in pairwise(names) if a == b]
    if twice:
        raise InputError(f"two pairs are called {twice[0]}: name cases in a manifest")
    if not pairs:
        raise InputError("there are no pairs: give image=label, a folder or a manifest")
    pairs = [replace(pair, alpha=alpha) for pair in sorted(pairs, key=lambda pair: pair.case)]
    return FoundPairs(pairs, manifests)


def _from_text(text: str) -> Pair:
    image, equals, label = text.partition("=")
    if not equals or not image or not label:
        raise InputError(
            f"{text} is no pair: give image=label, a folder with images/ and labels/, or a manifest"
        )
    return Pair((image,), label, stem(image))


def _from_folder(folder: Path) -> list[Pair]:
    images, labels = _names(folder / "images"), _names(folder / "labels")
    drawn = {Path(name).stem: name for name in labels if is_vector(name)}
    beside = {name: name if name in labels else drawn.get(stem(name), name) for name in images}
    lone = labels - set(beside.values())
    for name in sorted(n for n in images if beside[n] not in labels) or sorted(lone):
        here, there = ("image", "label") if name in images else ("label", "image")
        raise InputError(
            f"{folder}/{here}s/{name} has no {there} at {folder}/{there}s/{name}: add it, or take "
            f"the {here} away"
        )
    return [
        Pair((f"{folder}/images/{name}",), f"{folder}/labels/{beside[name]}", stem(name))
        for name in images
    ]


def _names(folder: Path) -> set[str]:
    """Of the images in a folder, without the side files that belong to them."""
    paths = folder.iterdir() if folder.is_dir() else ()
    names = {path.name for path in paths if not path.name.startswith(".")}
    sides = side_files_of(filter(is_image_name, names), names)
    return names - {side.name for beside in sides.values() for side in beside}


@dataclass(frozen=True)
class CheckedPair:
    """A pair whose headers were read, in the recipe's orientation and on its grid. ``identities``: of the files, and
    where these are resampled how, JSON. ``dtype``: of the image. ``compressed``: whether reading a part may decompress much more."""

    pair: Pair
    extent: Shape
    identities: dict[str, Any]
    dtype: str
    compressed: bool


def check_pair(pair: Pair, recipe: Recipe, align: str | None = None) -> CheckedPair:
    """Read both headers; InputError unless image and label lie on one grid that the recipe fits,
    and no class is declared as nodata.

    ``align="nearest"`` brings a label on another grid to the image's.
    """
    with ExitStack() as opened:
        try:
            image, label = opened.enter_context(open_pair(pair, axes_of(recipe), align))
        except InputError as error:
            raise InputError(f"case {pair.case}: {error.message}") from error
        a, b = image.info, label.info
        _require_channels(a, b, recipe)
        if differences := grid_differences(image.coarse, label.coarse):
            raise InputError(
                f"{b.path} is not on the grid of {a.path} ({'; '.join(differences)}), so labels "
                "would be cut beside their pixels: resample the label to the image's grid first, or "
                "give --align nearest"
            )
        require_data(b, (c.id for c in recipe.card.classes), recipe.cut.ignore)
        identities = {"image": a.identity, "label": b.identity}
        if image.grid is not None:
            identities["grid"] = image.grid.to_json()
        compressed = any(info.facts.get("compressed") is True for info in (a, b))
        return CheckedPair(pair, a.extent, identities, a.dtype, compressed)


def _require_channels(a: SourceInfo, b: SourceInfo, recipe: Recipe) -> None:
    card = recipe.card
    if a.kind != card.kind:
        raise InputError(f"{a.path} is a {a.kind}, the recipe is for {card.kind}s")
    if len(a.channels) != len(card.channels):
        raise InputError(
            f"{a.path} has {len(a.channels)} channels, the recipe names {len(card.channels)} "
            f"({', '.join(card.channel_names)}){alpha_hint(a, len(card.channels))}"
        )
    if units_fault(a, card.channels):
        raise InputError(
            f"{a.path} carries a scale of its own ({own_scale(a)}), and the recipe's channels are stored numbers "
            "(DN), which would not be learnt: drop their quantity, or the scale"
        )
    if len(b.channels) != 1:
        raise InputError(f"{b.path} has {len(b.channels)} channels, a label image has one")


def _require_near(image: View) -> None:
    """InputError where the grid of the model would hold little of an image, or little else than what was made up."""
    if image.grid is None:
        return
    there, here = image.grid.target, image.grid.source
    coarser = max(n / m for n, m in zip(here, there, strict=True))
    if coarser > MOST_COARSER or math.prod(there) > MOST_VOXELS * math.prod(here):
        raise InputError(
            f"{image.info.path} would come {image.grid.words}, which makes {_by(there)} voxels of {_by(here)}: give a size nearer to that of the images (card.spacing_mm, card.pixel_m), or "
            "take the case out"
        )


def _by(extent: Shape) -> str:
    return " x ".join(map(str, extent))


def axes_of(recipe: Recipe) -> Axes:
    """The axes, the channels and the grid in which a recipe sees images."""
    card = recipe.card
    return Axes(
        card.orientation,
        rank=card.rank,
        channels=card.channels,
        spacing_mm=card.spacing_mm,
        pixel_m=card.pixel_m,
        resampling=card.resampling,
    )


@contextmanager
def open_pair(
    pair: Pair, axes: Axes, align: str | None = None, staged: Path | None = None
) -> Iterator[tuple[View, View]]:
    """Image and label, both seen in one orientation and on one grid; with ``align="nearest"``, the label
    on that of the image's file. ``staged``: a folder of uncompressed copies that tasks share."""

    def spec(paths: tuple[str, ...], alpha: tuple[AlphaOption, ...] = ()) -> ImageSpec:
        copies = () if staged is None else tuple(stage(path, staged) for path in paths)
        return ImageSpec(paths, staged=copies, alpha=alpha, grid=ON_MODEL)

    images = spec(pair.images, (pair.alpha,) * len(pair.images))
    images = replace(images, channels_last_axis=takes_last_axis(axes.channels))
    with without_volume_option(), open_view(images, axes) as image:
        _require_near(image)
        grid = image.file.info if align == "nearest" else None
        of = drawn_labels(pair, image) or spec((pair.label,))
        with open_view(of, Axes(axes.orientation), grid=grid, labels_of=image) as label:
            yield image, label


def drawn_labels(pair: Pair, image: View) -> VectorLabelSource | None:
    """The labels of a pair where they are a vector file, on the grid of the files of its image."""
    if not is_vector(pair.label):
        return None
    held = tuple((part, image.touched(box)) for part, box in pair.rules.held)
    return VectorLabelSource(pair.label, image.file.info, replace(pair.rules, held=held))
