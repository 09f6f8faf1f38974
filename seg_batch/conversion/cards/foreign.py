"""What the card of another world says of a model, as far as a card of ours can hold it, and what it can't."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg_batch.config.card import ModelCard
from seg_batch.config.colours import colour_of
from seg_batch.config.validation import CheckedValue
from seg_batch.conversion.cards.example import Example
from seg_batch.conversion.words import BACKGROUND

MIXED = "it can't say that channels are normalised in different ways"
# What a run goes by, so that without it results differ; the rest of a card describes.
ACTS = frozenset(
    [
        "missing",
        "normalisation",
        "spacing_mm",
        "pixel_m",
        "resampling",
        "orientation",
        "skip",
        "output",
        "padding",
        "crop",
        "taper",
        "tiles",
        "lead",
        "tta",
        "finer",
        "post",
        "margin",
    ]
)
# Facts about one file, which are found anew wherever it is.
OF_THE_FILE = frozenset(
    [
        "schema_version",
        "weights_sha256",
        "folds_sha256",
        "format",
        "tensors",
        "compute",
        "origin",
        "patch_fixed",
        "multiple",
    ]
)
_LICENCES = [
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "CC-BY-4.0",
    "CC-BY-NC-4.0",
    "CC-BY-NC-SA-4.0",
    "CC-BY-SA-4.0",
    "GPL-2.0-only",
    "GPL-2.0-or-later",
    "GPL-3.0-only",
    "GPL-3.0-or-later",
    "LGPL-3.0-only",
    "LGPL-3.0-or-later",
    "AGPL-3.0-only",
    "AGPL-3.0-or-later",
    "MIT",
    "MPL-2.0",
    "EUPL-1.2",
    "Unlicense",
]


@dataclass(frozen=True)
class Foreign:
    """``fields`` of a card, without what only the model's file tells; ``not_carried``: sentences. ``sha256``: of the
    file, where the document has it. ``credits``: whom it names as makers, and what to cite. ``example``: what its authors got for an input of theirs."""

    world: str
    document: Path
    model: Path
    fields: dict[str, Any]
    not_carried: tuple[str, ...] = ()
    sha256: str = ""
    credits: tuple[str, ...] = ()
    example: Example | None = None

    @property
    def whole(self) -> dict[str, Any]:
        """The fields with their origin; which sides fit is found in the file."""
        facts = {"world": self.world, "document": self.document.name, "file": self.model.name}
        about = {"credits": list(self.credits), "not_carried": list(self.not_carried)}
        said = {key: value for key, value in self.fields.items() if key != "multiple"}
        if self.model.suffix == ".keras" and said.get("tensors") == {"layout": "channels_last"}:
            del said["tensors"]  # Keras says it itself
        return {**said, "origin": {**facts, **about}}


def no_place(what: str, names: Iterable[str]) -> list[str]:
    """One sentence about the parts of a document that a card can't hold; none where there are none."""
    text = ", ".join(sorted(set(names)))
    return [f"a card has no place for {what}: {text}"] if text else []


def classes_of(names: Iterable[str], first: int = 0) -> list[dict[str, Any]]:
    """Classes with rising ids."""
    return [{"id": k, "name": name} for k, name in enumerate(names, first)]


def with_background(names: Iterable[str]) -> list[dict[str, Any]]:
    """Classes of outputs that leave out the background: it gets the id 0."""
    return [{"id": 0, "name": BACKGROUND}, *classes_of(names, 1)]


def spdx(licence: str) -> str:
    """The identifier of a licence that is written in another way, such as ``CC BY-SA 4.0``; empty where it is none of
    the usual ones."""
    plain = re.sub(r"[^a-z0-9]", "", licence.lower())
    names = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in _LICENCES}
    return names.get(plain) or {"cc0": "CC0-1.0", "apache2": "Apache-2.0"}.get(plain, "")


def lost(card: ModelCard, fields: dict[str, Any], world: str) -> list[str]:
    """What of a card a document does not say, found by reading the document back: sentences."""
    needed = {"name": card.name, "kind": card.kind, "normalisation": {"kind": "identity"}}
    back = ModelCard.model_validate({**needed, "classes": card.classes, **fields})
    keys = [k for k in ModelCard.model_fields if k not in OF_THE_FILE]
    gone = [path for k in keys for path in _gone(getattr(card, k), getattr(back, k), k)]
    if spdx(card.licence) and spdx(card.licence) == back.licence:
        gone = [path for path in gone if path != "licence"]
    acts = [path for path in dict.fromkeys(gone) if path.split(".")[0] in ACTS]
    rest = [path for path in dict.fromkeys(gone) if path.split(".")[0] not in ACTS]
    sentences = []
    if acts:
        sentences.append(f"runs of {world} may differ, for it can't say {', '.join(acts)}")
    if rest:
        sentences.append(f"{world} has no place for {', '.join(rest)}")
    return sentences


def _gone(ours: Any, back: Any, way: str) -> list[str]:
    """The ways to values of ours that are other ones, or none, in what was read back."""
    if _alike(ours, back) or ours in (None, "", (), {}):
        return []
    if isinstance(ours, CheckedValue) and type(back) is type(ours):
        parts = [
            path
            for key in type(ours).model_fields
            for path in _gone(getattr(ours, key), getattr(back, key), f"{way}.{key}")
        ]
        return [way] if way == "normalisation" else parts
    models = isinstance(ours, tuple) and ours and isinstance(ours[0], CheckedValue)
    if models and isinstance(back, tuple) and len(back) == len(ours):
        return [p for a, b in zip(ours, back, strict=True) for p in _gone(a, b, way)]
    return [way]


def _alike(a: Any, b: Any) -> bool:
    """Equal, numbers but for the last digits."""
    if isinstance(a, float) and isinstance(b, int | float):
        return abs(a - b) <= 1e-9 * max(abs(a), abs(b))
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(_alike, a, b))
    if isinstance(a, CheckedValue) and type(a) is type(b):
        return all(_alike(getattr(a, k), getattr(b, k)) for k in type(a).model_fields)
    return bool(a == b)


def colour_of_hex(text: str, default: int) -> tuple[int, int, int]:
    """``FF8000`` as numbers; the colour that a class has by default where it is none."""
    if not re.fullmatch(r"#?[0-9A-Fa-f]{6}", text):
        return colour_of(default)
    digits = text.lstrip("#")
    red, green, blue = (int(digits[i : i + 2], 16) for i in (0, 2, 4))
    return red, green, blue


Reader = Callable[[Path], Foreign]
