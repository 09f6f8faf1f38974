"""Further products in a run: of each input, added later without predicting, and never taken for inputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from seg_batch.batch.dry_run import plan_lines, plan_run
from seg_batch.batch.inputs.expand import expand_inputs, products
from seg_batch.batch.journal import Journal
from seg_batch.config.workflow import Workflow
from seg_batch.config.workflow.parts import InputSettings
from tests.support.batch.nights import run_night
from tests.support.batch.run_folders import head, scene

pytestmark = pytest.mark.full  # left to make test: whole runs, or many networks


def workflow(at: Path, *also: str, **outputs: Any) -> Workflow:
    return Workflow.model_validate(
        {
            "name": "night",
            "inputs": [str(at / "in")],
            "model": "probe",
            "outputs": {"folder": str(at / "out"), "also": list(also), **outputs},
            "workers": 1,
            "cluster": "inline",
        }
    )


def images(folder: Path) -> None:
    (folder / "in").mkdir()
    head(folder / "in" / "a.nii.gz")
    scene(folder / "in" / "b.tif")


def names(folder: Path) -> set[str]:
    return {path.name for path in (folder / "out").iterdir() if path.is_file()} - {
        "a_labels.nii.gz.json",
        "b_labels.tif.json",
    }


MAPS = {"a_labels.nii.gz", "b_labels.tif"}


def test_a_run_makes_them_of_every_input_and_later_those_that_are_new(tmp_path: Path) -> None:
    images(tmp_path)
    assert run_night(workflow(tmp_path))["complete"] == 2
    assert names(tmp_path) == MAPS
    made = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*_labels.*")}
    more = workflow(tmp_path, ".csv", "{stem}_colours.ctbl")
    lines = plan_lines(plan_run(more))
    assert "also: .csv, .ctbl" in lines
    result = run_night(more)
    assert (result["complete"], result["resumed"]) == (2, 0)
    tables = {"a_labels.csv", "b_labels.csv", "a_colours.ctbl"}
    assert names(tmp_path) == MAPS | tables
    for name in MAPS:
        assert (tmp_path / "out" / name).stat().st_mtime_ns == made[name]
    assert run_night(more)["resumed"] == 2
    (tmp_path / "out" / "a_colours.ctbl").unlink()
    assert run_night(more)["resumed"] == 1
    assert names(tmp_path) == MAPS | tables
    events = Journal.read(Path(more.run_folder) / "journal.jsonl")
    last = {e["input"]: e["outcome"] for e in events if e["event"] == "done"}
    also = {Path(path).name for row in last.values() for path in row["also"]}
    assert also == tables
    (scene_row,) = (row for key, row in last.items() if key.endswith("b.tif"))
    assert any(
        "b_colours.ctbl can't be made of the labels of a raster" in w for w in scene_row["warnings"]
    )


def test_they_are_no_inputs_of_a_later_run(tmp_path: Path) -> None:
    images(tmp_path)
    run_night(workflow(tmp_path, ".png", "{stem}.nii", ".csv", folder=str(tmp_path / "in")))
    folder = tmp_path / "in"
    assert {"a_labels.png", "b_labels.png", "a.nii"} <= products(str(folder))
    for settings in (str(folder), f"{folder}/*", f"{folder}/**/*.png", f"{folder}/*.nii"):
        specs = expand_inputs(InputSettings.model_validate(settings))
        found = {Path(spec.path).name for spec in specs if not spec.error}
        assert found <= {"a.nii.gz", "b.tif"}, settings
    moved = tmp_path / "elsewhere"
    folder.rename(moved)
    assert "a.nii" in products(str(moved))


def test_two_inputs_with_one_name_are_refused(tmp_path: Path) -> None:
    for place in ("x", "y"):
        (tmp_path / "in" / place).mkdir(parents=True)
        scene(tmp_path / "in" / place / "b.tif")
    both = workflow(tmp_path, "{stem}.csv", pattern="{parent}_{stem}")
    both = both.model_copy(
        update={"inputs": InputSettings.model_validate(f"{tmp_path}/in/**/*.tif")}
    )
    refused = plan_run(both)["refused"]
    assert len(refused) == 1
    assert "is also that of" in next(iter(refused.values()))


@pytest.mark.parametrize(
    "also",
    ["x.csv", ".xyz", "/tmp/{stem}.csv", "../{stem}.csv", "{stem}", "", "https://h/{stem}.csv"],
)
def test_what_can_not_name_one_of_any_input(tmp_path: Path, also: str) -> None:
    with pytest.raises(ValidationError):
        workflow(tmp_path, also)


def test_a_workflow_without_any_says_what_it_said_before(tmp_path: Path) -> None:
    assert "also" not in json.dumps(workflow(tmp_path).to_json())
    assert workflow(tmp_path, ".csv").sha256 == workflow(tmp_path).sha256
