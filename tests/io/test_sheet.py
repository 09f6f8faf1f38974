"""The sheet of three slices: as a PACS shows them, in the proportions of the world, whatever the order of the file's axes."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from seg_batch.io.quicklook import Plane, draw_planes, open_seen
from seg_batch.io.sheet import GAP, sheet
from seg_batch.io.sources.views.image_spec import ImageSpec

pytestmark = pytest.mark.full  # left to make test: whole runs, or many networks

PALETTE = {1: (255, 0, 0, 255), 2: (0, 255, 0, 255), 3: (0, 0, 255, 255)}
SHAPE, SPACING = (24, 20, 9), (1.0, 1.5, 3.0)
ORIENTATIONS = [
    "".join(pair[way] for pair, way in zip(order, ways, strict=True))
    for order in permutations(("RL", "AP", "SI"))
    for ways in product((0, 1), repeat=3)
]


def head() -> nibabel.Nifti1Image:
    """x, y, z to the right, front and top. A cube in the middle; 2 lies on its right, 3 at its front and top."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[8:17, 6:15, 2:7] = 1
    labels[20:22, 9:12, 3:6] = 2
    labels[11:14, 17:19, 7:9] = 3
    return nibabel.Nifti1Image(labels, np.diag([*SPACING, 1]))


def planes_of(image: nibabel.Nifti1Image, path: Path) -> tuple[Plane, ...]:
    image.to_filename(path)
    with ExitStack() as opened:
        seen = open_seen(ImageSpec((str(path),)), opened)
        return draw_planes(seen, seen, PALETTE)


def turned(image: nibabel.Nifti1Image, letters: str) -> nibabel.Nifti1Image:
    way = ornt_transform(io_orientation(image.affine), axcodes2ornt(tuple(letters)))
    return image.as_reoriented(way)


@pytest.mark.parametrize("letters", ORIENTATIONS)
def test_every_order_of_axes_gives_the_same_picture(tmp_path: Path, letters: str) -> None:
    expected = planes_of(head(), tmp_path / "ras.nii")
    found = planes_of(turned(head(), letters), tmp_path / "other.nii")
    for a, b in zip(expected, found, strict=True):
        assert (a.title, a.letters, a.window) == (b.title, b.letters, b.window)
        assert (a.aspect, a.width) == pytest.approx((b.aspect, b.width))
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_array_equal(a.labels, b.labels)
    np.testing.assert_array_equal(sheet(expected), sheet(found))


def test_slices_are_turned_as_a_pacs_turns_them(tmp_path: Path) -> None:
    axial, coronal, sagittal = planes_of(head(), tmp_path / "a.nii")
    assert [p.letters for p in (axial, coronal, sagittal)] == ["RLAP", "RLSI", "APSI"]
    for plane in (axial, coronal):
        assert way(plane, 1)[1] < 0, "the right of the patient is on the left"
    up, across = way(sagittal, 2)
    assert across < 0, "the front is on the left"
    assert up < 0, "the top is at the top"


def way(plane: Plane, colour: int) -> tuple[float, float]:
    """From the middle of the cube to the middle of another label, ``(y, x)``. ``colour``: its place in RGB."""
    assert plane.labels is not None
    there, cube = (np.argwhere(plane.labels[..., k] == 255).mean(0) for k in (colour, 0))
    y, x = there - cube
    return float(y), float(x)


def test_a_sheet_has_the_proportions_of_the_world(tmp_path: Path) -> None:
    planes = planes_of(head(), tmp_path / "a.nii")
    mm = [n * s for n, s in zip(SHAPE, SPACING, strict=True)]
    scale = 300 / max(mm[1:])  # the tallest plane is the axial one, of 30 mm
    found = sheet(planes, height=300)
    assert found.dtype == np.uint8
    assert found.shape == (300, round(mm[0] * scale) * 2 + round(mm[1] * scale) + 2 * GAP, 3)
    bare = [Plane(p.title, p.image, p.labels, p.aspect, p.width) for p in planes]
    assert (sheet(bare, height=300) != found).any(), "letters are drawn where sides are known"
    with pytest.raises(ValueError, match="no plane"):
        sheet(())


def test_extreme_proportions_are_bounded() -> None:
    thin = Plane("", np.full((4, 4, 3), 200, np.uint8), None, 500.0, 5.0, "RLAP")
    assert sheet([thin]).shape == (384, 1536, 3)
    flat = Plane("", None, np.full((4, 4, 4), 255, np.uint8), 1.0)
    assert (sheet([flat]) == 255).all(), "labels alone are opaque"
