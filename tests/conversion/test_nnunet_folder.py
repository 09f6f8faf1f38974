"""Which folds and checkpoints of a results folder are taken; a folder that is none is told what to name."""

from __future__ import annotations

from pathlib import Path

import pytest

from seg_batch.config.command_options import ImportOptions
from seg_batch.conversion.import_model import import_model
from seg_batch.conversion.nnunet.folder import (
    folds_of,
    is_results,
    left_out,
    require_trained,
)
from seg_batch.core.errors import InputError
from tests.support import nnunet_results as small

NUMBERED = ("0", "1", "10", "2")


@pytest.mark.parametrize(
    ("present", "fold", "taken"),
    [
        (NUMBERED, None, ("0", "1", "2", "10")),
        ((*NUMBERED, "all"), None, ("0", "1", "2", "10")),
        (("all",), None, ("all",)),
        ((*NUMBERED, "all"), "all", ("all",)),
        (NUMBERED, "all", ("0", "1", "2", "10")),
        (NUMBERED, "2,0", ("2", "0")),
        (NUMBERED, "fold_1, 1", ("1",)),
    ],
)
def test_folds_are_those_asked_for_or_all_that_are_numbered(
    tmp_path: Path, present: tuple[str, ...], fold: str | None, taken: tuple[str, ...]
) -> None:
    folder = small.results(tmp_path / "t", folds=present)
    folds = folds_of(folder, fold, "final")
    assert folds.names == taken
    assert [p.parent.name for p in folds.checkpoints] == [f"fold_{name}" for name in taken]


def test_a_fold_whose_training_goes_on_is_not_among_all(tmp_path: Path) -> None:
    folder = small.results(tmp_path / "t", folds=("0", "1"))
    (folder / "fold_1/checkpoint_final.pth").rename(folder / "fold_1/checkpoint_best.pth")
    assert folds_of(folder, None, "final").names == ("0",)
    assert folds_of(folder, None, "best").names == ("1",)
    with pytest.raises(
        InputError, match=r"fold_1 has no checkpoint_final\.pth: .*--checkpoint best"
    ):
        folds_of(folder, "1", "final")


@pytest.mark.parametrize("fold", ["3", "", "0,,1", "../0", "0/../0"])
def test_a_fold_that_is_not_there_is_named(tmp_path: Path, fold: str) -> None:
    folder = small.results(tmp_path / "t", folds=("0", "1"))
    with pytest.raises(InputError, match=r"has no fold .*takes some of 0, 1"):
        folds_of(folder, fold, "final")


def test_a_folder_without_folds_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no fold"):
        folds_of(small.results(tmp_path / "t", folds=()), None, "final")


def test_folders_around_it_lead_to_it(tmp_path: Path) -> None:
    folder = small.results(tmp_path / "Dataset900_Small" / "nnUNetTrainer__nnUNetPlans__2d")
    assert is_results(folder)
    assert is_results(folder.parent)
    assert is_results(folder / "fold_0")
    assert not is_results(tmp_path / "nowhere")
    require_trained(folder)
    with pytest.raises(InputError, match=f"name one of them, like {folder}"):
        require_trained(folder.parent)
    with pytest.raises(InputError, match=f"name {folder}, and the fold by --fold"):
        require_trained(folder / "fold_0")
    for near, words in (
        (folder.parent, "name one of them"),
        (folder / "fold_0", "the fold by --fold"),
    ):
        with pytest.raises(InputError, match=words):
            import_model(near, tmp_path / "b", ImportOptions())
    (folder / "dataset.json").unlink()
    with pytest.raises(InputError, match="name a results folder"):
        require_trained(folder)


def test_pickles_of_postprocessing_are_refused_or_told(tmp_path: Path) -> None:
    """One that cross-validation advises is no part of what nnUNetv2_predict gives."""
    folder = small.results(tmp_path / "t")
    advised = folder / "crossval_results_folds_0_1" / "postprocessing.pkl"
    advised.parent.mkdir()
    advised.touch()
    require_trained(folder)
    (note,) = left_out(folder)
    assert note.startswith("crossval_results_folds_0_1/postprocessing.pkl was not opened")
    (folder / "postprocessing.pkl").touch()
    with pytest.raises(InputError, match=r"postprocessing\.pkl is a pickle"):
        require_trained(folder)
