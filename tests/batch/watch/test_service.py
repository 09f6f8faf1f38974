"""``segbatch watch`` as a service: real processes, real files, real kills.

Each arrival is segmented once, whatever happens to the process; the products are those of ``predict``.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import rasterio

from tests.support.files import Ran, address_raster, segbatch, write_raster
from tests.support.patience import PATIENCE_S, Gate, until

pytestmark = pytest.mark.full

BOOK = "out/.segbatch/watch-in-????????"
QUICK = ("--model", "probe", "--settle", "0.3", "--every", "0.1", "--cluster", "inline")


@pytest.fixture
def hot(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


def scene(path: Path, shift: int = 0, shape: tuple[int, int] = (90, 70)) -> Path:
    """A small scene, moved into place as a careful sender does."""
    part = path.with_name(f".{path.name}.part")
    write_raster(part, address_raster(shape, 1, "uint8") + np.uint8(shift))
    return part.rename(path)


def labels(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read(1)


def once(hot: Path, *more: object) -> Ran:
    return segbatch("watch", hot, "-o", hot.parent / "out", *QUICK, "--once", *more)


@contextmanager
def watching(
    hot: Path, *more: object, gate: Gate | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    command = ("watch", hot, "-o", hot.parent / "out", *QUICK, *more)
    with (hot.parent / "said").open("ab") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "seg_batch", *map(str, command)],
            stdout=said,
            stderr=said,
            env={**os.environ, **(gate.environment if gate else {})},
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(PATIENCE_S)


def ended(process: subprocess.Popen[bytes], how: int = signal.SIGTERM) -> int:
    process.send_signal(how)
    return process.wait(PATIENCE_S)


def whole_lines(path: Path) -> list[Any]:
    """What was written so far; the last line may be on its way."""
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]]


def fates(hot: Path) -> list[tuple[str, str]]:
    """Every fate in the book, in order."""
    books = hot.parent.glob(f"{BOOK}/arrivals.jsonl")
    return [(one["name"], one["fate"]) for arrival_log in books for one in whole_lines(arrival_log)]


def told(hot: Path) -> list[dict[str, Any]]:
    """What the journals of all waves tell."""
    journals = (hot.parent / "out" / ".segbatch").glob("watch-in-*/journal.jsonl")
    return [one for journal in journals for one in whole_lines(journal)]


def begun(hot: Path) -> list[str]:
    """The inputs that any wave began, in order."""
    return [Path(one["input"]).name for one in told(hot) if one["event"] == "started"]


def test_good_and_bad_arrivals_each_go_where_they_belong(hot: Path, tmp_path: Path) -> None:
    scene(hot / "good [1].tif")
    (hot / "bad.tif").write_bytes(b"II*\0 and then nothing")
    (hot / "empty.nii.gz").touch()
    (hot / "coming.tif.part").write_bytes(b"half")
    (hot / "notes.txt").write_text("no image")
    ran = once(hot, "--move-to", tmp_path / "done", "--failed-to", tmp_path / "bad")
    assert ran.status == 3, ran.err
    assert sorted(p.name for p in hot.iterdir()) == ["coming.tif.part", "notes.txt"]
    assert [p.name for p in (tmp_path / "done").iterdir()] == ["good [1].tif"]
    reasons = {
        name: json.loads((tmp_path / "bad" / f"{name}.segbatch-failed").read_text())["why"]
        for name in ("bad.tif", "empty.nii.gz")
    }
    assert "the file is empty" in reasons["empty.nii.gz"]
    first, *_, last = [line for line in ran.err.splitlines() if "watching" in line]
    assert first == f"segbatch: watching {hot}"
    words, _, report = last.partition("; report ")
    assert words == f"segbatch: watching {hot}: 1 done, 2 failed so far"
    assert Path(report).stat().st_size
    told = [json.loads(line) for line in next(tmp_path.glob(f"{BOOK}/log.jsonl")).open()]
    assert (told[0]["event"], told[-1]["event"], told[-1]["status"]) == ("begun", "ended", 3)
    alone = tmp_path / "alone.tif"
    segbatch("predict", tmp_path / "done" / "good [1].tif", "-o", alone, "--model", "probe")
    assert np.array_equal(labels(tmp_path / "out" / "good [1]_labels.tif"), labels(alone))


def test_an_arrival_is_done_once_until_it_changes(hot: Path) -> None:
    scene(hot / "a.tif")
    assert once(hot).status == 0
    stamp = (hot.parent / "out" / "a_labels.tif").stat().st_mtime_ns
    (hot / "a.tif.segbatch-done").unlink()  # as after a kill between the product and the book
    next((hot.parent / "out" / ".segbatch").rglob("arrivals.jsonl")).unlink()
    assert once(hot).status == 0
    assert (begun(hot), fates(hot)) == (["a.tif"], [("a.tif", "done")])
    assert (hot / "a.tif.segbatch-done").exists()
    scene(hot / "a.tif", shift=3)
    refused = once(hot)
    assert refused.status == 3
    assert "--overwrite" in refused.err
    assert (hot.parent / "out" / "a_labels.tif").stat().st_mtime_ns == stamp, "nothing is lost"
    scene(hot / "a.tif", shift=5)
    assert once(hot, "--overwrite").status == 0
    assert np.array_equal(labels(hot.parent / "out" / "a_labels.tif"), labels(hot / "a.tif") % 8)


def test_a_file_that_grows_is_left_alone_until_it_is_whole(hot: Path, tmp_path: Path) -> None:
    """Every look finds it longer than the one before, however much time there was between them."""
    data = scene(tmp_path / "whole.tif", shape=(400, 300)).read_bytes()
    gate = Gate(tmp_path, str(hot), event="os.scandir")
    with watching(hot, gate=gate) as process, (hot / "slow.tif").open("wb") as file:
        step = len(data) // 12
        for start in range(0, len(data), step):
            gate.wait(process)
            file.write(data[start : start + step])
            file.flush()
            time.sleep(0.05)  # with the others, longer than a file must be still
            gate.step(process)
        gate.open()
        until(lambda: fates(hot), process=process)
        assert ended(process) == 0
    assert fates(hot) == [("slow.tif", "done")]


def test_a_marker_declares_an_image_complete(hot: Path) -> None:
    scene(hot / "a.tif")
    scene(hot / "b.tif")
    (hot / "a.tif.done").touch()
    assert once(hot, "--marker", ".done").status == 0
    assert fates(hot) == [("a.tif", "done")]


def test_a_marker_may_be_a_file_that_only_travels(hot: Path) -> None:
    """As converters write ``scan.json`` after ``scan.nii.gz``."""
    nibabel.save(nibabel.Nifti1Image(np.zeros((9, 8, 7), np.uint8), np.eye(4)), hot / "a.nii.gz")
    (hot / "a.json").write_text("{}")
    assert once(hot, "--marker", ".json").status == 0
    assert fates(hot) == [("a.nii.gz", "done")]


def test_killed_at_any_moment_nothing_is_lost_or_done_twice(hot: Path, tmp_path: Path) -> None:
    """``kill -9`` as fates are noted, a little later each time; the last one finishes."""
    names = [f"{i}.tif" for i in range(8)]
    for i, name in enumerate(names):
        scene(hot / name, shift=i)
    originals = {name: labels(hot / name) for name in names}
    done = tmp_path / "done"
    for n in range(3):
        with watching(hot, "--move-to", done):
            until(lambda: list(tmp_path.glob(f"{BOOK}/lock")))
            before = len(fates(hot))
            until(lambda: len(fates(hot)) > before or len(before_done(done)) == 8)  # noqa: B023
            time.sleep(0.003 * n)
    assert once(hot, "--move-to", done).status == 0
    assert before_done(done) == names
    assert sorted(fates(hot)) == [(name, "done") for name in names], "each has one fate"
    for name in names:
        product = tmp_path / "out" / name.replace(".tif", "_labels.tif")
        assert np.array_equal(labels(product), originals[name] % 8)


def before_done(done: Path) -> list[str]:
    return sorted(p.name for p in done.iterdir()) if done.exists() else []


def test_sigterm_finishes_the_block_in_hand_and_the_rest_waits(hot: Path, tmp_path: Path) -> None:
    scene(hot / "wide.tif", shape=(3000, 4000))
    store = tmp_path / "out" / "wide_labels.tif.work.zarr"

    def markers() -> int:
        return len(list(store.glob("done/*.*.json")))

    gate = Gate(tmp_path, f"{store}/done/*.*.json", after=2)
    with watching(hot, "--block", "1024,1024", gate=gate) as process:
        gate.wait(process)
        until(lambda: markers() >= 2)
        process.send_signal(signal.SIGTERM)
        until(lambda: any(one["event"] == "stopping" for one in told(hot)), process=process)
        gate.open()
        assert process.wait(PATIENCE_S) == 130
    left = markers()
    assert 2 <= left < 12
    assert not fates(hot)
    assert once(hot, "--block", "1024,1024").status == 0
    report = json.loads((tmp_path / "out" / "wide_labels.tif.json").read_text())
    assert report["blocks"] == {"total": 12, "done": 12, "failed": 0, "resumed": left}


def test_an_idle_watch_ends_with_0(hot: Path, tmp_path: Path) -> None:
    def said() -> str:
        return (tmp_path / "said").read_text()

    with watching(hot) as process:
        scene(hot / "a.tif")
        until(lambda: "watching" in said() and "1 done so far" in said(), process=process)
        assert (hot / "a.tif.segbatch-done").exists()
        assert ended(process, signal.SIGINT) == 0
    assert list(tmp_path.glob(BOOK))


def test_a_folder_has_one_watcher(hot: Path) -> None:
    with watching(hot):
        until(lambda: list((hot.parent / "out").glob(".segbatch/*/lock/*.json")))
        second = once(hot)
    assert second.status == 2
    assert "belongs to another segbatch run" in second.err
    assert second.err.count("\n") == 1


@pytest.mark.slow
def test_waves_share_warm_workers(hot: Path, tmp_path: Path) -> None:
    """Two waves are done by the same two processes."""
    with watching(hot, "--cluster", "local", "--workers", "2") as process:
        for wave in range(2):
            for i in range(4):
                scene(hot / f"{wave}-{i}.tif", shift=i)
            until(lambda: len(fates(hot)) == 4 * (wave + 1))  # noqa: B023
        assert ended(process) == 0
    reports = [json.loads(p.read_text()) for p in (tmp_path / "out").glob("*.tif.json")]
    assert len(reports) == 8
    run = next((tmp_path / "out" / ".segbatch").glob("watch-in-*/journal.jsonl")).parent
    events = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
    workers = {e["outcome"]["worker"] for e in events if e["event"] == "done"}
    assert len(workers) <= 2, "no process was started for the second wave"
    assert (run / "report.html").exists()


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ((), "watch needs -o"),
        (("-o", "IN"), "every product would arrive as an input"),
        (("-o", "OUT", "--move-to", "IN"), "would arrive again"),
        (("-o", "OUT", "--marker", "done"), "no ending"),
        (("-o", "OUT", "--marker", ".tfw"), "read as part of an image"),
        (("-o", "OUT", "--taper", "han"), "hann"),
    ],
)
def test_what_can_not_work_is_refused_in_one_line(
    hot: Path, more: tuple[str, ...], why: str
) -> None:
    words = [{"IN": hot, "OUT": hot.parent / "out"}.get(word, word) for word in more]
    ran = segbatch("watch", hot, *words, "--once")
    assert ran.status == 2
    assert why in ran.err
    assert ran.err.count("\n") == 1


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    ran = segbatch("watch", tmp_path / "no", "-o", tmp_path / "out", "--once")
    assert ran.status == 2
    assert "no folder" in ran.err
    assert not (tmp_path / "out").exists()


def test_a_workflow_says_how_and_its_commands_follow_each_wave(hot: Path, tmp_path: Path) -> None:
    scene(hot / "a.tif")
    told = tmp_path / "told"
    (tmp_path / "night.yaml").write_text(f"""
name: inbox
inputs: in
model: probe
cluster: inline
outputs: {{folder: made, pattern: "seg_{{stem}}"}}
on_finish:
  - [sh, -c, 'echo "$SEGBATCH_STATUS" > {told}']
  - [no-such-command]
""")
    ran = segbatch("watch", hot, "--workflow", tmp_path / "night.yaml", "--once", "--settle", "0.2")
    assert ran.status == 0, ran.err
    assert (tmp_path / "made" / "seg_a.tif").exists()
    status = segbatch("status", tmp_path / "made", "--json")
    assert status.json["state"] == "ended"
    assert told.read_text() == "0\n"
    assert "no-such-command: it can't be run" in ran.err


@pytest.mark.needs("lock")
def test_a_folder_that_can_not_be_written_is_still_watched(hot: Path, tmp_path: Path) -> None:
    scene(hot / "a.tif")
    if os.geteuid() == 0:
        subprocess.run(["chattr", "+i", hot], check=False, capture_output=True)
    else:
        hot.chmod(0o555)
    try:
        for _ in range(2):
            ran = once(hot)
            assert ran.status == 0
            assert "stays where it is" in ran.err
    finally:
        subprocess.run(["chattr", "-i", hot], check=False, capture_output=True)
        hot.chmod(0o755)
    assert begun(hot) == ["a.tif"]


def test_a_zarr_store_arrives_as_one(hot: Path, tmp_path: Path) -> None:
    made = tmp_path / "made.zarr"
    segbatch("predict", scene(tmp_path / "x.tif"), "-o", made, "--model", "probe")
    shutil.copytree(made, hot / ".x.zarr")
    (hot / ".x.zarr").rename(hot / "x.zarr")
    ran = once(hot, "--move-to", tmp_path / "done")
    assert fates(hot), ran.err
    assert fates(hot)[0][0] == "x.zarr"


def test_each_wave_has_a_status_of_its_own(hot: Path, tmp_path: Path) -> None:
    """All waves of a day share a journal; what earlier ones did is none of the next one's business."""
    (tmp_path / "night.yaml").write_text(f"""
name: inbox
inputs: in
model: probe
cluster: inline
outputs: made
on_finish:
  - [sh, -c, 'echo "$SEGBATCH_STATUS" >> {tmp_path}/told']
""")
    more = ("--workflow", tmp_path / "night.yaml", "--once", "--settle", "0.2")
    for wave in range(3):
        scene(hot / f"{wave}.tif")
        if wave == 1:
            (hot / "bad.tif").touch()
        ran = segbatch("watch", hot, *more)
        assert ran.status == (3 if wave == 1 else 0), ran.err
    assert (tmp_path / "told").read_text().split() == ["0", "3", "0"]
