"""Products of Sentinel-2 and Landsat: values, places and masks as plain arrays have them, and what is refused."""

import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from seg_batch.config.card_parts.channels import Channel
from seg_batch.config.image_options.scene import SceneOptions
from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box
from seg_batch.io.sources import open_source
from seg_batch.io.sources.protocol import Source
from seg_batch.io.sources.views.image_spec import ImageSpec
from seg_batch.io.sources.views.joined.lattice import OneGrid
from tests.support.io.satellites import (
    NORTH,
    RESOLUTIONS,
    WEST,
    addressed,
    write_landsat,
    write_raster,
    write_sentinel2,
    zipped,
)

Product = tuple[Path, dict[str, np.ndarray]]


@pytest.fixture(scope="module")
def safe(tmp_path_factory: pytest.TempPathFactory) -> Product:
    return write_sentinel2(tmp_path_factory.mktemp("l2a"))


@pytest.fixture
def own(safe: Product, tmp_path: Path) -> Path:
    """A copy of the product that a test may change."""
    return Path(shutil.copytree(safe[0], tmp_path / safe[0].name))


def _open(path: Path, *bands: str, **options: object) -> Source:
    return ImageSpec((str(path),), bands=bands, **options).open()  # type: ignore[arg-type]


def _whole(source: Source) -> tuple[np.ndarray, np.ndarray]:
    pixels = source.read(Box.whole(source.info.extent))
    valid = np.ones(pixels.values.shape, bool) if pixels.valid is None else pixels.valid
    return pixels.physical(), valid


@pytest.mark.parametrize("band", [band for band in RESOLUTIONS if band not in ("B10", "SCL")])
def test_bands_are_reflectance_at_their_own_pixels(safe: Product, band: str) -> None:
    values, valid = _whole(source := _open(safe[0], band))
    stored = safe[1][band].astype(np.float64)
    k = [*RESOLUTIONS].index(band)
    assert source.info.georef.spacing == (RESOLUTIONS[band],) * 2
    np.testing.assert_allclose(
        values[..., 0], (stored - 1000 - 10 * k) / 10_000, rtol=1e-9, atol=1e-12
    )
    np.testing.assert_array_equal(valid[..., 0], stored != 0)


def test_all_bands_come_to_the_finest_grid(safe: Product) -> None:
    source = _open(safe[0])
    assert source.info.channels == tuple(b for b in RESOLUTIONS if b not in ("B10", "SCL"))
    assert source.info.extent == (120, 120)
    values, _ = _whole(source)
    np.testing.assert_allclose(values[..., 7], (safe[1]["B08"] - 1070.0) / 10_000)
    box = Box((31, 17), (77, 90))
    np.testing.assert_array_equal(source.read(box).physical(), values[box.slices((0, 0))])


def test_values_before_baseline_4_have_no_offset(tmp_path: Path) -> None:
    path, stored = write_sentinel2(tmp_path, baseline="03.01", offset=None)
    np.testing.assert_allclose(_whole(_open(path, "B11"))[0][..., 0], stored["B11"] / 10_000)


def test_level_1c_is_where_another_reader_has_it(tmp_path: Path) -> None:
    path, stored = write_sentinel2(tmp_path, level="1C")
    with rasterio.open(path / "MTD_MSIL1C.xml") as product:
        names = product.subdatasets
    for name in names[:3]:
        with rasterio.open(name) as theirs:
            for k, said in enumerate(theirs.descriptions, 1):
                band = re.sub(r"^B(\d),.*", r"B0\1", said)[:3].rstrip(",")
                source = _open(path, band)
                assert source.info.georef.transform == tuple(theirs.transform)[:6]
                pixels = source.read(Box.whole(source.info.extent))
                np.testing.assert_array_equal(pixels.values[..., 0], theirs.read(k))
    values = _whole(_open(path, "B10"))[0]
    np.testing.assert_allclose(values[..., 0], (stored["B10"] - 1100.0) / 10_000)


@pytest.mark.parametrize("name", ["p.SAFE.zip", "p.zip"])
def test_zips_and_metadata_files_are_the_product(safe: Product, own: Path, name: str) -> None:
    whole = _open(safe[0]).read(Box.whole((120, 120)))
    given = _open(own / "MTD_MSIL2A.xml")
    assert given.info.path == str(own)
    given.close()
    source = _open(zipped(own, name), scene=SceneOptions(mask_from=("scl:3",)))
    assert source.info.format == "sentinel2"
    np.testing.assert_array_equal(source.read(Box.whole((120, 120))).values, whole.values)


def test_a_model_takes_its_channels_by_name(safe: Product) -> None:
    spec = ImageSpec((str(safe[0]),))
    for names in (("nir", "red"), ("B08", "B04")):
        source = spec.open_for(tuple(Channel(name=name) for name in names))
        assert source.info.channels == ("B08", "B04")
        assert source.info.taken == (7, 3)
        source.close()
    # B5 of Landsat is near infrared, and of Sentinel-2 red edge.
    landsat = spec.open_for(
        (Channel(name="nir", aliases=("B5",)), Channel(name="green", aliases=("B3",)))
    )
    assert landsat.info.channels == ("B08", "B03")
    assert spec.open_for((Channel(name="swir16"),)).info.extent == (60, 60)


@pytest.mark.parametrize(("pixel_m", "extent"), [(None, 120), (10, 120), (20, 60), (60, 20)])
def test_classes_of_the_scene_mask_all_bands(
    safe: Product, pixel_m: float | None, extent: int
) -> None:
    rules = SceneOptions(mask_from=("SCL:3,8,9,10",))
    source = _open(safe[0], scene=rules, one_grid=OneGrid(pixel_m))
    plain = _open(safe[0], one_grid=OneGrid(pixel_m))
    assert source.info.extent == (extent, extent)
    assert source.info.channels == plain.info.channels
    at = ((np.arange(extent) + 0.5) * 60 / extent).astype(int)
    cloud = np.isin(safe[1]["SCL"], (3, 8, 9, 10))[np.ix_(at, at)]
    np.testing.assert_array_equal(_whole(source)[1], _whole(plain)[1] & ~cloud[..., None])


def test_quality_bands_are_named_where_one_is_not_there(safe: Product) -> None:
    with pytest.raises(InputError, match=r"no band 'CLD'; it has 1 B01.*for masks alone: SCL"):
        _open(safe[0], scene=SceneOptions(mask_from=("CLD:1",)))


def test_the_identity_covers_every_file(own: Path) -> None:
    before = _open(own).info.identity
    assert _open(own).info.identity == before
    for name in ("*_B05_20m.jp2", "*_SCL_20m.jp2", "MTD_MSIL2A.xml"):
        (path,) = own.rglob(name)
        path.write_bytes(path.read_bytes() + b"\n")
        now = _open(own).info.identity
        assert now != before
        before = now


def test_a_folder_that_lacks_bands_is_told_of(own: Path) -> None:
    for path in own.rglob("*_B0[56]_20m.jp2"):
        path.unlink()
    (fine,) = own.rglob("*_B02_10m.jp2")
    fine.unlink()
    info = _open(own).info
    assert "its folder lacks B05, B06: only part of the product is here" in info.warnings
    assert _open(own, "B02").info.extent == (60, 60)  # the finest that is there


def _second_granule(path: Path) -> None:
    (granule,) = (path / "GRANULE").iterdir()
    shutil.copytree(granule, path / "GRANULE" / "L2A_T32UQU_A042113_20230715T101603")


def _with_metadata(change: Callable[[str], str]) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        file = path / "MTD_MSIL2A.xml"
        file.write_text(change(file.read_text()))

    return edit


def _damaged(path: Path) -> None:
    (file,) = path.rglob("*_B05_20m.jp2")
    file.write_bytes(b'<VRTDataset rasterXSize="1" rasterYSize="1"/>')


def _moved(path: Path) -> None:
    (file,) = path.rglob("*_B05_20m.jp2")
    write_raster(file, addressed((60, 60), 1), 20, transform=from_origin(WEST + 6, NORTH, 20, 20))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_second_granule, "holds 2 granules \\(L2A_T32UPU.*, L2A_T32UQU"),
        (
            _with_metadata(
                lambda text: text.replace("<n1:", "<!DOCTYPE a [<!ENTITY b 'c'>]><n1:", 1)
            ),
            "entities",
        ),
        (_with_metadata(lambda text: text[:-30]), "can't be read as XML"),
        (
            _with_metadata(lambda text: re.sub("<BOA_ADD_OFFSET_VALUES.*LIST>(?=<Spec)", "", text)),
            "05.09.*offset",
        ),
        (
            _with_metadata(lambda text: re.sub("<BOA_QUANT.*?>10000</BOA_QUANT.*?>", "", text)),
            "QUANTIFICATION",
        ),
        (_with_metadata(lambda text: re.sub(">10000<", ">1e999<", text)), "QUANTIFICATION"),
        (_damaged, "B05_20m.jp2: can't be opened as SENTINEL2"),
        (_moved, "B05_20m.jp2 can't be stacked"),
    ],
)
def test_products_that_are_none_are_refused_in_one_line(
    own: Path, change: Callable[[Path], None], words: str
) -> None:
    change(own)
    with pytest.raises(InputError, match=words) as raised:
        _open(own)
    assert "\n" not in str(raised.value)
    assert str(own) in str(raised.value)


@pytest.mark.parametrize("name", ["../x.SAFE/a.jp2", "/etc/a.jp2", "p.SAFE/..\\..\\a.jp2"])
def test_zips_whose_names_lead_out_are_refused(own: Path, name: str) -> None:
    archive = zipped(own, "p.zip")
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr(name, b"x")
    with pytest.raises(InputError, match="leads out of it"):
        _open(archive)


@pytest.mark.parametrize("metadata", ["txt", "json", "xml"])
def test_landsat_of_level_2_is_reflectance_and_kelvin(tmp_path: Path, metadata: str) -> None:
    path, stored = write_landsat(tmp_path, metadata=metadata)
    source = _open(path, scene=SceneOptions(mask_from=("QA_PIXEL:bit3,bit4",)))
    assert source.info.channels == (*(f"B{k}" for k in range(1, 8)), "ST_B10")
    values, valid = _whole(source)
    np.testing.assert_allclose(values[..., 3], stored["B4"] * 2.75e-05 - 0.2)
    np.testing.assert_allclose(values[..., 7], stored["ST_B10"] * 0.00341802 + 149)
    clear = (stored["QA_PIXEL"] >> 3) & 3 == 0
    np.testing.assert_array_equal(valid[..., 3], (stored["B4"] != 0) & clear)
    by_file = open_source(path / f"{path.name}_MTL.{metadata}")
    assert by_file.info.path == str(path)
    model = ImageSpec((str(path),)).open_for((Channel(name="nir"), Channel(name="swir16")))
    assert model.info.channels == ("B5", "B6")


def test_the_panchromatic_band_has_its_own_pixels(tmp_path: Path) -> None:
    path, stored = write_landsat(tmp_path, level="L1TP")
    pan = _open(path, "B8")
    assert (pan.info.extent, pan.info.georef.spacing) == ((119, 119), (15, 15))
    np.testing.assert_allclose(_whole(pan)[0][..., 0], stored["B8"] * 2e-5 - 0.1)
    both = _open(path, "B8", "B4", one_grid=OneGrid(15, "linear", "area"))
    values = both.read(Box.whole(both.info.extent)).values
    np.testing.assert_array_equal(values[..., 0], stored["B8"])
    inner = values[40::2, 60::2, 1]  # where centres coincide
    np.testing.assert_allclose(inner, stored["B4"][20:, 30:], rtol=1e-6)
    coarse = _open(path, "B8", "B4", one_grid=OneGrid(30, "linear", "area"))
    assert coarse.info.extent == (60, 60)
    around = stored["B8"][79:82, 79:82].astype(float)  # about the centre of pixel 40, 40
    weights = np.outer((0.25, 0.5, 0.25), (0.25, 0.5, 0.25))
    assert coarse.read(Box((40, 40), (41, 41))).values[0, 0, 0] == pytest.approx(
        (around * weights).sum(), rel=1e-6
    )
    assert any("sun" in line for line in pan.info.warnings)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('NUMBER = "02"', 'NUMBER = "01"', "Collection 2"),
        ("REFLECTANCE_MULT_BAND_4 = 2.75e-05", "X = 1", "no REFLECTANCE_MULT_BAND_4"),
        ("_SR_B3.TIF", "/../../secret.TIF", "none of a scene"),
    ],
)
def test_landsat_metadata_that_are_none_are_refused(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    path, _ = write_landsat(tmp_path)
    (file,) = path.glob("*_MTL.txt")
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    with pytest.raises(InputError, match=words):
        _open(path)
