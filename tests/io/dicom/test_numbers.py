"""What stored numbers mean: rescale, padding, and the uptake of PET."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.dicom_files import addresses, item, write_series
from tests.support.dicom_reading import by_simpleitk, read

SHAPE = (4, 6, 7)


def test_rescale_from_slice_to_slice_gives_physical_values(tmp_path: Path) -> None:
    pixels, slopes, shifts = addresses(SHAPE), [1.5, 0.25, 3.0, 1e-3], [0.0, -7.0]
    write_series(tmp_path / "s", pixels, slopes=slopes, intercepts=shifts)
    info, read_here = read(tmp_path / "s")
    wanted = pixels * np.reshape(slopes, (-1, 1, 1)) + np.resize(shifts, 4).reshape(-1, 1, 1)
    assert (info.dtype, info.scale, info.offset) == ("float32", None, None)
    assert np.array_equal(read_here.values[..., 0], wanted.astype(np.float32))
    assert "from slice to slice" in info.warnings[0]


def test_one_rescale_stays_beside_the_stored_numbers(tmp_path: Path) -> None:
    pixels = addresses(SHAPE, np.int16)
    write_series(tmp_path / "s", pixels, slopes=[0.1], intercepts=[3.0])
    info, read_here = read(tmp_path / "s")
    assert (info.dtype, info.scale, info.offset) == ("int16", (0.1,), (3.0,))
    assert np.array_equal(read_here.values[..., 0], pixels)


@pytest.mark.parametrize(
    ("tags", "low", "high"),
    [
        ({"PixelPaddingValue": -32760}, -32760, -32760),
        ({"PixelPaddingValue": -32760, "PixelPaddingRangeLimit": -32755}, -32760, -32755),
        ({"PixelPaddingValue": -32755, "PixelPaddingRangeLimit": -32760}, -32760, -32755),
    ],
)
@pytest.mark.parametrize("slopes", [[1.0], [1.0, 2.0]])
def test_padding_is_no_data(
    tmp_path: Path, tags: dict[str, int], low: int, high: int, slopes: list[float]
) -> None:
    pixels = addresses(SHAPE, np.int16)
    write_series(tmp_path / "s", pixels, slopes=slopes, each=lambda k: tags)
    info, read_here = read(tmp_path / "s")
    hidden = (pixels >= low) & (pixels <= high)
    assert hidden.any()
    assert read_here.valid is not None
    assert np.array_equal(~read_here.valid[..., 0], hidden)
    assert info.nodata == ((tags["PixelPaddingValue"],) if len(slopes) == 1 else (None,))


def test_padding_written_as_an_unsigned_number(tmp_path: Path) -> None:
    """63536 where pixels are signed: -2000."""
    pixels = addresses(SHAPE, np.int16)
    pixels[1, 2, 3] = -2000

    def each(k: int) -> dict[str, Any]:
        return {"PixelPaddingValue": -2000}

    write_series(tmp_path / "s", pixels, each=each)
    for file in (tmp_path / "s").iterdir():
        file.write_bytes(file.read_bytes().replace(b"\x28\x00\x20\x01SS", b"\x28\x00\x20\x01US"))
    assert read(tmp_path / "s")[0].nodata == (-2000,)


def pet(tmp_path: Path, **tags: Any) -> tuple[Any, Any, np.ndarray]:
    given = {
        "RadiopharmaceuticalStartTime": "091500",
        "RadionuclideTotalDose": "3.7e8",
        "RadionuclideHalfLife": "6586.2",
    } | tags.pop("given", {})
    known = {
        "Units": "BQML",
        "DecayCorrection": "START",
        "CorrectedImage": ["ATTN", "DECY", "SCAT"],
        "PatientWeight": "70",
        "RadiopharmaceuticalInformationSequence": item(**given),
    } | tags
    pixels = addresses(SHAPE)
    slopes = [2.0, 4.0, 1.0, 8.0]
    write_series(tmp_path / "s", pixels, modality="PT", slopes=slopes, tags=known)
    return *read(tmp_path / "s"), pixels * np.reshape(slopes, (-1, 1, 1))


@pytest.mark.parametrize(
    ("tags", "waited_s"),
    [
        ({}, 3600),
        ({"DecayCorrection": "ADMIN"}, 0),
        ({"given": {"RadiopharmaceuticalStartDateTime": "20200102091500"}}, 3600),
        ({"AcquisitionTime": "100500", "AcquisitionDate": "20200102"}, 3000),
        (
            {
                "SeriesTime": "001500",
                "AcquisitionTime": "001500",
                "given": {"RadiopharmaceuticalStartTime": "231500"},
            },
            3600,
        ),
    ],
)
def test_activity_becomes_uptake_by_weight(
    tmp_path: Path, tags: dict[str, Any], waited_s: float
) -> None:
    info, pixels, activity = pet(tmp_path, **tags)
    factor = 70_000 / (3.7e8 * 2 ** (-waited_s / 6586.2))
    assert info.channels == ("SUVbw",)
    assert np.allclose(pixels.physical()[..., 0], activity * factor, rtol=1e-6, atol=0)
    assert np.array_equal(pixels.values[..., 0], activity.astype(np.float32))
    assert any("SUVbw" in line for line in info.warnings)


@pytest.mark.parametrize(
    ("tags", "word"),
    [
        ({"PatientWeight": None}, "no weight"),
        ({"PatientWeight": "0"}, "weight in the header can't be true"),
        ({"Units": "CNTS"}, "units are CNTS"),
        ({"CorrectedImage": ["ATTN"]}, "corrected"),
        ({"DecayCorrection": "NONE"}, "decay correction is NONE"),
        ({"given": {"RadionuclideTotalDose": "370"}}, "dose in the header can't be true"),
        ({"given": {"RadionuclideHalfLife": None}}, "no half-life"),
        ({"given": {"RadiopharmaceuticalStartTime": None}}, "no time of injection"),
        ({"given": {"RadiopharmaceuticalStartDateTime": "20200105091500"}}, "can't be true"),
    ],
)
def test_without_all_that_it_takes_values_stay(
    tmp_path: Path, tags: dict[str, Any], word: str
) -> None:
    info, pixels, activity = pet(tmp_path, **tags)
    assert info.channels == ("intensity",)
    assert np.array_equal(pixels.physical()[..., 0], activity.astype(np.float32))
    assert any(word in line and "no SUVbw" in line for line in info.warnings), info.warnings


def test_floating_pixels(tmp_path: Path) -> None:
    from pydicom import dcmread

    values = addresses(SHAPE).astype(np.float32) / 3
    write_series(tmp_path / "s", addresses(SHAPE, np.uint32))
    for k in range(SHAPE[0]):
        file = tmp_path / "s" / f"{k:04d}"
        data = dcmread(file)
        del data.PixelData
        data.FloatPixelData = values[k].tobytes()
        data.save_as(file)
    info, pixels = read(tmp_path / "s")
    assert info.dtype == "float32"
    assert np.array_equal(pixels.values[..., 0], values)


def test_slices_of_one_rescale_agree_with_simpleitk(tmp_path: Path) -> None:
    write_series(tmp_path / "s", addresses(SHAPE, np.int16), slopes=[0.25], intercepts=[-1.0])
    assert np.array_equal(
        read(tmp_path / "s")[1].physical()[..., 0], by_simpleitk(tmp_path / "s")[1]
    )
