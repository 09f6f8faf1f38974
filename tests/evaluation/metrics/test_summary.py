"""The table of a card and a report: by hand, ready for JSON, and equal to the means of before."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seg_batch.evaluation.metrics.case import CaseScores
from seg_batch.evaluation.metrics.confusion import mean_over_classes, plain
from seg_batch.evaluation.metrics.size import Unit, size_errors, unit_of
from seg_batch.evaluation.metrics.summary import summarise
from seg_batch.evaluation.score import Scored
from tests.support.evaluation.label_maps import pairs, scored

NAMES = ["elsewhere", "a", "b"]


def case(truth: list, found: list, spacing: tuple[float, ...] | None = None) -> CaseScores:
    return scored(np.array(truth, np.uint8), np.array(found, np.uint8), spacing=spacing)


def test_two_cases_by_hand() -> None:
    cases = {
        "x": case([[1, 1, 0, 0]], [[1, 0, 0, 0]], (100.0, 100.0)),  # Dice of a: 2 / 3
        "y": case([[1, 0, 0, 0]], [[1, 0, 0, 2]], (100.0, 100.0)),  # 1; b wrongly found
    }
    table = summarise(cases, NAMES, background=0, unit=unit_of((100.0, 100.0)))
    a, b = table["classes"]["a"], table["classes"]["b"]
    assert table["interval_over"] == "cases"
    assert (table["size_unit"], table["distance_unit"]) == ("ha", "m")
    assert a["dice"] == {"mean": 0.8333, "low": 0.6667, "high": 1.0, "cases": 2}
    assert a["size_error"]["mean"] == -0.5
    assert a["size_error_absolute"]["mean"] == 0.5
    assert a["hausdorff"] == {"mean": 50.0, "low": 0.0, "high": 100.0, "cases": 2}
    assert (a["one_sided"], b["one_sided"]) == (0, 1)
    assert b["dice"] == {"mean": 0.0, "low": None, "high": None, "cases": 1}
    assert b["hausdorff"]["mean"] is None
    assert b["sensitivity"]["cases"] == 0
    assert table["overall"]["mean_dice"]["mean"] == pytest.approx((5 / 6 + 0) / 2, abs=1e-4)
    assert table["overall"]["accuracy"]["mean"] == 0.75
    assert [row["mean_dice"] for row in table["per_case"]] == [0.6667, 0.5]
    rows = {(r["case"], r["class"]): r for r in table["per_class_and_case"]}
    assert rows["y", "b"]["hausdorff"] is None
    assert rows["x", "a"]["dice"] == 0.6667


def test_one_case_has_intervals_over_its_blocks() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, (40, 40)).astype(np.uint8)
    found = np.where(rng.random(truth.shape) < 0.7, truth, 0).astype(np.uint8)
    table = summarise({"scene": scored(truth, found)}, NAMES, background=0)
    assert table["interval_over"] == "blocks"
    for key in ("dice", "boundary_iou"):
        number = table["classes"]["a"][key]
        assert number["low"] < number["mean"] < number["high"]
    for number in (table["overall"]["accuracy"], table["overall"]["mean_dice"]):
        assert number["low"] < number["mean"] < number["high"]
    assert table["classes"]["a"]["hausdorff"]["low"] is None
    assert table["classes"]["a"]["hausdorff"]["mean"] is not None


@settings(max_examples=20)
@given(st.lists(pairs(), min_size=1, max_size=4), st.sampled_from([None, 0, 1]))
def test_it_is_json_and_says_what_the_scores_of_training_say(made, background) -> None:
    cases = {str(i): scored(*pair) for i, pair in enumerate(made)}
    table = summarise(cases, NAMES, background)
    assert json.loads(json.dumps(table, allow_nan=False)) == table
    before = Scored({name: s.confusion for name, s in cases.items()}, background)
    dice = before.dice if background is None else np.delete(before.dice, background)
    assert table["overall"]["mean_dice"]["mean"] == plain(mean_over_classes(dice))
    assert table["overall"]["accuracy"]["mean"] == plain(before.accuracy)
    assert table["voxels"] == before.total.sum()
    for k, name in enumerate(NAMES):
        assert table["classes"][name]["dice"]["mean"] == plain(before.dice[k])
    for number in [table["overall"]["mean_dice"], *(c["dice"] for c in table["classes"].values())]:
        if number["low"] is not None and len(cases) > 1:
            assert number["low"] - 1e-4 <= number["mean"] <= number["high"] + 1e-4


def test_sizes_are_signed_and_in_units() -> None:
    matrix = np.array([[5, 2, 0], [1, 7, 0], [0, 0, 0]])
    np.testing.assert_array_equal(size_errors(matrix), [-1, 1, np.nan])
    np.testing.assert_allclose(size_errors(matrix, Unit("mL", 0.5))[:2], [-0.5, 0.5])
    assert unit_of((2.0, 0.5, 1.0)) == Unit("mL", 0.001)
    assert unit_of((30.0, 30.0)) == Unit("ha", pytest.approx(0.09))
    assert unit_of(None) == Unit("voxels", 1.0)


def test_no_cases_are_refused() -> None:
    with pytest.raises(ValueError, match="no cases"):
        summarise({}, NAMES)
