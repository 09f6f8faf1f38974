"""Measured speeds: kept by model, of the last observations, and never a reason to fail."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seg_batch.nn.engines.rates import KEPT, Observation, RatedModel

MODEL = RatedModel("openvino", "float32", "abc", 2e9)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_a_rate_is_that_of_its_observations() -> None:
    assert MODEL.rate(1) is None
    for seconds in (10.0, 30.0):
        MODEL.observe(Observation(20, seconds, 1))
    rate = MODEL.rate(1)
    assert rate is not None
    assert (rate.tile_s, rate.low, rate.high, rate.count) == (1.0, 0.5, 1.5, 2)
    for other in ("engine", "precision", "weights"):
        assert replace(MODEL, **{other: "other"}).rate(1) is None


def test_the_last_ones_count_and_each_number_of_workers_has_its_own() -> None:
    for k in range(2 * KEPT):
        MODEL.observe(Observation(1, 100.0 if k < KEPT else 2.0, 1))
    MODEL.observe(Observation(1, 7.0, 4))
    told = [(rate.tile_s, rate.count, rate.workers) for n in (1, 3, 8) if (rate := MODEL.rate(n))]
    assert told == [(2.0, KEPT, 1), (7.0, 1, 4), (7.0, 1, 4)]


def test_a_first_call_counts_until_there_are_others() -> None:
    MODEL.observe(Observation(1, 5.0, 1, cold=True))
    rate = MODEL.rate(1)
    assert rate is not None
    assert rate.low <= 1.0 < rate.high == 5.0
    MODEL.observe(Observation(1, 1.0, 1))
    MODEL.observe(Observation(1, 5.0, 1, cold=True))
    rate = MODEL.rate(1)
    assert rate is not None
    assert (rate.tile_s, rate.count) == (1.0, 1)


def test_other_models_tell_by_their_operations() -> None:
    assert MODEL.of_others() == []
    replace(MODEL, weights="def", flops=4e9).observe(Observation(10, 10.0, 1))
    assert MODEL.of_others() == [0.5]


@settings(max_examples=15)
@given(st.binary(max_size=80) | st.sampled_from([b"[]", b'{"rates": 3}', b'{"rates": [[], {}]}',
       b'{"flops": "x", "rates": [{"tiles": 1, "seconds": -1, "workers": 1}]}', b"[" * 50_000,
       b'{"rates": [{"tiles": 1e999, "seconds": 1, "workers": true}]}']))  # fmt: skip
def test_a_damaged_file_is_as_none(content: bytes) -> None:
    MODEL.file.parent.mkdir(parents=True, exist_ok=True)
    MODEL.file.write_bytes(content)
    assert MODEL.rate(1) is None
    assert replace(MODEL, weights="def").of_others() == []
    MODEL.observe(Observation(2, 4.0, 1))
    rate = MODEL.rate(1)
    assert rate is not None
    assert rate.tile_s == 2.0


def test_what_cant_be_written_is_not_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache / "segbatch").write_text("a file where the folder should be")
    MODEL.observe(Observation(1, 1.0, 1))
    assert (MODEL.rate(1), MODEL.of_others()) == (None, [])
    for name in ("XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(Path, "home", _no_home)
    MODEL.observe(Observation(1, 1.0, 1))
    assert (MODEL.rate(1), MODEL.of_others()) == (None, [])


def _no_home() -> Path:
    raise RuntimeError(f"no home folder for {os.getuid()}")
