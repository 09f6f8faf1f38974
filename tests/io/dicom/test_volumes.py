"""Series of several volumes, and enhanced files that hold a series in one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, JPEGLSLossless

from seg_batch.core.errors import InputError
from seg_batch.io.sources.protocol import SeveralVolumesError
from tests.support.dicom_files import SAGITTAL, addresses, write_enhanced, write_series
from tests.support.dicom_reading import read

SHAPE = (6, 6, 7)


def of_two(**tags: tuple[Any, Any]) -> Callable[[int], dict[str, Any]]:
    """Six slices at three places, each with the first or the second value of a tag."""
    return lambda k: {
        "ImagePositionPatient": [0, 0, 2.5 * (k // 2)],
        **{name: values[k % 2] for name, values in tags.items()},
    }


MARKS = {
    "time point": {"TemporalPositionIdentifier": (1, 2)},
    "echo": {"EchoTime": (4.5, 30)},
    "diffusion weighting": {"DiffusionBValue": (0.0, 1000.0)},
    "trigger time": {"TriggerTime": (10, 250)},
    "acquisition": {"AcquisitionNumber": (1, 2)},
    "time of acquisition": {"AcquisitionTime": ("101500", "101530")},
    "time of content": {"ContentTime": ("101500", "101530")},
}


@pytest.mark.parametrize("mark", MARKS)
def test_volumes_are_told_apart(tmp_path: Path, mark: str) -> None:
    series = write_series(tmp_path / "s", SHAPE, modality="MR", each=of_two(**MARKS[mark]))
    with pytest.raises(SeveralVolumesError) as refused:
        read(tmp_path / "s")
    assert f"a series of 2 volumes by {mark}" in refused.value.message
    assert refused.value.count == 2
    for volume in (0, 1):
        info, pixels = read(tmp_path / "s", volume=volume)
        assert np.array_equal(pixels.values[..., 0], series.pixels[volume::2])
        assert info.warnings[0].startswith(f"volume {volume} of 2 is that of {mark}")
    with pytest.raises(InputError, match="no volume 2"):
        read(tmp_path / "s", volume=2)


def test_the_order_of_volumes_is_that_of_their_marks(tmp_path: Path) -> None:
    series = write_series(tmp_path / "s", SHAPE, each=of_two(EchoTime=(30, 4.5)))
    assert np.array_equal(read(tmp_path / "s", volume=0)[1].values[..., 0], series.pixels[1::2])


def test_times_and_echoes_together(tmp_path: Path) -> None:
    def each(k: int) -> dict[str, Any]:
        place, time, echo = k // 4, k // 2 % 2, k % 2
        return {
            "ImagePositionPatient": [0, 0, 2.5 * place],
            "TemporalPositionIdentifier": time,
            "EchoTime": echo + 1,
        }

    series = write_series(tmp_path / "s", (12, 6, 7), each=each)
    for volume in range(4):
        assert np.array_equal(
            read(tmp_path / "s", volume=volume)[1].values[..., 0], series.pixels[volume::4]
        )


def test_a_volume_that_lacks_a_slice_is_named(tmp_path: Path) -> None:
    def each(k: int) -> dict[str, Any]:
        return {
            "ImagePositionPatient": [0, 0, 2.5 * (k % 3)],
            "TemporalPositionIdentifier": k // 3 + 1,
        }

    write_series(tmp_path / "s", (9, 6, 7), each=each, only=range(8))
    with pytest.raises(InputError, match="time point 3 has 2 of 3 slices"):
        read(tmp_path / "s")


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, JPEGLSLossless, DeflatedExplicitVRLittleEndian]
)
@pytest.mark.parametrize("modality", ["CT", "MR", "PT"])
@pytest.mark.parametrize("shared", [True, False])
def test_enhanced_files(tmp_path: Path, syntax: str, modality: str, shared: bool) -> None:
    series = write_enhanced(
        tmp_path / "e",
        addresses((5, 16, 17), np.uint16, 12),
        order=[3, 1, 0, 2, 4],
        modality=modality,
        legacy=modality == "PT" or shared,
        shared=shared,
        syntax=syntax,
        orientation=SAGITTAL,
        bits=12,
        slopes=[2.0] if shared else [2.0, 3.0, 1.0, 1.5, 4.0],
    )
    info, pixels = read(tmp_path / "e")
    wanted = series.pixels * np.resize(series.slopes, 5).reshape(-1, 1, 1)
    assert np.array_equal(pixels.physical()[..., 0], wanted)
    assert np.abs(info.georef.matrix - series.affine).max() < 1e-9


@pytest.mark.parametrize(
    "groups",
    [
        lambda k: {"FrameContentSequence": {"TemporalPositionIndex": k % 2 + 1}},
        lambda k: {"MREchoSequence": {"EffectiveEchoTime": 10.0 + k % 2}},
        lambda k: {"MRDiffusionSequence": {"DiffusionBValue": 1000.0 * (k % 2)}},
        lambda k: {"FrameContentSequence": {"StackID": str(k % 2 + 1)}},
    ],
)
def test_volumes_of_an_enhanced_file(
    tmp_path: Path, groups: Callable[[int], dict[str, Any]]
) -> None:
    def of(k: int) -> dict[str, Any]:
        place = {"PlanePositionSequence": {"ImagePositionPatient": [0, 0, 2.5 * (k // 2)]}}
        return place | groups(k)

    series = write_enhanced(tmp_path / "e", SHAPE, modality="MR", groups=of)
    with pytest.raises(SeveralVolumesError):
        read(tmp_path / "e")
    for volume in (0, 1):
        pixels = read(tmp_path / "e", volume=volume)[1]
        assert np.array_equal(pixels.values[..., 0], series.pixels[volume::2])


def test_frames_without_groups_are_missed(tmp_path: Path) -> None:
    from pydicom import dcmread

    write_enhanced(tmp_path / "e", modality="MR")
    data = dcmread(tmp_path / "e")
    del data.PerFrameFunctionalGroupsSequence[2]
    data.save_as(tmp_path / "e")
    with pytest.raises(InputError, match="5 frames and functional groups of 4"):
        read(tmp_path / "e")
