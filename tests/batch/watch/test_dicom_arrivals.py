"""Series in a hot folder: each is an arrival, taken once when it is whole."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from seg_batch.batch.watch.arrivals import FolderListing, list_arrivals
from seg_batch.batch.watch.series_arrivals import SeriesArrivals
from seg_batch.core.run_files import RECEIVING, hidden_beside
from tests.support.dicom_files import write_series
from tests.support.files import segbatch

SHAPE = (4, 9, 7)
SETTLE_S = 0.05


@pytest.fixture
def hot(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


def looked(arrivals: SeriesArrivals, hot: Path, times: int = 2) -> FolderListing:
    """What is seen after it has kept still."""
    for n in range(times):
        if n:
            time.sleep(2 * SETTLE_S)
        seen = arrivals.grouped(list_arrivals(hot))
    return seen


def test_each_series_of_a_folder_is_an_arrival_that_only_its_own_files_change(hot: Path) -> None:
    first = write_series(hot / "ct", SHAPE, only=[0, 1, 2])
    write_series(hot / "ct" / "deep" / "er", (5, 9, 7))
    (hot / "ct" / "notes.txt").write_text("no image")
    (hot / "plain").mkdir()
    arrivals = SeriesArrivals(hot, SETTLE_S)
    assert not arrivals.grouped(list_arrivals(hot)).images, "it has not kept still yet"
    before = looked(arrivals, hot)
    assert sorted(glance[2] for glance in before.images.values()) == [3, 5]
    assert before.still == before.images.keys()
    assert {arrivals.files(name) for name in before.images} == {("ct",)}
    assert not any(first.uid in name for name in before.images), "nothing of a header"
    write_series(hot / "ct", first, only=[3])
    assert not arrivals.grouped(list_arrivals(hot)).images
    after = looked(arrivals, hot)
    changed = {name for name, glance in after.images.items() if before.images[name] != glance}
    assert [after.images[name][2] for name in changed] == [4]
    assert after.images.keys() == before.images.keys()


def test_a_folder_waits_for_what_is_still_written_received_or_told_of(hot: Path) -> None:
    write_series(hot / "a", SHAPE)
    write_series(hot / "b", SHAPE)
    write_series(hot / "c", SHAPE, tags={"NumberOfSeriesRelatedInstances": 6})
    (hot / "a" / "next.dcm.part").touch()
    hidden_beside(hot / "b", RECEIVING).touch()
    arrivals = SeriesArrivals(hot, SETTLE_S)
    seen = looked(arrivals, hot)
    assert not seen.images
    told = sorted(why for _, why in seen.waiting.values())
    assert "waits for 2 files" in told[1]
    assert told[0].startswith("b broke off while it was received")
    (hot / "a" / "next.dcm.part").unlink()
    hidden_beside(hot / "b", RECEIVING).unlink()
    assert len(looked(arrivals, hot).images) == 2


def test_loose_slices_gather_by_series_whatever_they_are_called(hot: Path) -> None:
    one = write_series(hot, SHAPE, names="one{}.dcm".format, only=[0, 1])
    write_series(hot, SHAPE, names="other {}".format)
    arrivals = SeriesArrivals(hot, SETTLE_S)
    assert not arrivals.grouped(list_arrivals(hot)).images
    seen = looked(arrivals, hot)
    assert sorted(glance[2] for glance in seen.images.values()) == [2, 4]
    assert all(path.is_dir() and path.name.startswith("series-") for path in hot.iterdir())
    write_series(hot, one, names="one{}.dcm".format, only=[2, 3])
    late = looked(arrivals, hot, times=4)
    assert [glance[2] for glance in late.images.values()] == [4, 4]


def test_folders_of_products_and_of_what_is_done_hold_no_arrivals(hot: Path) -> None:
    write_series(hot / "done" / "ct", SHAPE)
    write_series(hot / "ct", SHAPE)
    arrivals = SeriesArrivals(hot, SETTLE_S, apart=[hot / "done"])
    assert [name.partition("@")[0] for name in looked(arrivals, hot).images] == ["ct"]


def test_a_marker_declares_a_folder_and_the_choice_takes_one_series(hot: Path) -> None:
    chosen = write_series(hot / "ct", SHAPE)
    write_series(hot / "ct" / "b", SHAPE)
    arrivals = SeriesArrivals(hot, 60.0, marker=".done", choice=chosen.uid)
    assert not arrivals.grouped(list_arrivals(hot)).images
    (hot / "ct.done").touch()
    seen = arrivals.grouped(list_arrivals(hot))
    (name,) = seen.images
    assert arrivals.declared(seen, ".done") == [name]
    assert arrivals.marker(hot, name, ".done") is not None


@pytest.mark.full
def test_series_are_segmented_once_and_move_as_a_whole(hot: Path, tmp_path: Path) -> None:
    write_series(hot / "ct", SHAPE)
    write_series(hot / "ct" / "b", (5, 9, 7))
    gap = write_series(hot / "gap", (6, 9, 7), only=[0, 1, 2, 4, 5])
    write_series(hot / "gap" / "good", SHAPE)
    write_series(tmp_path / "zipped", SHAPE)
    shutil.make_archive(str(hot / "z"), "zip", tmp_path / "zipped")
    write_series(hot, SHAPE, names="loose{}".format)
    done, bad, out = (tmp_path / name for name in ("done", "bad", "out"))
    quick = (
        "--model",
        "probe",
        "--settle",
        "0.2",
        "--every",
        "0.1",
        "--cluster",
        "inline",
        "--once",
    )
    ran = segbatch("watch", hot, "-o", out, *quick, "--move-to", done, "--failed-to", bad)
    assert ran.status == 3, ran.err
    assert not [path for path in hot.iterdir() if not path.name.startswith(".")]
    assert {p.name.partition("-")[0] for p in done.iterdir()} == {"ct", "z.zip", "series"}
    assert {p.name for p in bad.iterdir()} == {"gap", "gap.segbatch-failed"}
    assert len(list((bad / "gap").rglob("*"))) == 5 + 1 + len(range(SHAPE[0]))
    assert "missing" in json.loads((bad / "gap.segbatch-failed").read_text())["why"]
    assert len(list(out.glob("*_labels.nii.gz"))) == 5
    assert gap.uid not in ran.err
    again = segbatch("watch", hot, "-o", out, *quick)
    assert (again.status, "done" in again.err) == (0, False), again.err


def test_the_choice_names_a_series_as_it_does_elsewhere(hot: Path) -> None:
    chosen = write_series(hot / "ct", SHAPE)
    write_series(hot / "ct" / "b", SHAPE)
    write_series(hot / "other", SHAPE)
    seen = looked(SeriesArrivals(hot, SETTLE_S, choice=chosen.uid[2:]), hot)
    assert [name.partition("@")[0] for name in seen.images] == ["ct"]
    (note,) = seen.notes
    assert note.startswith("other holds no series that --series names")


def test_slices_without_a_preamble_and_zips_of_any_name_are_known_by_their_first_bytes(
    hot: Path, tmp_path: Path
) -> None:
    write_series(tmp_path / "ct", SHAPE)
    shutil.make_archive(str(tmp_path / "z"), "zip", tmp_path / "ct")
    (tmp_path / "z.zip").rename(hot / "from the ward")
    (hot / "no.zip").write_text("no zip")
    write_series(hot, SHAPE)
    for path in hot.iterdir():
        if (data := path.read_bytes())[128:132] == b"DICM":
            path.write_bytes(data[132:])
    seen = looked(SeriesArrivals(hot, SETTLE_S), hot)
    assert sorted(name.partition("@")[0][:7] for name in seen.images) == ["from th", "series-"]


def test_the_slices_of_a_series_move_together_once_all_have_kept_still(hot: Path) -> None:
    one = write_series(hot, SHAPE, names="{}".format, only=[0])
    arrivals = SeriesArrivals(hot, SETTLE_S)
    for n in (1, 2, 3):
        arrivals.grouped(list_arrivals(hot))
        time.sleep(2 * SETTLE_S)
        write_series(hot, one, names="{}".format, only=[n])
        assert not arrivals.grouped(list_arrivals(hot)).images
    assert [glance[2] for glance in looked(arrivals, hot).images.values()] == [4]


def test_localisers_and_single_slices_are_passed_over_and_what_is_damaged_is_not(
    hot: Path,
) -> None:
    write_series(hot / "scout", SHAPE, tags={"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]})
    write_series(hot / "one", (1, 9, 7))
    write_series(hot / "ct", SHAPE)
    seen = looked(SeriesArrivals(hot, SETTLE_S), hot)
    assert seen.passed == {
        "scout": "a localiser",
        "one": "one slice, where a volume is needed",
    }
    assert len(seen.images) == 3


@pytest.mark.full
def test_what_is_passed_over_is_moved_with_a_line_and_fails_no_night(
    hot: Path, tmp_path: Path
) -> None:
    write_series(hot / "scout", SHAPE, tags={"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]})
    done = tmp_path / "done"
    words = ("watch", hot, "-o", tmp_path / "out", "--model", "probe", "--settle", "0.1")
    ran = segbatch(*words, "--every", "0.05", "--cluster", "inline", "--once", "--move-to", done)
    assert (ran.status, [path.name for path in done.iterdir()]) == (0, ["scout"]), ran.err
    assert "scout is passed over: a localiser" in ran.err
