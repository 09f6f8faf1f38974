"""The plain copy of a series is what the series is, made once, whole or not at all."""

import json
import threading
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.uid import JPEGLSLossless

from seg_batch.core.errors import DiskFullError, InputError
from seg_batch.core.geometry import Box
from seg_batch.io.sources import open_source, stage
from seg_batch.io.sources.protocol import SeveralVolumesError
from tests.support.dicom_files import addresses, write_enhanced, write_series
from tests.support.dicom_reading import read

SHAPE = (6, 9, 8)


@pytest.mark.parametrize("slopes", [[1.0], [2.0, 3.0]])
@pytest.mark.parametrize("syntax", ["", JPEGLSLossless])
def test_the_copy_is_the_series(tmp_path: Path, slopes: list[float], syntax: str) -> None:
    of: dict[str, Any] = {"syntax": syntax} if syntax else {}
    write_series(
        tmp_path / "s", SHAPE, slopes=slopes, each=lambda k: {"PixelPaddingValue": 9}, **of
    )
    plain = stage(tmp_path / "s", tmp_path / "staging")
    info, pixels = read(tmp_path / "s")
    for box in (Box.whole(SHAPE), Box((1, 2, 3), (4, 9, 5)), Box((0, 3, 0), (6, 5, 8))):
        with_copy = open_source(tmp_path / "s", staged=plain)
        part = with_copy.read(box)
        assert with_copy.info == info
        wanted = pixels[box.slices()]
        assert np.array_equal(part.values, wanted.values, equal_nan=True)
        assert part.valid is None or np.array_equal(part.valid, wanted.valid)
        with_copy.close()


def test_it_is_made_once_and_read_without_the_series(tmp_path: Path) -> None:
    series = write_series(tmp_path / "s")
    plain = stage(tmp_path / "s", tmp_path / "staging")
    made = plain.stat().st_mtime_ns
    assert stage(tmp_path / "s", tmp_path / "staging") == plain
    assert plain.stat().st_mtime_ns == made
    for file in (tmp_path / "s").iterdir():
        file.write_bytes(file.read_bytes()[:200])
    pixels = read(tmp_path / "s", staged=plain)[1]
    assert np.array_equal(pixels.values[..., 0], series.pixels)


def test_another_series_has_another_copy(tmp_path: Path) -> None:
    write_series(tmp_path / "s")
    first = stage(tmp_path / "s", tmp_path / "staging")
    write_series(tmp_path / "s")
    assert stage(tmp_path / "s", tmp_path / "staging") != first


@pytest.mark.parametrize(
    "damage",
    [
        lambda plain: plain.write_bytes(plain.read_bytes()[:-1]),
        lambda plain: plain.with_suffix(".json").unlink(),
        lambda plain: plain.with_suffix(".json").write_text("{"),
        lambda plain: plain.with_suffix(".json").write_text('{"version": 1, "volumes": [[]]}'),
        lambda plain: plain.with_suffix(".json").write_text(
            plain.with_suffix(".json").read_text().replace('"extent": [5', '"extent": [4')
        ),
        lambda plain: plain.with_suffix(".json").write_text(
            json.dumps({**json.loads(plain.with_suffix(".json").read_text()), "version": 99})
        ),
    ],
)
def test_a_copy_that_is_not_whole_is_made_anew(tmp_path: Path, damage: Any) -> None:
    series = write_series(tmp_path / "s")
    plain = stage(tmp_path / "s", tmp_path / "staging")
    damage(plain)
    with pytest.raises(InputError, match="not a whole copy"):
        read(tmp_path / "s", staged=plain)
    assert stage(tmp_path / "s", tmp_path / "staging") == plain
    pixels = read(tmp_path / "s", staged=plain)[1]
    assert np.array_equal(pixels.values[..., 0], series.pixels)


def test_several_processes_may_stage_at_once(tmp_path: Path) -> None:
    series = write_series(tmp_path / "s")
    made: list[Path] = []
    threads = [
        threading.Thread(target=lambda: made.append(stage(tmp_path / "s", tmp_path / "staging")))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({*made}) == 1
    assert len(made) == 4
    assert len(list((tmp_path / "staging").iterdir())) == 2
    pixels = read(tmp_path / "s", staged=made[0])[1]
    assert np.array_equal(pixels.values[..., 0], series.pixels)


def test_a_slice_that_cant_be_read_is_named_and_nothing_stays(tmp_path: Path) -> None:
    write_series(tmp_path / "s", (5, 64, 65), syntax=JPEGLSLossless)
    file = tmp_path / "s" / "0003"
    file.write_bytes(file.read_bytes()[:-150])
    with pytest.raises(InputError, match=r"0003 \(instance 4\) can't be read"):
        stage(tmp_path / "s", tmp_path / "staging")
    assert list((tmp_path / "staging").iterdir()) == []


def test_a_full_disk_is_told_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path / "s")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(100, 90, 10))
    with pytest.raises(DiskFullError, match="only 10 B are free"):
        stage(tmp_path / "s", tmp_path / "staging")


def test_all_volumes_lie_in_one_copy_unless_one_is_chosen(tmp_path: Path) -> None:
    def each(k: int) -> dict[str, Any]:
        return {"ImagePositionPatient": [0, 0, 2.5 * (k // 2)], "EchoTime": 5 + k % 2}

    series = write_series(tmp_path / "s", SHAPE, each=each)
    both = stage(tmp_path / "s", tmp_path / "staging")
    second = stage(tmp_path / "s", tmp_path / "staging", volume=1)
    with pytest.raises(SeveralVolumesError):
        read(tmp_path / "s", staged=both)
    for plain, volume in ((both, 0), (both, 1), (second, 1)):
        pixels = read(tmp_path / "s", staged=plain, volume=volume)[1]
        assert np.array_equal(pixels.values[..., 0], series.pixels[volume::2])


def test_frames_of_one_file(tmp_path: Path) -> None:
    series = write_enhanced(tmp_path / "e", addresses(SHAPE), order=[5, 1, 2, 0, 4, 3])
    plain = stage(tmp_path / "e", tmp_path / "staging")
    pixels = read(tmp_path / "e", staged=plain)[1]
    assert np.array_equal(pixels.values[..., 0], series.pixels)
