"""Disks that stumble: what is read again, and for how long."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from seg_batch.core.errors import ReadError
from seg_batch.core.geometry import Box
from seg_batch.io.sources import open_source
from seg_batch.io.sources.tolerant_read import PATIENCE, WAITS_S, RetryLimit
from tests.support.files import address_volume, write_volume


class Disk:
    """It answers 7, but for the next ``fails`` reads."""

    def __init__(self, fails: int, number: int = errno.EIO) -> None:
        self.fails, self.number, self.reads = fails, number, 0

    def read(self) -> int:
        self.reads += 1
        if self.fails:
            self.fails -= 1
            raise OSError(self.number, os.strerror(self.number))
        return 7


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []
    monkeypatch.setattr(time, "sleep", found.append)
    return found


@pytest.mark.parametrize("fails", range(len(WAITS_S) + 1))
def test_a_stumble_is_waited_for(fails: int, waits: list[float]) -> None:
    assert RetryLimit()(Disk(fails).read) == 7
    assert waits == list(WAITS_S[:fails])


@pytest.mark.parametrize(("fails", "number"), [(9, errno.EIO), (1, errno.ENOENT)])
def test_what_stays_is_raised(fails: int, number: int, waits: list[float]) -> None:
    disk = Disk(fails, number)
    with pytest.raises(OSError, match=os.strerror(number)):
        RetryLimit()(disk.read)
    assert disk.reads == 1 + len(waits) == (3 if number == errno.EIO else 1)


def test_a_dead_disk_is_not_waited_for_for_ever_and_one_that_revives_is(waits: list[float]) -> None:
    reads, disk = RetryLimit(), Disk(10**6)
    for _ in range(100):
        with pytest.raises(OSError):
            reads(disk.read)
    assert len(waits) == PATIENCE * len(WAITS_S)
    disk.fails = 0
    assert reads(disk.read) == 7
    disk.fails = 2
    assert reads(disk.read) == 7


def test_a_volume_whose_disk_stumbles_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    voxels = address_volume((9, 8, 7))
    path = write_volume(tmp_path / "v.nii", voxels, np.eye(4))
    source = open_source(path)
    whole = Box.whole(source.info.extent)
    before, preadv = source.read(whole).values, os.preadv
    monkeypatch.setattr(os, "preadv", _stumbling(preadv, 2))
    assert (source.read(whole).values == before).all()
    monkeypatch.setattr(os, "preadv", _stumbling(preadv, 3))
    with pytest.raises(ReadError, match="Input/output error"):
        source.read(whole)
    source.close()


def _stumbling(preadv: Callable[..., int], times: int) -> Callable[..., int]:
    disk = Disk(times)

    def read(*arguments: object) -> int:
        disk.read()
        return preadv(*arguments)

    return read
