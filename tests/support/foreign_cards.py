"""Cards of all kinds, from which documents of other worlds are written, and read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from seg_batch.config.card import ModelCard
from seg_batch.conversion.cards.exported import ExportedFile

_NAMES = st.lists(
    st.sampled_from(["blue", "B4", "nir", "swir16", "T1", "FLAIR", "phase contrast", "x-ray"]),
    min_size=1,
    max_size=4,
    unique=True,
)
_NUMBERS = st.floats(-2000, 2000, allow_nan=False).map(lambda v: round(v, 4))
_SIZES = st.floats(0.05, 40).map(lambda v: round(v, 3))


@st.composite
def _normalisations(draw: st.DrawFn, channels: int) -> dict[str, Any]:
    kind = draw(
        st.sampled_from(["card", "card", "identity", "source", "nonzero", "range", "percentiles"])
    )
    if kind != "card":
        return {"kind": kind}
    each = st.lists(_NUMBERS, min_size=channels, max_size=channels).map(tuple)
    sizes = st.lists(_SIZES, min_size=channels, max_size=channels).map(tuple)
    fields: dict[str, Any] = {"kind": "card", "mean": draw(each), "std": draw(sizes)}
    if draw(st.booleans()):
        low, widths = draw(each), draw(sizes)
        if draw(st.booleans()):
            low, widths = low[:1] * channels, widths[:1] * channels
        high = tuple(a + 10 * w for a, w in zip(low, widths, strict=True))
        fields |= {"low": low, "high": high}
    return fields


@st.composite
def cards(draw: st.DrawFn) -> ModelCard:
    """Of all that decides what a model sees, and how its scores become labels."""
    kind, rank = draw(st.sampled_from([("raster", 2), ("volume", 3), ("volume", 2), ("any", 2)]))
    names = draw(_NAMES)
    classes = draw(st.integers(2, 4))
    multiple = draw(st.none() | st.sampled_from([4, 8]))
    side = (multiple or 8) * draw(st.integers(4, 5))
    patch = (side,) * (rank - 1) + (side + (multiple or 8),)
    margin = draw(st.none() | st.integers(1, 6))
    output: dict[str, Any] = {"gives": draw(st.sampled_from(["probabilities", "logits"]))}
    if draw(st.booleans()):
        output |= {"classes": "independent", "threshold": draw(st.sampled_from([0.5, 0.3]))}
    if output["gives"] == "logits" and draw(st.booleans()):
        output["blend"] = "logits"
    normalisation = draw(_normalisations(len(names)))
    fields: dict[str, Any] = {
        "name": draw(st.sampled_from(["clouds-6b", "Spleen.ct", "m3"])),
        "kind": kind,
        "rank": rank,
        "modality": draw(st.sampled_from([None, "CT", "MR", "optical", "microscopy"])),
        "channels": [{"name": name} for name in names],
        "classes": [
            {"id": k, "name": "background" if k == 0 else f"class {k}"} for k in range(classes)
        ],
        "patch": patch,
        "multiple": multiple and (multiple,) * rank,
        "normalisation": normalisation,
        "output": output,
        "padding": draw(st.sampled_from(["mirror", "zero"])),
        "taper": draw(st.sampled_from([None, "gaussian", "constant"])),
        "licence": draw(st.sampled_from(["", "MIT", "CC BY 4.0"])),
    }
    if margin:
        fields |= {"margin": (margin,) * rank, "overlap": (2 * margin,) * rank}
    if kind == "volume":
        fields["orientation"] = draw(
            st.sampled_from(["RAS", "LPS", "SAR", "ASL", "stored", "stored:2,1,0"])
        )
        fields["spacing_mm"] = draw(st.none() | st.tuples(_SIZES, _SIZES, _SIZES))
        rule = draw(st.sampled_from(["linear", "nearest"]))
        fields["resampling"] = {"up": rule, "down": rule, "thick": rule, "tolerance": 0.0}
    else:
        fields["pixel_m"] = draw(st.none() | _SIZES)
    return ModelCard(**fields)


def file_of(card: ModelCard, path: Path, layout: str = "channels_first") -> ExportedFile:
    """The file at ``path`` as one that the card may be of: independent classes have no score of the background."""
    outputs = len(card.classes) - (card.output.classes == "independent")
    return ExportedFile.at(path, form="onnx", outputs=outputs, layout=layout)


def scores_of(card: ModelCard, patches: np.ndarray) -> np.ndarray:
    """What a predictor would give: probabilities of the classes that depend on the values, and lie anywhere."""
    factors = np.arange(1, len(card.classes) + 1, dtype=np.float32)
    scores = 1 / (1 + np.exp(-np.sin(patches.sum(-1, keepdims=True) * factors)))
    if card.output.classes == "independent":
        scores[..., 0] = card.output.threshold
        return scores
    return scores / scores.sum(-1, keepdims=True)
