"""An image moves with its side files, under one name, and whole after a kill at any step."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seg_batch.batch.watch.archive import Archive
from seg_batch.batch.watch.arrivals import ArrivalOutcome, glance_at, list_arrivals
from seg_batch.batch.watch.stack_arrivals import StackArrivals
from tests.batch.watch.test_archive import fate

SIDES = {"scan.tif.aux.xml", "scan.tif.msk", "scan.tfw", "scan.prj", "scan.tif.ovr"}


def fill(folder: Path, *names: str, text: str = "x") -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text(text)


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    (tmp_path / "in").mkdir()
    archive = Archive(tmp_path / "in", tmp_path / "done", tmp_path / "bad", marker=".ok")
    archive.require_folders()
    return archive


def test_side_files_go_with_the_image(archive: Archive, tmp_path: Path) -> None:
    hot, done = tmp_path / "in", tmp_path / "done"
    for n in range(2):
        fill(hot, "scan.tif", "scan.ok", "notes.txt", "scanner.tfw", *SIDES, text=f"{n}")
        archive.finish(fate(hot / "scan.tif"))
        assert files(hot) == {"notes.txt", "scanner.tfw"}
    second = {name.replace("scan", "scan-2") for name in SIDES}
    marks = {"scan.tif.ok", "scan-2.tif.ok"}
    assert files(done) == {"scan.tif", "scan-2.tif", *SIDES, *second, *marks}
    assert (done / "scan-2.tif.msk").read_text() == "1"


def test_voxels_go_with_their_header(archive: Archive, tmp_path: Path) -> None:
    hot, done = tmp_path / "in", tmp_path / "done"
    for n in range(2):
        fill(hot, "a.mhd", "a.raw", "a.ok", "b.nhdr", "b.raw.gz", "b.ok", "c.raw", text=f"{n}")
        for name in ("a.mhd", "b.nhdr"):
            archive.finish(fate(hot / name))
        assert files(hot) == {"c.raw"}
    assert files(done) >= {"a.mhd", "a.raw", "a-2.mhd", "a-2.raw", "b-2.nhdr", "b-2.raw.gz"}
    assert (done / "a-2.raw").read_text() == "1"


def test_no_name_is_taken_where_another_files_would_be_read(
    archive: Archive, tmp_path: Path
) -> None:
    hot, done = tmp_path / "in", tmp_path / "done"
    fill(done, "scan.tif.aux.xml", "scan-2.wld", text="of another")
    fill(hot, "scan.tif", "scan.tfw")
    archive.finish(fate(hot / "scan.tif"))
    assert files(done) == {"scan.tif.aux.xml", "scan-2.wld", "scan-3.tif", "scan-3.tfw"}


def test_two_images_that_share_a_world_file_both_have_it(archive: Archive, tmp_path: Path) -> None:
    hot, done = tmp_path / "in", tmp_path / "done"
    fill(hot, "a.tif", "a.png", "a.wld")
    archive.finish(fate(hot / "a.tif"))
    assert files(hot) == {"a.png", "a.wld"}
    archive.finish(fate(hot / "a.png"))
    assert not files(hot)
    assert files(done) == {"a.tif", "a.png", "a.wld"}


def test_a_replaced_side_file_is_left_to_arrive(archive: Archive, tmp_path: Path) -> None:
    hot = tmp_path / "in"
    fill(hot, "scan.tif", *SIDES)
    segmented = fate(hot / "scan.tif")
    (hot / "scan.tif.msk").write_text("another mask")
    archive.finish(segmented)
    assert files(hot) == {"scan.tif", *SIDES}
    assert not files(tmp_path / "done")


def test_side_files_are_in_the_glance_and_no_arrivals(tmp_path: Path) -> None:
    fill(tmp_path, "scan.tif")
    alone = glance_at(tmp_path / "scan.tif")
    for name in ("scan.tif.ovr", "scan.prj", "scan.json", "scan.tif.tmp", "b.tif.msk"):
        fill(tmp_path, name)
        assert list_arrivals(tmp_path).images == {"scan.tif": alone}, name
    seen = [alone]
    for name in ("scan.tif.msk", "scan.tfw", "scan.tif.aux.xml"):
        fill(tmp_path, name)
        seen.append(glance_at(tmp_path / "scan.tif"))
        assert list_arrivals(tmp_path).images == {"scan.tif": seen[-1]}
    for name in ("s.zarr", "scan.wld"):
        (tmp_path / name).mkdir()
    fill(tmp_path, "s.wld", "s.zarr.aux.xml")
    store = glance_at(tmp_path / "s.zarr")
    assert list_arrivals(tmp_path).images == {"scan.tif": seen[-1], "s.zarr": store}
    os.utime(tmp_path / "scan.tfw", (1, 1))  # as old as it likes to be
    assert len({*seen, glance_at(tmp_path / "scan.tif")}) == 5


def _dies_at(step: int, archive: Archive, outcome: ArrivalOutcome) -> bool:
    """Whether a process that is killed at the ``step``-th change of a name was."""
    pid = os.fork()
    if not pid:
        left, rename = [step], os.rename

        def dying(*arguments: Path) -> None:
            left[0] -= 1
            if left[0] < 0:
                os._exit(9)
            rename(*arguments)

        os.rename = dying  # type: ignore[assignment]
        archive.finish(outcome)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9


@pytest.mark.filterwarnings("ignore:This process")  # the child changes names, and is gone
@pytest.mark.parametrize("taken", [False, True])
def test_the_next_start_completes_a_move_that_was_killed(
    archive: Archive, tmp_path: Path, taken: bool
) -> None:
    hot, done = tmp_path / "in", tmp_path / "done"
    for step in range(20):
        for path in [*hot.iterdir(), *done.iterdir()]:
            path.unlink()
        fill(hot, "scan.tif", *SIDES)
        if taken:
            fill(done, "scan.tif", "scan.tfw", text="another")
        outcome = fate(hot / "scan.tif")
        killed = _dies_at(step, archive, outcome)
        archive.require_folders()  # as at the next start
        for name, glance in list_arrivals(hot).images.items():
            assert (name, glance) == (outcome.name, outcome.glance), "it is the same arrival"
            archive.finish(outcome)
        assert not files(hot)
        new = "scan-2" if taken else "scan"
        expected = {"scan.tif", *SIDES} if not taken else {"scan.tif", "scan.tfw"}
        expected |= {name.replace("scan", new) for name in {"scan.tif", *SIDES}}
        assert files(done) == expected
        assert (done / f"{new}.tif.msk").read_text() == "x"
        if not killed:
            break
    assert step > len(SIDES) * 2


@settings(max_examples=max(20, settings().max_examples // 4))
@given(stem=st.text("aé\U0001f600", min_size=30, max_size=247))
def test_names_up_to_the_longest_are_moved_and_marked(tmp_path_factory, stem: str) -> None:
    while len(stem.encode()) > 251:
        stem = stem[:-1]
    tmp_path = tmp_path_factory.getbasetemp() / "long"
    hot, bad = tmp_path / "in", tmp_path / "bad"
    hot.mkdir(parents=True, exist_ok=True)
    archive = Archive(hot, failed_to=bad)
    archive.require_folders()
    for path in [*hot.iterdir(), *bad.iterdir()]:
        path.unlink()
    for _ in range(2):
        fill(hot, f"{stem}.tif", f"{stem}.tfw")
        archive.finish(fate(hot / f"{stem}.tif", "damaged"))
        assert not files(hot)
    moved = {name for name in files(bad) if name.endswith(".tif")}
    assert len(moved) == 2
    assert {f"{name[:-4]}.tfw" for name in moved} <= files(bad)
    marks = [path for path in bad.iterdir() if path.name.endswith(".segbatch-failed")]
    assert [json.loads(path.read_text())["why"] for path in marks] == ["damaged"] * 2


def test_a_relative_link_is_moved_and_leads_to_its_target(archive: Archive, tmp_path: Path) -> None:
    hot, store = tmp_path / "in", tmp_path / "store" / "deep"
    fill(store.parent)
    fill(store, "scan.tif", "scan.tfw")
    for name in ("scan.tif", "scan.tfw"):
        (hot / name).symlink_to(f"../store/deep/{name}")
    archive.finish(fate(hot / "scan.tif"))
    assert not files(hot)
    assert files(tmp_path / "done") == {"scan.tif", "scan.tfw"}
    assert (tmp_path / "done" / "scan.tif").samefile(store / "scan.tif")


@pytest.mark.full
@pytest.mark.filterwarnings("ignore:This process")
@pytest.mark.parametrize("taken", [False, True])
def test_the_files_of_one_image_move_together(tmp_path: Path, taken: bool) -> None:
    hot, done = tmp_path / "in", tmp_path / "done"
    stack = StackArrivals(("{id}_a.tif", "{id}_b.tif"))
    archive = Archive(hot, done_to=done, stack=stack)
    hot.mkdir()
    archive.require_folders()
    mine = ("p_a.tif", "p_b.tif", "p_b.tfw", "p_b.tif.msk")
    for step in range(16):
        for path in [*hot.iterdir(), *done.iterdir()]:
            path.unlink()
        fill(hot, *mine)
        if taken:
            fill(done, "p_b.tif", text="another")
        glance = stack.glance(hot, "p_a.tif")
        assert glance is not None
        outcome = ArrivalOutcome("p_a.tif", glance, "done")
        _dies_at(step, archive, outcome)
        archive.require_folders()
        seen = stack.grouped(list_arrivals(hot))
        assert not seen.waiting, "no file is left alone"
        for name, now in seen.images.items():
            assert (name, now) == (outcome.name, glance)
            archive.finish(outcome)
        assert not files(hot)
        new = "-2" if taken else ""
        named = {f"p_a{new}.tif", f"p_b{new}.tif", f"p_b{new}.tfw", f"p_b{new}.tif.msk"}
        assert files(done) == named | ({"p_b.tif"} if taken else set())
