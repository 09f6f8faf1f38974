"""Checkpoints become ONNX files that give what their networks give; what holds more than weights is not opened.

Everything here runs nnU-Net's networks in a Python with torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seg_batch.config.card import read_card
from seg_batch.config.command_options import ImportOptions
from seg_batch.conversion.import_model import import_model
from seg_batch.core.errors import InputError
from seg_batch.nn.torch_conversion.process import VARIABLE
from tests.support import nnunet_results as small

pytestmark = pytest.mark.convert
SCRIPT = Path(__file__).parents[1] / "support" / "nn" / "nnunet_checkpoint.py"
RESIDUAL = {
    **small.architecture(n_conv_per_stage="left out", n_blocks_per_stage=[1, 1, 2]),
    "network_class_name": "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet",
}


def trained(folder: Path, *folds: dict[str, Any], **files: Any) -> Path:
    """A results folder with a checkpoint for each of ``folds``; ``files``: plans and dataset where they are not the usual ones."""
    plans, dataset = files.get("plans") or small.plans(), files.get("dataset") or small.dataset()
    names = tuple(map(str, range(len(folds))))
    small.results(folder, plans, dataset, names)
    for name, job in zip(names, folds, strict=True):
        path = folder / f"fold_{name}" / "checkpoint_final.pth"
        whole = {"plans": plans, "dataset": dataset, **job}
        python = os.environ.get(VARIABLE) or sys.executable
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        subprocess.run(
            [python, str(SCRIPT), str(path), json.dumps(whole)], check=True, env=environment
        )
    return folder


def expected(folder: Path, fold: int) -> tuple[np.ndarray, np.ndarray]:
    with np.load(folder / f"fold_{fold}" / "expected.npz") as file:
        return file["input"], file["output"]


def run(bundle: Path, patch: np.ndarray, fold: int = 0) -> np.ndarray:
    import onnxruntime

    file = bundle / (f"model_{fold}.onnx" if fold else "model.onnx")
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    scores: np.ndarray = session.run(["logits"], {"image": patch})[0]
    return scores


@pytest.mark.parametrize(
    ("configuration", "job"),
    [
        (small.configuration(), {}),
        (small.configuration(), {"prefix": "module._orig_mod."}),
        (small.configuration(2), {"mirroring": [0, 1]}),
        (small.configuration(architecture=RESIDUAL), {}),
        (small.configuration(), {"trainer": "nnUNetTrainerBN", "batch_norm": True}),
    ],
    ids=["plain", "prefixed", "flat", "residual", "batch norm"],
)
def test_a_network_gives_the_same_in_onnx(
    tmp_path: Path, configuration: dict[str, Any], job: dict[str, Any]
) -> None:
    folder = trained(tmp_path / "t", job, plans=small.plans(configuration))
    import_model(folder, tmp_path / "bundle", ImportOptions())
    patch, scores = expected(folder, 0)
    assert np.abs(run(tmp_path / "bundle", patch) - scores).max() < 1e-4 * np.abs(scores).max()


def test_each_fold_is_a_network_of_the_bundle(tmp_path: Path) -> None:
    folder = trained(tmp_path / "t", {"seed": 1}, {"seed": 2})
    result = import_model(folder, tmp_path / "bundle", ImportOptions())
    card = read_card(tmp_path / "bundle")
    assert len(card.folds_sha256) == 1
    assert "2 folds (0, 1)" in result["notes"][0]
    for fold in (0, 1):
        patch, scores = expected(folder, fold)
        assert np.allclose(run(tmp_path / "bundle", patch, fold), scores, atol=1e-3)


def test_regions_have_an_output_each_and_the_background_has_none(tmp_path: Path) -> None:
    parts = {"background": 0, "whole": [1, 2], "core": 2}
    data = small.dataset(labels=parts, regions_class_order=[1, 2])
    folder = trained(tmp_path / "t", {"outputs": 2}, dataset=data)
    import_model(folder, tmp_path / "bundle", ImportOptions())
    card = read_card(tmp_path / "bundle")
    patch, scores = expected(folder, 0)
    assert scores.shape[1] == 2
    assert np.allclose(run(tmp_path / "bundle", patch), scores, atol=1e-3)
    assert ([c.name for c in card.classes], card.background) == (["background", "whole", "core"], 0)
    with np.load(tmp_path / "bundle" / "test.npz") as test:
        assert test["output"].shape[-1] == 3
        assert not test["output"][..., 0].any()  # the logit of the threshold


def refusal(tmp_path: Path, *folds: dict[str, Any], **files: Any) -> str:
    folder = trained(tmp_path / "t", *folds, **files)
    with pytest.raises(InputError) as refused:
        import_model(folder, tmp_path / "bundle", ImportOptions())
    assert not (tmp_path / "bundle").exists()
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_pickle_with_code_is_not_opened(tmp_path: Path) -> None:
    evil = tmp_path / "written"
    assert "holds more than weights" in refusal(tmp_path, {"evil": str(evil)})
    assert not evil.exists()


@pytest.mark.parametrize(
    ("job", "words"),
    [
        ({"trainer": "MyTrainer"}, "trained by MyTrainer"),
        ({"outputs": 4}, "other weights than the network of its plans"),
        ({"batch_norm": True}, "other weights than the network of its plans"),
        ({"dataset": small.dataset(labels={"background": 0, "a": 1, "b": 2})}, "with the labels"),
        ({"mirroring": [0, 7]}, "mirrored along axes"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(
    tmp_path: Path, job: dict[str, Any], words: str
) -> None:
    assert words in refusal(tmp_path, job)


def test_folds_of_several_trainings_are_refused(tmp_path: Path) -> None:
    assert "has the trainer" in refusal(tmp_path, {}, {"trainer": "nnUNetTrainer_5epochs"})


def test_a_cascade_is_refused_by_name(tmp_path: Path) -> None:
    files = {"plans": small.plans(small.configuration(previous_stage="3d_lowres"))}
    assert "3d_fullres is a cascade" in refusal(tmp_path, {}, **files)


def test_a_checkpoint_that_is_none_is_refused(tmp_path: Path) -> None:
    folder = small.results(tmp_path / "t")
    (folder / "fold_0/checkpoint_final.pth").write_bytes(b"\x80\x02cos\nsystem\n")
    with pytest.raises(InputError, match="so it was not opened"):
        import_model(folder, tmp_path / "bundle", ImportOptions())
