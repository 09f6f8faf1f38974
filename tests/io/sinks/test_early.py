"""Products made while blocks come in: the bytes of those made at the end, whatever happened meanwhile."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seg_batch.core.errors import DamagedError
from seg_batch.core.geometry import Block, Blocks, Box
from seg_batch.io.sinks.product import begin_product, export_product, probabilities_spec
from seg_batch.io.sinks.work_store import WorkStore
from tests.support.io.stores import product_spec, store_spec, write_block

EXTENT, CHUNK, BLOCK = (700, 1100), (256, 256), (256, 768)
BLOCKS = Blocks(EXTENT, BLOCK)


@pytest.fixture(autouse=True)
def _small_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seg_batch.io.sinks.cog.tiles.PIECE_BYTES", 1)


@pytest.fixture
def store(tmp_path: Path) -> WorkStore:
    return WorkStore.create(tmp_path / "s", store_spec(EXTENT, CHUNK))


def all_made(early: Any) -> None:
    """Wait for what was begun; nothing is left for the end."""
    early._thread.submit(lambda: None).result()
    assert not early.begun.missing


def shuffled() -> Iterator[Block]:
    blocks = list(BLOCKS)
    random.Random(3).shuffle(blocks)
    return iter(blocks)


@pytest.mark.parametrize("probabilities", [False, True])
def test_in_any_order(tmp_path: Path, probabilities: bool) -> None:
    made_of = store_spec(EXTENT, CHUNK, probabilities=probabilities)
    store = WorkStore.create(tmp_path / "s", made_of)
    spec = product_spec(store)
    spec = probabilities_spec(spec) if probabilities else spec
    early = begin_product(store, tmp_path / "early.tif", spec, BLOCKS)
    assert early is not None
    with closing(early):
        for block in shuffled():
            write_block(store, block)
            early.block_done(block)
        all_made(early)
        made = export_product(store, tmp_path / "early.tif", spec, early=early)
    late = export_product(store, tmp_path / "late.tif", spec)
    assert (made.sha256, made.counts, made.hectares) == (late.sha256, late.counts, late.hectares)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["early.tif", "late.tif", "s"]


def test_blocks_that_never_come(store: WorkStore, tmp_path: Path) -> None:
    spec = product_spec(store)
    early = begin_product(store, tmp_path / "early.tif", spec, BLOCKS)
    assert early is not None
    with closing(early):
        for block in list(shuffled())[1:]:
            write_block(store, block)
            early.block_done(block)
        early._thread.submit(lambda: None).result()
        assert 0 < len(early.begun.missing) < len(early.begun.boxes)
        made = export_product(store, tmp_path / "early.tif", spec, early=early)
    late = export_product(store, tmp_path / "late.tif", spec)
    assert (made.sha256, made.counts, made.hectares) == (late.sha256, late.counts, late.hectares)


def test_what_fails_early_is_made_and_counted_once(store: WorkStore, tmp_path: Path) -> None:
    """Boxes that are counted and then not encoded."""
    spec = product_spec(store)
    early = begin_product(store, tmp_path / "early.tif", spec, BLOCKS)
    assert early is not None
    add, failed = early.begun.add, list[Box]()

    def full(box: Box, values: np.ndarray) -> None:
        if len(failed) < 2:
            failed.append(box)
            raise OSError(28, "no space left")
        add(box, values)

    with closing(early):
        early.begun.add = full
        for block in BLOCKS:
            write_block(store, block)
            early.block_done(block)
        early._thread.submit(lambda: None).result()
        assert sorted(early.begun.missing, key=str) == sorted(failed, key=str)
        made = export_product(store, tmp_path / "early.tif", spec, early=early)
    late = export_product(store, tmp_path / "late.tif", spec)
    assert len(failed) == 2
    assert (made.sha256, made.counts) == (late.sha256, late.counts)


def test_what_stays_damaged_is_told_at_the_end(store: WorkStore, tmp_path: Path) -> None:
    spec = product_spec(store)
    early = begin_product(store, tmp_path / "early.tif", spec, BLOCKS)
    assert early is not None
    with closing(early):
        for block in BLOCKS:
            write_block(store, block)
            next(p for p in sorted(store.chunks("labels").rglob("*")) if p.is_file()).write_bytes(
                b""
            )
            early.block_done(block)
        with pytest.raises(DamagedError):
            export_product(store, tmp_path / "early.tif", spec, early=early)
    assert not (tmp_path / "early.tif").exists()


def test_one_block_and_other_formats_have_nothing_early(store: WorkStore, tmp_path: Path) -> None:
    spec = product_spec(store)
    assert begin_product(store, tmp_path / "a.tif", spec, Blocks(EXTENT, EXTENT)) is None
    assert begin_product(store, tmp_path / "a.zarr", spec, BLOCKS) is None
