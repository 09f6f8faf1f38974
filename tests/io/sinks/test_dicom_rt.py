"""RT structure sets: contours that, filled again, are the labels, as skimage fills them, too."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import contourpy
import numpy as np
import pydicom
import pytest
from skimage.draw import polygon2mask

from seg_batch.core.errors import DamagedError, OutputError
from seg_batch.core.geometry import Box
from seg_batch.io.sinks.dicom_rt import write as write_module
from seg_batch.io.sinks.dicom_rt.contours import fill, outlines
from seg_batch.io.sinks.dicom_rt.write import check_structures, write_structures
from seg_batch.io.sinks.dicom_seg.origin import origin_of
from seg_batch.io.sinks.dicom_seg.segments import segments_for
from seg_batch.io.sinks.spec import ProductSpec
from tests.io.sinks.test_dicom_seg import LIVER, SHAPE, labels_of, spec_of
from tests.support.dicom_files import AXIAL, oblique, write_series


def write(part: Path, spec: ProductSpec, labels: np.ndarray) -> Any:
    def read(box: Box) -> np.ndarray:
        return labels[box.slices()]

    write_structures(part, spec, read, read, ".rtstruct.dcm")
    return pydicom.dcmread(part)


@pytest.mark.parametrize("seed", range(4))
def test_contours_of_any_mask_are_filled_to_it_again(seed: int) -> None:
    """Noise has all that is awkward: holes in holes, touching corners, single voxels, borders."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, (2, 3, 4, 2)[seed], (23, 31)).astype(np.int32)
    labels[5:18, 6:20] = 1
    labels[8:15, 9:17] = 0
    labels[10:13, 11:15] = 1
    for label in range(1, labels.max() + 1):
        lines = [line for number, line in outlines(labels) if number == label]
        np.testing.assert_array_equal(fill(labels.shape, lines), labels == label)
        by_skimage = np.zeros(labels.shape, int)
        for line in lines:
            by_skimage += polygon2mask(labels.shape, line[:, ::-1])
        np.testing.assert_array_equal(by_skimage % 2 == 1, labels == label)


@pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
def test_one_line_of_thousands_of_holes_is_filled_as_the_lines_of_all(share: float) -> None:
    mask = np.random.default_rng(3).random((160, 170)) < share
    made = contourpy.contour_generator(
        z=np.pad(mask, 1).astype(float), name="serial", fill_type="OuterOffset"
    )
    rings = [
        points[a : b - 1] - 1
        for points, ends in zip(*made.filled(0.5, 2.0), strict=True)
        for a, b in itertools.pairwise(ends.tolist())
    ]
    lines = [line for _, line in outlines(mask.astype(np.int32))]
    assert len(lines) < len(rings)
    np.testing.assert_array_equal(fill(mask.shape, lines), fill(mask.shape, rings))
    np.testing.assert_array_equal(fill(mask.shape, lines), mask)
    ways = [np.sort([a, b], axis=0) for a, b in _channels(lines)]
    assert all(mask[int(y), int(x0 + 0.5) : int(x1 + 0.5)].all() for (x0, y), (x1, _) in ways)


def _channels(lines: list[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The edges that no line around voxels has: those along a row of centres."""
    for line in lines:
        for a, b in itertools.pairwise(line):
            if a[1] == b[1] and a[1] % 1 == 0:
                yield a, b


def test_more_points_than_programs_can_use_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(tmp_path / "s", SHAPE)
    labels = labels_of()
    spec = spec_of(tmp_path / "s", labels)
    for limit, said in (
        ("_MOST_POINTS", r"points on slice \d"),
        ("_MOST_BYTES", r"up to slice \d"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(write_module, limit, 20)
            with pytest.raises(OutputError, match=rf"{said}.*\.seg\.dcm or \.nii\.gz"):
                write(tmp_path / "x.rtstruct.dcm", spec, labels)


def test_a_region_with_holes_is_one_line() -> None:
    labels = np.ones((9, 12), np.int32)
    labels[2:4, 2:4] = labels[5:7, 6:10] = 0
    ((_, line),) = outlines(labels)
    np.testing.assert_array_equal(fill(labels.shape, [line]), labels == 1)


@pytest.mark.parametrize("orientation", [AXIAL, oblique(20.0, -35.0, 10.0)])
@pytest.mark.parametrize("tilt", [None, 0.7])
def test_contours_lie_in_the_patient_where_their_voxels_do(
    orientation: tuple[float, ...], tilt: float | None, tmp_path: Path
) -> None:
    rows, columns = np.split(np.array(orientation), 2)
    step = None if tilt is None else np.cross(rows, columns) * 2.5 + tilt * columns
    series = write_series(tmp_path / "s", SHAPE, orientation=orientation, step=step)
    labels = np.zeros(SHAPE, np.uint8)
    labels[2, 3, 4] = 1  # its contour is a diamond around its centre
    data = write(tmp_path / "x.rtstruct.dcm", spec_of(tmp_path / "s", labels), labels)
    (item,) = data.ROIContourSequence[0].ContourSequence
    at = np.array(item.ContourData, float).reshape(-1, 3).mean(0)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ series.affine
    np.testing.assert_allclose(at, (lps @ (4, 3, 2, 1))[:3], atol=1e-4)


def test_a_structure_set_refers_to_its_series(tmp_path: Path) -> None:
    series = write_series(tmp_path / "s", SHAPE)
    labels = labels_of()
    spec = spec_of(tmp_path / "s", labels)
    classes = tuple(replaced(c) if c.id == 2 else c for c in spec.classes)
    spec = replace(spec, classes=classes)
    data = write(tmp_path / "x.rtstruct.dcm", spec, labels)
    assert [one.ROIName for one in data.StructureSetROISequence] == ["part 1", "Leber", "part 5"]
    assert list(data.ROIContourSequence[1].ROIDisplayColor) == [200, 30, 90]
    code = data.RTROIObservationsSequence[1].RTROIIdentificationCodeSequence[0]
    assert code.CodeValue == "10200004"
    frame = data.ReferencedFrameOfReferenceSequence[0]
    assert frame.FrameOfReferenceUID == series.frame_of_reference
    of = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    assert (of.SeriesInstanceUID, len(of.ContourImageSequence)) == (series.uid, SHAPE[0])
    again = write(tmp_path / "y.rtstruct.dcm", replace(spec, chunk=(1, 2, 2)), labels)
    assert (tmp_path / "x.rtstruct.dcm").read_bytes() == (tmp_path / "y.rtstruct.dcm").read_bytes()
    assert again.PatientID == "made-up-1"
    nothing = write(tmp_path / "z.rtstruct.dcm", spec, np.zeros(SHAPE, np.uint8))
    assert not nothing.ROIContourSequence[0].get("ContourSequence")


def replaced(info: Any) -> Any:
    return info.model_copy(update={"name": "Leber", "colour": (200, 30, 90), "code": LIVER})


def test_contours_that_hold_other_voxels_are_seen(tmp_path: Path) -> None:
    write_series(tmp_path / "s", SHAPE)
    labels = labels_of()
    spec = spec_of(tmp_path / "s", labels)
    path = tmp_path / "x.rtstruct.dcm"
    write(path, spec, labels)
    origin = origin_of(spec.image, spec.extent, spec.georef, ".rtstruct.dcm")
    segments = segments_for(spec, {0, 1, 2, 5})
    boxes = [Box.whole(SHAPE)]
    other = labels.copy()
    other[3, 2, 2] ^= 1
    with pytest.raises(DamagedError, match="other voxels"):
        check_structures(path, origin, segments, lambda box: other[box.slices()], boxes)

    def read(box: Box) -> np.ndarray:
        return labels[box.slices()]

    def beside(data: Any) -> None:
        item = data.ROIContourSequence[0].ContourSequence[0]
        item.ContourData = [v + 0.01 * (n % 3 == 2) for n, v in enumerate(item.ContourData)]

    def elsewhere(data: Any) -> None:
        items = data.ROIContourSequence[0].ContourSequence
        items.append(deepcopy(items[0]))
        items[-1].ContourImageSequence[0].ReferencedSOPInstanceUID = "1.2.3"

    for change, said in ((beside, "lie beside it"), (elsewhere, "none of the series")):
        data = pydicom.dcmread(path)
        change(data)
        data.save_as(tmp_path / "changed.dcm")
        with pytest.raises(DamagedError, match=said):
            check_structures(tmp_path / "changed.dcm", origin, segments, read, boxes)


def test_what_is_written_otherwise_than_it_was_made_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(tmp_path / "s", SHAPE)
    labels = labels_of()

    def faulty(file: Any, data: Any, **options: Any) -> None:
        del data.ROIContourSequence[0].ContourSequence[-1]
        pydicom.dcmwrite(file, data, **options)

    monkeypatch.setattr(write_module, "pydicom", SimpleNamespace(dcmwrite=faulty, dcmread=pydicom.dcmread))  # fmt: skip
    with pytest.raises(DamagedError, match="other voxels"):
        write(tmp_path / "x.rtstruct.dcm", spec_of(tmp_path / "s", labels), labels)


@pytest.mark.needs("dciodvfy")
def test_dciodvfy_finds_no_error(tmp_path: Path) -> None:
    write_series(tmp_path / "s", SHAPE)
    labels = labels_of()
    write(tmp_path / "x.rtstruct.dcm", spec_of(tmp_path / "s", labels), labels)
    done = subprocess.run(
        ["dciodvfy", "-new", tmp_path / "x.rtstruct.dcm"], capture_output=True, text=True
    )
    assert not [line for line in done.stderr.splitlines() if line.startswith("Error")]
    assert "RTStructureSet" in done.stderr
