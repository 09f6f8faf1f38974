"""Rasters behind a real server on this machine, against the same files here."""

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.transform

from seg_batch.core.errors import ChangedError, InputError, UnreachableError
from seg_batch.core.geometry import Box
from seg_batch.io.remote.patience import SECONDS
from seg_batch.io.sources import open_source
from seg_batch.io.sources.detect import detect
from seg_batch.io.sources.views.image_spec import ImageSpec
from tests.support.remote.range_server import serving
from tests.support.remote.rasters import picture, raster

HALF = np.random.default_rng(2).random((450, 600)) > 0.5
LAYOUTS = {
    "tiles": raster(),
    "bands": raster(interleave="band", nodata=7),
    "strips": raster(tiled=False, blockysize=16, compress="lzw"),
    "mask": raster(mask=HALF),
    "cog": raster(700, 620, driver="COG", blocksize=256),
    "big": raster(BIGTIFF="YES", compress="none"),
    "png": picture("PNG"),
    "jpeg": picture("JPEG"),
}


def boxes(extent: tuple[int, ...]) -> list[Box]:
    chance, found = random.Random(4), [Box.whole(extent)]
    for _ in range(6):
        start = [chance.randrange(n) for n in extent]
        stop = [chance.randint(a + 1, n) for a, n in zip(start, extent, strict=True)]
        found.append(Box(tuple(start), tuple(stop)))
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_raster_reads_as_the_same_file_here(layout: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(LAYOUTS[layout])
    with serving({"/x": LAYOUTS[layout]}, failing=0.04) as server:
        here, there = open_source(tmp_path / "x"), open_source(f"{server.url}/x?sig=geheim")
        for name in ("extent", "channels", "dtype", "georef", "chunk", "nodata", "format", "scale"):
            assert getattr(there.info, name) == getattr(here.info, name), name
        assert there.info.path == f"{server.url}/x"
        assert "geheim" not in repr(there.info)
        with ThreadPoolExecutor(4) as threads:
            every = boxes(here.info.extent)
            for box, got in zip(every, threads.map(there.read, every), strict=True):
                wanted = here.read(box)
                assert np.array_equal(got.values, wanted.values)
                assert (got.valid is None) == (wanted.valid is None)
                assert wanted.valid is None or np.array_equal(got.valid, wanted.valid)
        if layout != "jpeg":
            small = (50, 60)
            assert np.array_equal(there.reduced(small).values, here.reduced(small).values)  # type: ignore[attr-defined]
        here.close()
        there.close()


def test_a_box_reads_its_tiles_in_few_requests_and_little_else() -> None:
    content = raster(1600, 1600)
    with serving({"/x": content}) as server:
        source = open_source(f"{server.url}/x")
        before, sent = len(server.requests), server.sent_bytes
        source.read(Box((400, 400), (760, 760)))  # 3 x 3 of 13 x 13 tiles
        assert len(server.requests) - before <= 6
        assert server.sent_bytes - sent < 0.25 * len(content)
        before = len(server.requests)
        source.read(Box((430, 430), (750, 750)))
        assert len(server.requests) == before
        source.close()


@pytest.mark.parametrize("box", [Box((0, 0), (450, 600)), Box((400, 400), (410, 410))])
def test_what_changes_or_goes_is_never_a_hole(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECONDS, "0.4")
    with serving({"/x": LAYOUTS["tiles"], "/m": LAYOUTS["mask"]}) as server:
        sources = [open_source(f"{server.url}/{name}") for name in "xm"]
        server.behaviour.etag = '"two"'
        for source in sources:
            with pytest.raises(ChangedError):
                source.read(box)
        server.behaviour.etag = '"one"'
        server.behaviour.gone_after = 0
        for source in sources:
            with pytest.raises(UnreachableError):
                source.read(box)
        server.behaviour.gone_after = None
        for source in sources:
            assert source.read(box).values.any()
            source.close()


def test_on_the_way_to_a_mask_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what GDAL asks for by itself the reason is raised, not a damaged box."""
    monkeypatch.setenv(SECONDS, "0.4")
    mask = np.random.default_rng(2).random((900, 1100)) > 0.5
    with serving({"/m": raster(900, 1100, mask=mask)}) as server:
        source = open_source(f"{server.url}/m")
        box = Box((400, 400), (410, 410))
        start = len(server.requests)
        server.behaviour.before = lambda n: setattr(server.behaviour, "gone_after", start + 1)
        with pytest.raises(UnreachableError):
            source.read(box)
        source.close()


@pytest.mark.parametrize("content", [b"<VRTDataset/>", b"PK\3\4 a zip", b"\x89HDF\r\n\x1a\n" + bytes(99), b"CDF\1", bytes(2000)])  # fmt: skip
def test_other_formats_are_refused_in_one_line(content: bytes) -> None:
    with serving({"/scene.tif": content}) as server:
        with pytest.raises(InputError, match="copy it and give the copy") as caught:
            open_source(f"{server.url}/scene.tif?sig=geheim")
        assert "\n" not in caught.value.message
        assert "geheim" not in caught.value.message


@pytest.mark.parametrize("keep", [0.5, 0.9])
def test_a_file_that_is_cut_short_there_is_refused(keep: float) -> None:
    content = LAYOUTS["tiles"]
    with serving({"/x": content[: int(keep * len(content))]}) as server:
        with pytest.raises(InputError, match="cut short or damaged"):
            open_source(f"{server.url}/x")
        assert detect(f"{server.url}/x") == "geotiff"


def test_files_beside_it_are_not_asked_for() -> None:
    with serving({"/x.tif": LAYOUTS["tiles"], "/x.tfw": b"1", "/x.tif.msk": b"x"}) as server:
        open_source(f"{server.url}/x.tif").close()
        assert {path for path, _ in server.requests} == {"/x.tif"}


def test_gdal_opens_nothing_remote_by_itself() -> None:
    with serving({"/x.tif": LAYOUTS["tiles"]}) as server:
        open_source(f"{server.url}/x.tif").close()
        before = len(server.requests)
        for name in (f"{server.url}/x.tif", f"/vsicurl/{server.url}/x.tif"):
            with pytest.raises(rasterio.errors.RasterioIOError):
                rasterio.open(name)
        assert len(server.requests) == before


def test_a_jpeg_2000_reads_too_or_is_refused_in_one_line(tmp_path: Path) -> None:
    options = {
        "QUALITY": 100,
        "REVERSIBLE": "YES",
        "tiled": None,
        "blockysize": 128,
        "compress": None,
    }
    content = raster(300, 400, 1, driver="JP2OpenJPEG", **options)
    (tmp_path / "x.jp2").write_bytes(content)
    with serving({"/x.jp2": content}) as server:
        there, here = open_source(f"{server.url}/x.jp2"), open_source(tmp_path / "x.jp2")
        box = Box((40, 50), (250, 350))
        assert np.array_equal(there.read(box).values, here.read(box).values)


def test_a_mosaic_of_addresses(tmp_path: Path) -> None:
    place = rasterio.transform.from_origin(4e5 + 6000, 5e6, 10, 10)
    pieces = {"/a.tif": LAYOUTS["tiles"], "/b.tif": raster(transform=place)}
    for name, content in pieces.items():
        (tmp_path / name[1:]).write_bytes(content)
    with serving(pieces) as server:
        here = ImageSpec(tuple(str(tmp_path / name[1:]) for name in pieces), mosaic=True).open()
        there = ImageSpec(tuple(f"{server.url}{name}" for name in pieces), mosaic=True).open()
        assert there.info.extent == here.info.extent == (450, 1200)
        box = Box((100, 500), (400, 800))
        assert np.array_equal(there.read(box).values, here.read(box).values)
