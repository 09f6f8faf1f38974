"""The table of sizes is what NumPy says of the whole arrays."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import rasterio

import seg_batch
from seg_batch.config.card import ModelCard, make_card
from seg_batch.core.georef import VolumeGeoref
from seg_batch.core.normalise import Pixels
from seg_batch.io.sinks.tables import class_sizes
from seg_batch.io.sinks.tables.class_sizes import Inside, slice_mm
from tests.support.files import address_raster, address_volume, write_raster

CLASSES = [
    {"id": 0, "name": "background"},
    {"id": 4, "name": 'left, "upper" lobe'},
    {"id": 9, "name": "=never()"},
    {"id": 2, "name": "größe"},
]


def card(**fields: Any) -> ModelCard:
    common = {"name": "bands", "classes": CLASSES, "normalisation": {"kind": "source"}}
    return make_card(**{**common, **fields})


def by_value(patches: np.ndarray) -> np.ndarray:
    """Classes 0, 1 and 3 by the first channel; class 2 never."""
    value = patches[..., 0]
    which = np.where(value < -0.4, 0, np.where(value < 0.7, 1, 3))
    return np.eye(4, dtype=np.float32)[which]


def table(path: Path) -> dict[int, dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return {int(row["class_id"]): row for row in csv.DictReader(file)}


def near(text: str, value: float) -> None:
    assert float(text) == pytest.approx(value, rel=1e-8, abs=1e-9)


@pytest.fixture
def pieces_of_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many pieces of a small image."""
    monkeypatch.setattr(class_sizes, "PIECE_BYTES", 2000)


@pytest.mark.usefixtures("pieces_of_little")
def test_of_a_volume(tmp_path: Path) -> None:
    affine = np.array([[0, -1.5, 0, 40], [0.9, 0, 0.2, -7], [0, 0.1, -2.5, 11], [0, 0, 0, 1.0]])
    image = nibabel.Nifti1Image(address_volume((13, 12, 11)), affine)
    image.header.set_slope_inter(0.5, 100_000.0)  # an offset that float32 sums would drown in
    path = tmp_path / "in.nii.gz"
    image.to_filename(path)
    volume = card(kind="volume", rank=3, channels=["CT"], patch=[8, 8, 8], overlap=[2, 2, 2])
    seg_batch.predict(path, tmp_path / "out.nii.gz", model=(volume, by_value), also=[".csv"])
    rows = table(tmp_path / "out.csv")
    labels = np.asarray(nibabel.load(tmp_path / "out.nii.gz").dataobj)
    values = np.asarray(nibabel.load(path).dataobj, np.float64)
    matrix = np.array(nibabel.load(path).affine)
    normal = np.cross(matrix[:3, 0], matrix[:3, 1])
    normal /= np.linalg.norm(normal)
    normal *= np.sign(normal[2])
    assert [*rows] == [0, 4, 9, 2], "in the order of the card"
    assert rows[4]["name"] == 'left, "upper" lobe'
    for label, row in rows.items():
        there = labels == label
        assert int(row["voxels"]) == there.sum()
        near(row["share"], there.mean())
        near(row["mL"], there.sum() * abs(np.linalg.det(matrix[:3, :3])) / 1000)
        if not there.any():
            assert label == 9
            assert {row[key] for key in [*row][6:]} == {""}
            continue
        near(row["mean"], values[there].mean())
        near(row["deviation"], values[there].std())
        slices = np.flatnonzero(there.any((0, 1)))
        assert (int(row["first_slice"]), int(row["last_slice"])) == (slices[0] + 1, slices[-1] + 1)
        for key, at in (("first_mm", slices[0]), ("last_mm", slices[-1])):
            near(row[key], normal @ (matrix @ (3, 5, at, 1))[:3])


@pytest.mark.usefixtures("pieces_of_little")
def test_of_a_raster_with_holes(tmp_path: Path) -> None:
    values = address_raster((40, 31), 2, "float32")
    values[0, 5:9, 3:20] = np.nan
    values[1, 20:, :4] = -9999
    path = write_raster(tmp_path / "in.tif", values, nodata=-9999.0)
    scene = card(
        kind="raster",
        rank=2,
        channels=["red", "near infrared"],
        patch=[16, 16],
        overlap=[4, 4],
        missing="all",
    )
    seg_batch.predict(path, tmp_path / "out.tif", model=(scene, by_value), also=[".csv"])
    rows = table(tmp_path / "out.csv")
    with rasterio.open(tmp_path / "out.tif") as file:
        labels = file.read(1)
    whole = values.astype(np.float64)
    for label, row in rows.items():
        there = labels == label
        assert int(row["voxels"]) == there.sum()
        near(row["ha"], there.sum() * 0.09)
        for band, name in zip(whole, ("red", "near infrared"), strict=True):
            valid = there & np.isfinite(band) & (band != -9999)
            if valid.any():
                near(row[f"mean_{name}"], band[valid].mean())
                near(row[f"deviation_{name}"], band[valid].std())
            else:
                assert row[f"mean_{name}"] == row[f"deviation_{name}"] == ""
    assert "first_slice" not in rows[0]


def test_moments_of_pieces_are_those_of_the_whole() -> None:
    rng = np.random.default_rng(1)
    values = 1e9 + rng.normal(size=(5000, 1))
    which = rng.integers(0, 4, 5000)  # 3: none
    inside = Inside.none(3, 1)
    for part in np.array_split(np.arange(5000), 37):
        inside.add(Pixels(values[part], None), which[part])
    for k in range(3):
        mean, deviation = map(float, inside.cells(k))
        assert mean == pytest.approx(values[which == k].mean(), rel=1e-9)
        assert deviation == pytest.approx(values[which == k].std(), rel=1e-6)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_slices_lie_where_the_world_says(order: tuple[int, ...]) -> None:
    """Along the axis that slices are across, upwards where the world counts up, in mm whatever the unit."""
    matrix = np.zeros((4, 4))
    matrix[list(order), range(3)] = (-2, 3, -5)
    matrix[:, 3] = (10, 20, 30, 1)
    rows = tuple(map(tuple, matrix.tolist()))
    along = order[2]
    for unit, mm in (("mm", 1), ("meter", 1000)):
        georef = VolumeGeoref(rows, units=unit)
        assert slice_mm(georef, 4) == pytest.approx((matrix[along, 3] - 20) * mm)
