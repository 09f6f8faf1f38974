"""Orientation: what is seen through a view goes back exactly, for each of the 48 of them."""

import itertools

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from seg_batch.core.geometry import Box
from seg_batch.io.sources import open_source
from seg_batch.io.sources.views.oriented import Oriented

ORIENTATIONS = [
    "".join(pairs[axis][side] for axis, side in zip(order, sides, strict=True))
    for pairs in (("LR", "PA", "IS"),)
    for order in itertools.permutations(range(3))
    for sides in itertools.product((0, 1), repeat=3)
]
AFFINE = np.array([[1.9, -0.5, 0.2, -7], [0.6, 2.8, 0.3, 8], [-0.2, -0.3, 3.9, 9], [0, 0, 0, 1]])
ANATOMY = np.arange(1, 5 * 6 * 7 + 1).reshape(5, 6, 7).astype("int16")


def stored(orientation: str) -> nibabel.Nifti1Image:
    """The same anatomy, rewritten by nibabel in another orientation."""
    image = nibabel.Nifti1Image(ANATOMY, AFFINE)
    change = ornt_transform(io_orientation(AFFINE), axcodes2ornt(tuple(orientation)))
    return image.as_reoriented(change)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("anatomy")
    opened = {}
    for orientation in ORIENTATIONS:
        nibabel.save(stored(orientation), folder / f"{orientation}.nii")
        opened[orientation] = open_source(folder / f"{orientation}.nii")
    return opened


def test_there_are_48():
    assert len(set(ORIENTATIONS)) == 48


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_one_anatomy_looks_the_same_however_stored(sources, orientation):
    view = Oriented(sources[orientation], "RAS")
    seen = view.read(Box.whole(view.info.extent)).values[..., 0]
    np.testing.assert_array_equal(seen, ANATOMY.T)
    np.testing.assert_allclose(view.info.georef.matrix, AFFINE, atol=1e-5)
    assert view.info.georef.spacing_mm == pytest.approx(
        tuple(nibabel.affines.voxel_sizes(AFFINE)[::-1]), rel=1e-5
    )


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_view_is_what_nibabel_would_store(sources, orientation):
    view = Oriented(sources["RAS"], orientation)
    expected = stored(orientation)
    seen = view.read(Box.whole(view.info.extent)).values[..., 0]
    np.testing.assert_array_equal(seen, np.asarray(expected.dataobj).T)
    np.testing.assert_allclose(view.info.georef.matrix, expected.affine, atol=1e-5)
    assert nibabel.aff2axcodes(view.info.georef.matrix) == tuple(orientation)


@given(st.sampled_from(ORIENTATIONS), st.sampled_from(ORIENTATIONS), st.data())
def test_there_and_back(sources, own, wanted, data):
    view = Oriented(sources[own], wanted)
    ends = [
        sorted(data.draw(st.lists(st.integers(0, n), min_size=2, max_size=2, unique=True)))
        for n in view.info.extent
    ]
    box = Box(tuple(a for a, _ in ends), tuple(b for _, b in ends))
    native = view.to_native(box)
    assert view.to_view(native) == box
    seen, kept = view.read(box).values, view.source.read(native).values
    assert seen.shape[:3] == box.shape
    np.testing.assert_array_equal(view.from_view(seen), kept)
    np.testing.assert_array_equal(view.from_view(seen[..., 0]), kept[..., 0])
    np.testing.assert_array_equal(view.to_view_array(kept), seen)
    assert np.shares_memory(seen, view.from_view(seen))


def test_its_own_orientation_is_the_identity(sources):
    for orientation in ("RAS", "PIL"):
        assert Oriented(sources[orientation], orientation).identity
    assert not Oriented(sources["LAS"], "RAS").identity


def test_qform_and_sform_follow(sources):
    info = Oriented(sources["PIL"], "RAS").info
    np.testing.assert_allclose(info.georef.sform, info.georef.affine)


@pytest.mark.parametrize("wrong", ["RAA", "RA", "XYZ", "", "RASR", "LRS"])
def test_nonsense_is_refused(sources, wrong):
    with pytest.raises(ValueError, match="orientation"):
        Oriented(sources["RAS"], wrong)


def test_a_raster_is_its_own_view(tiff):
    values = np.arange(30, dtype="uint8").reshape(1, 5, 6)
    source = open_source(tiff(values))
    view = Oriented(source, "LPS")
    box = Box((1, 2), (4, 6))
    assert view.identity
    assert view.info == source.info
    assert view.to_native(box) == view.to_view(box) == box
    np.testing.assert_array_equal(view.read(box).values, source.read(box).values)
    np.testing.assert_array_equal(view.from_view(values[0, 1:4, 2:6]), values[0, 1:4, 2:6])


TRANSPOSES = [*itertools.permutations(range(3))]


@pytest.mark.parametrize("order", TRANSPOSES)
def test_stored_axes_are_those_of_an_array_of_simpleitk(sources, order):
    own = sources["PIR"]
    view = Oriented(own, "stored" if order == (0, 1, 2) else f"stored:{','.join(map(str, order))}")
    array = own.read(Box.whole(own.info.extent)).values[..., 0]
    seen = view.read(Box.whole(view.info.extent)).values[..., 0]
    np.testing.assert_array_equal(seen, array.transpose(order))
    np.testing.assert_array_equal(view.from_view(seen), array)
    sizes = own.info.georef.spacing_mm
    assert view.info.georef.spacing_mm == pytest.approx([sizes[k] for k in order])


@pytest.mark.parametrize("order", TRANSPOSES)
def test_letters_say_a_transpose_of_a_reoriented_array(sources, order):
    """As nnU-Net's reader has it: turned to RAS, axes z, y, x, then transposed."""
    letters = "".join("SAR"[k] for k in reversed(order))
    view = Oriented(sources["PIR"], letters)
    seen = view.read(Box.whole(view.info.extent)).values[..., 0]
    np.testing.assert_array_equal(seen, ANATOMY.T.transpose(order))


@pytest.mark.parametrize("orientation", ["stored:0,0,1", "stored:0,1", "stored:1,2,3", "RASS"])
def test_what_names_no_axes_is_refused(sources, orientation):
    with pytest.raises(ValueError, match="must name"):
        Oriented(sources["RAS"], orientation)
