"""The list of what to learn from: pairs of image and label, in a YAML or CSV file.

::

    cases:
      - {id: zion, image: [red.tif, nir.tif], label: cover.tif, split: training}
    channels: [red, near infrared]     # optional, and so are classes, kind and ignore

A CSV has the columns image, label and, if wanted, id (or case) and split; several files that are
stacked as channels are joined by ``|``. Paths are relative to the manifest.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from seg_batch.config.card import ClassInfo
from seg_batch.config.recipe.card_draft import Frozen
from seg_batch.config.recipe.reading import nearest_key
from seg_batch.config.recipe.recipe import Recipe
from seg_batch.config.yaml_source import parse_tree, text_of
from seg_batch.core.errors import InputError
from seg_batch.core.registry.formats import split
from seg_batch.core.text import nearest

MOST_BYTES = 16 << 20
COLUMNS = ("id", "image", "label", "split")


class ManifestCase(Frozen):
    """One case: its image (one path, or several files stacked as channels) and its label."""

    id: str = Field(min_length=1, max_length=200)
    image: tuple[str, ...] = Field(min_length=1)
    label: str = Field(min_length=1)
    split: Literal["training", "validation", "test"] | None = None

    @field_validator("image", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("image")
    @classmethod
    def _named(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(value):
            raise ValueError("an image path is empty")
        return value


class Manifest(Frozen):
    """All cases. ``classes``, ``channels`` and ``kind`` must be those of the recipe where they are
    given; ``ignore`` adds label values that are no class."""

    cases: tuple[ManifestCase, ...] = Field(min_length=1)
    classes: tuple[ClassInfo, ...] | None = None
    channels: tuple[str, ...] | None = None
    kind: Literal["raster", "volume"] | None = None
    ignore: tuple[int, ...] = ()

    @model_validator(mode="after")
    def _no_case_twice(self) -> Manifest:
        seen: set[str] = set()
        for entry in self.cases:
            if entry.id in seen:
                raise ValueError(f"two cases are called {entry.id}")
            seen.add(entry.id)
        return self

    def agreed(self, recipe: Recipe, where: str) -> Recipe:
        """The recipe with this manifest's ignore values; InputError where they contradict."""
        for name in ("classes", "channels", "kind"):
            mine, theirs = getattr(self, name), getattr(recipe.card, name)
            if mine is not None and mine != theirs:
                raise InputError(
                    f"{where} has other {name} than card.{name} of the recipe "
                    f"({_shown(mine)} against {_shown(theirs)}): make them agree"
                )
        extra = tuple(v for v in self.ignore if v not in recipe.cut.ignore)
        return recipe.changed(cut={"ignore": recipe.cut.ignore + extra}) if extra else recipe


def _shown(value: Any) -> str:
    """Class tables as ``1 water, 2 forest``, cut short."""
    if isinstance(value, str):
        return value
    names = [f"{v.id} {v.name}" if isinstance(v, ClassInfo) else str(v) for v in value]
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


def read_manifest(path: Path) -> Manifest:
    """The manifest in a file, its paths made relative to the working folder, as InputError in one
    line where it is none; no image is opened."""
    text = text_of(path, MOST_BYTES)
    plain = _from_csv(text, path) if path.suffix.lower() == ".csv" else _from_yaml(text, path)
    try:
        found = Manifest.model_validate(plain)
    except ValidationError as error:
        raise InputError(_complaint(path, error)) from None
    return found.model_copy(update={"cases": tuple(_placed(e, path) for e in found.cases)})


def stem(name: str) -> str:
    """The name of a file without its folder and the suffix of its format."""
    return split(Path(name).name)[0]


def _placed(entry: ManifestCase, path: Path) -> ManifestCase:
    image = tuple(str(path.parent / name) for name in entry.image)
    return entry.model_copy(update={"image": image, "label": str(path.parent / entry.label)})


def _from_yaml(text: str, path: Path) -> Any:
    value = parse_tree(text, str(path)).plain
    if not isinstance(value, dict):
        raise InputError(f"{path} is no manifest: give a list of cases under the key cases")
    return value


def _from_csv(text: str, path: Path) -> dict[str, Any]:
    rows = csv.DictReader(io.StringIO(text, newline=""), restkey="", restval="")
    names = [("id" if name == "case" else name) for name in (rows.fieldnames or ())]
    for name in names:
        if name not in COLUMNS:
            raise InputError(f"{path} has a column {name!r}; {nearest(name, COLUMNS)}")
    rows.fieldnames = names
    try:
        return {"cases": [_row(row, f"{path}, line {rows.line_num}") for row in rows]}
    except csv.Error as error:
        raise InputError(f"{path}, line {rows.line_num} is not CSV ({error}): mend it") from None


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


def _complaint(path: Path, error: ValidationError) -> str:
    """The first fault in one line: where, what, and the nearest name of a misspelt key."""
    first = error.errors()[0]
    where, hint = first["loc"], ""
    if first["type"] == "extra_forbidden":
        inners: dict[str, type[BaseModel]] = {"cases": ManifestCase, "classes": ClassInfo}
        inner = inners.get(str(where[0])) if len(where) > 2 else None
        hint = nearest_key(inner, where[2:]) if inner else nearest_key(Manifest, where)
    field = ".".join(map(str, where)) or "cases"
    return f"{path}: {field}: {first['msg']}{hint}; mend the manifest"
