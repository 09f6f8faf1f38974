"""The classes of label images: values, names, colours, and how values become class indices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from seg_batch.config.card import ClassInfo, ModelCard
from seg_batch.config.colours import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, YELLOW
from seg_batch.core.errors import InputError
from seg_batch.core.normalise import Pixels
from seg_batch.inference import bundles
from seg_batch.io.sources.protocol import SourceInfo

LARGEST = 65533  # of label values, as in a card
_ROW = ("id", "name", "colour")


# Of classes without colours of their own; the last is grey.
_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION, YELLOW, (120, 120, 120))


@dataclass(frozen=True)
class Classes:
    """The classes that are scored, in the order of all tables; ``origin``: where they are named.

    ``background``: index of the class that means over classes leave out; None where all count.
    InputError where two share a name, which is the key of every table.
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
        indices, known = class_indices(values, self.ids)
        valid = ~ignored(labels, skipped)
        if not (known | ~valid).all():
            unknown = np.unique(values[valid & ~known])
            some = ", ".join(f"{v:g}" for v in unknown[:5]) + (", ..." if len(unknown) > 5 else "")
            raise InputError(
                f"{where} has values that are no class ({some}; the classes are "
                f"{', '.join(str(c.id) for c in self.table)}, from {self.origin}): name them with "
                "--classes, or leave them out with --ignore"
            )
        return indices.astype(np.min_scalar_type(len(self))), valid & known

    def to_json(self) -> list[dict[str, Any]]:
        return [{"id": c.id, "name": c.name, "colour": list(c.colour)} for c in self.table]


def class_indices(values: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The index of each label value in ``ids`` (any where it is not there), and whether it is there."""
    order = np.argsort(ids)
    indices = order[np.clip(np.searchsorted(ids[order], values), 0, len(ids) - 1)]
    return indices, ids[indices] == values


def ignored(labels: Pixels, skipped: Iterable[float]) -> np.ndarray:
    """bool ``shape`` of labels ``(*shape, 1)``: nodata, or one of the values ``skipped``."""
    out = np.isin(labels.physical(np.float64)[..., 0], np.array(list(skipped), np.float64))
    return out if labels.valid is None else out | ~labels.valid[..., 0]


def of_card(card: ModelCard) -> Classes:
    return Classes(card.classes, f"the card of {card.name}", card.background_index)


def of_report(report: Mapping[str, Any], where: str) -> Classes:
    """The classes that a report beside a prediction lists; InputError where it can't be read."""
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
    """The background is the class with id 0 unless a card names another."""
    return Classes(table, origin, next((k for k, c in enumerate(table) if c.id == id_), None))


def of_text(text: str) -> Classes:
    """``--classes``: ``0=background,3=forest``, or a bundle by name or path.

    InputError for anything else; BundleError for a bundle that is none.
    """
    if "=" not in text:
        return of_card(bundles.find_bundle(text).card)
    rows = []
    for place, part in enumerate(text.split(",")):
        value, _, name = (word.strip() for word in part.partition("="))
        # The length first: int() refuses more than 4300 digits.
        number = int(value) if value.isdecimal() and len(value) <= len(str(LARGEST)) else -1
        if not 0 <= number <= LARGEST or not name:
            raise InputError(
                f"--classes: {part!r} is no class: write 0=background,3=forest (values up to "
                f"{LARGEST}), or name a bundle"
            )
        rows.append((number, name, _COLOURS[place % len(_COLOURS)]))
    for what, values in (("value", [r[0] for r in rows]), ("name", [r[1] for r in rows])):
        if len(set(values)) < len(values):
            raise InputError(f"--classes gives one {what} twice: each class has its own")
    table = tuple(ClassInfo(id=i, name=n, colour=c) for i, n, c in rows)
    return _with_background(table, "--classes")


def of_values(values: Iterable[float]) -> Classes:
    """Classes named by their values. InputError when these can't be labels."""
    labels = sorted(values)
    odd = [v for v in labels if v != int(v) or not 0 <= v <= LARGEST]
    if odd:
        raise InputError(
            f"the files hold values like {odd[0]:g}, which are no labels: give label images "
            "(whole numbers from 0 on), or leave values out with --ignore"
        )
    table = (
        ClassInfo(
            id=int(v),
            name=f"class {int(v)}",
            colour=(60, 60, 60) if v == 0 else _COLOURS[k % len(_COLOURS)],
        )
        for k, v in enumerate(labels)
    )
    return _with_background(tuple(table), "the values found")


def require_data(info: SourceInfo, ids: Iterable[int], skipped: Iterable[float]) -> None:
    """InputError where a label file declares a class as nodata: none of its voxels would count."""
    for value in {*(info.nodata or ())} & set(ids) - set(skipped):
        raise InputError(
            f"{info.path} declares {value:g} as nodata, which is a class here, so none of its voxels "
            f"would count: take the tag off (gdal_edit.py -unsetnodata; fill_value null in Zarr), or ignore {value:g}"
        )
