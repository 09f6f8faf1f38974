"""Series that are no volume are refused in one line that says what was found and where."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import HTJ2KLossless, JPEGLSLossless

from seg_batch.core.errors import InputError
from seg_batch.inference.bundles import installed_bundles, mismatch
from seg_batch.io.sources import open_source
from tests.support.dicom_files import oblique, write_series
from tests.support.dicom_reading import read

DATA = Path(os.environ.get("SEGBATCH_DATA", "")) / "dicom2nifti_series"


def at(*positions: tuple[float, float, float]) -> Callable[[int], dict[str, Any]]:
    return lambda k: {"ImagePositionPatient": list(positions[k])}


def line(*z: float) -> Callable[[int], dict[str, Any]]:
    return at(*((0.0, 0.0, value) for value in z))


def one_with(k: int, **tags: Any) -> Callable[[int], dict[str, Any]]:
    return lambda n: tags if n == k else {}


def all_with(**tags: Any) -> Callable[[int], dict[str, Any]]:
    return lambda n: tags


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as refused:
        read(folder)
    assert "\n" not in refused.value.message
    assert "Nobody" not in refused.value.message
    return refused.value.message.removeprefix(f"{folder}: ")


BAD: Mapping[str, tuple[Callable[[int], dict[str, Any]], tuple[str, ...]]] = {
    "doubled": (line(0, 1, 2, 2, 3, 4), ("1 slice doubled", "0002 (instance 3)", "0003", "2 mm")),
    "uneven": (line(0, 1, 2, 3.3, 4.3, 5.3), ("uneven", "1.3 mm after 2 mm", "instance 3")),
    "gap": (line(0, 1, 2, 4, 5, 6), ("1 slice missing", "2 mm after 2 mm", "0002", "0003")),
    "two_gaps": (line(0, 1, 3, 4, 5, 8), ("3 slices missing", "1 mm apart")),
    "creeping": (
        lambda k: {"ImagePositionPatient": [0, 0, k + 0.03 * k * k]},
        ("uneven",),
    ),
    "sideways": (
        at(*((0.3 * (k == 3), 0, k) for k in range(6))),
        ("drift sideways", "0003", "3 mm"),
    ),
    "bent": (at(*((0.05 * k * k, 0, k) for k in range(6))), ("drift sideways",)),
    "rows": (one_with(5, Rows=5), ("mixed size", "0005 (instance 6)", "7 x 5")),
    "spacing": (one_with(5, PixelSpacing=[1, 1]), ("mixed pixel spacing", "1 x 1", "0005")),
    "turned": (
        one_with(5, ImageOrientationPatient=list(oblique(0, 0, 0.5))),
        ("mixed orientation",),
    ),
    "no_position": (one_with(3, ImagePositionPatient=None), ("0003", "no position")),
    "no_spacing": (one_with(3, PixelSpacing=None), ("0003", "no pixel spacing")),
    "zero_spacing": (all_with(PixelSpacing=[0, 1]), ("pixel spacing is (0.0, 1.0)",)),
    "tiny_spacing": (all_with(PixelSpacing=[1e-9, 1e-9]), ("pixel spacing is (1e-09, 1e-09)",)),
    "huge_slope": (one_with(5, RescaleSlope="1e300"), ("0005", "slope is 1e+300", "no", "measure")),
    "tiny_slope": (all_with(RescaleSlope="1e-300"), ("slope is 1e-300",)),
    "huge_intercept": (all_with(RescaleIntercept="-1e300"), ("intercept -1e+300",)),
    "long_cosines": (all_with(ImageOrientationPatient=[1, 0, 0, 0, 2, 0]), ("orientation is",)),
    "no_cosines": (all_with(ImageOrientationPatient=[0] * 6), ("orientation is",)),
    "no_slope": (all_with(RescaleSlope=0), ("rescale slope is 0",)),
    "mosaic": (
        all_with(ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"]),
        ("a mosaic", "side by side", "or as an enhanced file"),
    ),
    "palette": (all_with(PhotometricInterpretation="PALETTE COLOR"), ("colour",)),
    "bits": (all_with(BitsStored=12, HighBit=20), ("contradict",)),
    "signed": (one_with(2, PixelRepresentation=1), ("mixed kind", "0002")),
}


@pytest.mark.parametrize("name", BAD)
def test_a_stack_that_is_none(tmp_path: Path, name: str) -> None:
    tags, words = BAD[name]
    write_series(tmp_path / "s", (6, 6, 7), each=tags)
    message = refusal(tmp_path / "s")
    assert all(word in message for word in words), message


def test_rounded_positions_are_even(tmp_path: Path) -> None:
    """Scanners that write two decimals: no step is more than half a hundredth off its place."""
    write_series(
        tmp_path / "s",
        (40, 6, 7),
        each=lambda k: (
            line(*([0.0] * 40))(k) | {"ImagePositionPatient": [0, 0, round(k * 0.6667, 2)]}
        ),
    )
    assert read(tmp_path / "s")[0].warnings == ()


@pytest.mark.parametrize(
    ("tags", "fine"),
    [
        ({"SliceThickness": 2.5}, True),
        ({"SliceThickness": 5, "SpacingBetweenSlices": 2.5}, True),
        ({"SliceThickness": 1.25}, False),
        ({"SliceThickness": None}, False),
    ],
)
def test_two_slices_need_a_header_that_says_their_distance(
    tmp_path: Path, tags: dict[str, Any], fine: bool
) -> None:
    write_series(tmp_path / "s", (2, 6, 7), each=all_with(**tags))
    if fine:
        assert read(tmp_path / "s")[0].georef.spacing_mm[0] == 2.5
    else:
        assert "headers don't confirm" in refusal(tmp_path / "s")


def test_a_single_slice_has_its_thickness_for_a_depth(tmp_path: Path) -> None:
    write_series(tmp_path / "s", (6, 6, 7), only=[2])
    info, _ = read(tmp_path / "s", series="3")
    assert info.extent == (1, 6, 7)
    assert info.georef.spacing_mm[0] == 2.5
    assert "its thickness of 2.5 mm is taken" in info.warnings[0]


def test_a_distance_that_headers_contradict_is_told(tmp_path: Path) -> None:
    write_series(tmp_path / "s", each=all_with(SpacingBetweenSlices=1.25))
    (warning,) = read(tmp_path / "s")[0].warnings
    assert "every other slice may be missing" in warning


def test_files_that_came_twice(tmp_path: Path) -> None:
    series = write_series(tmp_path / "s")
    again = tmp_path / "s" / "again"
    again.write_bytes((tmp_path / "s" / "0002").read_bytes())
    info, pixels = read(tmp_path / "s")
    assert np.array_equal(pixels.values[..., 0], series.pixels)
    assert "lies there twice" in info.warnings[0]
    data = dcmread(again)
    data.PixelData = bytes(len(data.PixelData))
    data.save_as(again)
    message = refusal(tmp_path / "s")
    assert "0002 (instance 3) and again (instance 3) have one SOPInstanceUID and differ" in message


@pytest.mark.parametrize(("name", "word"), [("failing_slicecount_001", "headers don't confirm")])
def test_real_series(name: str, word: str) -> None:
    if DATA.is_dir():
        assert word in refusal(DATA / name)


def test_a_transfer_syntax_without_a_decoder_is_named(tmp_path: Path) -> None:
    """Before any pixel is read."""
    write_series(tmp_path / "s", (3, 16, 17), syntax=JPEGLSLossless)
    for file in (tmp_path / "s").iterdir():
        data = dcmread(file)
        data.file_meta.TransferSyntaxUID = HTJ2KLossless
        data.save_as(file)
    with pytest.raises(InputError, match="which no decoder here takes"):
        open_source(tmp_path / "s")


def test_a_model_of_volumes_does_not_take_a_single_slice(tmp_path: Path) -> None:
    write_series(tmp_path / "s", (2, 16, 17), only=[0])
    card = installed_bundles()[0].card.model_copy(
        update={"kind": "volume", "rank": 3, "channels": None}
    )
    info, _ = read(tmp_path / "s", series="3")
    assert "single slice" in (mismatch(card, info) or "")
    assert mismatch(card.model_copy(update={"rank": 2}), info) is None
