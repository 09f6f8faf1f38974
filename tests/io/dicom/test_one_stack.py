"""What one odd tag, rounding or a second reconstruction does to a stack: it stays one, or falls apart where it is two."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box
from seg_batch.io.dicom.survey import survey
from seg_batch.io.sources import open_source
from tests.support.dicom_files import addresses, write_series

USUAL = ["ORIGINAL", "PRIMARY", "AXIAL"]
Tags = Callable[[int], dict[str, Any]]


def at(z: float) -> dict[str, Any]:
    return {"ImagePositionPatient": [0, 0, z]}


def with_type(odd: bool) -> dict[str, Any]:
    return {"ImageType": [*USUAL, "X"] if odd else USUAL}


ONE: dict[str, Tags] = {
    "the last slice is of another type": lambda k: with_type(k == 8),
    "the first slice is of another type": lambda k: with_type(k == 0),
    "types take turns": lambda k: with_type(k % 2 == 1),
    "the last slice is of another frame": lambda k: {"FrameOfReferenceUID": f"1.2.{k == 8:d}"},
    "one decimal, thin": lambda k: at(round(k * 0.625, 1)),
    "one decimal, thick": lambda k: at(round(k * 3.3333, 1)),
    "a hundredth of a step": lambda k: at(5 * k + 0.04 * (-1) ** (k // 2)),
}


@pytest.mark.parametrize("tags", ONE.values(), ids=ONE)
def test_one_even_stack_is_one_volume(tags: Tags, tmp_path: Path) -> None:
    write_series(tmp_path / "s", (9, 6, 7), each=tags)
    assert len(survey(tmp_path / "s").series) == 1
    assert open_source(tmp_path / "s").info.extent == (9, 6, 7)


TWO: dict[str, Tags] = {
    "magnitude and phase": lambda k: {
        "ImageType": ["ORIGINAL", "PRIMARY", "MP"[k % 2]],
        **at(k // 2),
    },
    "kernels, half a step apart": lambda k: {
        "ConvolutionKernel": "ab"[k // 5],
        **at(2.5 * (k % 5) + 1.25 * (k // 5)),
    },
    "kernels at the same places": lambda k: {"ConvolutionKernel": "ab"[k // 5], **at(k % 5)},
    "stacks far apart": lambda k: {"StackID": "12"[k // 5], "AcquisitionNumber": k // 5, **at(k + 90 * (k // 5))},
}  # fmt: skip


@pytest.mark.parametrize("tags", TWO.values(), ids=TWO)
def test_two_volumes_under_one_uid_are_two(tags: Tags, tmp_path: Path) -> None:
    write_series(tmp_path / "s", (10, 6, 7), each=tags)
    assert [len(series.slices) for series in survey(tmp_path / "s").series] == [5, 5]
    with pytest.raises(InputError, match="2 series"):
        open_source(tmp_path / "s")
    assert open_source(tmp_path / "s", series=survey(tmp_path / "s").series[1].key).info.extent == (
        5,
        6,
        7,
    )


def test_a_slice_that_is_missing_shows_though_places_are_rounded(tmp_path: Path) -> None:
    write_series(tmp_path / "s", (20, 6, 7), each=lambda k: at(round((k + (k > 9)) * 0.625, 1)))
    with pytest.raises(InputError, match=r"missing|uneven"):
        open_source(tmp_path / "s")


def test_slices_thinner_than_their_distance_are_told_of(tmp_path: Path) -> None:
    write_series(tmp_path / "s", (20, 6, 7), only=range(0, 20, 2), tags={"SliceThickness": 2.5})
    assert "every other slice may be missing" in open_source(tmp_path / "s").info.warnings[0]


def test_volumes_by_times_that_differ_a_little_from_place_to_place(tmp_path: Path) -> None:
    def tags(k: int) -> dict[str, Any]:
        return {**at(k // 3), "TriggerTime": 40 * (k % 3) + 0.3 * (k // 3)}

    write_series(tmp_path / "s", (12, 6, 7), each=tags)
    assert open_source(tmp_path / "s", volume=2).info.extent == (4, 6, 7)


def test_slices_at_one_place_are_counted(tmp_path: Path) -> None:
    write_series(tmp_path / "s", (5, 6, 7), each=lambda k: at(0))
    with pytest.raises(InputError, match="5 slices at one place"):
        open_source(tmp_path / "s")


def test_why_there_are_no_more_volumes(tmp_path: Path) -> None:
    write_series(tmp_path / "s", (6, 6, 7), each=lambda k: at(k // 2))
    with pytest.raises(InputError, match="doubled"):
        open_source(tmp_path / "s", volume=1)


@pytest.mark.parametrize("padding", [-32768, 4096])
def test_padding_that_no_stored_number_is_marks_nothing(padding: int, tmp_path: Path) -> None:
    values = addresses((3, 6, 7), np.int16, 12)
    write_series(tmp_path / "s", values, bits=12, tags={"PixelPaddingValue": padding})
    assert open_source(tmp_path / "s").info.nodata == (None,)


def test_an_intercept_of_each_slice_counts_where_slopes_are_equal(tmp_path: Path) -> None:
    values = addresses((3, 6, 7), np.uint16, 12)
    write_series(tmp_path / "s", values, intercepts=[-1000.0, 0.0, 500.0])
    source = open_source(tmp_path / "s")
    read = source.read(Box.whole(source.info.extent)).physical()[..., 0]
    expected = values + np.array([-1000.0, 0.0, 500.0])[:, None, None]
    np.testing.assert_array_equal(np.sort(read, axis=None), np.sort(expected, axis=None))


def test_stored_bits_may_be_the_upper_ones(tmp_path: Path) -> None:
    values = addresses((3, 6, 7), np.uint16, 12)
    tags = {"BitsStored": 12, "HighBit": 15}
    write_series(tmp_path / "s", values << 4 | 0x9, tags=tags)
    source = open_source(tmp_path / "s")
    read = source.read(Box.whole(source.info.extent)).values[..., 0]
    np.testing.assert_array_equal(np.sort(read, axis=None), np.sort(values, axis=None))


def test_a_slice_of_its_uid_that_fits_nowhere_is_told_of(tmp_path: Path) -> None:
    def tags(k: int) -> dict[str, Any]:
        return {**with_type(k == 8), **at(2.5 * k + 1.1 * (k == 8))}

    write_series(tmp_path / "s", (9, 6, 7), each=tags)
    info = open_source(tmp_path / "s").info
    assert info.extent[0] == 8
    assert any("1 further slice of its UID" in text for text in info.warnings)


def test_what_no_option_takes_gets_no_option_for_a_remedy(tmp_path: Path) -> None:
    write_series(tmp_path / "s", (3, 6, 7), each=lambda k: {"ImagePositionPatient": None})
    with pytest.raises(InputError) as caught:
        open_source(tmp_path / "s")
    assert "--series" not in str(caught.value)
