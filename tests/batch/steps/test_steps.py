"""Steps one after another: each done once, begun again only where there is a need, and never lied about."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio

from seg_batch.batch.report import write
from seg_batch.batch.steps.dry_run import plan_steps, step_lines
from seg_batch.batch.steps.input_digest import digest_of
from seg_batch.batch.steps.run import run_steps
from seg_batch.cli.display.bars import CutBar, ScoreBar, TrainBar
from seg_batch.cli.display.run_table import RunTable
from seg_batch.config.recipe.reading import as_yaml
from seg_batch.config.workflow import read
from seg_batch.config.workflow.steps import EvaluateStep
from seg_batch.core.errors import StoreError
from seg_batch.inference.api.predict import predict
from tests.support.batch.browser import browser
from tests.support.files import write_raster
from tests.support.patience import PATIENCE_S, Gate, until
from tests.support.training.pairs import bright_recipe, bright_scene

BARS = {"patches": CutBar, "train": TrainBar, "evaluate": ScoreBar, "predict": RunTable}
pytestmark = pytest.mark.full

NIGHT = """
outputs: out
cluster: inline
steps:
- {do: patches, data: "scene.tif=label.tif", recipe: recipe.yaml, output: out/patches.zarr}
- do: predict
  inputs: in
  model: probe
  outputs: out/labels
- name: score
  do: evaluate
  predictions: ${steps.predict.output}
  truth: truth
  output: out/score
  require: accuracy>=0.99
- {name: again, do: predict, inputs: "${steps.predict.output}/one_labels.tif", model: probe, outputs: out/second}
"""


@pytest.fixture
def night(tmp_path: Path) -> Path:
    """A folder with a workflow of four steps and all that it needs."""
    bright_scene(tmp_path)
    (tmp_path / "recipe.yaml").write_text(as_yaml(bright_recipe()))
    for name in ("in", "truth"):
        (tmp_path / name).mkdir()
    for n, name in enumerate(("one", "two")):
        values = np.random.default_rng(n).integers(0, 8, (1, 90, 70)).astype(np.uint8)
        scene = write_raster(tmp_path / "in" / f"{name}.tif", values)
        predict(scene, tmp_path / "truth" / f"{name}_labels.tif", model="probe")
    for report in (tmp_path / "truth").glob("*.json"):
        report.unlink()
    (tmp_path / "night.yaml").write_text(NIGHT)
    return tmp_path


def run(folder: Path, *sets: str, overwrite: bool = False) -> dict[str, Any]:
    flow = read(folder / "night.yaml", sets, env={})
    return run_steps(flow, lambda do: BARS[do](True), print, write, overwrite=overwrite)


def words(told: dict[str, Any]) -> list[str]:
    """What became of each step: done now, stands from before, or else."""
    return ["before" if one["before"] else one["status"] for one in told["steps"]]


def pixels(night: Path) -> dict[str, bytes]:
    """Of each product; its tags tell when its input was written."""
    found = {}
    for path in (night / "out").rglob("*.tif"):
        with rasterio.open(path) as file:
            found[path.name] = file.read().tobytes()
    return found


def stamps(folder: Path) -> dict[str, int]:
    paths = [*folder.rglob("*.tif"), *folder.rglob("zarr.json"), *folder.rglob("evaluation.json")]
    return {str(path): path.stat().st_mtime_ns for path in paths}


def test_steps_are_done_once_and_their_results_stand(night: Path) -> None:
    told = run(night)
    assert (told["status"], words(told), told["left"]) == (0, ["complete"] * 4, [])
    assert Path(told["report"]).is_file()
    for name in ("patches.zarr/zarr.json", "labels/two_labels.tif", "score/index.html",
                 "second/one_labels_labels.tif"):  # fmt: skip
        assert (night / "out" / name).exists()
    before = stamps(night / "out")
    again = run(night)
    assert (again["status"], words(again)) == (0, ["before", "complete", "before", "complete"])
    assert stamps(night / "out") == before  # a night looks what is left, and that is nothing


def test_what_is_lost_is_made_again_with_what_is_made_of_it(night: Path) -> None:
    run(night)
    before = stamps(night / "out")
    shutil.rmtree(night / "out/patches.zarr")
    (night / "out/labels/one_labels.tif").unlink()
    told = run(night)
    assert (told["status"], words(told)) == (0, ["complete"] * 4)
    after = stamps(night / "out")
    same = {path for path in before if before[path] == after[path]}
    assert {Path(path).name for path in same} == {"two_labels.tif"}
    shutil.rmtree(night / "out/score")
    assert words(run(night)) == ["before", "complete", "complete", "complete"]


def test_what_was_made_of_something_else_is_made_again(night: Path) -> None:
    first = run(night, "steps.score.require=[]")
    assert first["status"] == 0
    old = (night / "out/second/one_labels_labels.tif").read_bytes()
    score = json.loads((night / "out/score/evaluation.json").read_text())
    values = np.zeros((1, 90, 70), np.uint8)
    write_raster(night / "in/one.tif", values)
    (night / "out/labels/one_labels.tif").unlink()
    told = run(night, "steps.score.require=[]")
    assert (told["status"], words(told)) == (0, ["before", *["complete"] * 3])
    assert json.loads((night / "out/score/evaluation.json").read_text()) != score
    assert (night / "out/second/one_labels_labels.tif").read_bytes() != old


def test_what_was_made_of_other_files_is_made_again(night: Path) -> None:
    assert run(night, "steps.score.require=[]")["status"] == 0
    (night / "label.tif").touch()  # as it was
    scored = night / "truth/one_labels.tif"
    write_raster(scored, np.zeros((1, 90, 70), np.uint8))
    told = run(night, "steps.score.require=[]")
    assert words(told) == ["before", "complete", "complete", "complete"]
    (night / "recipe.yaml").write_text((night / "recipe.yaml").read_text() + "\n# changed\n")
    assert words(run(night, "steps.score.require=[]"))[::2] == ["complete", "before"]


def test_the_files_of_a_step_are_known_by_what_is_in_them(tmp_path: Path) -> None:
    (tmp_path / "truth/deep").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    files = [tmp_path / name for name in ("a.csv", "truth/b.tif", "truth/deep/c.tif")]
    others = [tmp_path / name for name in ("truth/.lock", "truth/b.tif.ovr", "out/page", "z.tif")]
    for path in files + others:
        path.write_text("first")
    truth, output, images = (str(tmp_path / name) for name in ("truth", "out", "a.*"))
    step = EvaluateStep.model_construct(truth=truth, output=output, images=images)
    found = [digest_of(step, [str(tmp_path / "out")])]
    for path in others:
        path.write_text("changed")
        assert digest_of(step, [str(tmp_path / "out")]) == found[0], path
    for path in files:
        path.write_text("changed")
        found.append(digest_of(step, [str(tmp_path / "out")]))
    files[1].unlink()
    found.append(digest_of(step, [str(tmp_path / "out")]))
    assert len(set(found)) == 5


def test_a_step_depends_on_side_files_but_for_what_viewers_add(tmp_path: Path) -> None:
    (tmp_path / "truth").mkdir()
    for name in ("truth/b.tif", "a.tif"):
        (tmp_path / name).write_text("pixels")
    step = EvaluateStep.model_construct(
        truth=str(tmp_path / "truth"), output=str(tmp_path / "out"), images=str(tmp_path / "a.tif")
    )
    digests = [digest_of(step, [])]
    statistics = "<Metadata><MDI key='STATISTICS_MEAN'>{}</MDI></Metadata>"
    for name in ("truth/b.tif.aux.xml", "a.tif.aux.xml"):
        for value in (1, 2):
            (tmp_path / name).write_text(f"<PAMDataset>{statistics.format(value)}</PAMDataset>")
            assert digest_of(step, []) == digests[-1], "a viewer was there"
        (tmp_path / name).write_text("<PAMDataset><SRS>EPSG:32633</SRS></PAMDataset>")
        digests.append(digest_of(step, []))
    (tmp_path / "a.tif.msk").write_text("a mask")
    digests.append(digest_of(step, []))
    assert len(set(digests)) == 4


def test_a_requirement_that_is_not_met_ends_the_run(night: Path) -> None:
    write_raster(night / "truth/one_labels.tif", np.zeros((1, 90, 70), np.uint8))
    told = run(night)
    assert (told["status"], words(told)) == (3, ["complete", "complete", "partial"])
    assert told["left"] == ["again"]
    assert "score: required accuracy>=0.99, found 0" in told["why"]
    assert not (night / "out/second").exists()
    shutil.copy(night / "out/labels/one_labels.tif", night / "truth/one_labels.tif")
    told = run(night)
    assert (told["status"], words(told)) == (0, ["before", *["complete"] * 3])


def test_the_report_names_each_step_and_leads_to_its_own(night: Path) -> None:
    (night / "in/bad.tif").write_text("bad")
    write_raster(night / "truth/one_labels.tif", np.zeros((1, 90, 70), np.uint8))
    told = run(night)
    run_folder = Path(told["run"])
    assert told["report"] == str(run_folder / "report.html")
    found = json.loads((run_folder / "report.json").read_text())
    assert [(one["name"], one["status"]) for one in found["steps"]] == [
        ("patches", "complete"),
        ("predict", "partial"),
        ("score", "partial"),
        ("again", "waiting"),
    ]
    cut, predicted, score, again = found["steps"]
    assert predicted["counts"] == {"complete": 2, "refused": 1}
    assert predicted["why"] == "some inputs were set aside"
    assert "required accuracy>=0.99" in score["why"]
    assert (cut["page"], again["page"], again["seconds"]) == (None, None, None)
    for one in (predicted, score):
        assert (run_folder / one["page"]).is_file()
        assert one["seconds"] > 0
    assert found["verdict"] == "unfinished"
    cases = ElementTree.parse(run_folder / "report.xml").findall(".//testcase")
    assert [(case.get("name"), len(case)) for case in cases] == [
        *(("predict", 1), ("score", 1), ("again", 1), ("patches", 0)),
    ]
    page = (run_folder / "report.html").read_text()
    assert "3 of 4 steps are not complete" in page
    assert (
        'segbatch_steps{run="night",status="complete"} 1.0'
        in (run_folder / "metrics.prom").read_text()
    )


@pytest.mark.needs("chromium")
def test_a_browser_follows_the_links_of_the_report(night: Path, tmp_path: Path) -> None:
    run_folder = Path(run(night)["run"])
    with browser(tmp_path) as shown:
        shown.open(run_folder / "report.html")
        assert shown.value("document.querySelector('.verdict').innerText").startswith(
            "✓ All 4 steps"
        )
        links = shown.value("[...document.querySelectorAll('#steps ~ * td a')].map(a => a.href)")
        assert len(links) == 3, "two nights and a score"
        for link in links:
            shown.open(Path(unquote(urlparse(link).path)))
        assert not shown.said


def test_a_refused_step_ends_the_run_and_the_same_command_goes_on(night: Path) -> None:
    moved = (night / "truth").rename(night / "elsewhere")
    told = run(night)
    assert (told["status"], words(told)) == (2, ["complete", "complete", "failed"])
    assert told["left"] == ["again"]
    assert str(night / "truth") in told["why"]
    moved.rename(night / "truth")
    assert words(run(night)) == ["before", *["complete"] * 3]


def test_an_input_set_aside_does_not_end_the_run(night: Path) -> None:
    (night / "in/bad.tif").write_text("bad")
    told = run(night, "steps.score.require=[]")
    assert (told["status"], words(told)) == (3, ["complete", "partial", "complete", "complete"])


def test_another_workflow_is_refused_unless_it_may_overwrite(night: Path) -> None:
    run(night)
    with pytest.raises(StoreError, match="another workflow"):
        run(night, "steps.predict.post=majority:3")
    other = run(night, "steps.predict.post=majority:3", "steps.score.require=[]", overwrite=True)
    assert (other["status"], words(other)) == (0, ["complete"] * 4)


def test_what_somebody_else_put_there_is_not_replaced(night: Path) -> None:
    (night / "out/score").mkdir(parents=True)
    (night / "out/score/evaluation.json").write_text("{}")
    told = run(night)
    assert (told["status"], words(told)) == (2, ["complete", "complete", "failed"])
    assert (night / "out/score/evaluation.json").read_text() == "{}"


def test_a_stranger_s_file_is_not_replaced_when_a_prediction_is_made_anew(night: Path) -> None:
    run(night)
    (night / "out/labels/one_labels.tif").unlink()
    (night / "out/second/one_labels_labels.tif").write_text("mine")
    told = run(night)
    assert (told["status"], words(told)) == (3, ["before", "complete", "complete", "partial"])
    assert (night / "out/second/one_labels_labels.tif").read_text() == "mine"


def test_a_run_out_of_time_stops_and_goes_on(night: Path) -> None:
    """Each time it may take longer, for nobody knows how long a step takes that can't be cut short."""
    seen = []
    for n in range(10):
        told = run(night, f"limits.wall_time={2**n}s")
        seen.append(told["status"])
        if told["status"] != 130:
            break
        assert "time allowed" in told["why"]
    assert seen[-1] == 0
    assert not list((night / "out").rglob("*.work.zarr"))


def test_the_plan_says_of_each_step_what_is_known_of_it(night: Path) -> None:
    flow = read(night / "night.yaml", env={})
    plan = plan_steps(flow)
    cut, predict_, score, again = plan["steps"]
    assert (cut["cases"], cut["waits_for"]) == (1, [])
    assert len(predict_["night"]["inputs"]) == 2
    assert (score["waits_for"], again["waits_for"]) == (["predict"], ["predict"])
    assert "again" in str(plan["refused"])  # its input is not there yet
    assert not (night / "out").exists()
    lines = step_lines(plan)
    assert lines[0].startswith("1. patches: 1 cases, ")
    assert any("after predict" in line for line in lines)


def killed_at(command: list[str], gate: Gate) -> int:
    """The status of the command, which is killed before it moves one more file into its place, if it
    comes to that."""
    environment = {**os.environ, "PYTHONSAFEPATH": "1", **gate.environment}
    with subprocess.Popen(command, env=environment) as process:
        until(lambda: gate.standing() or process.poll() is not None)
        process.kill()
    return process.returncode


@pytest.mark.slow
@pytest.mark.parametrize("moves", [40, 100, 150])  # of 167: in the cutting and in both predictions
def test_a_killed_run_goes_on_to_the_same_end(night: Path, moves: int) -> None:
    run(night)
    quiet = pixels(night)
    command = [sys.executable, "-m", "seg_batch", "run", str(night / "night.yaml"), "--quiet"]
    shutil.rmtree(night / "out")
    status = killed_at(command, Gate(night / "first", "*", after=moves))
    assert status == -signal.SIGKILL
    killed_at(command, Gate(night / "second", "*", after=15))
    done = subprocess.run(command, env={**os.environ, "PYTHONSAFEPATH": "1"}, timeout=PATIENCE_S)
    assert done.returncode == 0
    assert pixels(night) == quiet
