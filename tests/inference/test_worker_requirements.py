"""What many predictions ask of the workers they share."""

from __future__ import annotations

from pathlib import Path

from seg_batch.config.predict_options import PredictOptions
from seg_batch.core.files import sha256
from seg_batch.core.resources import BUNDLES
from seg_batch.executors import WorkerRequirements
from seg_batch.inference.request import Request
from seg_batch.inference.worker_requirements import MOST_FOLDERS, shared_requirements

BUNDLE = sorted(BUNDLES.iterdir())[0]


def request(number: int, folder: Path, model: str | None = "probe") -> Request:
    output = str(folder / f"{number}_labels.tif")
    return Request(input=f"{number}.tif", output=output, model=model, options=PredictOptions())


def test_folders_once_each_and_the_first_input(tmp_path: Path) -> None:
    many = [request(n, tmp_path / str(n % 3)) for n in range(1000)]
    folders = tuple(str(tmp_path / str(n)) for n in range(3))
    assert shared_requirements(many) == WorkerRequirements(inputs=("0.tif",), outputs=folders)
    apart = [request(n, tmp_path / str(n)) for n in range(1000)]
    assert len(shared_requirements(apart).outputs) == MOST_FOLDERS
    assert shared_requirements([]) == WorkerRequirements()


def test_side_files_that_count_are_looked_for(tmp_path: Path) -> None:
    for name in ("0.tif", "0.tif.msk", "0.tfw", "0.tif.ovr", "0.prj", "1.tif.msk"):
        (tmp_path / name).touch()
    one = Request(input=str(tmp_path / "0.tif"), output=str(tmp_path / "o.tif"), model="probe")
    expected = ("0.tif", "0.tfw", "0.tif.msk")
    assert shared_requirements([one]).inputs == tuple(str(tmp_path / name) for name in expected)


def test_every_model_named_once(tmp_path: Path) -> None:
    models = ["probe", str(BUNDLE), None, str(BUNDLE), "no such model"]
    needs = shared_requirements(request(n, tmp_path, model) for n, model in enumerate(models))
    (weights,) = needs.weights
    assert weights[1] == sha256(Path(weights[0]))
    assert Path(weights[0]).parent == BUNDLE
    assert needs.libraries


def test_a_run_of_many_names_its_folder(tmp_path: Path) -> None:
    many = Request(input="a.tif", output=str(tmp_path / "new"), model="probe", many=True)
    assert shared_requirements([many]).outputs == (str(tmp_path / "new"),)
