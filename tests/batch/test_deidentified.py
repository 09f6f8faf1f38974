"""Nights and hot folders over images that are not to be known: all that is written and said is searched for their names."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from seg_batch.batch.journal import Journal, fold
from seg_batch.batch.report import write
from seg_batch.batch.run import run_unattended
from seg_batch.cli.display.run_table import RunTable
from seg_batch.cli.main import app
from seg_batch.config.workflow import Workflow
from seg_batch.core.privacy.table import read_table
from seg_batch.core.run_files import JOURNAL, PAGE, SET_ASIDE
from seg_batch.inference import predict as coordinator
from tests.support.planted import (
    NAME,
    UIDS,
    leaks,
    write_planted_dicom,
    write_planted_nifti,
    write_planted_scene,
)

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.full]
STATUSES = ["complete", "complete", "complete", "failed", "partial", "refused", "refused"]


def write_inbox(folder: Path) -> None:
    """Images that are done, one that is partial, two that are refused, and one on which the work breaks down."""
    write_planted_nifti(folder / NAME / f"{NAME}_good.nii.gz")
    write_planted_dicom(folder / "archive" / f"{NAME} CT")
    write_planted_dicom(folder / "archive" / f"{NAME} scout", only=[0], uid=UIDS[0])
    (folder / "archive" / f"{NAME}.txt").write_text(NAME)
    write_planted_nifti(folder / NAME / f"{NAME}_plain.nii")
    write_planted_nifti(folder / NAME / f"{NAME}_fault.nii.gz", (12, 11, 9))
    write_planted_scene(folder / NAME / f"{NAME}_torn.tif", damage=True)
    (folder / NAME / f"{NAME}_text.nii.gz").write_text(f"{NAME}, no image")
    cut = write_planted_nifti(folder / NAME / f"{NAME}_cut.nii")
    cut.write_bytes(cut.read_bytes()[:-99])


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    write_inbox(tmp_path / "in")
    return tmp_path / "in"


def workflow(tmp_path: Path, **changes: Any) -> Workflow:
    outputs = {
        "folder": str(tmp_path / "out"),
        "pattern": "{parent}/{stem}_{name}_labels",
        "deidentify": str(tmp_path / "codes.json"),
    }
    whole = {
        "name": "night",
        "inputs": {
            "paths": [f"{tmp_path}/in/**/*.nii*", f"{tmp_path}/in/**/*.tif"],
            "dicom": [f"{tmp_path}/in/archive"],
        },
        "model": "probe",
        "outputs": {**outputs, **changes.pop("outputs", {})},
        "on_failure": {"retries": 0},
        "cluster": "inline",
    }
    return Workflow.model_validate({**whole, **changes})


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected error, which quotes the input, on the image of nine slices."""
    inner = coordinator.post_process

    def post_process(job: Any, *others: Any) -> Any:
        if 9 in job.plan.extent:
            raise RuntimeError(f"{job.image} of Dr. Quagmire") from ValueError(NAME)
        return inner(job, *others)

    monkeypatch.setattr(coordinator, "post_process", post_process)


def test_nothing_of_a_night_tells_of_its_inputs(
    inbox: Path, tmp_path: Path, broken: None, capfd: pytest.CaptureFixture[str]
) -> None:
    chosen = workflow(tmp_path)
    results = []
    for _ in range(2):  # the second time goes on
        with RunTable(False, last_line=False) as table:
            results.append(run_unattended(chosen, table, table.say, write))
    said = "".join(capfd.readouterr())
    run = Path(chosen.run_folder)
    table = read_table(tmp_path / "codes.json")
    records = fold(Journal.read(run / JOURNAL)).inputs
    assert sorted(record.status for record in records.values()) == STATUSES
    sources = {table.source(key).files[0] for key in records}  # type: ignore[union-attr]
    images = {*inbox.rglob("*.nii*"), *inbox.rglob("*.tif"), inbox / "archive" / f"{NAME} CT"}
    assert sources == set(map(str, images))
    assert results[1]["resumed"] == 3
    assert said.count("left out: ") == 4
    mine = (inbox, tmp_path / "codes.json", tmp_path / ".codes.json.lock")
    assert leaks(tmp_path, mine, said, json.dumps(results)) == []
    page = (run / PAGE).read_text()
    assert page.count("data:image/jpeg") >= 3  # it is shown as it is: pixels are not looked at
    failed = next(record for record in records.values() if record.status == "failed")
    assert str(failed.error).startswith("RuntimeError")
    _set_aside_leads_back(run, tmp_path, records)
    _made_anew_without_the_table(run, tmp_path, mine)


def _set_aside_leads_back(run: Path, tmp_path: Path, records: dict[str, Any]) -> None:
    """The list of what was set aside names codes; with the table it is a list of inputs."""
    listed = [line for line in (run / SET_ASIDE).read_text().splitlines() if line[0] != "#"]
    assert sorted(listed) == sorted(k for k, r in records.items() if r.status != "complete")
    from seg_batch.batch.job import job_of

    again = job_of(workflow(tmp_path, inputs={"list": str(run / SET_ASIDE)}), is_dry=True)
    assert again.requests.keys() | again.refused.keys() == set(listed)


def _made_anew_without_the_table(run: Path, tmp_path: Path, mine: tuple[Path, ...]) -> None:
    """A report of somebody who has no table shows labels alone."""
    hidden = (tmp_path / "codes.json").rename(tmp_path / "in" / "codes.json")
    write(run)
    assert leaks(run, mine) == []
    page = (run / PAGE).read_text()
    assert "data:image/jpeg" not in page
    assert "data:image/png" in page
    hidden.rename(tmp_path / "codes.json")


def test_quicklooks_can_be_switched_off_and_the_run_goes_on(inbox: Path, tmp_path: Path) -> None:
    only = {"inputs": f"{inbox}/**/*_good.nii.gz"}
    with RunTable(True, last_line=False) as table:
        run_unattended(workflow(tmp_path, **only), table, table.say, write)
        chosen = workflow(tmp_path, **only).without_pictures()
        again = run_unattended(chosen, table, table.say, write)
    assert again["resumed"] == 1
    assert "data:image" not in (Path(chosen.run_folder) / PAGE).read_text()


def test_labels_of_a_night_are_those_without_codes(inbox: Path, tmp_path: Path) -> None:
    only = {"inputs": f"{inbox}/**/*_good.nii.gz"}
    known = workflow(tmp_path, **only)
    plain = workflow(tmp_path, **only, outputs={"folder": str(tmp_path / "b"), "deidentify": None})
    found = []
    for chosen in (known, plain):
        with RunTable(True, last_line=False) as table:
            run_unattended(chosen, table, table.say, write)
        (product,) = Path(chosen.outputs.folder).glob("*/*.nii.gz")
        found.append(np.asarray(nibabel.load(product).dataobj))
    assert (found[0] == found[1]).all()


def test_names_in_manifests_and_of_cases_are_kept_back(inbox: Path, tmp_path: Path) -> None:
    from seg_batch.batch.job import job_of

    path = inbox / NAME / f"{NAME}_good.nii.gz"
    (inbox / "list.csv").write_text(f"input,output\n{path},{NAME}_good_labels\n")
    job = job_of(workflow(tmp_path, inputs={"manifest": str(inbox / "list.csv")}))
    assert not job.requests
    case = {"image": str(path), "id": f"{NAME}-7"}
    cases = job_of(workflow(tmp_path, inputs={"cases": [case]}))
    told = (*job.refused, *job.refused.values(), *cases.requests, str(cases.workflow))
    outputs = [str(request.output) for request in cases.requests.values()]
    assert leaks(tmp_path / "none", (), *told, *outputs) == []
    assert len(outputs) == 1


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Home, temporary files and the current folder below ``tmp_path``."""
    for name in ("home", "temp", "cwd"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temp"))
    monkeypatch.chdir(tmp_path / "cwd")


def commands(*each: tuple[object, ...]) -> None:
    for words in each:
        assert app([*map(str, words)], standalone_mode=False) in (None, 0, 3)


@pytest.mark.full
def test_commands_print_and_leave_nothing_of_an_input(
    inbox: Path, tmp_path: Path, elsewhere: None, capfd: pytest.CaptureFixture[str]
) -> None:
    write_planted_dicom(inbox / "dicom" / NAME)
    table, out = tmp_path / "codes.json", tmp_path / "out"
    hiding = ("--model", "probe", "--deidentify", table)
    images = sorted(path for path in inbox.rglob(f"{NAME}_*.*"))
    tell = [sys.executable, "-c", "import os, sys; print(os.environ, sys.argv)"]
    plain = {**workflow(tmp_path).to_json(), "on_finish": [tell]}
    plain["outputs"]["folder"] = str(tmp_path / "night")
    plain["inputs"] = {"paths": f"{inbox}/**/*.nii*"}
    (inbox / "night.yaml").write_text(json.dumps(plain))
    commands(
        ("predict", *images, "-o", f"{out}/", *hiding),
        ("predict", inbox / "dicom" / NAME, "-o", f"{out}/", *hiding, "--json"),
        ("plan", images[1], "-o", f"{out}/", *hiding),
        ("run", inbox / "night.yaml", "--dry-run"),
        ("run", inbox / "night.yaml"),
        ("run", inbox / "night.yaml", "--json", "--no-pictures"),
        ("status", tmp_path / "night"),
        ("status", tmp_path / "night", "--json"),
        ("report", tmp_path / "night"),
    )
    (inbox / NAME / f"{NAME}_torn.tif").unlink()  # a read that fails is tried again for long
    for uid, name in zip(UIDS, "ab", strict=False):  # two series in one place
        write_planted_dicom(inbox / NAME / f"{NAME} two" / name, uid=uid)
    watch = ("watch", inbox / NAME, "-o", tmp_path / "watched", *hiding)
    for _ in range(2):
        commands((*watch, "--settle", 0, "--every", 0.05, "--once"))
    for path in out.glob("*.gz"):
        commands(("verify", path), ("verify", path, "--deidentify", table, "--json"))
    printed = capfd.readouterr()
    mine = (inbox, table, tmp_path / ".codes.json.lock")
    assert leaks(tmp_path, mine, printed.out, printed.err) == []
    assert len(list(out.glob("*_labels.nii.gz"))) == 4
    assert len(list((tmp_path / "watched").glob("*_labels.nii.gz"))) == 5
    logs = [*(tmp_path / "watched").rglob("arrivals.jsonl")]
    assert len(logs) == 1
    assert len(logs[0].read_text().splitlines()) == 7  # each arrival once, also at the second look
