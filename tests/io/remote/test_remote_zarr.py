"""Zarr stores behind a real server on this machine, against the same stores here."""

from pathlib import Path

import numpy as np
import pytest
import zarr

from seg_batch.core.errors import InputError, UnreachableError
from seg_batch.core.geometry import Box
from seg_batch.io.remote.patience import SECONDS
from seg_batch.io.sources import open_source
from tests.support.remote.range_server import serving
from tests.support.remote.rasters import pixels


def store(folder: Path, version: int) -> dict[str, bytes]:
    """A group with a band in chunks, of which one is missing, as files by their path."""
    group = zarr.open_group(folder / "s.zarr", mode="w", zarr_format=version)  # type: ignore[arg-type]
    names = {"dimension_names": ("y", "x")} if version == 3 else {}
    array = group.create_array(
        "band", shape=(300, 400), chunks=(64, 64), dtype="u2", fill_value=0, **names
    )  # type: ignore[arg-type]
    if version == 2:
        array.attrs["_ARRAY_DIMENSIONS"] = ["y", "x"]
    array[:250, :300] = pixels(300, 400)[0][:250, :300]
    zarr.consolidate_metadata(folder / "s.zarr", zarr_format=version)  # type: ignore[arg-type]
    files = (path for path in folder.rglob("*") if path.is_file())
    return {f"/{path.relative_to(folder)}": path.read_bytes() for path in files}


@pytest.mark.filterwarnings("ignore:Consolidated metadata")
@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("name", ["s.zarr", "s.zarr/band"])
def test_a_store_reads_as_the_same_store_here(version: int, name: str, tmp_path: Path) -> None:
    with serving(store(tmp_path, version), failing=0.02) as server:
        here, there = open_source(tmp_path / name), open_source(f"{server.url}/{name}?sig=geheim")
        for box in (Box.whole((300, 400)), Box((240, 200), (260, 399))):
            assert np.array_equal(there.read(box).values, here.read(box).values)
        assert (there.info.extent, there.info.georef) == (here.info.extent, here.info.georef)
        assert there.info.path == f"{server.url}/{name}"
        assert all(path.endswith("?sig=geheim") for path, _ in server.requests)
        again = open_source(f"{server.url}/{name}").info.identity
        assert again == there.info.identity
        changed = {path: b.replace(b"400", b"399") for path, b in server.files.items()}
        server.files.update(changed)
        assert open_source(f"{server.url}/{name}").info.identity != again


@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_chunks_that_do_not_come_are_no_holes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SECONDS, "0.3")
    with serving(store(tmp_path, 3)) as server:
        source = open_source(f"{server.url}/s.zarr")
        server.behaviour.statuses = [403]
        with pytest.raises(InputError, match="denies"):
            source.read(Box((0, 0), (10, 10)))
        server.behaviour.gone_after = 0
        with pytest.raises(UnreachableError):
            source.read(Box((0, 0), (10, 10)))
    with serving({}) as server, pytest.raises(InputError, match="no Zarr"):
        open_source(f"{server.url}/none.zarr")
