"""A card, a document of another world, and the card that is read of it: equal in all that is not told as lost."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seg_batch.config.card import ModelCard, make_card
from seg_batch.conversion.cards import export
from seg_batch.conversion.cards.foreign import OF_THE_FILE
from seg_batch.conversion.cards.opening import opened
from seg_batch.core.normalise import Pixels
from tests.support.foreign_cards import cards, file_of, scores_of

pytestmark = pytest.mark.full  # many networks or whole runs


def written(world: str, card: ModelCard, folder: Path, layout: str = "channels_first") -> Any:
    """The report of a card for ``world`` in ``folder``, with a model beside it."""
    (folder / "model.onnx").write_bytes(b"network")
    file = file_of(card, folder / "model.onnx", layout)
    patch = np.random.default_rng(1).normal(
        0, 1, (1, *(card.patch or ()), len(card.channels or ()))
    )
    small = patch.astype(np.float32)
    scores = scores_of(card, export.seen_of(card, small)).astype(np.float32)
    report = export.write([world], folder, card, file, small, scores)
    return report[world]


def read_back(path: Path) -> ModelCard:
    with opened(path) as foreign:
        assert foreign is not None
        return make_card(**foreign.fields)


def lost_keys(report: Any) -> set[str]:
    """The first parts of what a report tells as lost."""
    words = " ".join(
        s.split("can't say ")[-1].split("place for ")[-1] for s in report["not_carried"]
    )
    return {word.strip(",").split(".")[0] for word in words.split()}


@pytest.mark.parametrize("world", ["stac", "bioimageio", "monai"])
@settings(max_examples=25, deadline=None)
@given(card=cards(), first=st.booleans())
def test_a_card_comes_back_but_for_what_is_told(world: str, card: ModelCard, first: bool) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        report = written(world, card, folder, "channels_first" if first else "channels_last")
        if "left_out" in report:
            return
        back = read_back(folder)
        told = lost_keys(report)
        for key in set(ModelCard.model_fields) - OF_THE_FILE - told:
            ours, theirs = getattr(card, key), getattr(back, key)
            if key == "licence":
                ours = ours.replace(" ", "-")
            if ours not in (None, "", (), {}) and key != "normalisation":
                assert ours == theirs or ours == pytest.approx(theirs), key
        if "normalisation" not in told:
            require_alike(card, back)
    finally:
        shutil.rmtree(folder)


def require_alike(card: ModelCard, back: ModelCard) -> None:
    """Both cards make the same of the same values."""
    assert card.normalisation.per_image == back.normalisation.per_image
    ours, theirs = card.normalisation.normaliser(), back.normalisation.normaliser()
    if ours is None or theirs is None:
        assert card.normalisation == back.normalisation
        return
    rng = np.random.default_rng(2)
    pixels = Pixels(rng.uniform(-3000, 3000, (50, len(card.channels or ()))).astype(np.float32))
    np.testing.assert_allclose(ours(pixels), theirs(pixels), rtol=1e-4, atol=1e-3)


def test_test_tensors_are_held_to_what_is_written_of_them(tmp_path: Path) -> None:
    """A description that says its tolerance, and one that leaves it to the specification, allow the same."""
    card = ModelCard(
        name="cells",
        kind="any",
        rank=2,
        patch=(8, 8),
        channels=["grey"],
        classes=[{"id": 0, "name": "background"}, {"id": 1, "name": "cell"}],
        normalisation={"kind": "identity"},
        output={"gives": "logits"},
    )
    written("bioimageio", card, tmp_path)
    text = (tmp_path / "rdf.yaml").read_text()
    left_out = text.replace("reproducibility_tolerance", "other")
    assert left_out != text
    allowed = []
    for rdf in (text, left_out):
        (tmp_path / "rdf.yaml").write_text(rdf)
        with opened(tmp_path) as foreign:
            assert foreign is not None
            assert foreign.example is not None
            it = foreign.example
            allowed.append((it.relative, it.absolute, it.mismatched))
    assert allowed == [(1e-3, 1e-3, 1e-4)] * 2


def test_what_a_run_goes_by_is_told_apart_from_what_describes(tmp_path: Path) -> None:
    card = ModelCard(
        name="clouds",
        kind="raster",
        rank=2,
        patch=(64, 64),
        channels=["red"],
        classes=[{"id": 0, "name": "background"}, {"id": 1, "name": "cloud"}],
        normalisation={"kind": "identity"},
        output={"gives": "logits", "blend": "logits"},
        training_data="of last year",
    )
    report = written("stac", card, tmp_path)
    assert report["not_carried"] == [
        "runs of a STAC item may differ, for it can't say output.blend",
        "a STAC item has no place for training_data",
    ]
    assert json.loads((tmp_path / report["file"]).read_text())["id"] == "clouds"
