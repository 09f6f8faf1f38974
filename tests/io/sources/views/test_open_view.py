"""The door to an image as a model sees it: each layer, and all of them, against arrays by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from seg_batch.config.card import ClassInfo, ModelCard, Normalisation
from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box
from seg_batch.io.sources.protocol import Source
from seg_batch.io.sources.views import image_spec
from seg_batch.io.sources.views.image_spec import ImageSpec
from seg_batch.io.sources.views.open_view import Axes, View, open_view
from tests.support.files import address_raster, write_raster, write_volume

# The file's i runs to the back, j to the left, k to the feet: an array is ``(S-I, R-L, A-P)``.
PLI = np.array([[0, -2.0, 0, 5], [-1.5, 0, 0, 7], [0, 0, -3.0, 90], [0, 0, 0, 1]])
KJI = np.arange(4 * 5 * 6, dtype="int16").reshape(4, 5, 6)


def card(**fields: Any) -> ModelCard:
    classes = tuple(ClassInfo(id=i, name=f"k{i}", colour=(i, i, i)) for i in range(2))
    identity = Normalisation(kind="identity")
    return ModelCard(**{"name": "t", "classes": classes, "normalisation": identity, **fields})


def whole(source: Source | View) -> np.ndarray:
    return source.read(Box.whole(source.info.extent)).values


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    return write_volume(tmp_path / "a.nii", KJI.transpose(2, 1, 0), PLI)


def seen(letters: str) -> np.ndarray:
    """``KJI`` as ``x, y, z`` run to these letters, by hand."""
    return {
        "RAS": KJI.transpose(0, 2, 1)[::-1, ::-1, ::-1],
        "LPI": KJI.transpose(0, 2, 1),
        "SAL": KJI.transpose(1, 2, 0)[:, ::-1, ::-1],
    }[letters]


def test_a_raster_is_seen_as_it_is(tmp_path: Path) -> None:
    values = address_raster((40, 30), 2, "uint16")
    with open_view(write_raster(tmp_path / "a.tif", values), card(kind="raster")) as view:
        np.testing.assert_array_equal(whole(view), np.moveaxis(values, 0, -1))
        box = Box((3, 4), (30, 9))
        assert view.to_view(box) == view.to_native(box) == box
        assert view.native is view.file
        assert view.identity


@pytest.mark.parametrize("letters", ["RAS", "LPI", "SAL"])
def test_a_volume_is_seen_in_the_axes_of_the_model(volume: Path, letters: str) -> None:
    with open_view(volume, card(kind="volume", orientation=letters)) as view:
        np.testing.assert_array_equal(whole(view)[..., 0], seen(letters))
        assert nibabel.aff2axcodes(view.info.georef.matrix) == tuple(letters)
        np.testing.assert_array_equal(whole(view.native)[..., 0], KJI)
        box = Box((0, 1, 2), (2, 3, 4))
        native = view.to_native(box)
        assert view.to_view(native) == box
        back = view.from_view(view.read(box).values)
        np.testing.assert_array_equal(back[..., 0], KJI[native.slices()])


@pytest.mark.parametrize(("rank", "times"), [(3, (2, 2, 2)), (2, (1, 2, 2))])
def test_a_finer_model_sees_voxels_repeated_and_then_turned(
    volume: Path, rank: int, times: tuple[int, ...]
) -> None:
    model = card(kind="volume", rank=rank, orientation="SAL", finer=2)
    with open_view(volume, model) as view:
        expected = seen("SAL")
        for axis, n in enumerate(times):
            expected = expected.repeat(n, axis)
        np.testing.assert_array_equal(whole(view)[..., 0], expected)
        np.testing.assert_array_equal(whole(view.file)[..., 0], KJI)
        assert view.native.info.extent == view.from_view(expected).shape
        np.testing.assert_array_equal(whole(view.native)[..., 0], view.from_view(expected))


def test_a_finer_image_has_the_statistics_of_its_file(volume: Path) -> None:
    with open_view(volume, card(kind="volume", finer=3)) as fine, open_view(volume, Axes()) as view:
        assert fine.statistics() == view.statistics()
        assert fine.statistics().mean == pytest.approx((KJI.mean(),))


def test_files_are_stacked_and_then_turned(tmp_path: Path, volume: Path) -> None:
    other = write_volume(tmp_path / "b.nii", (KJI + 500).transpose(2, 1, 0), PLI)
    with open_view(ImageSpec((str(volume), str(other))), Axes("RAS", finer=2)) as view:
        assert view.info.channels == ("a", "b")
        expected = np.stack([seen("RAS"), seen("RAS") + 500], -1)
        for axis in range(3):
            expected = expected.repeat(2, axis)
        np.testing.assert_array_equal(whole(view), expected)


def test_a_label_on_another_grid_is_brought_to_that_of_its_image(
    tmp_path: Path, volume: Path
) -> None:
    shifted = PLI.copy()
    shifted[:3, 3] += PLI[:3, :3] @ [2, 0, 1]
    label = write_volume(tmp_path / "l.nii", KJI[1:, :, 2:].transpose(2, 1, 0), shifted)
    with open_view(volume, Axes("SAL")) as image:
        grid = image.file.info
        with open_view(label, Axes("SAL"), grid=grid) as view:
            known = np.zeros(KJI.shape, bool)
            known[1:, :, 2:] = True
            pixels = view.read(Box.whole(view.info.extent))
            turned = known.transpose(1, 2, 0)[:, ::-1, ::-1]
            np.testing.assert_array_equal(pixels.valid[..., 0], turned)
            np.testing.assert_array_equal(pixels.values[turned][:, 0], seen("SAL")[turned])
        with open_view(volume, Axes("SAL"), grid=grid) as same:
            assert same.info == image.info, "nothing is aligned that lies on the grid"


def test_one_volume_of_several_and_a_staged_copy(tmp_path: Path) -> None:
    values = np.stack([KJI.transpose(2, 1, 0) + 200 * n for n in range(3)], -1)
    path, copy = tmp_path / "f.nii.gz", tmp_path / "copy.nii"
    for target in (path, copy):
        nibabel.save(nibabel.Nifti1Image(values, PLI), target)
    with open_view(ImageSpec((str(path),), 2, (copy,)), Axes("LPI")) as view:
        np.testing.assert_array_equal(whole(view)[..., 0], seen("LPI") + 400)


def test_traps_are_told_of_the_header_and_of_the_corners(tmp_path: Path) -> None:
    values = np.zeros((1, 40, 30), "int16")
    values[:, 0, 0] = values[:, -4:, -4:] = values[:, :4, :4] = -9999
    with open_view(write_raster(tmp_path / "a.tif", values), Axes()) as view:
        *header, corner = view.warnings()
        assert tuple(header) == view.file.info.warnings
        assert "-9999" in corner


@pytest.mark.parametrize("broken", ["second", "grid", "none"])
def test_every_file_is_closed(
    tmp_path: Path, volume: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    opened, closed, real = [], [], image_spec.open_source

    def counted(path: str, **asked: Any) -> Source:
        source = real(path, **asked)
        close = source.close
        opened.append(path)
        monkeypatch.setattr(source, "close", lambda: (closed.append(path), close()))
        return source

    monkeypatch.setattr(image_spec, "open_source", counted)
    size = (6, 5, 3) if broken == "grid" else (6, 5, 4)
    other = write_volume(tmp_path / "b.nii", np.ones(size, "int16"), PLI)
    if broken == "second":
        other.write_bytes(other.read_bytes()[:100])
    spec = ImageSpec((str(volume), str(other)))
    if broken == "none":
        open_view(spec, Axes()).close()
    else:
        with pytest.raises(InputError):
            open_view(spec, Axes())
    assert opened
    assert sorted(closed) == sorted(opened)
