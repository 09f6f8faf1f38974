"""What a work store says of itself to whoever does not open it."""

from __future__ import annotations

from pathlib import Path

import pytest

from seg_batch.core.geometry import Blocks
from seg_batch.core.run_files import PARTIAL
from seg_batch.io.sinks.store_folder import StoreFolder, left_behind
from seg_batch.io.sinks.work_store import WorkStore
from tests.support.io.stores import store_spec, write_block

BLOCKS = list(Blocks((50, 70), (32, 32)))


@pytest.fixture
def store(tmp_path: Path) -> WorkStore:
    return WorkStore.create(tmp_path / "a", store_spec((50, 70), (16, 16)))


def test_markers_are_those_of_blocks(store: WorkStore) -> None:
    write_block(store, BLOCKS[0])
    store.note_steps({"steps": []})
    store.remember("ab")
    folder = StoreFolder(store.path)
    assert list(folder.markers()) == [folder.marker("0.0")]
    assert (folder.steps(), folder.exported()) == ({"steps": []}, ["ab"])


def test_where_there_is_no_store(tmp_path: Path) -> None:
    folder = StoreFolder(tmp_path / "none")
    assert (list(folder.markers()), folder.exported(), folder.steps()) == ([], [], {})
    assert folder.is_held() is None
    assert not folder.is_remnant()


def test_is_held(store: WorkStore) -> None:
    folder = StoreFolder(store.path)
    assert folder.is_held() is None
    with store.lock():
        assert folder.is_held() is True
    assert folder.is_held() is False


def test_remnant(tmp_path: Path, store: WorkStore) -> None:
    """Chunks alone are what an outliving worker wrote; a store is never so bare."""
    StoreFolder(tmp_path / "late").chunks("labels").mkdir(parents=True)
    assert StoreFolder(tmp_path / "late").is_remnant()
    assert not store.is_remnant()


def test_maps(store: WorkStore) -> None:
    assert store.has_map(store.new_map())
    assert not store.has_map("post-of-nobody")


@pytest.mark.parametrize("with_probabilities", [True, False])
def test_left_behind(with_probabilities: bool) -> None:
    kept = {"labels", "zarr.json"} | ({"probabilities"} if with_probabilities else set())
    names = ["labels", "zarr.json", "probabilities", "done", "post-1", f"x{PARTIAL}"]
    assert set(names) - left_behind(with_probabilities, "", names) == kept
    assert left_behind(with_probabilities, "", ["done", f"x{PARTIAL}"]) == {f"x{PARTIAL}"}
