"""Moving and marking: whole, never over another file, and the same when done twice."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from seg_batch.errors import OutputError
from seg_batch.watch.arrivals import Fate, look
from seg_batch.watch.tidy import Tidying


def fate(name: str, why: str = "") -> Fate:
    return Fate(name, (1, 1, 1), "failed" if why else "done", why, None if why else "out.tif", 9.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    hot = tmp_path / "in"
    hot.mkdir()
    (hot / "a.nii.gz").write_text("a")
    return hot


def test_a_mark_says_what_became_of_it_and_is_written_once(folder: Path) -> None:
    tidying = Tidying(folder)
    tidying.finish(fate("a.nii.gz", "the file is empty"), look(folder))
    mark = folder / "a.nii.gz.segbatch-failed"
    assert json.loads(mark.read_text())["why"] == "the file is empty"
    stamp = mark.stat().st_mtime_ns
    tidying.finish(fate("a.nii.gz", "the file is empty"), look(folder))
    assert mark.stat().st_mtime_ns == stamp
    assert sorted(look(folder).images) == ["a.nii.gz"], "no mark is an image"


def test_what_is_moved_takes_no_other_files_place(folder: Path, tmp_path: Path) -> None:
    done = tmp_path / "done"
    tidying = Tidying(folder, done_to=done, marker=".ok")
    tidying.require_folders()
    for n, text in enumerate(("first", "second", "third")):
        (folder / "a.nii.gz").write_text(text)
        (folder / ("a.ok" if n else "a.nii.gz.ok")).touch()
        tidying.finish(fate("a.nii.gz"), look(folder))
    assert not list(folder.iterdir()), "the sender's marker goes along"
    assert {p.name: p.read_text() for p in done.glob("*.gz")} == {
        "a.nii.gz": "first",
        "a-2.nii.gz": "second",
        "a-3.nii.gz": "third",
    }


def test_a_failed_one_lies_beside_its_reason(folder: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    tidying = Tidying(folder, failed_to=bad)
    tidying.require_folders()
    tidying.finish(fate("a.nii.gz", "damaged"), look(folder))
    assert sorted(p.name for p in bad.iterdir()) == ["a.nii.gz", "a.nii.gz.segbatch-failed"]
    assert not list(folder.iterdir())


def test_folders_where_a_move_would_go_wrong_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="arrive again"):
        Tidying(folder, done_to=tmp_path / "." / "in").require_folders()
    other = Path("/dev/shm")
    if other.is_dir() and os.stat(other).st_dev != os.stat(folder).st_dev:
        with pytest.raises(OutputError, match="another file system"):
            Tidying(folder, failed_to=other).require_folders()
