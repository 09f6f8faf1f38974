"""Which files belong to a raster is GDAL's to say, and what of them counts."""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray
from hypothesis import given
from hypothesis import strategies as st
from rasterio.transform import Affine

from seg_batch.io.sources import open_source
from seg_batch.io.sources.identity import file_identity
from seg_batch.io.sources.side_files import (
    others_of,
    renamed,
    side_files,
    side_files_of,
    side_of,
    sides_of,
)

WORLD = "2.0\n0\n0\n-2.0\n100\n200\n"
TAB = """!table
Definition Table
  File "x.tif"
  Type "RASTER"
  (10,10) (0,0) Label "Pt 1",
  (20,10) (7,0) Label "Pt 2",
  (20,20) (7,7) Label "Pt 3"
  CoordSys Earth Projection 1, 104
"""
AUX = "<PAMDataset><Metadata><MDI key='A'>b</MDI></Metadata></PAMDataset>"
TEXTS = {"w": WORLD, "wld": WORLD, "tab": TAB, "xml": AUX}
ENDINGS = [
    ".aux.xml",
    ".msk",
    ".ovr",
    ".msk.aux.xml",
    ".msk.ovr",
    ".ovr.ovr",
    ".ovr.msk",
    ".ovr.aux.xml",
    ".AUX.XML",
    ".Msk",
    ".OVR",
]
AFTER_STEM = [
    ".tfw",
    ".tifw",
    ".tiffw",
    ".wld",
    ".jgw",
    ".jpgw",
    ".jpegw",
    ".pgw",
    ".pngw",
    ".tab",
    ".imd",
    ".rpb",
    ".rpc",
    ".pvl",
    ".prj",
    ".xml",
    ".aux",
    ".txt",
    ".eph",
    "_rpc.txt",
    "_metadata.txt",
    "_mtl.txt",
    ".TFW",
    ".Wld",
    ".TAB",
    ".RPB",
    ".IMD",
    "_RPC.TXT",
    ".ovr",
    ".msk",
    ".aux.xml",
    ".json",
]
IMAGES = st.sampled_from(["a.tif", "a.b.TIF", "a.tiff", "a.png", "a.PNG", "a.jpg", "a.b.jpeg", "a"])
CANDIDATES = st.lists(st.sampled_from([*ENDINGS, *AFTER_STEM]), unique=True, max_size=6)


def raster(path: Path, driver: str = "GTiff", value: int = 1, **options) -> Path:
    shape = {"height": 8, "width": 8, "count": 1, "dtype": "uint8"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path, "w", driver=driver, **shape, **options) as file:
            file.write(np.full((1, 8, 8), value, np.uint8))
    return path


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("originals")
    files = {driver: raster(folder / driver, driver) for driver in ("GTiff", "PNG", "JPEG")}
    return files


@given(name=IMAGES, endings=CANDIDATES, crowd=st.booleans())
def test_all_that_gdal_lists_is_listed(originals, name: str, endings: list[str], crowd) -> None:
    driver = {"p": "PNG", "j": "JPEG"}.get(Path(name).suffix.lower()[1:2], "GTiff")
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary, name)
        shutil.copy(originals[driver], path)
        for ending in endings:
            side = Path(
                temporary, (name if ending in ENDINGS else os.path.splitext(name)[0]) + ending
            )
            if side != path:
                _write(side, originals["GTiff"])
        # GDAL looks for names one by one where there are many, which it can be told to do.
        options = {"GDAL_READDIR_LIMIT_ON_OPEN": "1"} if crowd else {}
        with rasterio.Env(**options), rasterio.open(path, driver=driver) as file:
            listed = {Path(text).name.lower() for text in file.files} - {name.lower()}
        assert listed <= {side.name.lower() for side in side_files(path) if side.is_read}


def _write(path: Path, mask: Path) -> None:
    if path.suffix.lower() in (".msk", ".ovr"):
        shutil.copy(mask, path)
    else:
        end = path.suffix.lower()[1:]
        path.write_text(TEXTS.get(end, TEXTS.get(end[-1:], "x")))


def test_in_a_large_folder_names_are_tried(tmp_path: Path) -> None:
    path = raster(tmp_path / "m.tif")
    for k in range(1001):
        (tmp_path / f"{k}").touch()
    for name in ("m.tif.aux.xml", "m.tif.msk", "m.TFW", "m_RPC.TXT", "m.tif.msk.ovr", "n.tfw"):
        (tmp_path / name).touch()
    names = [side.name for side in side_files(path)]
    assert names == ["m.TFW", "m.tif.aux.xml", "m.tif.msk", "m.tif.msk.ovr", "m_RPC.TXT"]


@given(names=st.lists(st.sampled_from(["a.tif", "a.png", "b.tif", "a.b.tif", "a.nii.gz", "a.tfw", "a.wld", "a.pgw", "a.json", "a.tif.aux.xml", "A.TIF.MSK", "a.b.tif.ovr", "a_rpc.txt", "b.tif.msk.ovr", "b.prj", "c.tfw", "notes.txt", "x_b1.tif", "x_b2.tif", "x_MTL.txt"])))  # fmt: skip
def test_a_listing_is_grouped_as_each_image_would_be(names: list[str]) -> None:
    images = [name for name in names if name.endswith((".tif", ".png", ".nii.gz"))]
    grouped = side_files_of(set(images), set(names) - set(images))
    for image in images:
        own = {side_of(image, name) for name in set(names) - {image}} - {None}
        assert set(grouped.get(image, ())) == own == set(sides_of(image, set(names) - {image}))


def test_a_side_file_goes_by_the_new_name() -> None:
    table = {
        ("scan.tif", "scan.tif.aux.xml"): "scan-2.tif.aux.xml",
        ("scan.tif", "scan.TFW"): "scan-2.TFW",
        ("Scan.tif", "scan_RPC.TXT"): "scan-2_RPC.TXT",
        ("scan.nii.gz", "scan.bval"): "scan-2.bval",
        ("LC08_X_B4.TIF", "LC08_X_MTL.txt"): "LC08_X_MTL.txt",
        ("IMG_P_R1C1.TIF", "RPC_P.XML"): None,
    }
    for (image, name), expected in table.items():
        side = side_of(image, name)
        assert side is not None
        if expected is not None:
            new = "scan-2.nii.gz" if image.endswith(".gz") else "scan-2.tif"
            assert renamed(side, image, new) == expected


@pytest.mark.parametrize("band", ["_B4", "_B10", "_B6_VCID_1", "_B4.b", ""])
@pytest.mark.parametrize("ending", ["_MTL.txt", "_MTL.TXT"])
def test_metadata_of_a_scene_belong_to_each_of_its_bands(
    tmp_path: Path, band: str, ending: str
) -> None:
    path = raster(tmp_path / f"LC08_X{band}.TIF")
    (tmp_path / f"LC08_X{ending}").write_text("GROUP = L1_METADATA_FILE\n")
    with rasterio.open(path) as file:
        listed = {Path(text).name for text in file.files} - {path.name}
    assert listed <= {side.name for side in side_files(path)}
    assert listed == {f"LC08_X{ending}"}


def test_a_world_file_may_be_of_another_image() -> None:
    side = side_of("map.tif", "map.wld")
    assert side is not None
    assert others_of(side, "map.tif", ["map.tif", "map.png", "map.jp2", "map.txt", "m.png"]) == [
        "map.jp2",
        "map.png",
    ]


STATISTICS = """<PAMRasterBand band="1"><Histograms><HistItem><HistMin>0</HistMin></HistItem></Histograms>
<Metadata><MDI key="STATISTICS_MEAN">{}</MDI></Metadata></PAMRasterBand>"""
CONTENTS = [
    "<SRS>EPSG:32633</SRS>",
    "<SRS>EPSG:32634</SRS>",
    '<PAMRasterBand band="1"><NoDataValue>3</NoDataValue></PAMRasterBand>',
    "<GeoTransform>5,1,0,5,0,-1</GeoTransform>",
]


def identity(path: Path) -> dict:
    return open_source(path).info.identity


def test_a_file_alone_is_known_by_itself(tmp_path: Path) -> None:
    path = raster(tmp_path / "a.tif")
    assert identity(path) == file_identity(path)
    for name in ("a.prj", "a.tif.ovr", "b.tif.msk", "a.xml", "a.tif.json"):
        (tmp_path / name).write_text("x")
    (tmp_path / "a.tif.aux.xml").write_text(f"<PAMDataset>{STATISTICS.format(1)}</PAMDataset>")
    assert identity(path) == file_identity(path), "nothing of these changes what is read"


@pytest.mark.parametrize("driver", ["GTiff", "PNG", "JPEG"])
@pytest.mark.parametrize("content", [None, *CONTENTS])
def test_statistics_of_gdal_are_no_change(tmp_path: Path, driver: str, content: str | None) -> None:
    path, aux = raster(tmp_path / "a", driver), tmp_path / "a.aux.xml"
    aux.unlink(missing_ok=True)
    if content:
        aux.write_text(f"<PAMDataset>{content}</PAMDataset>")
        with rasterio.open(path) as file:  # in GDAL's own words
            file.stats(indexes=1)
    before = identity(path)
    with rasterio.open(path) as file:
        file.stats(indexes=1, approx=True)
    assert aux.exists()
    assert identity(path) == before


def test_each_change_that_counts_is_another_identity(tmp_path: Path) -> None:
    path = raster(tmp_path / "a.tif")
    seen = [identity(path)]
    aux = tmp_path / "a.tif.aux.xml"
    for content in CONTENTS:
        for value in (1, 2):
            statistics = STATISTICS.format(value)
            aux.write_text(f"<PAMDataset>\n  {content}{statistics}</PAMDataset>")
            known = identity(path)
            aux.write_text(f"<PAMDataset>{content}</PAMDataset>")
            assert identity(path) == known, "without the statistics"
        seen.append(known)
    aux.write_text("<PAMDataset><SRS>cut")
    seen.append(identity(path))
    for value in (0, 255):
        raster(tmp_path / "mask", value=value).rename(tmp_path / "a.tif.msk")
        seen.append(identity(path))
    for text in (WORLD, WORLD.replace("100", "101")):
        (tmp_path / "a.tfw").write_text(text)
        seen.append(identity(path))
    os.utime(tmp_path / "a.tfw", (1, 1))
    assert identity(path) == seen[-1], "the same text"
    assert all(a != b for n, a in enumerate(seen) for b in seen[:n])


def test_a_world_file_counts_where_it_is_read(tmp_path: Path) -> None:
    for name, transform in (("a.tif", Affine(10, 0, 5e5, 0, -10, 6e6)), ("b.tif", None)):
        path = raster(tmp_path / name, transform=transform)
        before = identity(path)
        path.with_suffix(".tfw").write_text(WORLD)
        assert (identity(path) == before) is (transform is not None)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_an_array_is_known_with_the_group_around_it(tmp_path: Path, zarr_format: int) -> None:
    def write(shift: float, epsg: int, title: str, time: int = 0) -> dict:
        place = xarray.DataArray(0, attrs={"crs_wkt": rasterio.CRS.from_epsg(epsg).to_wkt()})
        values = xarray.DataArray(
            np.zeros((8, 8), np.uint8),
            dims=("y", "x"),
            coords={"y": 50.0 - np.arange(8), "x": shift + np.arange(8.0), "spatial_ref": place},
        )
        data = xarray.Dataset({"image": values}, attrs={"title": title})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data.to_zarr(tmp_path / "g.zarr", mode="w", zarr_format=zarr_format)
        for file in (tmp_path / "g.zarr").rglob("*"):
            os.utime(file, (time, time))
        return open_source(tmp_path / "g.zarr" / "image").info.identity

    first = write(100.0, 32633, "a")
    assert write(100.0, 32633, "a") == first
    changed = [write(101.0, 32633, "a"), write(100.0, 32634, "a"), write(100.0, 32633, "b")]
    assert all(other != first for other in changed)
