"""Moving and marking: whole, never over another file, and the same when done twice."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from seg_batch.batch.watch.archive import Archive
from seg_batch.batch.watch.arrivals import ArrivalOutcome, glance_at, list_arrivals
from seg_batch.batch.watch.move import reserved_name
from seg_batch.core.errors import OutputError


def fate(path: Path, why: str = "") -> ArrivalOutcome:
    """Of the image as it is now."""
    glance = glance_at(path)
    assert glance is not None
    return ArrivalOutcome(
        path.name, glance, "failed" if why else "done", why, None if why else "o.tif", 9.0
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    hot = tmp_path / "in"
    hot.mkdir()
    (hot / "a.nii.gz").write_text("a")
    return hot


def test_a_mark_says_what_became_of_it(folder: Path) -> None:
    archive, first = Archive(folder), fate(folder / "a.nii.gz", "the file is empty")
    assert not archive.is_archived(first, list_arrivals(folder))
    archive.finish(first)
    mark = folder / "a.nii.gz.segbatch-failed"
    assert json.loads(mark.read_text())["why"] == "the file is empty"
    assert archive.is_archived(first, list_arrivals(folder))
    assert sorted(list_arrivals(folder).images) == ["a.nii.gz"], "no mark is an image"
    archive.forget("a.nii.gz")
    archive.finish(fate(folder / "a.nii.gz"))
    assert [path.name for path in folder.iterdir() if path.suffix != ".gz"] == [
        "a.nii.gz.segbatch-done"
    ], "no mark contradicts another"


def test_what_is_moved_takes_no_other_files_place(folder: Path, tmp_path: Path) -> None:
    done = tmp_path / "done"
    archive = Archive(folder, done_to=done, marker=".ok")
    archive.require_folders()
    for n, text in enumerate(("first", "second", "third")):
        (folder / "a.nii.gz").write_text(text)
        (folder / ("a.ok" if n else "a.nii.gz.ok")).touch()
        archive.finish(fate(folder / "a.nii.gz"))
    assert not list(folder.iterdir()), "the sender's marker goes along"
    assert {p.name: p.read_text() for p in done.glob("*.gz")} == {
        "a.nii.gz": "first",
        "a-2.nii.gz": "second",
        "a-3.nii.gz": "third",
    }


def test_a_failed_one_lies_beside_its_reason(folder: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    archive = Archive(folder, failed_to=bad)
    archive.require_folders()
    archive.finish(fate(folder / "a.nii.gz", "damaged"))
    assert sorted(p.name for p in bad.iterdir()) == ["a.nii.gz", "a.nii.gz.segbatch-failed"]
    assert not list(folder.iterdir())


def test_two_who_move_at_the_same_time_are_given_different_names(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    with reserved_name(path) as first, reserved_name(path) as second:
        assert (first.name, second.name) == ("a.nii.gz", "a-2.nii.gz")
        first.touch()
    with reserved_name(path) as third:
        assert third == second, "it was never used"
    assert list(tmp_path.iterdir()) == [first]


def test_a_store_is_moved_whole(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "in", done_to=tmp_path / "done")
    for name in ("s.zarr", "s-2.zarr"):
        (tmp_path / "in" / "s.zarr" / "c").mkdir(parents=True)
        (tmp_path / "in" / "s.zarr" / "c" / "0").write_text(name)
        archive.require_folders()
        archive.finish(fate(tmp_path / "in" / "s.zarr"))
        assert (tmp_path / "done" / name / "c" / "0").read_text() == name
    assert len(list((tmp_path / "done").iterdir())) == 2


def test_what_came_in_its_place_is_left_to_arrive(folder: Path, tmp_path: Path) -> None:
    archive = Archive(folder, done_to=tmp_path / "done")
    archive.require_folders()
    segmented = fate(folder / "a.nii.gz")
    (folder / "a.nii.gz").write_text("another one")
    archive.finish(segmented)
    assert [path.read_text() for path in folder.iterdir()] == ["another one"]
    assert not list((tmp_path / "done").iterdir())


def test_what_a_kill_left_set_aside_comes_back_beside_what_came_since(folder: Path) -> None:
    (folder / "a.nii.gz").rename(folder / ".a.nii.gz.segbatch-moving")
    assert not list_arrivals(folder).images
    (folder / "a.nii.gz").write_text("since then")
    Archive(folder).require_folders()
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "a.nii.gz": "since then",
        "a-2.nii.gz": "a",
    }


def test_names_that_the_dead_had_reserved_are_free_again(folder: Path, tmp_path: Path) -> None:
    done = tmp_path / "done"
    done.mkdir()
    dead = subprocess.Popen(["true"])
    dead.wait()
    host = os.uname().nodename
    old, new = (done / f".{name}.segbatch-reserved" for name in ("old", "new"))
    (done / ".a.nii.gz.segbatch-reserved").symlink_to(f"{host}:{dead.pid}")
    (done / ".far.segbatch-reserved").symlink_to(f"far-away:{dead.pid}")
    old.touch()
    new.touch()
    os.utime(old, (1e9, 1e9))
    archive = Archive(folder, done_to=done)
    with reserved_name(done / "ours") as ours:
        archive.require_folders()
        archive.finish(fate(folder / "a.nii.gz"))
        hidden = f".{ours.name}.segbatch-reserved"
        left = {"a.nii.gz", ".far.segbatch-reserved", new.name, hidden}
        assert {path.name for path in done.iterdir()} == left


def test_folders_where_a_move_would_go_wrong_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="arrive again"):
        Archive(folder, done_to=tmp_path / "." / "in").require_folders()
    other = Path("/dev/shm")
    if other.is_dir() and os.stat(other).st_dev != os.stat(folder).st_dev:
        with pytest.raises(OutputError, match="another file system"):
            Archive(folder, failed_to=other).require_folders()
