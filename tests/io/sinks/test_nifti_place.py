"""Places of volumes in headers, against nibabel and SimpleITK: read, and written for other formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import assume, given
from hypothesis import strategies as st

from seg_batch.core.errors import OutputError
from seg_batch.core.georef import VolumeGeoref
from seg_batch.io.sinks.nifti_header import header_bytes, require_place
from seg_batch.io.sinks.spec import ProductSpec
from seg_batch.io.sources import open_source
from tests.support.io.stores import CLASSES

EXTENT = (30, 40, 50)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def volume(matrix: np.ndarray, **changes: Any) -> VolumeGeoref:
    return VolumeGeoref(tuple(map(tuple, matrix.tolist())), **changes)


def spec_of(georef: VolumeGeoref) -> ProductSpec:
    return ProductSpec(EXTENT, "uint8", None, CLASSES, georef)


def placed(sizes: Any, angles: Any, origin: Any) -> np.ndarray:
    turned = nibabel.eulerangles.euler2mat(*angles) @ np.diag(sizes)
    return nibabel.affines.from_matvec(turned, origin)


def voxels_apart(a: np.ndarray, b: np.ndarray) -> float:
    """The largest distance of a corner, by nibabel."""
    corners = np.array([(i, j, k) for i in (0, 50) for j in (0, 40) for k in (0, 30)])
    back = nibabel.affines.apply_affine(np.linalg.inv(a) @ b, corners)
    return float(np.linalg.norm(back - corners, axis=1).max())


three = st.tuples(*3 * [st.floats(-3, 3)])
sizes = st.tuples(*3 * [st.floats(1e-4, 100)])
origins = st.tuples(*3 * [st.floats(-1e6, 1e6)])


@given(sizes=sizes, angles=three, origin=origins)
def test_any_place_is_held(sizes: Any, angles: Any, origin: Any) -> None:
    """Small voxels far from the origin get the double precision of NIfTI-2."""
    matrix = placed(sizes, angles, origin)
    spec = spec_of(volume(matrix))
    require_place(spec)
    data = header_bytes(spec)
    double = data[4:8] == b"n+2\0"
    kind = nibabel.Nifti2Header if double else nibabel.Nifti1Header
    read = kind(data[: kind.sizeof_hdr]).get_best_affine()
    assert voxels_apart(matrix, read) < 0.01
    single = matrix.astype("f4").astype("f8")
    assert double or voxels_apart(matrix, single) < 0.01


def test_what_no_header_holds_is_refused_in_one_line() -> None:
    sheared = np.diag([1.0, 1.0, 1.0, 1.0])
    sheared[0, 1] = 0.5
    georef = volume(np.eye(4), qform=volume(sheared).affine, qform_code=1)
    with pytest.raises(OutputError, match=r"can't hold .*\.zarr") as error:
        require_place(spec_of(georef))
    assert "\n" not in error.value.message


def write(path: Path, sform: Any, qform: Any, codes: tuple[int, int]) -> Path:
    image = nibabel.Nifti1Image(np.zeros(EXTENT[::-1], np.uint8), None)
    image.header.set_xyzt_units("mm")
    image.header.set_qform(qform, codes[1])
    image.header.set_sform(sform, codes[0])
    nibabel.save(image, path)
    return path


def by_itk(path: Path) -> np.ndarray:
    image = SimpleITK.ReadImage(str(path))
    turned = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    return LPS @ nibabel.affines.from_matvec(turned, image.GetOrigin())


@given(
    sizes=st.tuples(*3 * [st.floats(0.1, 10)]),
    angles=three,
    by=st.sampled_from([0.0, 0.001, 0.008, 0.02, 0.05, 3.0]),
    codes=st.sampled_from([(1, 0), (1, 1), (2, 1), (4, 2), (0, 1), (1, 2)]),
)
def test_sform_and_qform(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: Any,
    angles: Any,
    by: float,
    codes: tuple[int, int],
) -> None:
    """The sform is taken, as by nibabel; where ITK would take another place, a line says so."""
    turn = nibabel.eulerangles.euler2mat(*angles)
    assume(nibabel.quaternions.mat2quat(turn)[0] > 0.1)  # half turns: see below
    qform = placed(sizes, angles, (5, 6, 7))
    sform = qform @ nibabel.affines.from_matvec(np.eye(3), (by, 0, 0))
    path = write(tmp_path_factory.mktemp("n") / "a.nii", sform, qform, codes)
    info = open_source(path).info
    assert isinstance(info.georef, VolumeGeoref)
    read, itk = nibabel.load(path).affine, by_itk(path)
    assert np.array_equal(info.georef.matrix, read)
    told = [line for line in info.warnings if "voxels apart" in line]
    apart = voxels_apart(read, itk)
    assume(abs(apart - 0.01) > 1e-3)
    assert not (apart > 0.01 and not told)
    assert any("ITK takes the qform" in line for line in told) == (apart > 0.01)
    assert bool(told) == (by > 0.01 and min(codes) > 0)


@given(angles=st.tuples(*2 * [st.floats(-0.01, 0.01)]), by=st.sampled_from([0.0, 0.004, 0.05]))
def test_the_precision_of_half_turns_needs_no_word(
    tmp_path_factory: pytest.TempPathFactory, angles: tuple[float, float], by: float
) -> None:
    """A quaternion near a half turn is a twentieth of a degree off; a moved origin is still told."""
    sform = placed((1, 1, 1), (*angles, np.pi), (5, 6, 7))
    qform = sform @ nibabel.affines.from_matvec(np.eye(3), (0, by, 0))
    path = write(tmp_path_factory.mktemp("n") / "a.nii", sform, qform, (1, 1))
    told = [line for line in open_source(path).info.warnings if "sform and qform" in line]
    assert bool(told) == (by > 0.01)
    if not by:
        grown = sform @ np.diag([1.001, 1, 1, 1])
        path = write(path.with_name("b.nii"), sform, grown, (1, 1))
        assert any("sform and qform" in line for line in open_source(path).info.warnings)


def test_other_voxel_sizes_beside_an_sform_are_told(tmp_path: Path) -> None:
    sform = np.diag([2.0, 2.0, 3.0, 1.0])
    path = write(tmp_path / "a.nii", sform, np.diag([2.0, 2.0, 3.0, 1.0]), (1, 0))
    assert open_source(path).info.warnings == ()
    path = write(tmp_path / "b.nii", sform, np.diag([1.0, 2.0, 3.0, 1.0]), (1, 0))
    (line,) = open_source(path).info.warnings
    assert "1 x 2 x 3 in pixdim and 2 x 2 x 3 in the sform" in line
