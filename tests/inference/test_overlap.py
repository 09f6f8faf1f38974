"""``--overlap auto``: what was measured for the model, resolved before anything is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from seg_batch.config.card import Border, ModelCard
from seg_batch.config.options import declared
from seg_batch.config.predict_options import PredictOptions
from seg_batch.core.errors import PlanError
from seg_batch.core.normalise import Normaliser
from seg_batch.inference.predict import predict_one
from seg_batch.inference.probe import PROBE_CARD, predict
from seg_batch.inference.request import Request, prepare
from seg_batch.inference.sliding_window.grid import make_grid
from seg_batch.io.sinks.work_store import fingerprint_digest

MEASURED = Border(reach=(9, 7), overlap=(24, 20), margin=(9, 7))


def card(**changes: Any) -> ModelCard:
    plain = PROBE_CARD.model_dump(mode="json")
    grid = {"rank": 2, "patch": (64, 48), "overlap": (16, 8), "margin": (2, 1)}
    return ModelCard.model_validate({**plain, **grid, **changes})


def test_auto_is_what_was_measured_for_the_model() -> None:
    grid, _ = make_grid((300, 200), card(border=MEASURED), PredictOptions(overlap="auto"))
    assert (grid.overlap, grid.margin) == (MEASURED.overlap, MEASURED.margin)


def test_auto_without_a_measurement_is_the_cards_overlap() -> None:
    plain, _ = make_grid((300, 200), card(), PredictOptions())
    auto, _ = make_grid((300, 200), card(), PredictOptions(overlap="auto"))
    assert plain == auto
    assert (plain.overlap, plain.margin) == ((16, 8), (2, 1))


def test_a_measurement_is_the_default_and_the_cards_overlap_can_be_asked_for() -> None:
    plain, _ = make_grid((300, 200), card(), PredictOptions())
    measured, _ = make_grid((300, 200), card(border=MEASURED), PredictOptions())
    assert (measured.overlap, measured.margin) == (MEASURED.overlap, MEASURED.margin)
    of_card, _ = make_grid((300, 200), card(border=MEASURED), PredictOptions(overlap="card"))
    assert of_card == plain
    number, _ = make_grid((300, 200), card(border=MEASURED), PredictOptions(overlap=12))
    assert (number.overlap, number.margin) == ((12, 12), (2, 1))


def test_a_flat_model_gets_it_on_each_slice_of_a_volume() -> None:
    grid, rank = make_grid((5, 300, 200), card(border=MEASURED), PredictOptions(overlap="auto"))
    assert (rank, grid.overlap, grid.margin) == (2, (0, 24, 20), (0, 9, 7))


def test_crop_cuts_in_the_middle_of_the_measured_overlap() -> None:
    grid, _ = make_grid(
        (300, 200), card(border=MEASURED), PredictOptions(overlap="auto", taper="crop")
    )
    assert (grid.overlap, grid.margin) == ((24, 20), (12, 10))


def test_the_fingerprint_holds_the_resolved_numbers(scene: Path) -> None:
    """So that a resumed run can't mix the tiles of two measurements."""
    prints = []
    for border in (MEASURED, MEASURED.model_copy(update={"overlap": (26, 20)}), None):
        request = Request(
            str(scene), model=(card(border=border), predict), options=PredictOptions(overlap="auto")
        )
        plan = prepare(request).plan.with_normaliser(Normaliser())
        assert plan.fingerprint["overlap"] == list(plan.overlap)
        assert plan.fingerprint["margin"] == list(plan.margin)
        prints.append(fingerprint_digest(plan.fingerprint))
    assert len(set(prints)) == 3


def test_a_whole_run_with_auto_is_exact_and_says_what_it_used(scene: Path, tmp_path: Path) -> None:
    request = Request(
        str(scene),
        str(tmp_path / "out.tif"),
        model=(card(border=MEASURED), predict),
        options=PredictOptions(overlap="auto"),
    )
    report = predict_one(request)
    with rasterio.open(scene) as file:
        truth = file.read(1) & 7
    with rasterio.open(tmp_path / "out.tif") as file:
        assert np.array_equal(file.read(1), truth)
    assert tuple(report["plan"]["overlap"]) == MEASURED.overlap
    assert predict_one(request)["seconds"] == 0.0  # the same command again: told again


def overlap_of(text: str | None) -> object:
    return declared(PredictOptions)["overlap"].value(text, "--overlap")


@pytest.mark.parametrize("text", ["many", "-1", "1.5", "", "9" * 5000])
def test_what_is_no_overlap_is_refused(text: str) -> None:
    with pytest.raises(PlanError, match="no number of voxels"):
        overlap_of(text)


def test_a_number_a_word_or_nothing() -> None:
    assert [overlap_of(text) for text in ("64", "0", "auto", None)] == [64, 0, "auto", None]
