"""DICOM segmentations: on the slices of their series, whatever its orientation, as all readers see them."""

from __future__ import annotations

import itertools
import re
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import dcmqi
import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK
from highdicom.color import CIELabColor
from pydicom.pixels.decoders.rle import _rle_decode_frame
from pydicom.uid import DeflatedExplicitVRLittleEndian

from seg_batch.config.card import ClassInfo
from seg_batch.config.card_parts.codes import SegmentCode
from seg_batch.core.errors import DamagedError, InputError, OutputError, ReadError
from seg_batch.core.geometry import Box
from seg_batch.core.georef import VolumeGeoref
from seg_batch.io.sinks.dicom_seg import frames
from seg_batch.io.sinks.dicom_seg.check import check_seg
from seg_batch.io.sinks.dicom_seg.origin import origin_of
from seg_batch.io.sinks.dicom_seg.rle import rle
from seg_batch.io.sinks.dicom_seg.segments import Segment, algorithm_of, description
from seg_batch.io.sinks.dicom_seg.write import write_seg
from seg_batch.io.sinks.spec import ProductSpec
from seg_batch.io.sources import open_source
from seg_batch.io.sources.views.image_spec import ImageSpec
from tests.support.dicom_files import SeriesOf, oblique, write_series
from tests.support.io.stores import card_of

SHAPE = (4, 6, 7)
LIVER = SegmentCode(
    category="SCT 123037004 Anatomical Structure",
    type="SCT 10200004 Liver",
    modifier="SCT 7771000 Left",
)
CLASSES = tuple(ClassInfo(id=k, name=f"part {k}") for k in (0, 1, 2, 5))
TAGS = {
    "SEGBATCH_MODEL": "made up",
    "SEGBATCH_WEIGHTS": "ab" * 32,
    "SEGBATCH_FINGERPRINT": "f",
    "SEGBATCH_STATUS": "complete",
}
KINDS = ("labelmap", "binary")


def labels_of(shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """An asymmetric part of each class."""
    z, y, x = np.indices(shape)
    labels = np.zeros(shape, np.uint8)
    labels[(z + 2 * y + 3 * x) % 11 == 3] = 1
    labels[(z > 0) & (y < 2) & (x > 3)] = 2
    labels[1, 3, 1:4] = labels[2, 3, 1] = 5
    return labels


def spec_of(folder: Path, labels: np.ndarray, **of: Any) -> ProductSpec:
    image = ImageSpec((str(folder),))
    with closing(image.open()) as source:
        info = source.info
    spec = ProductSpec(
        info.extent, labels.dtype.name, None, CLASSES, info.georef, tags=TAGS, image=image
    )
    return replace(spec, **of)


def write(part: Path, spec: ProductSpec, labels: np.ndarray) -> Path:
    def read(box: Box) -> np.ndarray:
        return labels[box.slices()]

    write_seg(part, spec, read, read, ".seg.dcm")
    return part


def in_order(series: SeriesOf, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels of the slices as written, as they come along the normal; and the affine (LPS) of those as written."""
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ series.affine
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    return (labels if affine[:3, 2] @ normal > 0 else labels[::-1]), affine


def centroids(labels: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Of each class, in the patient, of ``(z, y, x)``; ``affine``: of ``(x, y, z)``."""
    return np.array(
        [(affine @ np.append(np.argwhere(labels == k).mean(0)[::-1], 1))[:3] for k in (1, 2, 5)]
    )


def by_highdicom(path: Path) -> tuple[np.ndarray, np.ndarray]:
    seg = highdicom.seg.segread(path)
    volume = seg.get_volume(combine_segments=True, relabel=False)
    affine = volume.affine[:, [2, 1, 0, 3]]  # of its (slice, row, column)
    return _as_labels(path, np.asarray(volume.array)), affine


def by_us(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with closing(open_source(path)) as source:
        values = source.read(Box.whole(source.info.extent)).values[..., 0]
        georef = source.info.georef
        assert isinstance(georef, VolumeGeoref)
        return values, georef.matrix


def by_dcmqi(path: Path) -> tuple[np.ndarray, np.ndarray]:
    out = path.with_suffix(".dcmqi")
    out.mkdir()
    program = Path(dcmqi.__file__).parent / "bin" / "segimage2itkimage"
    options = ["--inputDICOM", path, "--outputDirectory", out, "--prefix", "x", "--outputType"]
    subprocess.run([program, *options, "nrrd", "--mergeSegments"], check=True, capture_output=True)
    image = SimpleITK.ReadImage(str(out / "x-1.nrrd"))
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) @ np.diag(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return _as_labels(path, SimpleITK.GetArrayFromImage(image)), affine


def frames_by_simpleitk(path: Path) -> np.ndarray:
    """The frames of a binary one as they lie in the file, without a place; a label map is of a class that GDCM does not
    know yet."""
    return np.asarray(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))) > 0


def _as_labels(path: Path, values: np.ndarray) -> np.ndarray:
    """Segment numbers as labels, by the descriptions."""
    out = np.zeros_like(values)
    for item in pydicom.dcmread(path, stop_before_pixels=True).SegmentSequence:
        if item.SegmentNumber:
            out[values == item.SegmentNumber] = int(item.SegmentDescription.split()[1])
    return out


def orientations() -> Iterator[tuple[tuple[float, ...], int]]:
    """All 24 pairs of directions of rows and columns, and slices that follow the normal or come against it."""
    axes = [sign * axis for axis in np.eye(3) for sign in (1, -1)]
    for rows, columns in itertools.product(axes, axes):
        if not np.dot(rows, columns):
            yield from (((*rows, *columns), way) for way in (1, -1))


def along(orientation: tuple[float, ...], way: int, mm: float = 2.5) -> np.ndarray:
    return way * mm * np.cross(*np.split(np.array(orientation), 2))


def require_right(folder: Path, kind: str, ways: Iterable[tuple[tuple[float, ...], int]]) -> int:
    labels, count = labels_of(), 0
    for orientation, way in ways:
        series = write_series(
            folder / str(count), SHAPE, orientation=orientation, step=along(orientation, way)
        )
        ours, affine = in_order(series, labels)
        spec = spec_of(folder / str(count), ours, seg=kind)
        path = write(folder / f"{count}.seg.dcm", spec, ours)
        expected = centroids(labels, affine)
        for reader in (by_highdicom, by_dcmqi):
            got, at = reader(path)
            assert np.bincount(got.ravel()).tolist() == np.bincount(ours.ravel()).tolist()
            np.testing.assert_allclose(centroids(got, at), expected, atol=1e-4)
        values, ras = by_us(path)
        np.testing.assert_array_equal(values, ours)
        lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ ras
        np.testing.assert_allclose(centroids(values, lps), expected, atol=1e-6)
        count += 1
    return count


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
def test_right_in_all_48_orientations(kind: str, tmp_path: Path) -> None:
    assert require_right(tmp_path, kind, orientations()) == 48


@pytest.mark.parametrize("kind", KINDS)
def test_right_in_orientations_that_turn_and_mirror(kind: str, tmp_path: Path) -> None:
    few = [way for n, way in enumerate(orientations()) if n % 11 == 5]
    turned = [(oblique(20.0, -35.0, 10.0), way) for way in (1, -1)]
    assert require_right(tmp_path, kind, [*few, *turned]) == 6


@pytest.mark.parametrize("kind", KINDS)
def test_labels_of_a_tilted_series_lie_on_its_slices(kind: str, tmp_path: Path) -> None:
    step = (0.0, 0.7, 2.5)
    series = write_series(tmp_path / "s", SHAPE, step=step)
    labels = labels_of()
    path = write(tmp_path / "x.seg.dcm", spec_of(tmp_path / "s", labels, seg=kind), labels)
    values, ras = by_us(path)
    np.testing.assert_array_equal(values, labels)
    np.testing.assert_allclose(ras, series.affine, atol=1e-6)
    items = pydicom.dcmread(path).PerFrameFunctionalGroupsSequence
    at = {tuple(item.PlanePositionSequence[0].ImagePositionPatient) for item in items}
    assert at == {tuple(series.position(k)) for k in range(SHAPE[0])}


def test_simpleitk_reads_the_same_bits(tmp_path: Path) -> None:
    write_series(tmp_path / "s", SHAPE)
    labels = labels_of()
    path = write(tmp_path / "x.seg.dcm", spec_of(tmp_path / "s", labels, seg="binary"), labels)
    with closing(open_source(path)) as source:
        pixels, by_number = frames_by_simpleitk(path), source.frames  # type: ignore[attr-defined]
        for k, those in enumerate(by_number.of_plane):
            for index, number in those:
                expected = labels[k] == by_number.labels[number]
                np.testing.assert_array_equal(pixels[index], expected)


def test_each_frame_refers_to_the_slice_that_it_lies_on(tmp_path: Path) -> None:
    series = write_series(tmp_path / "s", SHAPE, names=lambda k: f"{(7 * k) % 5}")
    sources = [pydicom.dcmread(path) for path in (tmp_path / "s").iterdir()]
    at = {str(one.SOPInstanceUID): list(one.ImagePositionPatient) for one in sources}
    labels = labels_of()
    for kind in KINDS:
        path = write(
            tmp_path / f"{kind}.seg.dcm", spec_of(tmp_path / "s", labels, seg=kind), labels
        )
        data = pydicom.dcmread(path)
        for item in data.PerFrameFunctionalGroupsSequence:
            of = item.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
            assert list(item.PlanePositionSequence[0].ImagePositionPatient) == at[of]
        referred = data.ReferencedSeriesSequence[0]
        assert referred.SeriesInstanceUID == series.uid
        uids = {one.ReferencedSOPInstanceUID for one in referred.ReferencedInstanceSequence}
        assert uids == set(at)
        assert data.FrameOfReferenceUID == series.frame_of_reference
        assert data.StudyInstanceUID == series.study_uid
        assert (data.PatientID, str(data.PatientName)) == ("made-up-1", "Nobody^Made Up")


def test_segments_say_what_the_card_says(tmp_path: Path) -> None:
    write_series(tmp_path / "s", SHAPE)
    labels = labels_of()
    liver = ClassInfo(id=2, name="Leber", colour=(200, 30, 90), code=LIVER)
    classes = (*CLASSES[:2], liver, CLASSES[3], ClassInfo(id=9, name="not there"))
    for kind in KINDS:
        spec = spec_of(tmp_path / "s", labels, seg=kind, classes=classes)
        seg = highdicom.seg.segread(write(tmp_path / f"{kind}.seg.dcm", spec, labels))
        numbers = [1, 2, 5] if kind == "labelmap" else [1, 2, 3]
        assert seg.segment_numbers == numbers  # neither the background nor what is not there
        one = seg.get_segment_description(2)
        assert one.segment_label == "Leber"
        assert one.segmented_property_type.value == "10200004"
        assert one.segmented_property_category.scheme_designator == "SCT"
        of_type = one.SegmentedPropertyTypeCodeSequence[0]
        modifier = of_type.SegmentedPropertyTypeModifierCodeSequence[0]
        assert (modifier.CodeValue, modifier.CodeMeaning) == ("7771000", "Left")
        colour = CIELabColor.from_dicom_value(one.RecommendedDisplayCIELabValue)
        assert np.abs(np.array(colour.to_rgb()) - (200, 30, 90)).max() <= 1
        algorithm = one.SegmentationAlgorithmIdentificationSequence[0]
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("made up", "ab" * 32)
        own = seg.get_segment_description(1).segmented_property_type
        assert (own.scheme_designator, own.meaning) == ("99SEGBATCH", "part 1")


def test_the_same_labels_have_the_same_bytes_whatever_the_chunks(tmp_path: Path) -> None:
    write_series(tmp_path / "s", SHAPE)
    labels = labels_of()
    for kind in KINDS:
        spec = spec_of(tmp_path / "s", labels, seg=kind)
        first = write(tmp_path / "1.seg.dcm", spec, labels).read_bytes()
        second = write(tmp_path / "2.seg.dcm", replace(spec, chunk=(1, 2, 3)), labels)
        assert second.read_bytes() == first
        other = labels.copy()
        other[0, 0, 0] ^= 1
        third = write(tmp_path / "3.seg.dcm", spec, other)
        uids = {pydicom.dcmread(p).SOPInstanceUID for p in (second, third)}
        assert len(uids) == 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("ids", "background"), [((3, 0, 7), 3), ((0, 1, 2), None), ((0, 1, 300, 65000), 0)]
)
def test_any_ids_come_back(
    kind: str, ids: tuple[int, ...], background: int | None, tmp_path: Path
) -> None:
    write_series(tmp_path / "s", SHAPE)
    labels = np.array(ids, np.uint16)[np.minimum(labels_of(), 3) % len(ids)]
    labels = labels.astype(np.uint8) if max(ids) < 256 else labels
    classes = tuple(ClassInfo(id=k, name=f"part {k}") for k in ids)
    spec = spec_of(
        tmp_path / "s", labels, seg=kind, classes=classes, card=card_of(classes, background)
    )
    values, _ = by_us(write(tmp_path / "x.seg.dcm", spec, labels))
    np.testing.assert_array_equal(values, labels)
    seg = highdicom.seg.segread(tmp_path / "x.seg.dcm")
    assert len(seg.segment_numbers) == len(ids) - (background is not None)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_found_and_parts_that_failed(kind: str, tmp_path: Path) -> None:
    write_series(tmp_path / "s", SHAPE)
    labels = np.zeros(SHAPE, np.uint8)
    path = write(tmp_path / "x.seg.dcm", spec_of(tmp_path / "s", labels, seg=kind), labels)
    assert not by_us(path)[0].any()
    labels[:, 2:] = 255
    tags = {**TAGS, "SEGBATCH_STATUS": "PARTIAL"}
    spec = spec_of(tmp_path / "s", labels, seg=kind, tags=tags)
    seg = highdicom.seg.segread(write(path, spec, labels))
    np.testing.assert_array_equal(by_us(path)[0], labels)
    assert [seg.get_segment_description(n).segment_label for n in seg.segment_numbers] == [
        "not predicted"
    ]
    assert "PARTIAL" in seg.SeriesDescription
    assert "PARTIAL" in seg.ContentDescription


@pytest.mark.parametrize("kind", KINDS)
def test_a_bit_that_fails_is_seen(kind: str, tmp_path: Path) -> None:
    write_series(tmp_path / "s", SHAPE)
    labels = labels_of()
    spec = spec_of(tmp_path / "s", labels, seg=kind)
    path = write(tmp_path / "x.seg.dcm", spec, labels)
    origin = origin_of(spec.image, spec.extent, spec.georef, ".seg.dcm")
    boxes = [Box.whole(SHAPE)]
    check_seg(path, origin, lambda box: labels[box.slices()], boxes)
    other = labels.copy()
    other[2, 3, 4] ^= 1
    with pytest.raises(DamagedError, match="voxels differ"):
        check_seg(path, origin, lambda box: other[box.slices()], boxes)
    slices = origin.series.slices
    swapped = replace(origin.series, slices=(slices[1], slices[0], *slices[2:]))
    moved = replace(origin, georef=VolumeGeoref(tuple(map(tuple, (np.eye(4)).tolist()))))
    with pytest.raises(DamagedError, match="affine"):
        check_seg(path, moved, lambda box: labels[box.slices()], boxes)
    with pytest.raises(DamagedError, match="extent"):
        check_seg(path, replace(origin, extent=(9, 9, 9)), lambda box: labels[box.slices()], boxes)
    with pytest.raises(DamagedError, match="another slice"):
        check_seg(path, replace(origin, series=swapped), lambda box: labels[box.slices()], boxes)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_otherwise_than_it_was_read_is_seen(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(tmp_path / "s", SHAPE)
    labels = labels_of()
    name = "append_map" if kind == "labelmap" else "append_bits"
    append: Any = getattr(frames, name)

    def faulty(part: Path, read: Any, *rest: Any) -> None:
        append(part, lambda box: read(box)[:, :, ::-1], *rest)

    monkeypatch.setattr(frames, name, faulty)
    with pytest.raises(DamagedError, match="voxels differ"):
        write(tmp_path / "x.seg.dcm", spec_of(tmp_path / "s", labels, seg=kind), labels)


def test_bits_of_more_than_4_gib_are_refused(tmp_path: Path) -> None:
    boxes, order = [Box.whole((1, 1 << 15, 1 << 15))], [(0, n) for n in range(33)]
    with pytest.raises(OutputError, match=r"4 GiB.*--seg labelmap"):
        frames.append_bits(tmp_path / "never.made", np.zeros, order, boxes)  # type: ignore[arg-type]


def test_segments_that_overlap_unsaid_are_refused_where_they_do(tmp_path: Path) -> None:
    write_series(tmp_path / "s", SHAPE)
    labels = labels_of()
    path = write(tmp_path / "x.seg.dcm", spec_of(tmp_path / "s", labels, seg="binary"), labels)
    data = pydicom.dcmread(path)
    del data.SegmentsOverlap
    data.PixelData = b"\xff" * len(data.PixelData)
    data.save_as(path)
    with closing(open_source(path)) as source, pytest.raises(ReadError, match="overlap on plane"):
        source.read(Box.whole(SHAPE))


def test_headers_that_lack_or_break_what_is_copied(tmp_path: Path) -> None:
    labels = labels_of()
    lacking = dict.fromkeys(
        ("PatientID", "PatientBirthDate", "StudyDate", "StudyID", "ContentDate")
    )
    japanese = "Yamada^Tarou=山田^太郎"
    tags = {"SpecificCharacterSet": ["", "ISO 2022 IR 87"], "PatientName": japanese}
    for n, said in enumerate((lacking, tags)):
        write_series(tmp_path / str(n), SHAPE, tags=said)
        path = write(tmp_path / "x.seg.dcm", spec_of(tmp_path / str(n), labels), labels)
        data = pydicom.dcmread(path)
        assert str(data.PatientName) == said.get("PatientName", "Nobody^Made Up")
    series = write_series(tmp_path / "none", SHAPE, tags={"FrameOfReferenceUID": None})
    path = write(tmp_path / "x.seg.dcm", spec_of(tmp_path / "none", labels), labels)
    got, at = by_highdicom(path)
    expected = centroids(labels, np.diag([-1.0, -1.0, 1.0, 1.0]) @ series.affine)
    np.testing.assert_allclose(centroids(got, at), expected, atol=1e-4)
    write_series(tmp_path / "one", SHAPE, tags={"StudyInstanceUID": None})
    spec = spec_of(tmp_path / "one", labels)
    with pytest.raises(OutputError, match=r"no usable StudyInstanceUID.*nii\.gz"):
        write(tmp_path / "x.seg.dcm", spec, labels)


@pytest.mark.needs("dciodvfy")
@pytest.mark.parametrize("kind", KINDS)
def test_dciodvfy_finds_no_error(kind: str, tmp_path: Path) -> None:
    """Of label maps it knows only that their first segment has number 0, which it takes for an error, as it is one in
    the segmentations that it knows."""
    write_series(tmp_path / "s", SHAPE)
    labels = labels_of()
    path = write(tmp_path / "x.seg.dcm", spec_of(tmp_path / "s", labels, seg=kind), labels)
    done = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True)
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error")]
    if kind == "labelmap":
        errors = [
            e for e in errors if not re.search("SegmentNumber of 0|Information Object Not found", e)
        ]
    assert not errors


@pytest.mark.parametrize("most", [1, 2, 200, 60_000])
def test_frames_in_rle_are_decoded_by_pydicom(most: int) -> None:
    """Runs and noise of all lengths, in one byte and in two."""
    rng = np.random.default_rng(most)
    dtype = np.dtype(np.uint8 if most < 256 else np.uint16)
    for rows, columns in ((1, 1), (7, 1), (3, 129), (5, 300), (64, 64)):
        plane = np.repeat(
            rng.integers(0, most + 1, rows * columns), rng.integers(1, 5, rows * columns)
        )
        plane = plane[: rows * columns].reshape(rows, columns).astype(dtype)
        plane[: rows // 2, : columns // 2] = most
        got = _rle_decode_frame(rle(plane), rows, columns, 1, 8 * dtype.itemsize, ">")
        np.testing.assert_array_equal(np.frombuffer(got, dtype).reshape(rows, columns), plane)


def test_segmentations_of_others(tmp_path: Path) -> None:
    """Planes without a frame are background; what has no one label is refused."""
    write_series(tmp_path / "s", (6, 5, 4))
    images = [pydicom.dcmread(path) for path in sorted((tmp_path / "s").iterdir())]
    labels = np.zeros((6, 5, 4, 2), np.uint8)
    labels[0, 1:3, 2, 0] = labels[4, 3, 1:3, 1] = 1
    made: Any = partial(
        highdicom.seg.Segmentation,
        images,
        segment_descriptions=_described(2),
        series_instance_uid=highdicom.UID(),
        series_number=1,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="x",
        manufacturer_model_name="x",
        software_versions="1",
        device_serial_number="1",
    )
    made(labels, segmentation_type="BINARY").save_as(tmp_path / "x.dcm")
    values, _ = by_us(tmp_path / "x.dcm")
    np.testing.assert_array_equal(values, (labels * [1, 2]).sum(-1)[:5])
    made(labels * 0.5, segmentation_type="FRACTIONAL").save_as(tmp_path / "f.dcm")
    with pytest.raises(InputError, match="type FRACTIONAL"):
        open_source(tmp_path / "f.dcm")
    labels[..., 1] |= labels[..., 0]
    made(labels, segmentation_type="BINARY").save_as(tmp_path / "o.dcm")
    with pytest.raises(InputError, match="segments overlap"):
        open_source(tmp_path / "o.dcm")
    header = pydicom.dcmread(tmp_path / "x.dcm")
    header.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    header.save_as(tmp_path / "d.dcm")
    with pytest.raises(InputError, match="deflated"):
        open_source(tmp_path / "d.dcm")
    (tmp_path / "c.dcm").write_bytes((tmp_path / "x.dcm").read_bytes()[:900])
    with pytest.raises(InputError, match="cut short"):
        open_source(tmp_path / "c.dcm")


def _described(count: int) -> list[highdicom.seg.SegmentDescription]:
    segments = [Segment(k, ClassInfo(id=k, name=f"part {k}")) for k in range(1, count + 1)]
    return [description(one, algorithm_of(TAGS, "1"), highdicom.UID()) for one in segments]
