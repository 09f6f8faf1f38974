"""Pairs of image and label: finding them, and refusing those that do not lie on one grid."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg_batch.errors import InputError
from seg_batch.georef import Georef, RasterGeoref, differences
from seg_batch.recipe import Recipe
from seg_batch.sources import open_source
from seg_batch.sources.view import Oriented

# Headers of volumes keep float32; a raster's transform is exact, and 1e-9 of a UTM northing 5 mm.
TOLERANCE = {"raster": 1e-9, "volume": 1e-5}
SUFFIXES = (".nii.gz", ".tif", ".tiff", ".nii", ".png", ".jpg", ".jpeg", ".zarr")


@dataclass(frozen=True)
class Pair:
    """One image and its labels, as paths; ``case`` names them in the dataset and the recipe."""

    image: str
    label: str
    case: str


def find_pairs(given: list[str]) -> list[Pair]:
    """The pairs that the arguments name, sorted by case.

    Each is ``image=label``, a folder with ``images/`` and ``labels/`` of equal file names, or a CSV
    with the columns image, label and (if wanted) case, its paths relative to the CSV.
    """
    pairs = [pair for text in given for pair in _pairs(text)]
    names = [pair.case for pair in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"two pairs are called {twice[0]}: name cases in a CSV (image,label,case)")
    if not pairs:
        raise InputError("there are no pairs: give image=label, a folder or a CSV")
    return sorted(pairs, key=lambda pair: pair.case)


def _pairs(text: str) -> list[Pair]:
    path = Path(text)
    if path.suffix.lower() == ".csv" and path.is_file():
        return _from_csv(path)
    if (path / "images").is_dir():
        return _from_folder(path)
    image, equals, label = text.partition("=")
    if not equals or not image or not label:
        raise InputError(
            f"{text} is no pair: give image=label, a folder with images/ and labels/, or a CSV"
        )
    return [Pair(image, label, _stem(Path(image)))]


def _stem(path: Path) -> str:
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.name


def _from_folder(folder: Path) -> list[Pair]:
    images = sorted(p for p in (folder / "images").iterdir() if not p.name.startswith("."))
    pairs = []
    for image in images:
        label = folder / "labels" / image.name
        if not label.exists():
            raise InputError(f"{image} has no label at {label}: add it, or take the image away")
        pairs.append(Pair(str(image), str(label), _stem(image)))
    return pairs


def _from_csv(path: Path) -> list[Pair]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    pairs = []
    for number, row in enumerate(rows, 2):
        image, label = row.get("image"), row.get("label")
        if not image or not label:
            raise InputError(f"{path}, line {number}: needs the columns image and label")
        where = [str(path.parent / name) for name in (image, label)]
        pairs.append(Pair(where[0], where[1], row.get("case") or _stem(Path(image))))
    return pairs


@dataclass(frozen=True)
class Checked:
    """What is known of a pair once its headers were read, in the recipe's orientation."""

    pair: Pair
    extent: tuple[int, ...]
    identities: dict[str, Any]


def check(pair: Pair, recipe: Recipe) -> Checked:
    """Read both headers; InputError unless image and label lie on one grid that the recipe fits."""
    image, label = open_pair(pair, recipe)
    try:
        a, b, card = image.info, label.info, recipe.card
        if a.kind != card.kind:
            raise InputError(f"{a.path} is a {a.kind}, the recipe is for {card.kind}s")
        if len(a.channels) != len(card.channels):
            raise InputError(
                f"{a.path} has {len(a.channels)} channels, the recipe names {len(card.channels)} "
                f"({', '.join(card.channels)})"
            )
        if len(b.channels) != 1:
            raise InputError(f"{b.path} has {len(b.channels)} channels, a label image has one")
        found = [] if a.extent == b.extent else [f"extent {a.extent} against {b.extent}"]
        found += _unlike(a.georef, b.georef)
        if found:
            raise InputError(
                f"{b.path} is not on the grid of {a.path} ({'; '.join(found)}), so labels would be "
                "cut beside their pixels: resample the label to the image's grid first"
            )
        return Checked(pair, a.extent, {"image": a.identity, "label": b.identity})
    finally:
        image.close()
        label.close()


def open_pair(pair: Pair, recipe: Recipe) -> tuple[Oriented, Oriented]:
    """Image and label, both seen in the orientation of the recipe."""
    image = open_source(pair.image)
    try:
        label = open_source(pair.label)
    except BaseException:
        image.close()
        raise
    return Oriented(image, recipe.card.orientation), Oriented(label, recipe.card.orientation)


def _unlike(a: Georef, b: Georef) -> list[str]:
    """What differs in where the voxels lie; how the header says so (codes, points) does not count."""
    phrases = differences(a, b, TOLERANCE[a.kind])
    telling = (
        ("kind", "crs_wkt", "transform") if isinstance(a, RasterGeoref) else ("kind", "affine")
    )
    found = [phrase for phrase in phrases if phrase.partition(":")[0] in telling]
    return [_crs_names(a, b) if phrase.startswith("crs_wkt") else phrase for phrase in found]


def _crs_names(a: Georef, b: Georef) -> str:
    """Coordinate systems by name: their text fills a page."""
    names = [_name(getattr(georef, "crs_wkt", None)) for georef in (a, b)]
    return f"crs: {names[0]} against {names[1]}"


def _name(wkt: str | None) -> str:
    match = re.search(r'"([^"]+)"', wkt or "")
    return match.group(1) if match else "none"
