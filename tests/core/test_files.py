"""Files that are read back, held, listed and removed, whatever stands in their place."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import Any

import pytest

from seg_batch.core.errors import BusyError
from seg_batch.core.files import files_in, held_folder, read_json, remove, write_json
from seg_batch.core.run_files import PARTIAL

BUSY = BusyError("somebody is at work")


def test_json_reads_back_and_anything_else_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    assert read_json(path) is None
    write_json(path, {"a": [1, None]})
    assert read_json(path) == {"a": [1, None]}
    for damaged in (b'{"a": [1', b"\xff\xfe"):
        path.write_bytes(damaged)
        assert read_json(path) is None


def test_a_folder_has_one_holder(tmp_path: Path) -> None:
    folder = tmp_path / "held"
    with held_folder(folder, BUSY):
        assert folder.is_dir()
        with pytest.raises(BusyError), held_folder(folder, BUSY):
            pass
    with held_folder(folder, BUSY):
        pass


def test_a_folder_that_its_last_owner_removed_is_busy(tmp_path: Path, monkeypatch: Any) -> None:
    folder, lock = tmp_path / "held", fcntl.flock

    def late(handle: int, how: int) -> None:
        folder.rmdir()
        folder.mkdir()  # of the same name, and another one
        lock(handle, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(BusyError), held_folder(folder, BUSY):
        pass


def test_files_of_a_folder_come_in_order_without_those_being_written(tmp_path: Path) -> None:
    for name in ("b/2", "b/1", "a/3", f"a/4{PARTIAL}", "c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    assert [str(p.relative_to(tmp_path)) for p in files_in(tmp_path)] == ["c", "a/3", "b/1", "b/2"]
    assert list(files_in(tmp_path / "c")) == [tmp_path / "c"]
    assert list(files_in(tmp_path / "none")) == []


def test_removing_takes_links_and_leaves_what_they_name(tmp_path: Path) -> None:
    folder, link = tmp_path / "folder", tmp_path / "link"
    folder.mkdir()
    (folder / "x").write_text("x")
    link.symlink_to(folder)
    remove(link)
    assert (folder / "x").exists()
    remove(folder)
    remove(folder)
    assert not folder.exists()
