"""Which label values there are, what they are called, and how values become class indices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.config.card import ClassInfo, ModelCard
from seg_batch.core.errors import InputError
from seg_batch.core.normalise import Pixels
from seg_batch.inference import bundles
from seg_batch.io.pictures import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, YELLOW
from seg_batch.io.sources.protocol import SourceInfo

LARGEST = 65533  # of label values, as in a card
_ROW = ("id", "name", "colour")
MOST_FOUND = 64  # more distinct values than this are measurements, not labels

# Where nobody names colours; the last is grey.
_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION, YELLOW, (120, 120, 120))


@dataclass(frozen=True)
class Classes:
    """The classes that are scored, in the order of all tables; ``origin`` says who named them.

    ``background``: index of the class that means over classes leave out; None where all count.
    InputError where two share a name, since tables go by it.
    """

    table: tuple[ClassInfo, ...]
    origin: str
    background: int | None = None

    def __post_init__(self) -> None:
        name, times = Counter(self.names).most_common(1)[0]
        if times > 1:
            raise InputError(
                f"{times} classes are called {name!r} in {self.origin}, their scores could not be "
                "told apart: give each its own name"
            )

    @property
    def names(self) -> list[str]:
        return [c.name for c in self.table]

    @property
    def ids(self) -> np.ndarray:
        return np.array([c.id for c in self.table])

    def __len__(self) -> int:
        return len(self.table)

    def indices(
        self, labels: Pixels, skipped: Iterable[float], where: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """``(class indices, valid)`` of label values ``(*shape, 1)``, each ``shape``.

        Not valid: nodata, and the values ``skipped``. InputError, with ``where``, for any other
        value that is no class.
        """
        values = labels.physical(np.float64)[..., 0]
        order = np.argsort(self.ids)
        ids = self.ids[order]
        place = np.clip(np.searchsorted(ids, values), 0, len(ids) - 1)
        known = ids[place] == values
        valid = ~np.isin(values, np.array(list(skipped), np.float64))
        if labels.valid is not None:
            valid &= labels.valid[..., 0]
        if not (known | ~valid).all():
            raise self._strange(values[valid & ~known], where)
        return order[place].astype(np.min_scalar_type(len(ids))), valid & known

    def _strange(self, values: np.ndarray, where: str) -> InputError:
        found = np.unique(values)
        some = ", ".join(f"{v:g}" for v in found[:5]) + (", ..." if len(found) > 5 else "")
        known = ", ".join(str(c.id) for c in self.table)
        return InputError(
            f"{where} has values that are no class ({some}; the classes are {known}, from "
            f"{self.origin}): name them with --classes, or leave them out with --ignore"
        )

    def to_json(self) -> list[dict[str, Any]]:
        return [{"id": c.id, "name": c.name, "colour": list(c.colour)} for c in self.table]


def of_card(card: ModelCard) -> Classes:
    return Classes(card.classes, f"the card of {card.name}", card.background_index)


def of_report(report: Mapping[str, Any], where: str) -> Classes:
    """The classes that a report beside a prediction lists; InputError where it was meddled with."""
    rows = report["classes"]
    try:
        table = tuple(ClassInfo.model_validate({k: r[k] for k in _ROW}) for r in rows)
        background = report.get("background", 0)
        _ = table[0]
    except (LookupError, TypeError, ValueError):
        raise InputError(
            f"{where} lists no classes that can be read: put it away, or give --classes"
        ) from None
    return _with_background(table, where, background)


def _with_background(table: tuple[ClassInfo, ...], origin: str, id_: int | None = 0) -> Classes:
    """Where no card speaks of a background, it is the class with id 0."""
    return Classes(table, origin, next((k for k, c in enumerate(table) if c.id == id_), None))


def of_text(text: str) -> Classes:
    """``--classes``: ``0=background,3=forest``, or a bundle by name or path.

    InputError for anything else; BundleError for a bundle that is none.
    """
    if "=" not in text:
        return of_card(bundles.find_bundle(text).card)
    rows = []
    for number, part in enumerate(text.split(",")):
        value, _, name = part.partition("=")
        if not _is_label(value.strip()) or not name.strip():
            raise InputError(
                f"--classes: {part!r} is no class: write 0=background,3=forest (values up to "
                f"{LARGEST}), or name a bundle"
            )
        rows.append((int(value), name.strip(), _COLOURS[number % len(_COLOURS)]))
    for what, values in (("value", [r[0] for r in rows]), ("name", [r[1] for r in rows])):
        if len(set(values)) < len(values):
            raise InputError(f"--classes gives one {what} twice: each class has its own")
    table = tuple(ClassInfo(id=i, name=n, colour=c) for i, n, c in rows)
    return _with_background(table, "--classes")


def _is_label(text: str) -> bool:
    return text.isdecimal() and len(text) <= len(str(LARGEST)) and int(text) <= LARGEST


def of_values(values: Iterable[float]) -> Classes:
    """The values themselves, where nobody names them. InputError when they can't be labels."""
    found = sorted(values)
    odd = [v for v in found if v != int(v) or not 0 <= v <= LARGEST]
    if odd:
        raise InputError(
            f"the files hold values like {odd[0]:g}, which are no labels: give label images "
            "(whole numbers from 0 on), or leave values out with --ignore"
        )
    colours = [(60, 60, 60) if v == 0 else _COLOURS[k % len(_COLOURS)] for k, v in enumerate(found)]
    table = (
        ClassInfo(id=int(v), name=f"class {int(v)}", colour=c)
        for v, c in zip(found, colours, strict=True)
    )
    return _with_background(tuple(table), "the values found")


def require_data(info: SourceInfo, ids: Iterable[int], skipped: Iterable[float]) -> None:
    """InputError where a label file declares a class as nodata: all of it would count nowhere."""
    for value in {*(info.nodata or ())} & set(ids) - set(skipped):
        raise InputError(
            f"{info.path} declares {value:g} as nodata, which is a class here, so none of its voxels "
            f"would count: take the tag off (gdal_edit.py -unsetnodata), or ignore {value:g}"
        )


def too_many(count: int, path: str | Path) -> InputError:
    return InputError(
        f"{path} has more than {count} different values, so it is an image and no label image: "
        "give PREDICTIONS and TRUTH, or name the classes with --classes"
    )
