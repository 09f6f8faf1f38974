"""The picture of a map: the right colours in the right places, and no word of the input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import rasterio

import seg_batch
from seg_batch.config.card import make_card
from seg_batch.io.sheet import PADDING, Entry, with_legend

pytestmark = pytest.mark.full  # left to make test: whole runs, or many networks

CARD = make_card(
    name="two",
    kind="volume",
    rank=3,
    channels=["CT"],
    classes=[
        {"id": 0, "name": "background"},
        {"id": 5, "name": "right", "colour": [250, 0, 0]},
        {"id": 6, "name": "front", "colour": [0, 250, 0]},
    ],
    patch=[8, 8, 8],
    overlap=[2, 2, 2],
    normalisation={"kind": "card", "mean": [0.0], "std": [1.0]},
)


def by_value(patches: np.ndarray) -> np.ndarray:
    return np.eye(3, dtype=np.float32)[np.clip(patches[..., 0].astype(int), 0, 2)]


def drawn(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        assert file.driver == "PNG"
        return np.moveaxis(file.read(), 0, -1).astype(int)


def body(tmp_path: Path, letters: str) -> Path:
    """To the right 1, in front of it 2, in a volume whose axes run to ``letters``."""
    values = np.zeros((20, 30, 10), np.float32)
    values[12:18, 8:12, 3:7] = 1
    values[12:18, 20:24, 3:7] = 2
    image = nibabel.Nifti1Image(values, np.diag([1.0, 1.0, 2.0, 1.0]))
    target = nibabel.orientations.axcodes2ornt(tuple(letters))
    turn = nibabel.orientations.ornt_transform(nibabel.io_orientation(image.affine), target)
    path = tmp_path / f"Mustermann_{letters}.nii.gz"
    image.as_reoriented(turn).to_filename(path)
    return path


@pytest.mark.parametrize("letters", ["RAS", "LPS", "SAR", "PIL"])
def test_of_a_volume_as_a_pacs_shows_it(tmp_path: Path, letters: str) -> None:
    path = body(tmp_path, letters)
    seg_batch.predict(path, tmp_path / "out.nii.gz", model=(CARD, by_value), also=[".png"])
    rgb = drawn(tmp_path / "out.png")
    red, green = ((rgb[..., k] > 150) & (rgb[..., 1 - k] < 120) for k in (0, 1))
    axial = slice(PADDING, PADDING + round(640 * 20 / 30))  # pixels of 1 mm: 640 / 30
    panel = rgb[PADDING : PADDING + 640, axial]
    reds, greens = (np.argwhere(mask[PADDING : PADDING + 640, axial]) for mask in (red, green))
    assert len(reds) > 500
    assert len(greens) > 500
    assert reds[:, 1].mean() < panel.shape[1] / 2, "the patient's right is on the left"
    assert greens[:, 0].mean() < reds[:, 0].mean() - 100, "the front is above"
    assert not list(tmp_path.glob("*.aux.xml"))
    assert b"Mustermann" not in (tmp_path / "out.png").read_bytes()


def test_of_every_orientation_it_is_one(tmp_path: Path) -> None:
    pictures = []
    for letters in ("RAS", "LPI", "ASR"):
        path = body(tmp_path, letters)
        product = tmp_path / f"{letters}.nii"
        seg_batch.predict(path, product, model=(CARD, by_value), also=[".png"])
        pictures.append(drawn(product.with_suffix(".png")))
    assert (pictures[0] == pictures[1]).all()
    assert (pictures[0] == pictures[2]).all()


@pytest.mark.parametrize("count", [0, 1, 7, 61])
def test_a_legend_names_all(count: int) -> None:
    entries = [Entry(f"class {k} Größe почка", (200, k, 5)) for k in range(count)]
    rgb = np.full((50, 70, 3), 99, np.uint8)
    out = with_legend(rgb, entries, ["axial"])
    colours = {tuple(c) for c in out.reshape(-1, 3).tolist()}
    assert {entry.colour for entry in entries} <= colours
    at = np.argwhere((out == 99).all(-1))
    assert (out[at[0][0] : at[-1][0] + 1, at[0][1] : at[-1][1] + 1] == 99).all()
    assert out[-5:].max() < 60, "nothing is cut off below"
    assert out[:, -5:].max() < 60, "nor at the side"


def test_nothing_found(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros((9, 8, 7), np.float32), np.eye(4))
    image.to_filename(tmp_path / "in.nii")
    more: dict[str, Any] = {"also": [".png"], "force": True}
    seg_batch.predict(tmp_path / "in.nii", tmp_path / "out.nii", model=(CARD, by_value), **more)
    assert drawn(tmp_path / "out.png").size
