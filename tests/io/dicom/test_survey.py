"""Which series slices make, by what their headers say, and which of them is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from seg_batch.core.errors import InputError
from seg_batch.io.dicom.survey import Survey, series_at, survey, why_unfit
from seg_batch.io.sources import open_source
from tests.support.dicom_files import (
    CORONAL,
    SeriesOf,
    oblique,
    save,
    series_of,
    slice_of,
    write_series,
)


def sizes(seen: Survey) -> list[int]:
    return sorted(len(one.slices) for one in seen.series)


def acquired(folder: Path, series: SeriesOf, at: Sequence[tuple[int, float]]) -> None:
    """Slices of acquisitions at these places along z, in mm."""
    folder.mkdir(exist_ok=True)
    for k, (acquisition, z) in enumerate(at):
        data = slice_of(series, 0)
        data.AcquisitionNumber, data.InstanceNumber = acquisition, k + 1
        data.ImagePositionPatient = [0, 0, z]
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{k}"
        save(data, folder / str(k))


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ([(1, z) for z in range(5)] + [(2, z) for z in range(5, 10)], [10]),  # it goes on
        ([(z % 2, z) for z in range(10)], [10]),  # interleaved
        ([(z, z) for z in range(10)], [10]),  # one each
        ([(n, z) for n in (1, 2, 3) for z in range(5)], [15]),  # the same places: volumes
        ([(1, z) for z in range(5)] + [(2, z + 40) for z in range(5)], [5, 5]),  # elsewhere
        ([(1, z) for z in range(6)] + [(2, z + 3.4) for z in range(4)], [4, 6]),  # it overlaps
        ([(1, z) for z in range(5)] + [(2, z + 6) for z in range(5)], [10]),  # a slice is missing
        ([(1, z) for z in range(5)] + [(2, z + 5) for z in range(5) if z != 2], [9]),  # another
    ],
    ids=["goes on", "interleaved", "single", "volumes", "elsewhere", "overlaps", "gap", "gap in"],
)  # fmt: skip
def test_acquisitions_are_one_series_where_they_make_one_stack(
    tmp_path: Path, at: list[tuple[int, float]], expected: list[int]
) -> None:
    series = series_of((1, 6, 7))
    acquired(tmp_path / "a", series, at)
    seen = survey(tmp_path / "a")
    assert sizes(seen) == expected
    keys = [one.key for one in seen.series]
    assert keys == ([series.uid] if len(keys) == 1 else [f"{series.uid}#1", f"{series.uid}#2"])
    gap = expected in ([9], [10]) and len({z for _, z in at}) < max(z for _, z in at) + 1
    assert all(bool(why_unfit(one)) == gap for one in seen.series)


def test_one_uid_is_several_series_by_kind_and_direction(tmp_path: Path) -> None:
    place, base = tmp_path / "place", series_of((4, 6, 7))
    write_series(place / "a", base)
    write_series(place / "b", replace(base, orientation=CORONAL, pixels=base.pixels[:3]))
    scout = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
    write_series(place / "c", replace(base, tags=scout, pixels=base.pixels[:2]))
    phase = {"ImageType": ["ORIGINAL", "PRIMARY", "PHASE"]}
    write_series(place / "d", replace(base, tags=phase))
    seen = survey(place)
    assert sizes(seen) == [2, 3, 4, 4]
    assert {one.key for one in seen.series} == {f"{base.uid}#{n}" for n in (1, 2, 3, 4)}
    assert [one.aside for one in seen.series if len(one.slices) == 2] == ["a localiser"]
    with pytest.raises(InputError, match="4 series are called"):
        series_at(place, base.uid)
    for one in seen.series:
        assert series_at(place, one.key) == one


def test_noise_of_directions_makes_no_series(tmp_path: Path) -> None:
    for k, turn in enumerate((0.0, 0.0499, 0.0501, 0.05, -0.02)):
        series = series_of((5, 6, 7), uid="1.2.3", study_uid="1.2", frame_of_reference="1.3")
        write_series(tmp_path / "a", replace(series, orientation=oblique(turn)), only=[k])
    assert sizes(survey(tmp_path / "a")) == [5]


def test_a_uid_of_two_patients_is_refused_without_naming_them(tmp_path: Path) -> None:
    series = series_of((6, 6, 7))
    write_series(tmp_path / "a", series, only=[0, 1, 2])
    other = {"PatientID": "secret-17", "PatientName": "Secret^Seventeen"}
    write_series(tmp_path / "a", replace(series, tags=other), only=[3, 4, 5])
    with pytest.raises(InputError, match="files of 2 patients have this one series UID") as told:
        open_source(tmp_path / "a")
    assert "ecret" not in str(told.value)
    assert "ecret" not in repr(survey(tmp_path / "a"))


def test_patients_and_studies_beside_one_another_are_different_series(tmp_path: Path) -> None:
    one = write_series(tmp_path / "a", (4, 6, 7), names="x{:d}".format)
    two = write_series(
        tmp_path / "a", (5, 6, 7), names="y{:d}".format, tags={"PatientID": "another"}
    )
    assert {s.key: len(s.slices) for s in survey(tmp_path / "a").series} == {one.uid: 4, two.uid: 5}


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        ({"ImagePositionPatient": None, "Modality": "OT"}, "without a place in the patient"),
        ({"Modality": "RTIMAGE"}, "a projection"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "SCOUT"]}, "a localiser"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "colour"),
    ],
)
def test_what_is_no_image_of_a_volume_is_left_out(tmp_path: Path, tags: dict, why: str) -> None:  # type: ignore[type-arg]
    place = tmp_path / "a"
    good = write_series(place, (4, 6, 7))
    place.joinpath("z").mkdir()
    other = series_of((3, 6, 7))
    for k in range(3):
        data = slice_of(other, k)
        for name, value in tags.items():
            setattr(data, name, value)
        save(data, place / "z" / str(k))
    assert [one.aside for one in survey(place).series if one.key == other.uid] == [why]
    assert series_at(place).key == good.uid


def test_one_is_chosen_by_number_by_uid_or_by_a_part_of_it(tmp_path: Path) -> None:
    a = write_series(tmp_path / "a", (4, 6, 7), uid="1.2.3.44", tags={"SeriesNumber": 4})
    b = write_series(tmp_path / "b", (5, 6, 7), uid="1.2.3.55", tags={"SeriesNumber": 55})
    with pytest.raises(
        InputError, match=r'2 series .* choose one with --series .*4: "made for a test", CT, 4 sl'
    ):
        series_at(tmp_path)
    for choice, chosen in {"4": a, "1.2.3.44": a, ".3.55": b, "55": b}.items():
        assert series_at(tmp_path, choice).key == chosen.uid
    with pytest.raises(InputError, match="no series 3; there are 4:"):
        series_at(tmp_path, "3")
    write_series(tmp_path / "c", (6, 6, 7), uid="1.2.3.66", tags={"SeriesNumber": 4})
    with pytest.raises(InputError, match=r"2 series are called 4; choose by UID \(1.2.3.44"):
        series_at(tmp_path, "4")


def test_the_only_one_that_makes_a_volume_is_taken(tmp_path: Path) -> None:
    good = write_series(tmp_path / "a", (4, 6, 7))
    write_series(tmp_path / "gap", (8, 6, 7), only=[0, 1, 2, 4, 5, 6])
    write_series(tmp_path / "one", (1, 6, 7))
    assert series_at(tmp_path).key == good.uid
    for path in (tmp_path / "a").iterdir():
        path.unlink()
    with pytest.raises(InputError, match="none of its series makes a volume"):
        series_at(tmp_path)


def test_files_that_came_twice_are_one_series(tmp_path: Path) -> None:
    series = write_series(tmp_path / "a", (4, 6, 7))
    write_series(tmp_path / "more", (5, 6, 7))
    (tmp_path / "b").mkdir()
    for path in (tmp_path / "a").iterdir():
        (tmp_path / "b" / path.name).write_bytes(path.read_bytes())
    assert open_source(tmp_path, series=series.uid).info.extent == (4, 6, 7)
    assert [why_unfit(one) for one in survey(tmp_path).series] == ["", ""]


def test_gdcm_finds_the_same_series(tmp_path: Path) -> None:
    for n in range(5):
        write_series(tmp_path, (n + 2, 6, 7), names=f"{n}_{{:d}}".format)
    reader = SimpleITK.ImageSeriesReader
    theirs = {
        uid: len(reader.GetGDCMSeriesFileNames(str(tmp_path), uid))
        for uid in reader.GetGDCMSeriesIDs(str(tmp_path))
    }
    assert {one.key: len(one.slices) for one in survey(tmp_path).series} == theirs
    for uid in theirs:
        image = SimpleITK.ReadImage(reader.GetGDCMSeriesFileNames(str(tmp_path), uid))
        source = open_source(tmp_path, series=uid)
        assert source.info.extent == image.GetSize()[::-1]
        sides = np.linalg.norm(np.array(source.info.georef.affine)[:3, :3], axis=0)
        assert np.allclose(sides, image.GetSpacing())
