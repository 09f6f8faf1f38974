"""Outputs that are no paths of this machine are refused by every command before any work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import seg_batch
from seg_batch.cli.cluster import certs
from seg_batch.cli.demo import run_demo
from seg_batch.cli.display.bars import Bar
from seg_batch.cli.watch import watch
from seg_batch.config.command_options import ImportOptions
from seg_batch.config.options import unset_options
from seg_batch.config.predict_options import PredictOptions, RequestArguments
from seg_batch.config.workflow import Workflow, read
from seg_batch.conversion.export import export
from seg_batch.conversion.import_model import import_model
from seg_batch.core.errors import Exit, InputError, OutputError
from seg_batch.core.resources import SAMPLES
from seg_batch.datasets.build import make_patches
from seg_batch.evaluation.evaluate import evaluate_files
from seg_batch.training.train import train

SCENE = SAMPLES / "zion_landsat8.tif"
VOLUME = SAMPLES / "hippocampus_001.nii.gz"
AWAY = "s3://bucket/out"


def _watch(folder: str = ".", output: str = "out", **fields: str) -> None:
    arguments = replace(unset_options(RequestArguments), output=output)
    watch(folder, arguments, unset_options(PredictOptions), **fields)  # type: ignore[arg-type]


def _import() -> None:
    import_model("x.keras", AWAY, ImportOptions(channels=("a",), classes="a,b"))


COMMANDS: dict[str, Callable[[], object]] = {
    "predict": lambda: seg_batch.predict(SCENE, "https://host/out.tif", model="probe"),
    "predict, as a path": lambda: seg_batch.predict(SCENE, Path(f"{AWAY}.tif"), model="probe"),
    "patches": lambda: make_patches(["a.tif=b.tif"], AWAY, "recipe.yaml"),
    "train": lambda: train(["a.tif=b.tif"], AWAY),
    "train --tensorboard": lambda: train(["a.tif=b.tif"], "bundle", tensorboard=AWAY),
    "export": lambda: export("hippocampus-mri", "keras", AWAY),
    "evaluate": lambda: evaluate_files(SCENE, SCENE, output=AWAY),
    "models import": _import,
    "watch": lambda: _watch(output=AWAY),
    "watch --move-to": lambda: _watch(move_to=AWAY),
    "watch --failed-to": lambda: _watch(failed_to="/vsis3/bucket"),
    "demo": lambda: list(run_demo(Path(AWAY), lambda: Bar(quiet=True))),
    "cluster certs": lambda: certs(AWAY),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_it_is_refused_and_nothing_is_made(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        OutputError, match=r"a URL|a virtual path|folders of this machine"
    ) as refused:
        COMMANDS[command]()
    assert refused.value.status == Exit.REFUSED
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("outputs", [AWAY, "{folder: out, pattern: 's3:/b/{stem}'}", "${BUCKET}/x"])
def test_a_workflow_is_refused_with_its_place(tmp_path: Path, outputs: str) -> None:
    path = tmp_path / "night.yaml"
    path.write_text(f"inputs: a.tif\noutputs: {outputs}\n")
    with pytest.raises(InputError, match=r"night\.yaml:2:\d+: .*a URL"):
        read(path, env={"BUCKET": "gs://bucket"})


def test_a_workflow_of_python_is_refused() -> None:
    with pytest.raises(ValueError, match="a URL"):
        Workflow.model_validate({"name": "x", "inputs": "a.tif", "outputs": {"folder": AWAY}})


def test_in_a_run_such_inputs_and_outputs_are_refused_alone(tmp_path: Path) -> None:
    from seg_batch.batch.inputs.listing import list_inputs

    (tmp_path / "list.csv").write_text(
        f"input,output\n{SCENE},near\n{VOLUME},s3://b/far\nhttps://host/b.tif,\n"
    )
    (tmp_path / "list.txt").write_text("/vsis3/b/c.tif\n")
    path = tmp_path / "night.yaml"
    path.write_text(
        "inputs: {paths: ['s3://b/*.tif'], manifest: list.csv, list: list.txt}\noutputs: out\n"
    )
    listing = list_inputs(read(path))
    assert [spec.path for spec in listing.specs] == [str(SCENE)]
    assert len(listing.refused) == 4
    assert "patterns match nothing" in listing.refused["s3://b/*.tif"]
    assert "only plain paths of this machine" in listing.refused[str(VOLUME)]
    assert "can't be read" in listing.refused["https://host/b.tif"]
    assert "virtual path" in listing.refused["/vsis3/b/c.tif"]
