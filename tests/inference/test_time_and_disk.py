"""A plan's time is measured or says that it is a guess; its disk is compared with what is free."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

import seg_batch
from seg_batch.cli.display.lines import plan_facts, plan_lines
from seg_batch.cli.predict import plan as plan_command
from seg_batch.config.options import unset_options
from seg_batch.config.predict_options import PredictOptions, RequestArguments
from seg_batch.core import hardware
from seg_batch.core.errors import BundleError, Exit, PlanError
from seg_batch.core.resources import SAMPLES
from seg_batch.inference.measuring import disk
from seg_batch.inference.measuring.disk import require_disk
from seg_batch.inference.measuring.time import (
    Estimate,
    estimate,
    measure_speed,
    rated_model,
    remember,
)
from seg_batch.inference.request import Request, prepare
from seg_batch.inference.sliding_window.block import Receipt
from seg_batch.nn.engines.rates import Observation

SCENE, VOLUME = SAMPLES / "zion_landsat8.tif", SAMPLES / "hippocampus_001.nii.gz"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    others = hardware.user_cache  # converted models
    made = {"rates": tmp_path / "cache"}
    monkeypatch.setattr(hardware, "user_cache", lambda kind: made.get(kind) or others(kind))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


def _estimate(input: Path, **options: object) -> Estimate:
    prepared = prepare(Request(str(input), options=PredictOptions(**options)))  # type: ignore[arg-type]
    return estimate(prepared.plan, prepared.model)


def test_a_measured_speed_is_what_plans_go_by() -> None:
    guess = _estimate(SCENE)
    assert (guess.kind, guess.low < guess.seconds < guess.high) == ("guess", True)
    prepared = prepare(Request(str(SCENE)))
    rated = rated_model(prepared.plan, prepared.model)
    assert rated is not None
    rated.observe(Observation(10, 100.0, 1))
    measured = _estimate(SCENE, patch="card")
    assert measured.kind == "measured"
    tiles = prepare(Request(str(SCENE), options=PredictOptions(patch="card"))).plan.tiles_predicted
    assert measured.seconds == pytest.approx(10.0 * tiles, rel=0.1)
    patches = math.prod(prepared.plan.patch) / math.prod(prepared.model.card.patch or ())
    assert _estimate(SCENE).seconds == pytest.approx(10.0 * patches, rel=0.1)  # in one tile
    assert measured.low < measured.seconds < measured.high
    assert _estimate(SCENE, patch="card", tta="d4").seconds == pytest.approx(
        8 * measured.seconds, rel=0.1
    )
    other = _estimate(VOLUME)
    assert (other.kind, other.why) == ("guess", "a guess, by the speed of other models here")
    assert other.high / other.low > measured.high / measured.low
    facts, lines = plan_facts(prepared), plan_lines(prepared)
    assert facts["time"]["kind"] == "measured"
    assert "measured here once" in lines


def test_neither_plan_nor_fingerprint_depends_on_it() -> None:
    before = prepare(Request(str(SCENE))).plan
    prepared = prepare(Request(str(SCENE)))
    rated = rated_model(prepared.plan, prepared.model)
    assert rated is not None
    rated.observe(Observation(1, 1e6, 1))
    assert json.dumps(prepare(Request(str(SCENE))).plan.to_json()) == json.dumps(before.to_json())


@pytest.mark.full
def test_a_prediction_measures_and_a_calibration_too(tmp_path: Path) -> None:
    seg_batch.predict(SCENE, tmp_path / "map.tif")
    assert _estimate(SCENE).kind == "measured"
    prepared = prepare(Request(str(VOLUME)))
    measure_speed(prepared.plan, prepared.model, least_s=0.1)
    assert _estimate(VOLUME).kind == "measured"


def _receipt(start: float, stop: float, tiles: int, worker: str = "a", **more: object) -> Receipt:
    receipt = {"tiles": tiles, "skipped": 0, "worker": worker, "spell": [start, stop]}
    return {**receipt, **more}  # type: ignore[return-value,typeddict-item]


def test_the_speed_is_that_of_all_workers_without_first_calls() -> None:
    prepared = prepare(Request(str(SCENE), options=PredictOptions(workers=2, patch="card")))
    rated = rated_model(prepared.plan, prepared.model)
    assert rated is not None
    blocks = [
        _receipt(0, 6, 5, first=(1, 2.0)),
        _receipt(0, 6, 5, "b", first=(1, 2.0)),
        _receipt(7, 9, 4),
    ]
    remember(prepared.plan, prepared.model, blocks)
    rate = rated.rate(2)
    assert rate is not None
    assert rate.tile_s == pytest.approx((6 + 2 - 2) / 12)


def test_a_function_has_no_speed_to_be_kept(scene: Path) -> None:
    prepared = prepare(Request(str(scene), model="probe"))
    remember(prepared.plan, prepared.model, [_receipt(0, 1, 5)])
    assert estimate(prepared.plan, prepared.model).kind == "guess"
    with pytest.raises(BundleError, match="leave out --measure"):
        measure_speed(prepared.plan, prepared.model)


def test_too_little_disk_is_refused_before_anything_is_written(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(disk, "disk_free_bytes", lambda folder: 1000)
    before = sorted(tmp_path.rglob("*"))
    for force in (False, True):
        options = replace(unset_options(PredictOptions), force=force)
        arguments = replace(unset_options(RequestArguments), model=["probe"])
        if force:
            plan_command([str(scene)], arguments, options)
            continue
        with pytest.raises(PlanError, match=r"1000 B are free.*--force") as refused:
            plan_command([str(scene)], arguments, options)
        assert refused.value.status == Exit.REFUSED
        assert "1000 B free" in capsys.readouterr().out, "the plan is shown all the same"
        with pytest.raises(PlanError, match="1000 B are free"):
            seg_batch.predict(scene, model="probe")
        assert sorted(tmp_path.rglob("*")) == before
    assert seg_batch.predict(scene, "map.tif", model="probe", force=True)["status"] == "complete"
    assert seg_batch.predict(scene, "map.tif", model="probe")["status"] == "complete", "it is there"


def test_what_is_there_already_is_not_needed_again(
    scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepare(Request(str(scene), model="probe"))
    at_most = prepared.plan.disk_bytes
    monkeypatch.setattr(disk, "disk_free_bytes", lambda folder: at_most - 4096)
    with pytest.raises(PlanError):
        require_disk(prepared)
    prepared.outputs.store.mkdir()
    (prepared.outputs.store / "chunk").write_bytes(b"x" * 8192)
    require_disk(prepared)


def test_the_uncompressed_copy_of_a_volume_counts() -> None:
    prepared = prepare(Request(str(VOLUME)))
    labels, copied = (
        3,
        1,
    )  # bytes per voxel: of store, plain copy and product; of the volume's uint8
    assert prepared.plan.disk_bytes == (labels + copied) * math.prod(prepared.info.extent)
