"""Quicklooks: each picture shows its voxels where they are, whatever the file; memory is bounded."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seg_batch.batch.report.quicklook import draw_quicklook
from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box
from seg_batch.io import quicklook
from seg_batch.io.pictures import jpeg_bytes, png_bytes
from seg_batch.io.sources import open_source
from seg_batch.io.sources.thumbnail import AT_ONCE_BYTES, thumbnail
from seg_batch.io.sources.views.oriented import Oriented
from tests.support.batch.run_folders import pixels
from tests.support.files import address_raster, address_volume, write_raster, write_volume

CLASSES = [
    {"id": 0, "name": "ground", "colour": [9, 9, 9]},
    {"id": 3, "name": "forest", "colour": [0, 120, 0]},
    {"id": 7, "name": "water", "colour": [0, 0, 200]},
]
REPORT: dict[str, Any] = {"classes": CLASSES, "background": 0}


def middles(n: int, m: int) -> np.ndarray:
    return np.array([int((k + 0.5) * n / m) for k in range(m)])


@pytest.mark.parametrize("tiled", [True, False])
@pytest.mark.parametrize("shape", [(40, 31), (90, 130), (7, 9)])
def test_a_thumbnail_takes_the_middle_of_each_share(
    tmp_path: Path, shape: tuple[int, int], tiled: bool
) -> None:
    values = address_raster((90, 130), 2, "uint16")
    source = open_source(write_raster(tmp_path / "a.tif", values, tiled=tiled))
    whole = Box.whole((90, 130))
    found = thumbnail(source, whole, shape).values
    expected = values[:, middles(90, shape[0])][:, :, middles(130, shape[1])]
    assert (found == expected.transpose(1, 2, 0)).all()
    part = Box((10, 20), (80, 99))
    found = thumbnail(source, part, (7, 9)).values
    expected = values[:, 10 + middles(70, 7)][:, :, 20 + middles(79, 9)]
    assert (found == expected.transpose(1, 2, 0)).all()
    source.close()


def test_a_thumbnail_reads_blocks_of_bounded_size(tmp_path: Path, monkeypatch: Any) -> None:
    values = address_volume((40, 50, 60))
    source = open_source(write_volume(tmp_path / "v.nii", values, np.eye(4)))
    sizes, read = [], source.read

    def watched(box: Box) -> Any:
        sizes.append(box.size)
        return read(box)

    monkeypatch.setattr(source, "read", watched)
    monkeypatch.setattr("seg_batch.io.sources.thumbnail.AT_ONCE_BYTES", 3000)
    found = thumbnail(source, Box.whole((60, 50, 40)), (6, 11, 40)).values[..., 0]
    assert (found == values.T[middles(60, 6)][:, middles(50, 11)]).all()
    assert max(sizes) * source.info.voxel_bytes <= 3000


def test_what_is_damaged_is_left_out(data: Path) -> None:
    source = open_source(data / "geotiff_awkward/rasterio_corrupt.tif")
    found = thumbnail(source, Box.whole(source.info.extent), source.info.extent)
    assert found.valid is not None
    assert 0 < found.any_valid().mean() < 1


def test_a_raster_shows_each_label_in_its_colour(tmp_path: Path) -> None:
    labels = np.array([0, 3, 7, 255], np.uint8)[address_raster((90, 130), 1, "uint8") % 4]
    image = write_raster(tmp_path / "i.tif", address_raster((90, 130), 1, "uint8"))
    path = write_raster(tmp_path / "l.tif", labels, nodata=255)
    (view,) = draw_quicklook(image, path, REPORT)
    shown = pixels(view.labels)
    for row in CLASSES[1:]:
        assert (shown[labels[0] == row["id"]] == [*row["colour"], 255]).all()
    assert (shown[(labels[0] == 0) | (labels[0] == 255)] == 0).all(), "background is seen through"
    assert view.aspect == pytest.approx(130 / 90)
    grey = pixels(view.image)[..., 0].astype(float)
    truth = address_raster((90, 130), 1, "uint8")[0]
    assert np.corrcoef(grey.ravel(), truth.ravel())[0, 1] > 0.98


def test_pixels_that_are_not_square_are_drawn_as_they_lie(tmp_path: Path) -> None:
    from rasterio.transform import Affine

    values = address_raster((90, 130), 1, "uint8")
    path = write_raster(tmp_path / "i.tif", values, transform=Affine(30, 0, 0, 0, -10, 0))
    assert draw_quicklook(path, None, {})[0].aspect == pytest.approx(3 * 130 / 90)


@pytest.mark.parametrize("letters", ["LAS", "RAS", "SPL", "ARI"])
def test_a_volume_is_cut_in_three_and_turned_upright(tmp_path: Path, letters: str) -> None:
    """The same head stored in other orders of its axes gives the same pictures."""
    import nibabel
    from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

    labels = np.zeros((24, 20, 9), np.uint8)  # x, y, z to the right, front, top
    labels[15:19, 11:14, 6:8] = 3
    labels[17, 12, 7] = 7
    head = nibabel.Nifti1Image(labels, np.diag([1, 1.5, 3, 1]))
    turned = head.as_reoriented(
        ornt_transform(io_orientation(head.affine), axcodes2ornt(tuple(letters)))
    )
    path = tmp_path / "l.nii.gz"
    turned.to_filename(path)
    axial, coronal, sagittal = draw_quicklook(path, path, REPORT)
    assert [v.title for v in (axial, coronal, sagittal)] == [
        "axial, slice 7 of 9",
        "coronal, slice 13 of 20",
        "sagittal, slice 18 of 24",
    ]
    assert [v.letters for v in (axial, coronal, sagittal)] == ["RLAP", "RLSI", "APSI"]
    assert axial.aspect == pytest.approx(24 / 30)
    assert coronal.aspect == pytest.approx(24 / 27)
    assert sagittal.aspect == pytest.approx(30 / 27)
    seen = [pixels(v.labels)[..., 3] > 0 for v in (axial, coronal, sagittal)]
    # x runs to the right of the patient, which is on the left of the picture.
    # Of a sagittal slice the front is on the left.
    planes = (labels[::-1, :, 6].T, labels[::-1, 12].T, labels[17, ::-1].T)
    for shown, plane in zip(seen, planes, strict=True):
        assert (shown == (plane[::-1] > 0)).all()


def test_letters_are_left_out_where_the_file_does_not_know(tmp_path: Path) -> None:
    import nibabel

    image = nibabel.Nifti1Image(address_volume((8, 9, 10)), None)
    path = tmp_path / "v.nii"
    image.to_filename(path)
    assert {view.letters for view in draw_quicklook(path, None, {})} == {""}


def test_ct_has_a_fixed_window_and_others_percentiles(tmp_path: Path) -> None:
    def window(values: np.ndarray) -> str:
        path = write_volume(tmp_path / "v.nii", values.astype(np.int16), np.eye(4))
        return draw_quicklook(path, None, {})[0].window

    rng = np.random.default_rng(1)
    head = np.where(rng.random((20, 20, 20)) < 0.3, -1000, rng.integers(-100, 900, (20, 20, 20)))
    assert window(head) == "-160 to 240 HU (soft tissue)"
    assert "1st to 99th percentile" in window(head + 1000)


def test_too_much_without_overviews_is_refused_and_with_them_read(
    tmp_path: Path, monkeypatch: Any
) -> None:
    import rasterio

    monkeypatch.setattr(quicklook, "LARGEST_VOXELS", 10_000)
    path = write_raster(tmp_path / "a.tif", address_raster((450, 650), 1, "uint8"))
    with pytest.raises(InputError, match="without overviews"):
        draw_quicklook(path, None, {})
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2])
    assert pixels(draw_quicklook(path, None, {})[0].image).shape == (310, 448, 3)


@pytest.mark.full
def test_memory_does_not_follow_the_raster(tmp_path: Path) -> None:
    """64 MB on disk: numpy's share of the peak stays at what one read may take, and pictures."""
    path = write_raster(tmp_path / "a.tif", np.ones((1, 8192, 8192), np.uint8))
    tracemalloc.start()
    source = open_source(path)
    thumbnail(Oriented(source), Box.whole((8192, 8192)), (448, 448))
    draw_quicklook(path, path, REPORT)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * AT_ONCE_BYTES + (12 << 20)


def test_pictures_are_what_they_are_called() -> None:
    rgb = np.zeros((5, 7, 3), np.uint8)
    assert jpeg_bytes(rgb).startswith(b"\xff\xd8")
    clear = np.zeros((5, 7, 4), np.uint8)
    assert pixels(png_bytes(clear)).shape == (5, 7, 4)
