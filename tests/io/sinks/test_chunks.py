"""Chunk files against those that zarr writes."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest

from seg_batch.core.geometry import Box, Shape
from seg_batch.io.sinks.chunks import chunk_files, constant_value, crc32, write_chunks
from seg_batch.io.sinks.work_store import create_arrays
from seg_batch.io.sources.constant import constant, is_constant
from tests.support.io.stores import OBLIQUE, PLACED, labels_at, probabilities_at, store_spec


@pytest.mark.parametrize(
    ("extent", "chunk", "dtype"),
    [
        ((50, 70), (16, 16), "uint8"),
        ((9, 40, 33), (4, 16, 16), "uint16"),
        ((1, 1), (1, 1), "uint8"),
    ],
    ids=str,
)
def test_the_bytes_are_those_of_zarr(
    tmp_path: Path, extent: Shape, chunk: Shape, dtype: str
) -> None:
    import zarr

    place = PLACED if len(extent) == 2 else OBLIQUE
    spec = store_spec(extent, chunk, place, label_dtype=dtype, fill=7, probabilities=True)
    box, files = Box.whole(extent), {}
    for name in ("ours", "zarr"):
        create_arrays(tmp_path / name, spec)
    for array, values, leading in (
        ("labels", labels_at(box, dtype), ()),
        ("probabilities", probabilities_at(box), (spec.n_classes,)),
    ):
        top = tmp_path / "ours" / array / "c"
        write_chunks(chunk_files(top, box, chunk, leading), values, chunk, 0 if leading else 7)
        config = {"write_empty_chunks": True}
        zarr.open_array(tmp_path / "zarr" / array, mode="r+", config=config)[...] = values
    for name in ("ours", "zarr"):
        paths = (path for path in (tmp_path / name).rglob("*") if "c" in path.parts)
        files[name] = {p.relative_to(tmp_path / name): p.read_bytes() for p in paths if p.is_file()}
    assert files["ours"] == files["zarr"]


@pytest.mark.parametrize("value", [255, 3])
def test_chunks_of_one_value(tmp_path: Path, value: int) -> None:
    """Of the fill, where the edge is of it too, they are known as such without being decoded again."""
    box, chunk = Box.whole((50, 70)), (16, 16)
    same = constant(np.uint8(value), box.shape)
    for name, values in (("a", same), ("b", np.full(box.shape, value, np.uint8))):
        write_chunks(chunk_files(tmp_path / name, box, chunk, ()), values, chunk, 255)
    paths = [path for path, _ in chunk_files(tmp_path / "a", box, chunk, ())]
    assert [p.read_bytes() for p in paths] == [
        path.read_bytes() for path, _ in chunk_files(tmp_path / "b", box, chunk, ())
    ]
    assert constant_value(iter(paths), "uint8") == (255 if value == 255 else None)
    assert constant_value(iter(paths[:3]), "uint8") == value
    paths[0].write_bytes(paths[0].read_bytes()[:-1])
    assert constant_value(iter(paths), "uint8") is None


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (1024, 1025)])
@pytest.mark.parametrize("value", [np.uint8(255), np.uint16(515)])
def test_the_checksum_of_one_value(value: np.generic, shape: Shape) -> None:
    same = constant(value, shape)
    assert is_constant(same)
    assert crc32(same) == crc32(np.full(shape, value)) == zlib.crc32(np.full(shape, value))
