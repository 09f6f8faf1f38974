"""Blocks that are empty by the index of the file are not read, and nothing else of a run shows it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

import seg_batch
from seg_batch.core.geometry import Blocks
from seg_batch.inference.wanted import idle
from seg_batch.io.sinks.product import digest
from seg_batch.io.sinks.work_store import WorkStore


def sparse(path: Path, side: int, block: int = 64) -> Path:
    """A scene of which a corner alone is stored."""
    size: dict[str, Any] = {"height": side, "width": side, "count": 1, "dtype": "uint8"}
    tiles = {"tiled": True, "blockxsize": block, "blockysize": block, "sparse_ok": True}
    place = {"crs": "EPSG:32633", "transform": from_origin(300_000, 5_900_000, 10, 10)}
    with rasterio.open(path, "w", driver="GTiff", nodata=255, compress="deflate", **size, **tiles, **place) as file:  # fmt: skip
        if side < 10_000:
            values = np.arange(300 * 200, dtype=np.uint32).reshape(300, 200) % 97
            file.write(values.astype("uint8"), 1, window=((40, 340), (10, 210)))
    return path


@pytest.mark.parametrize("ending", [".tif", pytest.param(".zarr", marks=pytest.mark.full)])
def test_products_are_the_same_whether_or_not_it_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    scene = sparse(tmp_path / "scene.tif", 1500)
    more = {"model": "probe", "probabilities": True}
    known = seg_batch.predict(scene, tmp_path / f"a{ending}", block=(1024, 1024), **more)
    seg_batch.predict(scene, tmp_path / f"b{ending}", block=(2048, 2048), **more)
    monkeypatch.setattr(idle, "known_empty", lambda source, box: False)
    read = seg_batch.predict(scene, tmp_path / f"c{ending}", block=(1024, 1024), **more)
    assert known["blocks"]["empty"] == 3
    assert "empty" not in read["blocks"]
    for name in ("tiles_predicted", "unclassified_voxels", "classes", "recompute"):
        assert known[name] == read[name]
    if ending == ".tif":
        digests = {digest(tmp_path / f"{n}{ending}") for n in "abc"}
        assert len(digests) == 1
        assert len({digest(tmp_path / f"{n}_probabilities{ending}") for n in "abc"}) == 1
    else:
        chunks = [sorted((p.relative_to(tmp_path / n), p.read_bytes()) for p in (tmp_path / n).rglob("c/**/*") if p.is_file()) for n in ("a.zarr", "b.zarr", "c.zarr")]  # fmt: skip
        assert chunks[0] == chunks[1] == chunks[2]


def test_a_run_goes_on_and_verifies(tmp_path: Path) -> None:
    scene, out = sparse(tmp_path / "scene.tif", 1500), tmp_path / "out.tif"
    job = {"model": "probe", "block": (1024, 1024), "keep_store": True}
    first = seg_batch.predict(scene, out, **job)
    sha256 = digest(out)
    for path in (out, out.with_name("out.tif.json")):
        path.unlink()
    again = seg_batch.predict(scene, out, **job)
    assert again["blocks"]["resumed"] == first["blocks"]["total"] == 4
    assert again["blocks"]["empty"] == 3
    assert digest(out) == sha256
    store = WorkStore.open(tmp_path / "out.tif.work.zarr")
    blocks = [*Blocks((1500, 1500), (1024, 1024))]
    assert store.verify(blocks) == []
    post = seg_batch.predict(scene, tmp_path / "post.tif", post=("majority:3",), **job)
    assert post["status"] == "complete"


def test_nothing_at_all_takes_little_time_and_little_room(tmp_path: Path) -> None:
    scene = sparse(tmp_path / "scene.tif", 30_000, 512)
    begun = time.perf_counter()
    report = seg_batch.predict(scene, tmp_path / "out.tif", model="probe")
    assert report["blocks"]["empty"] == report["blocks"]["total"]
    assert report["unclassified_voxels"] == 30_000**2
    assert time.perf_counter() - begun < 20
    assert (tmp_path / "out.tif").stat().st_size < 100_000
    with rasterio.open(tmp_path / "out.tif") as file:
        assert file.read(1, out_shape=(100, 100)).min() == 255


@pytest.mark.full
def test_a_hundred_thousand_pixels_a_side(tmp_path: Path) -> None:
    scene = sparse(tmp_path / "scene.tif", 100_000, 512)
    begun = time.perf_counter()
    report = seg_batch.predict(scene, tmp_path / "out.tif", model="probe", block=(4096, 4096))
    assert report["blocks"]["empty"] == 625
    assert time.perf_counter() - begun < 20
    assert (tmp_path / "out.tif").stat().st_size < 1_000_000
