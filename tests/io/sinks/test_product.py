"""From store to product: the name decides the format, counts are true, an earlier result is safe."""

from __future__ import annotations

import hashlib
import math
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
import zarr

from seg_batch.core.errors import DamagedError, OutputError
from seg_batch.core.geometry import Blocks, Box, Shape
from seg_batch.io.sinks.product import (
    check_output,
    count_into,
    count_labels,
    digest,
    export_product,
    format_of,
    geometry_changes,
)
from seg_batch.io.sinks.work_store import WorkStore
from seg_batch.io.sources import open_source
from tests.support.io.stores import (
    OBLIQUE,
    PLACED,
    full_store,
    labels_at,
    product_spec,
    store_spec,
    write_block,
)

RASTER, VOLUME = store_spec((600, 700), (256, 256)), store_spec((9, 40, 50), (8, 16, 16), OBLIQUE)
CASES = [(RASTER, "a.tif"), (RASTER, "a.zarr"), (VOLUME, "a.nii"), (VOLUME, "a.nii.gz"), (VOLUME, "a.zarr")]  # fmt: skip


def true_counts(extent: Shape, dtype: str = "uint8") -> dict[int, int]:
    values, counts = np.unique(labels_at(Box.whole(extent), dtype), return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


@pytest.mark.parametrize(("spec", "name"), CASES, ids=lambda v: v if isinstance(v, str) else "")
def test_every_format_tells_the_truth(tmp_path: Path, spec, name: str) -> None:
    store = full_store(tmp_path / "s", spec)
    product = export_product(store, tmp_path / name, product_spec(store))
    assert product.counts == count_labels(product.path) == true_counts(spec.extent)
    assert product.sha256 == digest(product.path)
    assert geometry_changes(product.path, spec.georef, spec.extent) == []
    if product.path.is_file():
        assert product.bytes == product.path.stat().st_size
        assert product.sha256 == hashlib.sha256(product.path.read_bytes()).hexdigest()
    assert names(tmp_path) == {"s", name}
    assert store.verify([]) == []
    assert np.array_equal(
        store.read_labels(Box.whole(spec.extent)), labels_at(Box.whole(spec.extent))
    )


@pytest.mark.parametrize("size", [0, 1, 2, 7, (1 << 20) + 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_counting_in_pairs(size: int, dtype: type) -> None:
    labels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, size).astype(dtype)
    bins = np.zeros(1 << 16, np.int64)
    count_into(bins, labels)
    assert np.array_equal(bins, np.bincount(labels, minlength=1 << 16))


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("a.tif", "raster", "cog"),
        ("a.TIFF", "raster", "cog"),
        ("a.b.nii.gz", "volume", "nifti"),
        ("a.NII", "volume", "nifti"),
        ("a.zarr", "raster", "zarr"),
        ("a.zarr", "volume", "zarr"),
        ("a.nii", "raster", None),
        ("a.tif", "volume", None),
        ("a.gz", "volume", None),
        ("a.png", "raster", None),
        ("a", "raster", None),
    ],
)
def test_the_name_decides(name: str, kind: str, expected: str | None) -> None:
    if expected:
        assert format_of(Path(name), kind) == expected
        return
    with pytest.raises(OutputError, match=r"\.zarr") as caught:
        format_of(Path(name), kind)
    assert len(str(caught.value).splitlines()) == 1


def test_an_output_is_checked_before_any_work(tmp_path: Path) -> None:
    check_output(tmp_path / "new" / "a.tif", "raster")
    (tmp_path / "a.tif").mkdir()
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "a.tif", tmp_path / "file" / "a.tif"):
        with pytest.raises(OutputError):
            check_output(path, "raster")


@pytest.mark.parametrize(("spec", "name"), CASES, ids=lambda v: v if isinstance(v, str) else "")
def test_a_damaged_store_leaves_the_earlier_result(tmp_path: Path, spec, name: str) -> None:
    store = full_store(tmp_path / "s", spec)
    before = export_product(store, tmp_path / name, product_spec(store)).sha256
    chunk = max(p for p in (store.path / "labels" / "c").rglob("*") if p.is_file())
    chunk.unlink()  # first, since the chunks of a Zarr product are hard links
    chunk.write_bytes(b"torn")
    with pytest.raises(DamagedError, match="box"):
        export_product(store, tmp_path / name, product_spec(store))
    assert digest(tmp_path / name) == before
    assert names(tmp_path) == {"s", name}


def test_a_zarr_product_is_whole_and_the_store_goes_on(tmp_path: Path) -> None:
    store = full_store(tmp_path / "s", store_spec((600, 700), (256, 256), probabilities=True))
    path = export_product(store, tmp_path / "a.zarr", product_spec(store)).path
    with store.lock():
        assert len(store.receipts()) == 4
    shutil.rmtree(store.path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        group = zarr.open_group(path, mode="r")
        assert set(group) == {
            "labels",
            "probabilities",
            "x",
            "y",
            "spatial_ref",
            "class",
            "class_name",
            "overviews",
        }
    assert group.metadata.consolidated_metadata is not None
    assert group.attrs["segbatch_product"]["SEGBATCH_STATUS"] == "complete"
    with rasterio.open(f'ZARR:"{path}":/labels') as file:
        assert np.allclose(file.transform[:6], PLACED.transform)
        assert np.array_equal(file.read(1), labels_at(Box.whole((600, 700))))
    source = open_source(path)
    assert source.info.georef == PLACED
    found = source.read(Box.whole((600, 700))).values[..., 0]
    assert np.array_equal(found, labels_at(Box.whole((600, 700))))


def test_writing_the_store_again_does_not_change_a_zarr_product(tmp_path: Path) -> None:
    """Chunks are shared by hard links until one is written again, which replaces it."""
    store = full_store(tmp_path / "s", RASTER)
    path = export_product(store, tmp_path / "a.zarr", product_spec(store)).path
    before = digest(path)
    for block in Blocks((600, 700), (512, 512)):
        store.write(block, np.zeros(block.box.shape, np.uint8), None, {})
    assert digest(path) == before


WRITE = """
import resource, sys
from pathlib import Path
import numpy as np
from seg_batch.core.errors import OutputError
from seg_batch.core.geometry import Blocks
from seg_batch.io.sinks.product import export_product
from seg_batch.io.sinks.work_store import WorkStore
from tests.support.io.stores import product_spec, store_spec
store, folder, name, limit = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    if name == "store":
        store = WorkStore.create(folder / "t", store_spec((600, 700), (600, 700)))
        noise = np.random.default_rng(0).integers(0, 9, (600, 700), np.uint8)
        store.write(Blocks((600, 700), (600, 700)).block((0, 0)), noise, None, {})
    else:
        store = WorkStore.open(store)
        export_product(store, folder / name, product_spec(store))
except OutputError as error:
    print(error)
    sys.exit(2)
"""


def write_in_another_process(
    store: Path, folder: Path, name: str, limit: int = 0, before: str = ""
) -> subprocess.CompletedProcess[str]:
    """Export (or fill a store) where a file may not grow past ``limit`` bytes."""
    command = [sys.executable, "-c", WRITE, str(store), str(folder), name, str(limit)]
    if before:
        command = ["unshare", "-rm", "sh", "-c", f'{before} && "$@"', "sh", *command]
    root = Path(__file__).parents[3]
    return subprocess.run(command, capture_output=True, text=True, cwd=root)


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        pytest.param("a.tif", 20_000, marks=pytest.mark.full),
        ("a.tif", 60_000),
        pytest.param("a.nii", 3000, marks=pytest.mark.full),
        pytest.param("a.nii.gz", 200, marks=pytest.mark.full),
        pytest.param("a.nii.gz", 3000, marks=pytest.mark.full),
        pytest.param("b.zarr", 100, marks=pytest.mark.full),
    ],
)
def test_a_file_that_may_not_grow(tmp_path: Path, name: str, limit: int) -> None:
    """One line, the earlier result as it was, nothing left behind."""
    full_store(tmp_path / "s", VOLUME if "nii" in name else store_spec((2000, 1700), (256, 256)))
    if not name.endswith(".zarr"):
        (tmp_path / name).write_text("earlier")
    before = names(tmp_path)
    done = write_in_another_process(tmp_path / "s", tmp_path, name, limit)
    assert (done.returncode, len(done.stdout.splitlines())) == (2, 1), done.stderr
    assert names(tmp_path) == before
    if not name.endswith(".zarr"):
        assert (tmp_path / name).read_text() == "earlier"


def test_a_store_that_may_not_grow(tmp_path: Path) -> None:
    done = write_in_another_process(tmp_path, tmp_path, "store", 5000)
    assert (done.returncode, len(done.stdout.splitlines())) == (2, 1), done.stderr
    assert WorkStore.open(tmp_path / "t").receipts() == {}


@pytest.mark.needs("mount")
@pytest.mark.parametrize(
    "name",
    [
        "store",
        *(
            pytest.param(f"a.{ending}", marks=pytest.mark.full)
            for ending in ("tif", "nii", "nii.gz", "zarr")
        ),
    ],
)
def test_a_full_disk(tmp_path: Path, name: str) -> None:
    """A file system of 40 KiB, in a name space of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=40k none {disk}"
    full_store(tmp_path / "s", store_spec((70, 64, 64), (8, 16, 16), OBLIQUE) if "nii" in name else RASTER)  # fmt: skip
    done = write_in_another_process(tmp_path / "s", disk, name, before=mount)
    assert (done.returncode, done.stderr) == (2, "")
    assert "the disk is full" in done.stdout
    assert len(done.stdout.splitlines()) == 1


def test_holes_of_failed_blocks_are_nodata(tmp_path: Path) -> None:
    store = WorkStore.create(tmp_path / "s", RASTER)
    first, *_ = Blocks((600, 700), (256, 256))
    write_block(store, first)
    product = export_product(store, tmp_path / "a.tif", product_spec(store))
    assert product.counts[255] == math.prod(RASTER.extent) - first.box.size
