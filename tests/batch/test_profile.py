"""The profile of predictions and runs: spells nest, cover the work and name every stage, and no file."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import seg_batch
from seg_batch.batch.run import run_unattended
from seg_batch.cli.main import app
from seg_batch.config.card import ModelCard
from seg_batch.config.workflow import Workflow
from seg_batch.core import events
from seg_batch.core.callbacks import Callback
from seg_batch.core.errors import OutputError, PlanError
from seg_batch.inference.measuring.profile import Profile, profiled, require_profile_place

US = 0.2  # of rounding
CARD = ModelCard(
    name="thresholds",
    kind="volume",
    rank=3,
    channels=("MR",),
    classes=({"id": 0, "name": "dark"}, {"id": 1, "name": "bright"}),
    patch=(16, 16, 16),
    overlap=(0, 0, 0),
    normalisation={"kind": "source"},
)


def bright(patches: np.ndarray) -> np.ndarray:
    return np.concatenate([patches < 0, patches >= 0], axis=-1).astype(np.float32)


def bars(trace: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The spells of a trace, once its form is checked: what the trace viewers read."""
    names = {each["pid"] for each in trace if each["ph"] == "M" and each["args"]["name"]}
    found = [each for each in trace if each["ph"] == "X"]
    assert len(found) + len(names) == len(trace)
    assert {each["pid"] for each in found} == names
    assert all(each["ts"] >= 0 and each["dur"] >= 0 and each["tid"] > 0 for each in found)
    return found


def require_nested(found: list[dict[str, Any]]) -> None:
    """Of two spells of a row one holds the other, or they are apart."""
    of_row = defaultdict(list)
    for each in found:
        of_row[each["pid"], each["tid"]].append((each["ts"], each["ts"] + each["dur"]))
    for spans in of_row.values():
        around: list[float] = []
        for start, stop in sorted(spans, key=lambda span: (span[0], -span[1])):
            while around and around[-1] <= start + US:
                around.pop()
            assert not around or stop <= around[-1] + US
            around.append(stop)


def test_the_trace_of_a_prediction_names_every_stage_and_no_file(
    volumes: Path, tmp_path: Path
) -> None:
    path, product = tmp_path / "trace.json", tmp_path / "out.nii.gz"
    seg_batch.predict(
        volumes / "v0.nii.gz",
        product,
        model=(CARD, bright),
        block=(16, 16, 16),
        post=("majority:3",),
        profile=str(path),
    )
    found = bars(json.loads(path.read_text()))
    require_nested(found)
    stages = {each["name"] for each in found}
    assert stages == {
        *("predict", "plan", "staging", "statistics", "store", "blocks", "majority", "export", "check"),
        *("load", "block", "stitch", "read", "model", "write"),
    }  # fmt: skip
    (whole,) = (each for each in found if each["name"] == "predict")
    assert all(each["ts"] + each["dur"] <= whole["dur"] + US for each in found)
    named = {each["args"]["block"] for each in found if each["name"] == "block"}
    report = json.loads((tmp_path / "out.nii.gz.json").read_text())
    assert len(named) == report["blocks"]["total"]
    text = path.read_text()
    assert "v0" not in text
    assert str(tmp_path) not in text

    plain = tmp_path / "plain.nii.gz"
    seg_batch.predict(
        volumes / "v0.nii.gz",
        plain,
        model=(CARD, bright),
        block=(16, 16, 16),
        post=("majority:3",),
    )
    assert plain.read_bytes() == product.read_bytes()


@pytest.mark.full
def test_the_trace_of_a_run_has_the_small_and_the_large_inputs(
    night: Callable[..., Workflow], scenes: Path, tmp_path: Path
) -> None:
    inputs = [str(scenes / name) for name in ("bad.tif", "large0.tif", "small0.tif", "small1.tif")]
    path, workflow = tmp_path / "trace.json", night(inputs=inputs)
    more: dict[str, Any] = {"profile": str(path)}
    run_unattended(workflow, Callback(), print, lambda folder: None, **more)
    found = bars(json.loads(path.read_text()))
    require_nested(found)
    blocks = [each["args"]["input"] for each in found if each["name"] == "block"]
    assert {number: blocks.count(number) for number in blocks} == {1: 6, 2: 1, 3: 1}
    made = {each["args"]["input"] for each in found if each["name"] == "product"}
    assert made == {1, 2, 3}
    journal = (Path(workflow.run_folder) / "journal.jsonl").read_text()
    assert "small0" in journal
    assert '"spells"' not in journal
    assert not {"small0", "large0"} & set(path.read_text().split('"'))


def test_a_file_that_is_no_profile_is_never_replaced(volumes: Path, tmp_path: Path) -> None:
    image, output = volumes / "v1.nii.gz", str(tmp_path / "out.nii.gz")
    kept = image.read_bytes()
    for place, why in (
        (image, "no profile"),
        (tmp_path, "is a folder"),
        (tmp_path / "none" / "t.json", "has no folder"),
        ("https://host/t.json", "URL"),
    ):
        command = ["predict", str(image), "-o", output, "--model", "probe", "--profile", str(place)]
        ran = CliRunner().invoke(app, command)
        assert isinstance(ran.exception, OutputError), ran.output
        assert why in ran.exception.message
    assert image.read_bytes() == kept
    assert not any(tmp_path.iterdir())
    for text in ('[tool]\nname = "mine"\n', '[{"name": "mine"}]\n', "[]\n"):
        other = tmp_path / "other"
        other.write_text(text)
        with pytest.raises(OutputError, match="no profile"):
            require_profile_place(other)
    other.unlink()
    os.mkfifo(other)
    with pytest.raises(OutputError, match="no profile"):  # and nothing waits for a writer
        require_profile_place(other)
    other.unlink()
    command = ["predict", str(image), "-o", output, "--model", "probe", "-q", "--profile", output]
    ran = CliRunner().invoke(app, command)  # the product is there when the profile comes
    assert ran.exit_code == 0
    assert "the profile is not written" in ran.stderr
    assert seg_batch.open_source(output).info.extent == (30, 36, 40)


def test_what_predicts_nothing_has_no_profile(tmp_path: Path, volumes: Path) -> None:
    path = tmp_path / "w.yaml"
    path.write_text(f"inputs: {volumes}\nmodel: probe\noutputs: {tmp_path}\n")
    ran = CliRunner().invoke(app, ["run", str(path), "--dry-run", "--profile", "t.json"])
    assert isinstance(ran.exception, PlanError)


def test_a_profile_takes_the_place_of_an_empty_file_or_a_profile(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    path.touch()
    spell: Any = {"stage": "s", "start": 0, "stop": 1, "worker": "w", "thread": 1}
    for spells in ([], [spell], [spell, spell], []):
        with profiled(path, print) as profile:
            assert profile
            profile.on(events.Profiled(spells))
        assert len(bars(json.loads(path.read_text()))) == len(spells)


def test_a_run_whose_profile_has_no_place_runs_no_commands(
    night: Callable[..., Workflow], tmp_path: Path
) -> None:
    workflow = night(on_finish=[["touch", str(tmp_path / "ran")]])
    path = str(tmp_path / "none" / "t.json")
    with pytest.raises(OutputError, match="has no folder"):
        run_unattended(workflow, Callback(), print, lambda folder: None, profile=path)
    assert not (tmp_path / "ran").exists()
    assert not Path(workflow.run_folder).exists()


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40), st.integers(1, 9)), max_size=12))
def test_rows_are_taken_again_and_never_by_two_at_once(spans: list[tuple[int, int, int]]) -> None:
    """Threads of any numbers, each with one spell at a time."""
    profile, ends = Profile(), dict[int, int]()
    for thread, start, length in sorted(spans, key=lambda span: span[1]):
        if start >= ends.get(thread, 0):
            ends[thread] = start + length
            spell: Any = {"stage": "s", "start": start, "stop": start + length}
            profile.on(events.Profiled([{**spell, "worker": "w", "thread": thread}]))
    found = [each for each in profile.trace() if each["ph"] == "X"]
    at_once = [
        [each["tid"] for each in found if each["ts"] <= t * 1e6 < each["ts"] + each["dur"]]
        for t in range(50)
    ]
    assert all(len(set(rows)) == len(rows) for rows in at_once)
    most = max(map(len, at_once))
    assert {each["tid"] for each in found} == set(range(1, most + 1))
