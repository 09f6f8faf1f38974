"""Volumes: raw numbers at their place in any byte order, geometry kept, staging that can't lie."""

import gzip
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_batch.core.errors import InputError, OutputError, ReadError
from seg_batch.core.geometry import Box
from seg_batch.io.sources import open_source, stage
from seg_batch.io.sources.formats import nifti_staging
from seg_batch.io.sources.formats.nifti import NiftiSource
from seg_batch.io.sources.formats.volumes import plain_copy


def address(*shape, dtype="int32"):
    return np.arange(1, np.prod(shape) + 1).reshape(shape).astype(dtype)


def whole(path, **options):
    source = open_source(path, **options)
    return source, source.read(Box.whole(source.info.extent))


@pytest.fixture(scope="module")
def addressed(tmp_path_factory):
    """One volume in both versions, both byte orders, narrow and with rows longer than a page."""
    folder, sources = tmp_path_factory.mktemp("addressed"), []
    for n, (kind, order, shape) in enumerate([
        (nibabel.Nifti1Image, "<", (13, 9, 7)),
        (nibabel.Nifti2Image, ">", (13, 9, 7)),
        (nibabel.Nifti1Image, ">", (3000, 5, 4)),
    ]):  # fmt: skip
        values = address(*shape)
        header = kind.header_class(endianness=order)
        header.set_data_dtype(f"{order}i4")
        nibabel.save(kind(values, np.eye(4), header), folder / f"{n}.nii")
        sources.append((values.T[..., None], open_source(folder / f"{n}.nii")))
    assert sources[1][1].info.facts["byte_order"] == "big"
    yield sources
    for _, source in sources:
        source.close()


@given(st.data(), st.sampled_from([0, 1, 2]))
def test_any_box_is_a_slice_of_the_whole(addressed, data, which):
    expected, source = addressed[which]
    ends = [
        sorted(data.draw(st.lists(st.integers(0, n), min_size=2, max_size=2, unique=True)))
        for n in source.info.extent
    ]
    box = Box(tuple(a for a, _ in ends), tuple(b for _, b in ends))
    pixels = source.read(box)
    np.testing.assert_array_equal(pixels.values, expected[box.slices()])
    assert pixels.values.dtype == np.dtype("int32")
    assert pixels.values.dtype.isnative


def test_threads_read_together(addressed):
    expected, source = addressed[2]
    spots = [Box((z, y, x), (z + 1, y + 1, x + 100)) for z in range(4) for y in range(5) for x in range(0, 2900, 290)]  # fmt: skip
    with ThreadPoolExecutor(4) as pool:
        for box, pixels in zip(spots, pool.map(source.read, spots), strict=True):
            np.testing.assert_array_equal(pixels.values, expected[box.slices()])


def test_nothing_is_memory_mapped(nifti):
    _, pixels = whole(nifti(address(5, 6, 7)))
    base = pixels.values
    while base is not None:
        assert not isinstance(base, np.memmap)
        base = getattr(base, "base", None)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_slope_and_intercept_travel_beside_raw_numbers(nifti, suffix):
    def scaled(image):
        image.header.set_slope_inter(0.5, 100)

    values = address(4, 5, 6, dtype="int16")
    path = nifti(values, f"a{suffix}", finish=scaled)
    _, pixels = whole(path)
    assert pixels.values.dtype == np.int16
    expected = np.asarray(nibabel.load(path).dataobj).T
    np.testing.assert_allclose(pixels.physical()[..., 0], expected)


@pytest.mark.parametrize(("slope", "inter"), [(0, 5), (np.nan, np.nan), (1, 0)])
def test_slope_zero_or_nan_means_none(nifti, slope, inter):
    path = nifti(address(4, 5, 6, dtype="int16"))
    raw = bytearray(path.read_bytes())
    raw[112:120] = np.array([slope, inter], "<f4").tobytes()
    path.write_bytes(raw)
    _, pixels = whole(path)
    assert pixels.scale is None
    np.testing.assert_array_equal(pixels.values[..., 0], address(4, 5, 6).T)


def test_nan_is_not_valid(nifti):
    values = address(4, 5, 6, dtype="float32")
    values[1, 2, 3] = np.nan
    _, pixels = whole(nifti(values))
    assert not pixels.valid[3, 2, 1, 0]
    assert pixels.valid.sum() == values.size - 1


def test_one_slice_is_a_volume(nifti):
    source, pixels = whole(nifti(address(4, 5)))
    assert source.info.extent == (1, 5, 4)
    np.testing.assert_array_equal(pixels.values[0, ..., 0], address(4, 5).T)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_4d_needs_a_volume(nifti, suffix):
    values = address(4, 5, 6, 3)
    path = nifti(values, f"a{suffix}")
    with pytest.raises(InputError, match=r"3 volumes; choose one with --volume K \(0 to 2\)"):
        open_source(path)
    for volume in range(3):
        _, pixels = whole(path, volume=volume)
        np.testing.assert_array_equal(pixels.values[..., 0], values[..., volume].T)
    for volume in (3, -1):
        with pytest.raises(InputError, match="no volume"):
            open_source(path, volume=volume)


@pytest.mark.parametrize("shape", [(4, 5, 6, 1), (4, 5, 6, 1, 1)])
def test_singleton_axes_are_no_axes(nifti, shape):
    assert open_source(nifti(address(*shape))).info.extent == (6, 5, 4)


def test_the_fifth_axis_counts_as_volumes(nifti):
    values = address(4, 5, 6, 1, 3)
    _, pixels = whole(nifti(values), volume=2)
    np.testing.assert_array_equal(pixels.values[..., 0], values[..., 0, 2].T)


OBLIQUE = np.array([[1.9, -0.5, 0.2, -7], [0.6, 2.8, 0.3, 8], [-0.2, -0.3, 3.9, 9], [0, 0, 0, 1]])


def test_affine_spacing_and_volume(nifti):
    path = nifti(address(4, 5, 6), affine=OBLIQUE)
    georef = open_source(path).info.georef
    np.testing.assert_allclose(georef.matrix, nibabel.load(path).affine)
    sizes = nibabel.affines.voxel_sizes(OBLIQUE)
    assert georef.spacing_mm == pytest.approx(tuple(sizes[::-1]))
    assert georef.voxel_mm3 == pytest.approx(abs(np.linalg.det(OBLIQUE[:3, :3])))


def coded(sform, qform, matrix=None):
    def finish(image):
        image.set_sform(matrix, code=sform) if matrix is not None else image.set_sform(
            image.affine, code=sform
        )
        image.header["qform_code"] = qform

    return finish


def test_what_is_odd_about_a_place_is_said(nifti):
    def traps(affine=None, finish=None):
        path = nifti(address(4, 5, 6), affine=affine, finish=finish)
        return " ".join(open_source(path).info.warnings)

    def units(name):
        return lambda image: image.header.set_xyzt_units(name)

    moved = np.diag([2.0, 3.0, 4.0, 1.0])
    moved[0, 3] = 5
    assert traps() == ""
    assert "neither" in traps(finish=coded(0, 0))
    assert "up to 2.5 voxels apart: the sform is taken" in traps(finish=coded(1, 1, moved))
    assert "qform" not in traps(finish=coded(1, 0, moved))
    assert "not stated" in traps(finish=units("unknown"))
    assert "micron" in traps(finish=units("micron"))
    assert "oblique" in traps(OBLIQUE)
    assert "sheared" in traps(
        np.array([[1, 0.2, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    )


def test_qform_alone_is_the_affine(nifti):
    def qform_only(image):
        image.set_qform(np.diag([2.0, -3.0, 4.0, 1.0]), code=1)
        image.set_sform(None, code=0)

    georef = open_source(nifti(address(4, 5, 6), finish=qform_only)).info.georef
    assert georef.sform is None
    np.testing.assert_allclose(georef.matrix, np.diag([2, -3, 4, 1]))


@pytest.mark.parametrize(
    "broken", [np.diag([2.0, 0, 4, 1]), np.full((4, 4), np.nan), np.zeros((4, 4))]
)
def test_an_affine_without_inverse_is_refused(nifti, broken):
    path = nifti(address(4, 5, 6))
    raw = bytearray(path.read_bytes())
    raw[252:256] = np.array([0, 1], "<i2").tobytes()
    raw[280:328] = broken[:3].astype("<f4").tobytes()
    path.write_bytes(raw)
    with pytest.raises(InputError, match="sform is singular"):
        open_source(path)


def test_a_tiny_voxel_is_not_singular(nifti):
    assert open_source(nifti(address(4, 5, 6), affine=np.diag([1e-4, 1e-4, 1e-4, 1]))).info.extent


class TestDamage:
    def test_cut_short(self, nifti):
        path = nifti(address(40, 50, 6))
        raw = path.read_bytes()
        path.write_bytes(raw[:-1])
        with pytest.raises(InputError, match="cut short"):
            open_source(path)
        for header_only in (raw[:352], gzip.compress(raw[:352])):
            path.write_bytes(header_only)
            with pytest.raises(InputError, match="header without voxels"):
                open_source(path)
        path.write_bytes(raw[:200])
        with pytest.raises(InputError):
            open_source(path)

    def test_shrinks_after_opening(self, nifti):
        path = nifti(address(40, 50, 6))
        source = open_source(path)
        path.write_bytes(path.read_bytes()[:20_000])
        assert source.read(Box((0, 0, 0), (1, 50, 40))).values.size == 2000
        with pytest.raises(ReadError, match="5:6,0:50,0:40") as caught:
            source.read(Box((5, 0, 0), (6, 50, 40)))
        assert str(path) in caught.value.message

    @pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
    def test_absurd_claims(self, nifti, suffix):
        plain = nifti(address(4, 5, 6))
        raw = bytearray(plain.read_bytes())
        raw[42:48] = np.array([30000, 30000, 30000], "<i2").tobytes()
        path = plain.with_name(f"huge{suffix}")
        path.write_bytes(gzip.compress(bytes(raw)) if suffix.endswith("gz") else raw)
        with pytest.raises(InputError, match="can't hold them"):
            open_source(path)

    def test_no_shape_or_a_bad_type(self, nifti):
        raw = nifti(address(4, 5, 6)).read_bytes()
        for at, value in ((42, 0), (42, -5), (40, 0), (40, 12), (70, 9999)):
            path = nifti(address(4, 5, 6))
            path.write_bytes(raw[:at] + np.array([value], "<i2").tobytes() + raw[at + 2 :])
            with pytest.raises(InputError) as caught:
                open_source(path)
            assert "\n" not in caught.value.message


class TestStaging:
    def test_makes_a_plain_copy_once(self, nifti, tmp_path, monkeypatch):
        path = nifti(address(4, 5, 6), "a.nii.gz")
        staged = stage(path, tmp_path / "work")
        assert staged.read_bytes() == gzip.decompress(path.read_bytes())
        source, pixels = whole(path, staged=staged)
        np.testing.assert_array_equal(pixels.values[..., 0], address(4, 5, 6).T)
        assert source.info == open_source(path).info
        monkeypatch.setattr(plain_copy, "_write", lambda *_: pytest.fail("made again"))
        assert stage(path, tmp_path / "work") == staged

    def test_a_plain_file_is_its_own_copy(self, nifti, tmp_path):
        path = nifti(address(4, 5, 6))
        assert stage(path, tmp_path / "work") == path
        assert not (tmp_path / "work").exists()

    def test_one_name_in_two_folders_is_two_copies(self, nifti, tmp_path):
        first = nifti(address(4, 5, 6), "a.nii.gz")
        second = tmp_path / "other" / "a.nii.gz"
        second.parent.mkdir()
        nibabel.save(nibabel.Nifti1Image(address(4, 5, 6) + 1, np.eye(4)), second)
        assert stage(first, tmp_path) != stage(second, tmp_path)

    def test_without_staging_the_private_copy_goes_with_the_source(self, nifti):
        source = open_source(nifti(address(4, 5, 6), "a.nii.gz"))
        assert isinstance(source, NiftiSource)
        assert source._folder is None
        source.read(Box.whole(source.info.extent))
        folder = Path(source._folder.name)
        assert folder.is_dir()
        source.close()
        assert not folder.exists()

    def test_members_in_a_row_are_one_file(self, nifti):
        path = nifti(address(40, 50, 6))
        raw = path.read_bytes()
        parts = path.with_suffix(".nii.gz")
        parts.write_bytes(gzip.compress(raw[:9000]) + gzip.compress(raw[9000:]))
        _, pixels = whole(parts)
        np.testing.assert_array_equal(pixels.values[..., 0], address(40, 50, 6).T)

    def test_damage_is_found_and_nothing_left(self, nifti, tmp_path):
        rng = np.random.default_rng(0)
        path = nifti(rng.integers(0, 99, (40, 50, 60)).astype("int16"), "a.nii.gz")
        good, work = path.read_bytes(), tmp_path / "work"
        flipped = bytearray(good)
        flipped[-6] ^= 1  # in the checksum
        short = gzip.compress(gzip.decompress(good)[:-1000])
        for bad in (good[: len(good) // 2], bytes(flipped), good[:5000] + good[5100:], short):
            path.write_bytes(bad)
            with pytest.raises(InputError) as caught:
                stage(path, work)
            assert "\n" not in caught.value.message
            assert list(work.iterdir()) == []

    def test_a_bomb_is_stopped(self, nifti, tmp_path, monkeypatch):
        path = nifti(address(4, 5, 6), "a.nii.gz")
        path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + bytes(1 << 20)))
        assert stage(path, tmp_path / "padded").stat().st_size == 352 + 480
        monkeypatch.setattr(nifti_staging, "_SLACK_BYTES", 1000)
        with pytest.raises(InputError, match="goes on"):
            stage(path, tmp_path / "work")

    def test_a_full_disk(self, nifti, tmp_path, monkeypatch):
        path = nifti(address(4, 5, 6), "a.nii.gz")

        def full(_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(plain_copy.os, "fsync", full)
        with pytest.raises(OutputError, match="No space left"):
            stage(path, tmp_path / "work")
        assert list((tmp_path / "work").iterdir()) == []
        monkeypatch.setattr(plain_copy.shutil, "disk_usage", lambda _: type("U", (), {"free": 3}))
        with pytest.raises(OutputError, match="make room"):
            stage(path, tmp_path / "work")

    def test_a_staged_file_that_is_not_whole_is_refused(self, nifti, tmp_path):
        path = nifti(address(4, 5, 6), "a.nii.gz")
        staged = stage(path, tmp_path / "work")
        staged.write_bytes(staged.read_bytes()[:-1])
        with pytest.raises(InputError, match="not a whole copy"):
            open_source(path, staged=staged)
        assert stage(path, tmp_path / "work").stat().st_size == 352 + 480


class TestRealFiles:
    @pytest.mark.parametrize(
        ("name", "volume"),
        [
            ("nifti_awkward/nibabel_example4d.nii.gz", 1),
            ("nifti_awkward/nibabel_functional.nii", 19),
            ("nifti_awkward/nilearn_mni152_t1.nii.gz", None),
            ("totalsegmentator_ct/example_ct.nii.gz", None),
            ("totalsegmentator_ct/example_mr_sm.nii.gz", None),
        ],
    )
    def test_values_and_affine_are_nibabels(self, data, name, volume):
        source, pixels = whole(data / name, volume=volume)
        image = nibabel.load(data / name)
        expected = np.asarray(image.dataobj)
        expected = expected if volume is None else expected[..., volume]
        np.testing.assert_allclose(pixels.physical()[..., 0], expected.T)
        np.testing.assert_array_equal(source.info.georef.matrix, image.affine)
        source.close()

    def test_warnings(self, data):
        folder = data / "nifti_awkward"
        oblique = open_source(folder / "nibabel_example4d.nii.gz", volume=0).info
        assert oblique.warnings == ("axes are oblique by 9.3 degrees",)
        template = open_source(folder / "nilearn_mni152_t1.nii.gz").info
        assert template.georef.qform_code == 0
        assert template.georef.sform_code == 2


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_a_header_with_long_extensions(tmp_path, kind):
    values = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    image = kind(values, np.eye(4))
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension(6, b"history " * 5000))
    image.to_filename(tmp_path / "long.nii.gz")
    source, pixels = whole(tmp_path / "long.nii.gz")
    source.close()
    assert np.array_equal(pixels.values[..., 0], values.T)
