"""VRTs: as GDAL reads them, and none that reads what is not its own."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.shutil import copy
from rasterio.transform import from_origin

from seg_batch.config.image_options.scene import SceneOptions
from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box
from seg_batch.inference.api.predict import predict
from seg_batch.inference.verify import verify_product
from seg_batch.io.sources import open_source

SIDE = 40
ALLOWED = SceneOptions(allow_vrt=True)


def tile(path: Path, first: int, east: float = 5e5) -> np.ndarray:
    values = np.arange(first, first + SIDE * SIDE, dtype="u2").reshape(SIDE, SIDE)
    shape = {"width": SIDE, "height": SIDE, "count": 1, "dtype": "uint16", "nodata": 9}
    place = {"crs": "EPSG:32633", "transform": from_origin(east, 6e6, 10, 10)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", driver="GTiff", **shape, **place) as file:
        file.write(values, 1)
    return values


def source(name: str, left: int = 0, relative: int = 1) -> str:
    rect = f'xOff="{left}" yOff="0" xSize="{SIDE}" ySize="{SIDE}"'
    return (
        f'<SimpleSource><SourceFilename relativeToVRT="{relative}">{name}</SourceFilename><SourceBand>1</SourceBand>'
        f'<SrcRect xOff="0" yOff="0" xSize="{SIDE}" ySize="{SIDE}"/><DstRect {rect}/></SimpleSource>'
    )


def vrt(path: Path, *sources: str, band: str = "", inside: str = "", before: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'{before}<VRTDataset rasterXSize="{2 * SIDE}" rasterYSize="{SIDE}"><SRS>EPSG:32633</SRS>'
        f"<GeoTransform>500000, 10, 0, 6000000, 0, -10</GeoTransform>{inside}"
        f'<VRTRasterBand dataType="UInt16" band="1"{band}><NoDataValue>9</NoDataValue>{"".join(sources)}'
        "</VRTRasterBand></VRTDataset>"
    )
    return path


def two_tiles(folder: Path) -> tuple[Path, np.ndarray]:
    a, b = tile(folder / "a.tif", 0), tile(folder / "sub/b.tif", 2000, 500400)
    return vrt(folder / "m.vrt", source("a.tif"), source("sub/b.tif", SIDE)), np.hstack([a, b])


def refusal(path: Path, scene: SceneOptions = ALLOWED) -> str:
    with pytest.raises(InputError) as error:
        open_source(path, scene=scene)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_mosaic_is_read_only_where_it_is_allowed(tmp_path):
    path, values = two_tiles(tmp_path)
    assert "--allow-vrt" in refusal(path, SceneOptions())
    opened = open_source(path, scene=ALLOWED)
    assert opened.info.extent == values.shape
    assert opened.info.facts["sources"] == 2
    pixels = opened.read(Box((3, 30), (20, 60)))
    np.testing.assert_array_equal(pixels.values[..., 0], values[3:20, 30:60])
    nested = vrt(tmp_path / "n.vrt", source("m.vrt"))
    assert open_source(nested, scene=ALLOWED).info.facts["sources"] == 3


def test_a_changed_source_is_another_input(tmp_path):
    path, _ = two_tiles(tmp_path)
    before = open_source(path, scene=ALLOWED).info.identity
    assert open_source(path, scene=ALLOWED).info.identity == before
    tile(tmp_path / "sub/b.tif", 2001, 500400)
    assert open_source(path, scene=ALLOWED).info.identity != before


def test_a_vrt_is_segmented_and_verified(tmp_path):
    path, values = two_tiles(tmp_path)
    predict(path, tmp_path / "o.tif", model="probe", allow_vrt=True)
    with rasterio.open(tmp_path / "o.tif") as file:
        expected = np.where(values == 9, file.nodata, values % 8)
        np.testing.assert_array_equal(file.read(1), expected)
    assert verify_product(tmp_path / "o.tif")["ok"]
    with pytest.raises(InputError, match="--allow-vrt"):
        predict(path, tmp_path / "p.tif", model="probe")


def test_what_gdal_writes_is_read(tmp_path):
    tile(tmp_path / "a.tif", 5)
    with rasterio.open(tmp_path / "a.tif", "r+") as file:
        file.update_tags(1, name="nir")
        file.write_mask(np.eye(SIDE, dtype=bool))
    copy(tmp_path / "a.tif", tmp_path / "a.vrt", driver="VRT")
    mine, own = (open_source(tmp_path / f"a.{e}", scene=ALLOWED) for e in ("vrt", "tif"))
    box = Box((0, 0), (SIDE, SIDE))
    np.testing.assert_array_equal(mine.read(box).values, own.read(box).values)
    np.testing.assert_array_equal(mine.read(box).valid, own.read(box).valid)


def secret(tmp_path: Path) -> Path:
    tile(tmp_path / "secret/s.tif", 0)
    return tmp_path / "secret/s.tif"


@pytest.mark.parametrize(
    "name",
    [
        "../secret/s.tif",
        "sub/../../secret/s.tif",
        "link.tif",
        "linked/s.tif",
        "absent.tif",
        "sub",
        "pipe",
        "https://host/a.tif",
        "/vsicurl/https://host/a.tif",
        "/vsizip/a.zip/a.tif",
        "vrt://a.tif",
        "NETCDF:a.nc:v",
        "HDF5:a.h5://v",
        "GTIFF_DIR:2:a.tif",
        "&lt;VRTDataset/&gt;",
        "a.tif&#10;",
        "a.nc",
        "words.txt",
        "x" * 5000,
        "",
    ],
)
@pytest.mark.parametrize("relative", [0, 1])
def test_sources_that_are_not_its_own_are_refused(tmp_path, name, relative):
    hidden = secret(tmp_path)
    folder = tmp_path / "mine"
    tile(folder / "a.tif", 0)
    (folder / "sub").mkdir()
    (folder / "link.tif").symlink_to(hidden)
    (folder / "linked").symlink_to(hidden.parent)
    (folder / "a.nc").write_bytes(b"CDF\x01" + bytes(200))
    (folder / "words.txt").write_text("words")
    os.mkfifo(folder / "pipe")
    path = vrt(folder / "m.vrt", source(name, relative=relative))
    assert str(path) in refusal(path) or str(folder) in refusal(path)


def test_an_absolute_path_is_judged_by_where_it_leads(tmp_path):
    hidden = secret(tmp_path)
    tile(tmp_path / "mine/a.tif", 0)
    inside = vrt(tmp_path / "mine/i.vrt", source(str(tmp_path / "mine/a.tif"), relative=0))
    assert open_source(inside, scene=ALLOWED).info.facts["sources"] == 1
    outside = vrt(tmp_path / "mine/o.vrt", source(str(hidden), relative=0))
    assert "in the folder of the VRT" in refusal(outside)
    named = SceneOptions(allow_vrt=True, allow=(str(hidden.parent),))
    assert open_source(outside, scene=named).info.facts["sources"] == 1
    shutil.copytree(
        tmp_path / "secret", tmp_path / "mine-too"
    )  # a name that begins as the folder's
    assert "in the folder" in refusal(vrt(tmp_path / "mine/p.vrt", source("../mine-too/s.tif")))


@pytest.mark.parametrize(
    "parts",
    [
        {"band": ' subClass="VRTDerivedRasterBand"'},
        {"band": ' subClass="VRTRawRasterBand"'},
        {"band": ' subclass="VRTDerivedRasterBand" PixelFunctionType="mul"'},
        {"inside": "<GDALWarpOptions/>"},
        {"inside": '<Metadata domain="GEOLOCATION"><MDI key="X_DATASET">/etc/x</MDI></Metadata>'},
        {"inside": "<Group name='/'/>"},
        {"inside": "<OverviewList/><PansharpeningOptions/>"},
        {"before": '<!DOCTYPE x [<!ENTITY e SYSTEM "/etc/passwd">]>'},
        {"before": '<?xml version="1.0" encoding="UTF-16"?>'},
        {"before": '<?xml version="1.0"?><!-- words --><!DOCTYPE x>'},
    ],
)
def test_scripts_raw_files_and_entities_are_refused(tmp_path, parts):
    tile(tmp_path / "a.tif", 0)
    assert "VRT" in refusal(vrt(tmp_path / "m.vrt", source("a.tif"), **parts))


@pytest.mark.parametrize(
    "inner",
    [
        "<PixelFunctionType>sum</PixelFunctionType>",
        "<PixelFunctionLanguage>Python</PixelFunctionLanguage>",
        "<PixelFunctionCode>import os</PixelFunctionCode>",
        "<OpenOptions><OOI key='X'>y</OOI></OpenOptions>",
        "<SourceFilename>a.tif</SourceFilename>",
        "<ArraySource/>",
        "<Overview><SourceFilename relativeToVRT='1'>../secret/s.tif</SourceFilename></Overview>",
        "<MaskBand><VRTRasterBand subClass='VRTRawRasterBand'/></MaskBand>",
    ],
)
def test_so_is_what_a_band_may_hide(tmp_path, inner):
    secret(tmp_path)
    tile(tmp_path / "mine/a.tif", 0)
    assert "VRT" in refusal(vrt(tmp_path / "mine/m.vrt", source("a.tif"), inner))


def test_a_name_is_the_one_that_gdal_reads(tmp_path):
    """GDAL takes an attribute for an element, ends a name at a comment, and tells drivers by the beginning of a name."""
    hidden = secret(tmp_path)
    tile(tmp_path / "mine/ab.tif", 0)
    (tmp_path / "mine/a").symlink_to(hidden)
    decoy = "DERIVED_SUBDATASET:LOGAMPLITUDE:ab.tif"
    shutil.copy(tmp_path / "mine/ab.tif", tmp_path / "mine" / decoy)
    attribute = source("ab.tif").replace(
        "<SimpleSource", f'<SimpleSource SourceFilename="{hidden}"'
    )
    for each in (attribute, source("a<!-- -->b.tif"), source(decoy)):
        assert "m.vrt" in refusal(vrt(tmp_path / "mine/m.vrt", each))


def test_an_image_that_is_also_a_vrt_is_refused(tmp_path):
    """GDAL looks for the XML of a VRT in any file that a VRT names, also in the comment of a JPEG."""
    hidden = secret(tmp_path)
    inner = vrt(tmp_path / "mine/inner", source(str(hidden), relative=0)).read_bytes()
    with rasterio.open(tmp_path / "mine/a.jpg", "w", driver="JPEG", width=SIDE, height=SIDE, count=1, dtype="uint8") as file:  # fmt: skip
        file.write(np.full((1, SIDE, SIDE), 50, "u1"))
    plain = (tmp_path / "mine/a.jpg").read_bytes()
    assert open_source(vrt(tmp_path / "mine/p.vrt", source("a.jpg")), scene=ALLOWED).info.extent
    comment = inner.ljust(0x4141 - 2)
    (tmp_path / "mine/a.jpg").write_bytes(b"\xff\xd8\xff\xfe\x41\x41" + comment + plain[2:])
    assert "begins with text" in refusal(vrt(tmp_path / "mine/m.vrt", source("a.jpg")))


def test_nested_ones_end(tmp_path):
    tile(tmp_path / "a.tif", 0)
    vrt(tmp_path / "own.vrt", source("own.vrt"))
    assert refusal(tmp_path / "own.vrt")
    vrt(tmp_path / "v0.vrt", source("a.tif"))
    for k in range(6):
        vrt(tmp_path / f"v{k + 1}.vrt", source(f"v{k}.vrt"))
    assert "deep" in refusal(tmp_path / "v6.vrt")
    secret(tmp_path)
    vrt(tmp_path / "mine/in.vrt", source("../secret/s.tif"))
    assert refusal(vrt(tmp_path / "mine/out.vrt", source("in.vrt")))
    (tmp_path / "mine/l.vrt").symlink_to(tmp_path / "v0.vrt")
    assert "link" in refusal(tmp_path / "mine/l.vrt")


def test_xml_that_is_damaged_or_a_bomb(tmp_path):
    path = tmp_path / "a.vrt"
    for text in ("<VRTDataset", "<VRTDataset><a></VRTDataset>", "<VRTDataset>" * 100_000):
        path.write_text(text)
        assert str(path) in refusal(path)
    two_tiles(tmp_path)
    path.write_text((tmp_path / "m.vrt").read_text().replace('XSize="80"', f'XSize="{2**31 - 1}"'))
    huge = path.read_text().replace('rasterYSize="40"', f'rasterYSize="{2**31 - 1}"')
    path.write_text(huge)
    assert str(path) in refusal(path)
