"""What a workflow file means: values, variables, places of paths, settings, and the way back."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_batch.config.predict_options import PredictOptions
from seg_batch.config.workflow import Workflow, read
from seg_batch.config.workflow.fields import next_time
from seg_batch.config.workflow.paths import ReadingContext, expanded
from seg_batch.config.workflow.schema import MADE_OF
from seg_batch.core.errors import WorkflowError

WORKFLOWS = Path(__file__).parents[3] / "workflows"
WHOLE = """
name: whole
inputs:
  paths: [scans/*.nii.gz, /abs/more]
  manifest: m.csv
  list: lists/l.txt
  exclude: old/*
  volume: 2
model: [one, ./two]
options: {engine: openvino, precision: mixed, tta: d4, taper: linear, overlap: 16, batch: 3,
          probabilities: true, block: [64, 128]}
post: [largest, "min_size:2mL"]
outputs: {folder: "${OUT}/x", pattern: "{parent}/{index:03}_{stem}", formats: {raster: zarr}}
cluster: tcp://localhost:8786
workers: 3
limits: {memory: 8GiB, wall_time: 1h30m, stop_at: 22:30}
on_failure: {retries: 0, stop_after: 7}
on_finish:
- [mail, -s, done, me]
- [touch, "a; b"]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "night.yaml"
    path.write_text(text)
    return path


def test_everything_that_may_be_said_is_read(tmp_path: Path) -> None:
    found = read(written(tmp_path, WHOLE), env={"OUT": "/out"})
    assert found.name == "whole"
    assert found.inputs is not None
    assert found.inputs.paths == (f"{tmp_path}/scans/*.nii.gz", "/abs/more")
    assert (found.inputs.manifest, found.inputs.list) == (
        f"{tmp_path}/m.csv",
        f"{tmp_path}/lists/l.txt",
    )
    assert (found.inputs.exclude, found.inputs.volume) == (("old/*",), 2)
    assert found.model == ("one", f"{tmp_path}/./two")
    assert found.outputs.folder == "/out/x"
    assert found.outputs.formats.raster == "zarr"
    assert found.outputs.formats.volume == "nii.gz"
    assert found.run_folder == "/out/x/.segbatch/whole"
    assert (found.cluster, found.workers) == ("tcp://localhost:8786", 3)
    assert (found.limits.memory_bytes, found.limits.wall_time) == (8 << 30, "1h30m")
    assert (found.on_failure.retries, found.on_failure.stop_after) == (0, 7)
    assert found.on_finish == (("mail", "-s", "done", "me"), ("touch", "a; b"))
    assert found.plan_options() == PredictOptions(
        overlap=16, taper="linear", probabilities=True, precision="mixed", engine="openvino",
        tta="d4", post=("largest", "min_size:2mL"), memory_bytes=8 << 30, workers=3, batch=3,
        block=(64, 128),
    )  # fmt: skip


def test_the_shortest_workflow_asks_for_what_predict_does_by_default(tmp_path: Path) -> None:
    found = read(written(tmp_path, "inputs: a.tif\noutputs: out\n"))
    assert found.name == "night"
    assert found.plan_options() == PredictOptions(workers=0)
    assert found.limits.deadline(datetime.now()) is None


@pytest.mark.parametrize("text", [WHOLE, (WORKFLOWS / "finetune.yaml").read_text()])
def test_a_workflow_comes_back_from_json_as_it_was(text: str, tmp_path: Path) -> None:
    env = {"OUT": "/out$", "DATA": "/d", "NEW": "/n${x}"}
    found = read(written(tmp_path, text.replace("${OUT}", "/o")), env=env)
    again = Workflow.model_validate(json.loads(json.dumps(found.to_json())))
    assert again == found
    assert again.sha256 == found.sha256
    assert type(found.outputs.folder) is str


def test_only_what_products_are_made_of_counts_for_going_on(tmp_path: Path) -> None:
    path = written(tmp_path, WHOLE)
    digest = read(path, env={"OUT": "/o"}).sha256
    for same in ("workers=9", "limits.stop_at=06:00", "cluster=local", "inputs.exclude=x"):
        assert read(path, [same], env={"OUT": "/o"}).sha256 == digest
    for other in ("model=three", "options.tta=none", "post=none", "outputs.pattern='{name}'"):
        assert read(path, [other], env={"OUT": "/o"}).sha256 != digest


def test_auto_is_what_a_run_of_before_was_begun_with(tmp_path: Path) -> None:
    """The digest is as if the defaults were still hann and none; who names these is told apart."""
    path = written(tmp_path, "inputs: a.tif\noutputs: /o\n")
    plain = {key: read(path).to_json()[key] for key in MADE_OF}
    plain["options"] |= {"taper": "hann", "tta": "none"}
    before = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
    assert read(path).sha256 == before
    asked = ["options.taper=hann", "options.tta=none", "options.taper=linear"]
    assert len({before, *(read(path, [one]).sha256 for one in asked)}) == 4


def test_settings_are_put_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, WHOLE)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    sets = [
        "options.tta=flips",
        "outputs.folder=maps",
        "limits={}",
        "on_finish.0.3=you",
        "post=none",
    ]
    found = read(path, sets)
    assert found.options.tta == "flips"
    assert found.options.taper == "linear"
    assert found.outputs.folder == str(here / "maps")  # typed here, so it is here
    assert found.limits.memory is None
    assert found.on_finish[0] == ("mail", "-s", "done", "you")
    assert found.post == ("none",)


def test_a_setting_reaches_a_step_by_its_name_and_by_its_number() -> None:
    env = {"DATA": "/d", "NEW": "/n", "OUT": "/o"}
    sets = ["steps.train.minutes=5", "steps.0.fold=1", "steps.predict.options.tta=flips"]
    patches, train, evaluate, predict = read(WORKFLOWS / "finetune.yaml", sets, env).steps
    assert (patches.fold, train.minutes, predict.options.tta) == (1, 5, "flips")
    assert (train.data, train.from_bundle) == (("/o/patches.zarr",), "hippocampus-mri")
    assert (evaluate.model, predict.model) == (("/o/bundle",), ("/o/bundle",))
    assert patches.recipe == str(WORKFLOWS / "hippocampus-mri.yaml")


def test_a_step_is_a_workflow_of_its_own() -> None:
    env = {"DATA": "/d", "NEW": "/n", "OUT": "/o"}
    found = read(WORKFLOWS / "finetune.yaml", ["workers=2"], env)
    alone = found.of_step(found.steps[-1])
    assert (alone.name, alone.workers, alone.steps) == ("finetune-predict", 2, ())
    assert alone.inputs.paths == ("/n",)
    assert alone.run_folder == "/o/labels/.segbatch/finetune-predict"
    assert Workflow.model_validate(alone.to_json()) == alone


SLURM = """
inputs: a
outputs: o
cluster:
  cluster: dask_jobqueue.SLURMCluster
  arguments: {cores: 2, memory: 4GB, walltime: "01:00:00"}
  adapt: {maximum: 4}
"""


def test_a_cluster_is_a_word_an_address_a_file_or_a_spec(tmp_path: Path) -> None:
    for word in ("inline", "local", "tcp://host:8786"):
        assert read(written(tmp_path, f"inputs: a\noutputs: o\ncluster: {word}\n")).cluster == word
    found = read(written(tmp_path, "inputs: a\noutputs: o\ncluster: s/slurm.yaml\n"))
    assert found.cluster == f"{tmp_path}/s/slurm.yaml"
    spec = read(written(tmp_path, SLURM), env={}).cluster
    assert spec.adapt.maximum == 4
    assert spec.security is None
    assert read(written(tmp_path, SLURM), env={"SEGBATCH_TLS": "/keys"}).cluster.security == "/keys"
    keys = read(
        written(tmp_path, SLURM + "  security: ${K}/keys\n"), env={"K": "/k"}
    ).cluster.security
    assert keys == "/k/keys"
    arguments = pickle.loads(pickle.dumps(spec)).arguments
    assert arguments == spec.arguments == {"cores": 2, "memory": "4GB", "walltime": "01:00:00"}


def test_yaml_is_read_by_the_rules_of_1_2(tmp_path: Path) -> None:
    text = "inputs: [no, on, 22:30, 0x10, 2026-01-01, 1e3x]\noutputs: yes\nmodel: off\n"
    found = read(written(tmp_path, text))
    names = [os.path.basename(path) for path in found.inputs.paths]
    assert names == ["no", "on", "22:30", "0x10", "2026-01-01", "1e3x"]
    assert found.model == ("off",)


@given(
    parts=st.lists(
        st.one_of(
            st.text(alphabet="ab/ -$", max_size=4).map(lambda t: (t, t)),
            st.sampled_from([
                ("${A}", "one"), ("${B:-two}", "two"), ("${A:-no}", "one"), ("${E:-x}", "x"),
                ("${E}", ""), ("${B:-}", ""),
            ]),
        )
    )
)  # fmt: skip
def test_variables_are_replaced_and_nothing_else(parts: list[tuple[str, str]]) -> None:
    text, wanted = ("".join(part) for part in zip(*parts, strict=True)) if parts else ("", "")
    if not re.search(r"\$\$\{", text):
        assert expanded(text, ReadingContext({"A": "one", "E": ""})) == wanted


def test_what_was_typed_in_a_shell_starts_where_that_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    text = (
        "inputs: ['${A}/*', '${B:-b}', 'x/${A}', '${A:-z}']\noutputs: ${A}\n"
        "model: ['${A}', '${C}']\n"
    )
    found = read(written(tmp_path, text), env={"A": "a", "C": "./c"})
    paths = [os.path.relpath(path, tmp_path) for path in found.inputs.paths]
    assert paths == ["here/a/*", "b", "x/a", "here/a"]
    assert found.outputs.folder == str(here / "a")
    assert found.model == ("a", f"{here}/./c")


def test_both_sides_of_a_pair_are_paths(tmp_path: Path) -> None:
    text = (
        "outputs: o\nsteps:\n  - {do: train, data: ['a/i.tif=${L:-x=y}/l.tif', plain], output: b}\n"
    )
    for env, label in (({}, f"{tmp_path}/x=y"), ({"L": "/l"}, "/l")):
        train = read(written(tmp_path, text), env=env).steps[0]
        assert train.data == (f"{tmp_path}/a/i.tif={label}/l.tif", f"{tmp_path}/plain")


def test_the_home_folder_is_a_variable_like_others() -> None:
    assert expanded("~/scans", ReadingContext({"HOME": "/h"})) == "/h/scans"
    with pytest.raises(ValueError, match="HOME is not set"):
        expanded("~/scans", ReadingContext({}))


def test_variables_count_in_paths_only(tmp_path: Path) -> None:
    text = "inputs: a\noutputs: {folder: o, pattern: 'x'}\non_finish: [['echo', '${A}']]\n"
    found = read(written(tmp_path, text), env={"A": "one"})
    assert found.on_finish == (("echo", "${A}"),)
    with pytest.raises(WorkflowError, match="3:10"):
        read(written(tmp_path, "inputs: a\noutputs: o\nworkers: ${A}\n"), env={"A": "1"})


def test_a_command_of_a_path_starts_at_the_folder_of_its_file(tmp_path: Path) -> None:
    text = "inputs: a\noutputs: o\non_finish: [[./hook.sh, ./a], [/bin/true], [mail, a/b]]\n"
    found = read(written(tmp_path, text), env={})
    assert found.on_finish == ((f"{tmp_path}/./hook.sh", "./a"), ("/bin/true",), ("mail", "a/b"))
    assert type(found).model_validate(found.to_json()) == found


def test_a_folder_with_brackets_is_no_pattern(tmp_path: Path) -> None:
    folder = tmp_path / "run[1]"
    folder.mkdir()
    found = read(written(folder, "inputs: '*.tif'\noutputs: o\n"))
    assert found.inputs.paths == (f"{tmp_path}/run[[]1]/*.tif",)
    assert found.outputs.folder == f"{folder}/o"


@pytest.fixture(params=["UTC", "Europe/Berlin", "America/St_Johns"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


# Around both changes of clocks in 2026, hour by hour.
@pytest.mark.parametrize(
    "day", ["2026-03-07", "2026-03-28", "2026-10-24", "2026-10-31", "2026-12-31"]
)
def test_a_time_of_day_is_its_next_one_also_when_clocks_change(day: str, zone: str) -> None:
    begin = datetime.fromisoformat(day).timestamp()
    for step in range(24):
        now = datetime.fromtimestamp(begin + 4500 * step)
        for text in ("06:30", "00:00", "23:59"):
            minute = 60 * (int(now.timestamp()) // 60 + 1)  # the slow way: minute by minute
            while time.localtime(minute)[3:5] != (int(text[:2]), int(text[3:])):
                minute += 60
            assert next_time(text, now.astimezone()).timestamp() == minute, (now, text)


def test_the_deadline_is_what_comes_first() -> None:
    now = datetime(2026, 6, 1, 22, 0)
    limits = Workflow.model_validate({"name": "n", "inputs": "a", "outputs": "o"}).limits
    for given_, hours in (({"wall_time": "4h"}, 4), ({"stop_at": "06:30"}, 8.5),
                          ({"wall_time": "9h", "stop_at": "06:30"}, 8.5)):  # fmt: skip
        ends = type(limits)(**given_).deadline(now)
        assert ends == now.timestamp() + 3600 * hours
