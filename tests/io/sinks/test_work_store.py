"""The work store: what is marked is there, whatever died when; what is damaged is noticed."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seg_batch.core.errors import DamagedError, OutputError, StoreError
from seg_batch.core.geometry import Blocks, Box
from seg_batch.io.sinks.work_store import StoreSpec, WorkStore, fingerprint_differences
from tests.support.io.stores import (
    OBLIQUE,
    full_store,
    labels_at,
    probabilities_at,
    store_spec,
    write_block,
)
from tests.support.patience import PATIENCE_S

SPEC = store_spec((50, 70), (16, 16))
BLOCKS = list(Blocks((50, 70), (32, 32)))


@pytest.fixture
def store(tmp_path: Path) -> WorkStore:
    return WorkStore.create(tmp_path / "a.work.zarr", SPEC)


def chunks(store: WorkStore, array: str = "labels") -> list[Path]:
    return sorted(p for p in (store.path / array / "c").rglob("*") if p.is_file())


@pytest.mark.parametrize("probabilities", [False, True])
@pytest.mark.parametrize(
    "spec",
    [
        SPEC,
        store_spec((5, 40, 33), (4, 16, 16), OBLIQUE, label_dtype="uint16", fill=65535),
        store_spec((1, 1), (1, 1)),
        store_spec((700, 1), (512, 1)),
    ],
    ids=lambda s: "x".join(map(str, s.extent)),
)
def test_what_is_written_reads_back(tmp_path: Path, spec: StoreSpec, probabilities: bool) -> None:
    spec = StoreSpec(**{**vars(spec), "probabilities": probabilities})
    full_store(tmp_path / "s", spec)
    store, whole = WorkStore.open(tmp_path / "s"), Box.whole(spec.extent)
    assert np.array_equal(store.read_labels(whole), labels_at(whole, spec.label_dtype))
    assert store.read_labels(whole).dtype == spec.label_dtype
    if probabilities:
        assert np.array_equal(store.read_probabilities(whole), probabilities_at(whole))


def test_the_spec_survives(store: WorkStore) -> None:
    opened = WorkStore.open(store.path).spec
    assert opened.extent == SPEC.extent
    assert opened.georef == SPEC.georef
    assert fingerprint_differences(opened.fingerprint, SPEC.fingerprint) == []


def test_what_was_never_written_has_the_fill_label(store: WorkStore) -> None:
    write_block(store, BLOCKS[0])
    assert (store.read_labels(BLOCKS[-1].box) == 255).all()


def test_a_block_of_nothing_but_fill_has_its_chunks(store: WorkStore) -> None:
    """Without write_empty_chunks zarr would delete them, at every open."""
    for opened in (store, WorkStore.open(store.path)):
        opened.write(BLOCKS[0], np.full((32, 32), 255, np.uint8), None, {})
        assert len(chunks(store)) == 4


def test_receipts_come_back(store: WorkStore) -> None:
    write_block(store, BLOCKS[0])
    write_block(store, BLOCKS[4])
    receipts = WorkStore.open(store.path).receipts()
    assert set(receipts) == {"0.0", "1.1"}
    assert receipts["1.1"]["tiles"] == 1


def test_killed_between_chunks_and_marker(store: WorkStore, monkeypatch) -> None:
    def killed(path: Path, value: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("seg_batch.io.sinks.work_store.write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            write_block(store, BLOCKS[0])
    assert len(chunks(store)) == 4
    assert store.receipts() == {}
    write_block(store, BLOCKS[0])
    assert set(store.receipts()) == {"0.0"}
    assert store.verify(BLOCKS[:1]) == []


def test_chunks_are_on_disk_before_the_marker(store: WorkStore, monkeypatch) -> None:
    """Power loss: everything that the marker speaks of was flushed before it was written."""
    done: list[Path] = []
    monkeypatch.setattr("seg_batch.io.sinks.work_store.flush", done.append)

    def marker(path: Path, value: object) -> None:
        assert set(chunks(store)) | {store.path / "labels" / "c" / "0"} <= set(done)

    monkeypatch.setattr("seg_batch.io.sinks.work_store.write_json", marker)
    write_block(store, BLOCKS[0])
    assert done


def test_a_damaged_block_is_written_but_not_done(store: WorkStore) -> None:
    write_block(store, BLOCKS[0])
    write_block(store, BLOCKS[0], done=False)
    assert store.receipts() == {}
    assert np.array_equal(store.read_labels(BLOCKS[0].box), labels_at(BLOCKS[0].box))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"fingerprint": "other"}', "\0\xff"])
def test_a_marker_that_is_not_ours_is_not_done(store: WorkStore, text: str) -> None:
    (store.path / "done" / "0.0.json").write_bytes(text.encode("latin1"))
    assert store.receipts() == {}


def test_a_marker_of_another_plan_is_not_done(store: WorkStore, tmp_path: Path) -> None:
    other = WorkStore.create(tmp_path / "b", store_spec((50, 70), (16, 16), fingerprint={"o": 1}))
    write_block(other, BLOCKS[0])
    marker = (other.path / "done" / "0.0.json").read_bytes()
    (store.path / "done" / "0.0.json").write_bytes(marker)
    assert store.receipts() == {}


def test_leftovers_of_killed_writers_are_swept(store: WorkStore) -> None:
    write_block(store, BLOCKS[0])
    for folder in ("done", "labels/c/0"):
        (store.path / folder / "x.1234.partial").write_text("torn")
    assert set(store.receipts()) == {"0.0"}
    with store.lock():
        assert not list(store.path.rglob("*.partial"))
    assert store.verify(BLOCKS[:1]) == []


def test_a_block_must_be_whole_chunks(store: WorkStore) -> None:
    for block in (Blocks((50, 70), (24, 32)).block((0, 0)), Blocks((50, 70), (8, 8)).block((1, 0))):
        with pytest.raises(ValueError, match="whole chunks"):
            write_block(store, block)
    assert store.receipts() == {}


def test_many_writers_also_of_one_block(store: WorkStore) -> None:
    def one(i: int) -> None:
        write_block(store, BLOCKS[i % len(BLOCKS)])

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(one, range(4 * len(BLOCKS))))
    assert store.verify(BLOCKS) == []


def _write_all(path: Path) -> None:
    store = WorkStore.open(path)
    for block in BLOCKS:
        write_block(store, block)


@pytest.mark.full
def test_two_processes_write_the_same_blocks(store: WorkStore) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_write_all, args=(store.path,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE_S)
    assert [p.exitcode for p in processes] == [0, 0]
    assert store.verify(BLOCKS) == []


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_flipped_bit_goes_unnoticed(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "flipped"
    store = WorkStore.open(path) if path.exists() else full_store(path, SPEC)
    chunk = data.draw(st.sampled_from(chunks(store)))
    whole = bytearray(chunk.read_bytes())
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    damaged = bytearray(whole)
    damaged[bit // 8] ^= 1 << bit % 8
    try:
        chunk.write_bytes(damaged)
        try:
            read = store.read_labels(Box.whole(SPEC.extent))
        except DamagedError:
            pass
        else:  # a bit that zstd does not use
            assert np.array_equal(read, labels_at(Box.whole(SPEC.extent)))
    finally:
        chunk.write_bytes(whole)


def test_a_damaged_chunk_is_one_line_that_names_the_box(tmp_path: Path) -> None:
    store = full_store(tmp_path / "s", SPEC)
    chunks(store)[0].write_bytes(b"")
    with pytest.raises(DamagedError, match="labels in box 0:32,0:32") as caught:
        store.read_labels(BLOCKS[0].box)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("left", [0, 1, 20])
def test_a_torn_chunk_is_named_by_verify_and_can_be_written_again(
    tmp_path: Path, left: int
) -> None:
    store = full_store(tmp_path / "s", SPEC, (32, 32))
    for chunk in chunks(store):
        chunk.write_bytes(chunk.read_bytes()[:left])
    assert store.verify(BLOCKS) == [b.name for b in BLOCKS]
    for block in BLOCKS:
        write_block(store, block)
    assert store.verify(BLOCKS) == []


def test_a_missing_chunk_is_named_by_verify(tmp_path: Path) -> None:
    store = full_store(tmp_path / "s", SPEC, (32, 32))
    chunks(store)[0].unlink()
    assert store.verify(BLOCKS) == ["0.0"]


def test_only_one_run_at_a_time(store: WorkStore) -> None:
    script = (
        "import sys, pathlib\n"
        "from seg_batch.io.sinks.work_store import WorkStore\n"
        "with WorkStore.open(pathlib.Path(sys.argv[1])).lock():\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", script, str(store.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    try:
        with pytest.raises(StoreError, match=rf"pid {other.pid}.*is writing"), store.lock():
            pass
    finally:
        other.kill()
        other.communicate()
    with store.lock():  # the system let go of it
        pass


def test_the_lock_says_nothing_about_errors_inside(store: WorkStore) -> None:
    with pytest.raises(FileNotFoundError), store.lock():
        raise FileNotFoundError("the input")


def test_a_store_in_place_is_not_replaced(store: WorkStore) -> None:
    with pytest.raises(StoreError, match="there already"):
        WorkStore.create(store.path, SPEC)
    assert [p.name for p in store.path.parent.iterdir()] == [store.path.name]


def test_half_made_stores_of_dead_processes_are_swept(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)  # ended, and its pid is still taken
    for pid in (dead.pid, ended.pid, 1):
        (tmp_path / f"s.part-{pid}").mkdir()
    (tmp_path / "s.part-list").mkdir()
    WorkStore.create(tmp_path / "s", SPEC)
    assert {p.name for p in tmp_path.iterdir()} == {"s", "s.part-1", "s.part-list"}
    ended.wait()


def test_a_worker_that_outlived_its_run_writes_nowhere(store: WorkStore) -> None:
    old = WorkStore.open(store.path)
    os.rename(store.path, store.path.with_name("gone"))
    WorkStore.create(store.path, SPEC)
    with pytest.raises(StoreError, match="replaced"):
        write_block(old, BLOCKS[0])
    assert not (store.path / "labels" / "c").exists()


@pytest.mark.parametrize("what", ["nothing", "file", "folder", "other group", "torn"])
def test_something_else_in_its_place(tmp_path: Path, what: str) -> None:
    path = tmp_path / "s"
    if what == "file":
        path.write_text("x")
    elif what == "folder":
        path.mkdir()
    elif what == "other group":
        zarr.create_group(path)
    elif what == "torn":
        WorkStore.create(path, SPEC)
        metadata = (path / "zarr.json").read_text()
        (path / "zarr.json").write_text(metadata[: len(metadata) // 2])
    with pytest.raises(StoreError, match="not a work store") as caught:
        WorkStore.open(path)
    assert len(str(caught.value).splitlines()) == 1


def test_differences_in_words() -> None:
    before = {"overlap": 64, "mean": (1.0, 2.0), "gone": 1}
    after = {"overlap": 32, "mean": [1.0, 2.0], "new": None}
    assert fingerprint_differences(before, after) == [
        "gone: 1 became None",
        "overlap: 64 became 32",
    ]
    assert fingerprint_differences(json.loads(json.dumps(before)), before) == []


def test_an_unwritable_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError) as caught:
        WorkStore.create(tmp_path / "file" / "s", SPEC)
    assert len(str(caught.value).splitlines()) == 1
