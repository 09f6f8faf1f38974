"""The volumes of a 4-D file as channels: the same as so many files, where it is asked for or trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

import seg_batch
from seg_batch.batch.report.quicklook import draw_quicklook
from seg_batch.config.card import ClassInfo, ModelCard, Normalisation
from seg_batch.core.errors import InputError, RefusedError
from seg_batch.datasets.build import make_patches
from seg_batch.datasets.patch_set import PatchSet
from seg_batch.evaluation.evaluate import evaluate_bundle
from seg_batch.inference.verify import verify_product
from tests.support.files import address_volume, write_volume
from tests.support.training.recipes import IDS, class_indices, recipe

AFFINE = np.diag([1.0, 2, 3, 1])
CARD = ModelCard(
    name="sums",
    kind="volume",
    rank=3,
    channels=("t1c", "flair"),
    classes=tuple(ClassInfo(id=i, name=f"k{i}", colour=(i, i, i)) for i in range(3)),
    patch=(16, 16, 16),
    overlap=(4, 4, 4),
    normalisation=Normalisation(kind="source"),
)


def by_channels(patches: np.ndarray) -> np.ndarray:
    label = (np.floor(9 * patches) @ np.arange(1, patches.shape[-1] + 1)).astype(int) % 3
    return np.eye(3, dtype=np.float32)[label]


MODEL: Any = (CARD, by_channels)


@pytest.fixture
def case(tmp_path: Path) -> Path:
    """``p7.nii.gz`` of two volumes, and each of them in a file of its own, packed and plain."""
    first = address_volume((20, 22, 24))
    both = np.stack([first, first[::-1] // 3], -1)
    write_volume(tmp_path / "p7.nii.gz", both, AFFINE)
    for n, name in enumerate(CARD.channel_names or ()):
        for ending in (".nii", ".nii.gz"):
            write_volume(tmp_path / f"p7_{name}{ending}", both[..., n], AFFINE)
    return tmp_path


def labels(path: Path) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj)


def stack(case: Path, ending: str = ".nii.gz") -> list[Path]:
    return [case / f"p7_{name}{ending}" for name in CARD.channel_names or ()]


@pytest.mark.full
def test_a_last_axis_is_so_many_files(case: Path) -> None:
    """Packed, plain and in one file, and as the evaluation of the same case has it."""
    whole = seg_batch.predict(
        case / "p7.nii.gz", case / "o.nii", model=MODEL, channels_last_axis=True
    )
    assert whole["source"]["channels"] == ["volume0", "volume1"]
    assert whole["source"]["files"] == [str(case / "p7.nii.gz")]
    assert verify_product(case / "o.nii")["ok"]
    assert draw_quicklook(whole["input"], whole["output"], dict(whole))
    for n, ending in enumerate((".nii", ".nii.gz")):
        seg_batch.predict(stack(case, ending), case / f"s{n}.nii", model=MODEL)
        np.testing.assert_array_equal(labels(case / f"s{n}.nii"), labels(case / "o.nii"))
    for image in (["p7.nii.gz"], [path.name for path in stack(case)]):
        entry = {"id": "p7", "image": image, "label": "o.nii", "split": "test"}
        (case / "m.yaml").write_text(json.dumps({"cases": [entry]}))
        scores = evaluate_bundle(MODEL, case / "m.yaml", pictures=0)
        confusion = np.array(scores["scores"]["confusion"])
        assert np.trace(confusion) == confusion.sum() == 20 * 22 * 24


def test_without_the_option_the_file_is_refused(case: Path) -> None:
    path = case / "p7.nii.gz"
    with pytest.raises(InputError, match=r"2 volumes; choose one .* with --channels-last-axis"):
        seg_batch.predict(path, case / "o.nii", model=MODEL)
    with pytest.raises(InputError, match="leave out one"):
        seg_batch.predict(path, case / "o.nii", model=MODEL, volume=1, channels_last_axis=True)
    three = (
        CARD.model_copy(update={"channels": (*CARD.channels, *CARD.channels[:1])}),
        by_channels,
    )  # type: ignore[misc]
    with pytest.raises(RefusedError, match="needs 3 channels"):
        seg_batch.predict(path, case / "o.nii", model=three, channels_last_axis=True)
    alone = stack(case)[0]
    with pytest.raises(RefusedError, match="the input has 1"):
        seg_batch.predict(alone, case / "o.nii", model=MODEL, channels_last_axis=True)


def test_a_dataset_takes_the_axis_where_channels_are_named(case: Path) -> None:
    label = write_volume(
        case / "label.nii", IDS[class_indices((20, 22, 24))].astype("uint8"), AFFINE
    )
    with_two = recipe(3, card={"channels": ["t1c", "flair"]})
    both = {"id": "p7", "image": [path.name for path in stack(case)], "label": "label.nii"}
    (case / "m.yaml").write_text(json.dumps({"cases": [both]}))
    make_patches([str(case / "m.yaml")], case / "a.zarr", with_two)
    make_patches([f"{case}/p7.nii.gz={label}"], case / "b.zarr", with_two)
    a, b = PatchSet(case / "a.zarr"), PatchSet(case / "b.zarr")
    for row in a.rows("training"):
        np.testing.assert_array_equal(a.read(row)[0], b.read(row)[0])
    for channels, said in ((["t1c"], "or name 2 channels"), (["a", "b", "c"], "has 2 channels")):
        changed = recipe(3, card={"channels": channels})
        with pytest.raises(InputError, match=said):
            make_patches([f"{case}/p7.nii.gz={label}"], case / "c.zarr", changed)
