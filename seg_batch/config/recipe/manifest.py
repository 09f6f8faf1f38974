"""A manifest: the pairs of image and label to learn from, in a YAML or CSV file.

::

    cases:
      - {id: zion, image: [red.tif, nir.tif], label: cover.tif, split: training}
    channels: [red, near infrared]     # optional, and so are classes, kind, ignore and vector_labels

A CSV has the columns image and label, and optionally id (or case) and split. Files to be stacked as
channels are joined by ``|``. Paths are relative to the manifest.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from seg_batch.config.card import ClassInfo
from seg_batch.config.recipe.recipe import Recipe
from seg_batch.config.recipe.vector_labels import BY_THEMSELVES, VectorLabels
from seg_batch.config.validation import CheckedValue, first_problem
from seg_batch.config.yaml_source import parse_tree, text_of
from seg_batch.core.errors import InputError
from seg_batch.core.files import require_local_input
from seg_batch.core.registry.formats import split
from seg_batch.core.text import nearest, other_separator

MOST_BYTES = 16 << 20
COLUMNS = ("id", "image", "label", "split")


class ImageCase(CheckedValue):
    """One case: its image (one path, or several files stacked as channels) and its label, if it has one."""

    id: str = Field(min_length=1, max_length=200)
    image: tuple[str, ...] = Field(min_length=1)
    label: str | None = None
    split: Literal["training", "validation", "test"] | None = None

    @field_validator("image", mode="before")
    @classmethod
    def _as_tuple(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("image")
    @classmethod
    def _no_empty_path(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(value):
            raise ValueError("an image path is empty")
        return value


class ManifestCase(ImageCase):
    """A case to learn from."""

    label: str = Field(min_length=1)


class ImageManifest(CheckedValue):
    """All cases, labelled or not, and what is said of them."""

    cases: tuple[ImageCase, ...] = Field(min_length=1)
    classes: tuple[ClassInfo, ...] | None = None
    channels: tuple[str, ...] | None = None
    kind: Literal["raster", "volume"] | None = None
    ignore: tuple[int, ...] = ()
    vector_labels: VectorLabels = BY_THEMSELVES

    @model_validator(mode="after")
    def _unique_ids(self) -> Self:
        seen: set[str] = set()
        for entry in self.cases:
            if entry.id in seen:
                raise ValueError(f"two cases are called {entry.id}")
            seen.add(entry.id)
        return self


class Manifest(ImageManifest):
    """Cases to learn from. ``classes``, ``channels`` and ``kind``, where given, must equal those of the
    recipe; ``ignore`` adds label values that are no class; ``vector_labels``: as in a recipe."""

    cases: tuple[ManifestCase, ...] = Field(min_length=1)

    def agreed(self, recipe: Recipe, where: str) -> Recipe:
        """The recipe with this manifest's ignore values; InputError where the two contradict."""
        for name in ("classes", "channels", "kind"):
            theirs = recipe.card.channel_names if name == "channels" else getattr(recipe.card, name)
            mine = getattr(self, name)
            if mine is not None and mine != theirs:
                raise InputError(
                    f"{where} has other {name} than card.{name} of the recipe "
                    f"({_shown(mine)} against {_shown(theirs)}): make them agree"
                )
        recipe = self._drawn(recipe, where)
        extra = tuple(v for v in self.ignore if v not in recipe.cut.ignore)
        return recipe.changed(cut={"ignore": recipe.cut.ignore + extra}) if extra else recipe

    def _drawn(self, recipe: Recipe, where: str) -> Recipe:
        """The recipe with how labels are drawn of vectors."""
        mine, theirs = self.vector_labels, recipe.vector_labels
        if mine in (BY_THEMSELVES, theirs):
            return recipe
        if theirs != BY_THEMSELVES:
            raise InputError(
                f"{where} has other vector_labels than the recipe: leave them to one of them"
            )
        return recipe.changed(vector_labels=mine.model_dump(mode="json"))


def _shown(value: Any) -> str:
    """Class tables as ``1 water, 2 forest``, cut short."""
    if isinstance(value, str):
        return value
    names = [f"{v.id} {v.name}" if isinstance(v, ClassInfo) else str(v) for v in value]
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


def read_manifest(path: Path) -> Manifest:
    """The manifest in a file, its paths relative to the working folder; InputError in one line where
    it holds none. No image is opened."""
    return _read(path, Manifest)


def read_images(path: Path) -> tuple[ImageCase, ...]:
    """The cases of a manifest whose labels, if any, are not needed; as ``read_manifest``."""
    return _read(path, ImageManifest).cases


def _read[M: ImageManifest](path: Path, kind: type[M]) -> M:
    text = text_of(path, MOST_BYTES)
    if path.suffix.lower() == ".csv":
        plain = _from_csv(text, path)
    else:
        plain = parse_tree(text, str(path)).plain
        if not isinstance(plain, dict):
            raise InputError(f"{path} is no manifest: give a list of cases under the key cases")
    try:
        manifest = kind.model_validate(plain)
    except ValidationError as error:
        problem = first_problem(error, "cases", kind)
        raise InputError(f"{path}: {problem}; mend the manifest") from None
    cases = tuple(_relative_to(path.parent, entry) for entry in manifest.cases)
    return manifest.model_copy(update={"cases": cases})


def stem(name: str) -> str:
    """The name of a file without its folder and the suffix of its format."""
    return split(Path(name).name)[0]


def _relative_to(folder: Path, entry: ImageCase) -> ImageCase:
    for name in filter(None, (*entry.image, entry.label)):
        require_local_input(name)
    image = tuple(str(folder / name) for name in entry.image)
    label = entry.label and str(folder / entry.label)
    return entry.model_copy(update={"image": image, "label": label})


def _from_csv(text: str, path: Path) -> dict[str, Any]:
    if separator := other_separator(text):
        raise InputError(f"{path}: {separator}")
    rows = csv.DictReader(io.StringIO(text, newline=""), restkey="", restval="")
    names = [("id" if name == "case" else name) for name in (rows.fieldnames or ())]
    for name in names:
        if name not in COLUMNS:
            raise InputError(f"{path} has a column {name!r}; {nearest(name, COLUMNS)}")
    rows.fieldnames = names
    try:
        cases = [_row(row, f"{path}, line {rows.line_num}") for row in rows]
    except csv.Error as error:
        raise InputError(f"{path}, line {rows.line_num} is not CSV ({error}): mend it") from None
    if not cases:
        raise InputError(f"{path}: it has a header and no rows: add one for each case")
    return {"cases": cases}


def _row(row: dict[str, Any], where: str) -> dict[str, Any]:
    if row.get(""):
        raise InputError(f"{where}: has more values than there are columns: quote the commas")
    image, label = row.get("image"), row.get("label")
    if not image or not label:
        raise InputError(f"{where}: needs the columns image and label")
    files = image.split("|")
    return {
        "id": row.get("id") or stem(files[0]),
        "image": files,
        "label": label,
        "split": row.get("split") or None,
    }
