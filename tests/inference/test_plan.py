"""A plan is whole when it is made; what is kept of it keeps its names and their order."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest

from seg_batch.config.predict_options import PredictOptions
from seg_batch.core.normalise import Normaliser
from seg_batch.inference.plan import FINGERPRINTED, UNSAID, DraftPlan, Plan
from seg_batch.inference.request import Request, prepare

# As stores and reports have them: a run begun by any version is compared and told of in this order.
KEYS = (
    "extent view_extent orientation patch overlap margin taper block chunk rank batch classes "
    "probabilities precision normaliser label_dtype nodata empty_label skip_below skip_label workers "
    "blocks tiles recompute promised_bytes memory_bytes disk_bytes seconds_estimate engine engine_why "
    "tta passes post missing model_grid patch_choice fingerprint"
)
FINGERPRINT = (
    "layout extent orientation patch overlap margin taper chunk probabilities precision engine tta "
    "normaliser label_dtype empty_label skip_below skip_label post input volume model weights segbatch"
)
NUMBERS = Normaliser((1.5,), (0.25,), (0.0,), (200.0,))


@pytest.fixture
def draft(scene: Path) -> DraftPlan:
    options = PredictOptions(probabilities=True, post=("majority:3", "min_size:9"), tta="flips")
    return prepare(Request(str(scene), model="probe", options=options)).plan


def test_the_marked_fields_are_the_fingerprint(draft: DraftPlan) -> None:
    names = FINGERPRINT.split()
    assert {*names[1:-5], *UNSAID} == FINGERPRINTED
    plan = draft.with_normaliser(NUMBERS)
    assert list(plan.fingerprint) == names
    assert plan.fingerprint["layout"] == 1
    assert plan.fingerprint["patch"] == list(plan.patch)
    assert plan.fingerprint["post"] == list(plan.post)
    assert plan.fingerprint["normaliser"] == {
        "mean": (1.5,),
        "std": (0.25,),
        "low": (0.0,),
        "high": (200.0,),
    }
    assert {k: plan.fingerprint[k] for k in names[-5:]} == draft.identity


def test_a_draft_has_no_numbers_to_be_filled_in(draft: DraftPlan) -> None:
    assert not {"normaliser", "fingerprint"} & {f.name for f in fields(draft)}
    told = draft.to_json()
    assert " ".join(told) == KEYS
    assert (told["normaliser"], told["fingerprint"]) == ({}, draft.identity)


def test_other_numbers_are_another_fingerprint(draft: DraftPlan) -> None:
    prints = [draft.with_normaliser(n).fingerprint for n in (NUMBERS, Normaliser((1.5,), (0.5,)))]
    assert prints[0] != prints[1]


def test_what_is_kept_reads_back(draft: DraftPlan) -> None:
    plan = draft.with_normaliser(NUMBERS)
    kept = json.dumps(plan.to_json())
    assert " ".join(json.loads(kept)) == KEYS
    again = Plan.from_json(json.loads(kept))
    assert json.dumps(again.to_json()) == kept
    assert (again.normaliser, again.grid, again.chain) == (NUMBERS, plan.grid, plan.chain)


def test_an_older_plan_is_read(draft: DraftPlan) -> None:
    """One from before there were engines, views of a patch, steps after prediction and missing channels."""
    kept = json.loads(json.dumps(draft.with_normaliser(NUMBERS).to_json()))
    for name in ("engine", "engine_why", "tta", "passes", "post", "fingerprint"):
        del kept[name]
    plan = Plan.from_json(kept)
    assert (plan.engine, plan.tta, plan.passes, plan.post) == ("tensorflow", "none", 1, ())
    assert (plan.normaliser, plan.fingerprint) == (NUMBERS, {})


@pytest.mark.parametrize("numbers", [None, [1.5], 3, {"mean": 1.5}, {"median": [1.5]}])
def test_a_plan_without_its_numbers_is_none(draft: DraftPlan, numbers: object) -> None:
    kept = draft.with_normaliser(NUMBERS).to_json()
    with pytest.raises((AttributeError, TypeError, ValueError)):
        Plan.from_json({**kept, "normaliser": numbers})
    del kept["normaliser"]
    with pytest.raises(TypeError):
        Plan.from_json(kept)
