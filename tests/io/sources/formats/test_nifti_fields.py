"""Fields of a NIfTI header that are out of the ordinary: as other readers take them, or refused in a line."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st

from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box
from seg_batch.io.sources import open_source
from tests.support.files import address_volume

VOLUME = nibabel.Nifti1Image(address_volume((5, 4, 3)), np.diag([2.0, 2, 3, 1])).to_bytes()
WORDS = {1: "meter", 2: "mm", 3: "micron"}


def changed(folder: Path, **fields: object) -> Path:
    header = nibabel.Nifti1Header(VOLUME[:348], check=False)
    for name, value in fields.items():
        header.structarr[name] = value
    path = folder / "v.nii"
    path.write_bytes(header.structarr.tobytes() + VOLUME[348:])
    return path


@given(code=st.integers(0, 255))
def test_the_unit_of_length_is_in_three_bits(tmp_path_factory, code):
    path = changed(tmp_path_factory.mktemp("unit"), xyzt_units=code)
    with closing(open_source(path)) as source:
        assert source.info.georef.units == WORDS.get(code & 7, "unknown")
        assert any("units of length" in text for text in source.info.warnings) == (code & 7 != 2)
        read = source.read(Box.whole(source.info.extent)).values[..., 0]
    assert np.array_equal(read, SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))))


@pytest.mark.parametrize(
    "fields",
    [
        {"vox_offset": np.nan},
        {"vox_offset": -1e30},
        {"vox_offset": np.inf},
        {"datatype": 999},
        {"dim": [9, 5, 4, 3, 1, 1, 1, 1]},
        {"dim": [3, -5, 4, 3, 1, 1, 1, 1]},
        {"pixdim": [1, np.nan, 2, 3, 0, 0, 0, 0], "sform_code": 0, "qform_code": 1},
        {"srow_x": [np.inf, 0, 0, 0]},
    ],
    ids=str,
)
def test_what_gives_no_image_is_refused_in_a_line(tmp_path: Path, fields: dict) -> None:
    path = changed(tmp_path, **fields)
    with pytest.raises(InputError) as refused, closing(open_source(path)) as source:
        source.read(Box.whole(source.info.extent))
    assert refused.value.message.startswith(f"{path}: ")
    assert "\n" not in refused.value.message


@pytest.mark.parametrize(
    "fields",
    [
        {"intent_code": 31_000},
        {"sform_code": 77},
        {"scl_slope": np.nan},
        {"scl_slope": np.inf},
        {"slice_code": 99},
        {"dim_info": 255},
        {"toffset": np.nan},
        {"cal_max": np.inf},
        {"pixdim": [0, 2, 2, 3, 0, 0, 0, 0]},
        {"sizeof_hdr": 0},
        {"qoffset_x": np.nan, "qform_code": 1},
        {"quatern_b": np.nan, "qform_code": 1},
    ],
    ids=str,
)
def test_what_does_not_matter_is_read(tmp_path: Path, fields: dict) -> None:
    with closing(open_source(changed(tmp_path, **fields))) as source:
        read = source.read(Box.whole(source.info.extent)).values[..., 0]
    assert np.array_equal(read, address_volume((5, 4, 3)).T)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"pixdim": [1, -2, 2, 3, 1, 1, 1, 1]}, "without their sign"),
        ({"sform_code": 99}, "the code 99 of the sform has no meaning"),
        ({"qform_code": 7}, "the code 7 of the qform has no meaning"),
    ],
    ids=str,
)
def test_what_itk_takes_otherwise_is_told(tmp_path: Path, fields: dict, words: str) -> None:
    path = changed(tmp_path, **fields)
    with closing(open_source(path)) as source:
        assert any(words in line for line in source.info.warnings)
        np.testing.assert_allclose(source.info.georef.matrix, nibabel.load(path).affine)
    plain = changed(tmp_path)
    with closing(open_source(plain)) as source:
        assert not any("nibabel" in line for line in source.info.warnings)
