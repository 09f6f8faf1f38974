"""A real results folder, by the commands of its page: the labels are those of nnU-Net's own predictions."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import seg_batch
from seg_batch.cli.main import app
from seg_batch.conversion.test_tensor import check
from seg_batch.core.resources import DOCS

pytestmark = pytest.mark.convert
CASES = ("015", "101", "230", "341")
TRAINED = "nnunet_hippocampus/Dataset004_Hippocampus/nnUNetTrainer_5epochs__nnUNetPlans__3d_coarse"
WITH_MIRRORING_AND_WITHOUT = pytest.mark.parametrize(
    ("tta", "theirs"), [("auto", "predictions"), ("none", "predictions_without_mirroring")]
)
SHOWN = "Dataset004_X/nnUNetTrainer__nnUNetPlans__3d_fullres"  # as the page calls it


def commands() -> list[list[str]]:
    """Those that the page begins with: import, predict."""
    block = re.search(r"^```sh\n(.*?)^```$", (DOCS / "nnunet.md").read_text(), re.M | re.S)
    assert block is not None
    return [shlex.split(line)[1:] for line in block[1].splitlines()]


@pytest.fixture(scope="module")
def page(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the commands of the page were run."""
    folder = tmp_path_factory.mktemp("page")
    (folder / SHOWN).parent.mkdir()
    (folder / SHOWN).symlink_to(data / TRAINED)
    (folder / "case.nii.gz").symlink_to(image(data, "015"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for words in commands():
            app(words, standalone_mode=False)
    return folder


def image(data: Path, case: str) -> Path:
    return data / "msd_hippocampus" / "images" / f"hippocampus_{case}.nii.gz"


def labels(path: Path) -> np.ndarray:
    import nibabel

    return np.asarray(nibabel.load(path).dataobj)


def dice(a: np.ndarray, truth: np.ndarray) -> float:
    """The mean over both parts."""
    return float(
        np.mean(
            [
                2 * ((a == k) & (truth == k)).sum() / ((a == k).sum() + (truth == k).sum())
                for k in (1, 2)
            ]
        )
    )


@WITH_MIRRORING_AND_WITHOUT
@pytest.mark.parametrize(("precision", "share"), [("float32", 0.9999), ("auto", 0.999)])
def test_the_labels_of_a_case_are_those_of_nnunet(
    page: Path, data: Path, tmp_path: Path, tta: str, theirs: str, precision: str, share: float
) -> None:
    scan = image(data, CASES[0])
    out, model = str(tmp_path / "out.nii.gz"), str(page / "liver")
    seg_batch.predict(str(scan), out, model=model, tta=tta, precision=precision)
    expected = labels(data / "nnunet_hippocampus" / theirs / scan.name)
    assert (labels(tmp_path / "out.nii.gz") == expected).mean() >= share


@pytest.mark.slow
@WITH_MIRRORING_AND_WITHOUT
def test_labels_of_many_cases_are_those_of_nnunet(
    page: Path, data: Path, tmp_path: Path, tta: str, theirs: str
) -> None:
    shares, ours_dice, their_dice = [], [], []
    for case in CASES:
        out = tmp_path / f"{case}.nii.gz"
        seg_batch.predict(
            str(image(data, case)),
            str(out),
            model=str(page / "liver"),
            tta=tta,
            precision="float32",
        )
        a, b = labels(out), labels(data / "nnunet_hippocampus" / theirs / image(data, case).name)
        truth = labels(data / "msd_hippocampus" / "labels" / image(data, case).name)
        shares.append(float((a == b).mean()))
        ours_dice.append(dice(a, truth))
        their_dice.append(dice(b, truth))
    assert min(shares) >= 0.9999
    assert abs(np.mean(ours_dice) - np.mean(their_dice)) < 0.001


def test_the_command_of_the_page_made_labels(page: Path, data: Path) -> None:
    (made,) = (page / "labels").glob("*.nii.gz")
    theirs = labels(data / "nnunet_hippocampus" / "predictions" / "hippocampus_015.nii.gz")
    assert (labels(made) == theirs).mean() >= 0.999


def test_engines_give_what_torch_gave(page: Path) -> None:
    result = check(str(page / "liver"))
    assert result["status"] == 0
    assert any(row["engine"] == "openvino" for row in result["differences"])
