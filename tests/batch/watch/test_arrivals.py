"""What is taken as complete, and what is remembered: against slow and obvious references."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_batch.batch.watch.arrivals import (
    CHANGED,
    ArrivalLog,
    ArrivalOutcome,
    Glance,
    Settling,
    glance_at,
    list_arrivals,
    marker_at,
)
from seg_batch.batch.watch.stack_arrivals import SINGLE_FILES
from seg_batch.core.errors import InputError

names = st.sampled_from(["a.tif", "b.nii.gz", "c.zarr"])
glances = st.tuples(st.integers(0, 2), st.integers(0, 2), st.just(1))
looks = st.lists(st.tuples(st.integers(1, 5), st.dictionaries(names, glances)), max_size=12)


def still_for(seen: list[tuple[float, dict[str, Glance]]], name: str) -> float:
    """Seconds up to the last look in which the image was there and as it is now, look by look."""
    now, last = seen[-1]
    since = now
    for at, images in reversed(seen):
        if images.get(name) != last[name]:
            break
        since = at
    return now - since


@given(looks, st.integers(0, 8))
def test_an_image_has_settled_when_it_was_still_for_so_long(
    gaps: list[tuple[int, dict[str, Glance]]], settle_s: int
) -> None:
    settling, seen = Settling(settle_s), []
    now = 0.0
    for gap, images in gaps:
        now += gap
        seen.append((now, images))
        expected = {name for name in images if still_for(seen, name) >= settle_s}
        found = settling.settled(images, now)
        assert set(found) == expected
        assert found == sorted(found, key=lambda name: (-still_for(seen, name), name))


def test_a_look_takes_images_and_leaves_what_is_on_its_way(tmp_path: Path) -> None:
    for name in (
        *("scan.nii.gz", "SCENE.TIF", "map.tiff", "photo.png", "notes.txt", "scan.done"),
        *("a.tif.part", "b.tif.tmp", "c.nii~", ".d.tif", "e.tif.filepart", ".e.tif.Xy12"),
    ):
        (tmp_path / name).write_text("x")
    (tmp_path / "store.zarr").mkdir()
    (tmp_path / "store.zarr" / "zarr.json").write_text("{}")
    (tmp_path / "folder.tif").mkdir()
    os.mkfifo(tmp_path / "pipe.tif")
    (tmp_path / "lost.tif").symlink_to("nowhere")
    seen = list_arrivals(tmp_path)
    images = {"scan.nii.gz", "SCENE.TIF", "map.tiff", "photo.png", "store.zarr"}
    assert seen.images.keys() == images
    assert seen.others == {"notes.txt", "scan.done", "folder.tif", "pipe.tif", "lost.tif"}
    assert all(glance == glance_at(tmp_path / name) for name, glance in seen.images.items())


def test_a_header_waits_for_its_voxels(tmp_path: Path) -> None:
    for name in ("a.mhd", "b.nhdr", "c.mha", "d.nrrd"):
        (tmp_path / name).write_text("x")
    seen = list_arrivals(tmp_path)
    assert seen.images.keys() == {"c.mha", "d.nrrd"}
    assert seen.waiting["a.mhd"][1].startswith("a.mhd waits for its voxels (a.raw")
    for name in ("a.zraw", "b.raw.gz"):
        (tmp_path / name).write_text("some")
    began = list_arrivals(tmp_path)
    assert began.images.keys() == {"a.mhd", "b.nhdr", "c.mha", "d.nrrd"}
    assert not began.waiting
    (tmp_path / "a.zraw").write_text("some more")
    (tmp_path / "b.raw.gz").write_text("some more")
    later = list_arrivals(tmp_path)
    assert {n for n in later.images if later.images[n] != began.images[n]} == {"a.mhd", "b.nhdr"}
    assert all(glance == glance_at(tmp_path / name) for name, glance in later.images.items())


def test_a_glance_sees_what_is_written_deep_in_a_store(tmp_path: Path) -> None:
    store = tmp_path / "x.zarr"
    (store / "c" / "0").mkdir(parents=True)
    (store / "zarr.json").write_text("{}")
    before = glance_at(store)
    (store / "c" / "0" / "0").write_bytes(b"chunk")
    assert glance_at(store) != before


def test_a_marker_may_follow_the_name_or_the_stem(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "a.nii.gz.done", "b.nii.gz", "b.done", "c.tif", "d.done"):
        (tmp_path / name).touch()
    assert SINGLE_FILES.declared(list_arrivals(tmp_path), ".done") == ["a.nii.gz", "b.nii.gz"]
    (tmp_path / "a.done").write_text("the newer one")
    assert marker_at(tmp_path / "a.nii.gz", ".done") == glance_at(tmp_path / "a.done")
    assert marker_at(tmp_path / "c.tif", ".done") is None
    assert marker_at(tmp_path / "a.nii.gz", None) is None


def test_a_folder_that_is_not_there_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"can't be listed .*check the path"):
        list_arrivals(tmp_path / "no")


GLANCE = (5, 7, 1)


def test_a_book_remembers_by_name_and_glance(tmp_path: Path) -> None:
    path = tmp_path / "run" / "arrivals.jsonl"
    arrival_log = ArrivalLog(path)
    arrival_log.write(
        ArrivalOutcome("ä\udcff.tif", GLANCE, "done", output="out.tif", marker=GLANCE)
    )
    arrival_log.write(ArrivalOutcome("b.tif", GLANCE, "failed", "empty"))
    arrival_log.write(ArrivalOutcome("c.tif", GLANCE, CHANGED))
    arrival_log.close()
    again = ArrivalLog(path)
    assert again.of("ä\udcff.tif", GLANCE).output == "out.tif"
    assert again.last("ä\udcff.tif").marker == GLANCE
    assert again.of("ä\udcff.tif", (5, 8, 1)) is None, "touched: another arrival"
    assert again.of("b.tif", GLANCE).why == "empty"
    assert again.of("c.tif", GLANCE) is None, "what changed in hand is taken again"
    assert again.last("c.tif").fate == CHANGED
    assert [again.times(name) for name in ("b.tif", "x.tif")] == [1, 0]
    again.close()


@pytest.mark.parametrize("line", [b"\0\0", b"[]", b'{"name": "b.tif"}', b'{"glance": 1}', b"\xff"])
def test_a_damaged_line_is_passed_over_and_counted(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "arrivals.jsonl"
    for name in ("a.tif", "c.tif"):
        arrival_log = ArrivalLog(path)
        arrival_log.write(ArrivalOutcome(name, GLANCE, "done"))
        arrival_log.close()
        path.write_bytes(path.read_bytes() + line + b"\n")
    arrival_log = ArrivalLog(path)
    assert arrival_log.damaged == 2
    assert all(arrival_log.of(name, GLANCE) for name in ("a.tif", "c.tif"))
    arrival_log.close()


@pytest.mark.parametrize("cut", [1, 10, 40])
def test_a_torn_line_is_forgotten_and_never_glued_to_the_next(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "arrivals.jsonl"
    arrival_log = ArrivalLog(path)
    for name in ("a.tif", "b.tif"):
        arrival_log.write(ArrivalOutcome(name, GLANCE, "done"))
    arrival_log.close()
    path.write_bytes(path.read_bytes()[:-cut])
    arrival_log = ArrivalLog(path)
    assert arrival_log.of("a.tif", GLANCE)
    assert arrival_log.of("b.tif", GLANCE) is None
    arrival_log.write(ArrivalOutcome("c.tif", GLANCE, "done"))
    arrival_log.close()
    assert [json.loads(line)["name"] for line in path.read_text().splitlines()] == [
        "a.tif",
        "c.tif",
    ]
