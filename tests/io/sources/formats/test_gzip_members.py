"""A gzip ends where its data does: what follows is passed over and told, what is damaged is refused."""

from __future__ import annotations

import gzip
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st

from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box
from seg_batch.io.sources import open_source, stage
from seg_batch.io.sources.gzip_members import MEMBER_BYTES, ends_plainly
from tests.support.files import address_volume

VOLUME = nibabel.Nifti1Image(address_volume((5, 4, 3)), np.diag([2.0, 2, 3, 1])).to_bytes()
HEADER = gzip.compress(b"", mtime=0)[:10]
BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
# What may stand after the data: also what looks like a member, whole or not.
SURPLUS = st.one_of(
    st.binary(min_size=1, max_size=300).filter(lambda data: data.strip(b"\0")),
    st.binary(max_size=60).map(HEADER.__add__),
    st.binary(max_size=60).map(lambda data: gzip.compress(data, mtime=0)),
)


def members(data: bytes, cuts: list[int]) -> bytes:
    places = [0, *sorted(cut % len(data) for cut in cuts), len(data)]
    return b"".join(gzip.compress(data[a:b], mtime=0) for a, b in pairwise(places))


def voxels(path: Path) -> np.ndarray:
    with closing(open_source(path)) as source:
        return source.read(Box.whole(source.info.extent)).values[..., 0]


def warned(path: Path) -> list[str]:
    with closing(open_source(path)) as source:
        return [text for text in source.info.warnings if "gzip" in text]


@given(
    cuts=st.lists(st.integers(0, 10_000), max_size=3),
    zeros=st.integers(0, 40),
    surplus=st.one_of(st.just(b""), st.just(BGZF_END), SURPLUS),
)
def test_all_members_are_read_and_what_follows_is_told(tmp_path_factory, cuts, zeros, surplus):
    path = tmp_path_factory.mktemp("gzip") / "v.nii.gz"
    path.write_bytes(members(VOLUME, cuts) + bytes(zeros) + surplus)
    assert np.array_equal(voxels(path), address_volume((5, 4, 3)).T)
    after = len(surplus.lstrip(b"\0")) * (surplus != BGZF_END)
    plain = surplus[-4:] == len(VOLUME).to_bytes(4, "little")
    expected = (
        [f"{after:,} byte{'s' * (after > 1)} after the end of the gzip data: not read"]
        if after
        else []
    )
    assert warned(path) == expected or plain


@pytest.mark.parametrize("surplus", [b"garbage", HEADER, gzip.compress(b"second", mtime=0), b""])
def test_itk_reads_the_same(tmp_path: Path, surplus: bytes) -> None:
    path = tmp_path / "v.nii.gz"
    path.write_bytes(gzip.compress(VOLUME) + surplus)
    read = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    assert np.array_equal(voxels(path), read)


@given(place=st.integers(10, 10_000), bit=st.integers(0, 7), cut=st.booleans())
def test_damage_is_refused_or_changes_no_voxel(tmp_path_factory, place, bit, cut):
    data = bytearray(members(VOLUME, [200]))
    place = min(place, len(data) - 1)
    data[place] ^= 1 << bit
    path = tmp_path_factory.mktemp("gzip") / "v.nii.gz"
    path.write_bytes(data[:place] if cut else data)
    with suppress(InputError):
        assert np.array_equal(voxels(path), address_volume((5, 4, 3)).T)


def test_the_copy_for_workers_is_the_volume_alone(tmp_path: Path) -> None:
    path = tmp_path / "v.nii.gz"
    path.write_bytes(gzip.compress(VOLUME) + b"after the end")
    assert stage(path, tmp_path / "staged").read_bytes() == VOLUME


def test_data_that_ends_too_early_is_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "v.nii.gz"
    path.write_bytes(gzip.compress(VOLUME[:-4]) + b"after the end")
    with pytest.raises(InputError, match="cut short"):
        voxels(path)


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_volumes_as_they_are_written_here_are_not_read_through(tmp_path: Path, more: int) -> None:
    path, size = tmp_path / "v.nii.gz", 2 * MEMBER_BYTES + more
    pieces = [bytes(min(MEMBER_BYTES, size - at)) for at in range(0, size, MEMBER_BYTES)]
    path.write_bytes(b"".join(gzip.compress(piece, mtime=0) for piece in pieces))
    assert ends_plainly(path, size)
    assert not ends_plainly(path, size - 5)
