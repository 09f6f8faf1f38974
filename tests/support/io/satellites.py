"""Small products of satellites with the structure of real ones: names, metadata and files that other tools read alike."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin

from seg_batch.io.sources.formats.satellites.sentinel2 import BANDS

WEST, NORTH, EPSG = 600_000, 5_800_020, 32632
RESOLUTIONS = {"B01": 60, "B02": 10, "B03": 10, "B04": 10, "B05": 20, "B06": 20, "B07": 20, "B08": 10,
               "B8A": 20, "B09": 60, "B10": 60, "B11": 20, "B12": 20, "SCL": 20}  # fmt: skip
L2A = "S2A_MSIL2A_20230715T101601_N0509_R065_T32UPU_20230715T161456"
L1C = "S2B_MSIL1C_20230715T101601_N0509_R065_T32UPU_20230715T121456"
LANDSAT = "LC08_L2SP_193023_20210622_20210629_02_T1"


def addressed(shape: tuple[int, int], seed: int) -> np.ndarray:
    """uint16 values that tell where they lie, with noise; none is 0."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    noise = np.random.default_rng(seed).integers(0, 700, shape)
    return (1200 + 13 * y + 7 * x + 31 * seed + noise).astype(np.uint16)


def write_raster(path: Path, values: np.ndarray, pixel: float, **options: object) -> None:
    """A raster of one band whose north-west corner is that of the tile; JPEG 2000 without loss."""
    jp2 = path.suffix == ".jp2"
    driver = (
        {"driver": "JP2OpenJPEG", "quality": 100, "reversible": "YES"}
        if jp2
        else {"driver": "GTiff"}
    )
    place = {"crs": EPSG, "transform": from_origin(WEST, NORTH, pixel, pixel)}
    shape = {"height": values.shape[0], "width": values.shape[1], "count": 1, "dtype": values.dtype}
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", **{**driver, **place, **shape, **options}) as file:
        file.write(values, 1)


def write_sentinel2(
    folder: Path,
    *,
    side: int = 120,
    level: str = "2A",
    baseline: str = "05.09",
    offset: int | None = -1000,
    suffix: str = ".jp2",
) -> tuple[Path, dict[str, np.ndarray]]:
    """A SAFE folder of a tile of ``side`` pixels of 10 m, and the stored values of each band, at its own pixels."""
    name = L2A if level == "2A" else L1C
    safe = folder / f"{name}.SAFE"
    granule = f"GRANULE/L{level}_T32UPU_A042113_20230715T101603"
    values = dict[str, np.ndarray]()
    for k, band in enumerate(BANDS):
        if band == "B10" and level == "2A":
            continue
        n = side * 10 // RESOLUTIONS[band]
        values[band] = addressed((n, n), k)
        values[band][: n // 6, : n // 4] = 0  # no data, in a corner
        values[band][-1, -1] = 65535
        write_raster(
            safe / _image(granule, level, band, RESOLUTIONS[band]), values[band], RESOLUTIONS[band]
        )
    if level == "2A":
        n = side // 2
        values["SCL"] = np.random.default_rng(99).integers(0, 12, (n, n)).astype(np.uint8)
        write_raster(safe / _image(granule, level, "SCL", 20), values["SCL"], 20)
        coarse = values["B02"][::2, ::2]
        write_raster(safe / _image(granule, level, "B02", 20), coarse, 20)  # a copy that is coarser
    kind = f"Level-{level}_User_Product"
    (safe / f"MTD_MSIL{level}.xml").write_text(
        _user_product(kind, level, baseline, offset, granule, name)
    )
    (safe / granule / "MTD_TL.xml").write_text(_tile(level, side))
    (safe / "manifest.safe").write_text('<?xml version="1.0" encoding="UTF-8"?><xfdu/>')
    return safe, values


def _image(granule: str, level: str, band: str, pixel: int) -> str:
    stem = f"T32UPU_20230715T101601_{band}"
    if level == "1C":
        return f"{granule}/IMG_DATA/{stem}.jp2"
    return f"{granule}/IMG_DATA/R{pixel}m/{stem}_{pixel}m.jp2"


def _user_product(
    kind: str, level: str, baseline: str, offset: int | None, granule: str, name: str
) -> str:
    physical = ["B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12"]
    images = "".join(
        f"<IMAGE_FILE>{_image(granule, level, band, RESOLUTIONS[band])[:-4]}</IMAGE_FILE>"
        for band in [*BANDS, *(["SCL"] if level == "2A" else [])]
        if not (band == "B10" and level == "2A")
    )
    spectral = "".join(
        f'<Spectral_Information bandId="{k}" physicalBand="{p}"><RESOLUTION>{RESOLUTIONS[b]}</RESOLUTION><Wavelength>'
        f'<CENTRAL unit="nm">{1000 * BANDS[b][1]:.1f}</CENTRAL></Wavelength></Spectral_Information>'
        for k, (p, b) in enumerate(zip(physical, BANDS, strict=True))
    )
    word = "BOA" if level == "2A" else "RADIO"
    added = (
        ""
        if offset is None
        else "".join(
            f'<{word}_ADD_OFFSET band_id="{k}">{offset - 10 * k}</{word}_ADD_OFFSET>'
            for k in range(13)
        )
    )
    added = added and (
        f"<BOA_ADD_OFFSET_VALUES_LIST>{added}</BOA_ADD_OFFSET_VALUES_LIST>"
        if level == "2A"
        else f"<Radiometric_Offset_List>{added}</Radiometric_Offset_List>"
    )
    quantities = (
        '<QUANTIFICATION_VALUES_LIST><BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE>'
        '<AOT_QUANTIFICATION_VALUE unit="none">1000.0</AOT_QUANTIFICATION_VALUE></QUANTIFICATION_VALUES_LIST>'
        if level == "2A"
        else '<QUANTIFICATION_VALUE unit="none">10000</QUANTIFICATION_VALUE>'
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8" standalone="no"?>\n<n1:{kind} '
        f'xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-{level}.xsd"><n1:General_Info><Product_Info>'
        f"<PRODUCT_URI>{name}.SAFE</PRODUCT_URI><PROCESSING_LEVEL>Level-{level}</PROCESSING_LEVEL>"
        f'<PRODUCT_TYPE>S2MSI{level}</PRODUCT_TYPE><Query_Options completeSingleTile="true">'
        f"<PRODUCT_FORMAT>SAFE_COMPACT</PRODUCT_FORMAT></Query_Options><PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE>"
        '<Datatake datatakeIdentifier="GS2A"><SPACECRAFT_NAME>Sentinel-2A</SPACECRAFT_NAME></Datatake>'
        f'<Product_Organisation><Granule_List><Granule datastripIdentifier="D" granuleIdentifier="G" imageFormat="JPEG2000">'
        f"{images}</Granule></Granule_List></Product_Organisation></Product_Info><Product_Image_Characteristics>"
        "<Special_Values><SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT><SPECIAL_VALUE_INDEX>0</SPECIAL_VALUE_INDEX>"
        f"</Special_Values>{quantities}{added}<Spectral_Information_List>{spectral}</Spectral_Information_List>"
        f"</Product_Image_Characteristics></n1:General_Info></n1:{kind}>\n"
    )


def _tile(level: str, side: int) -> str:
    sizes = "".join(
        f'<Size resolution="{r}"><NROWS>{side * 10 // r}</NROWS><NCOLS>{side * 10 // r}</NCOLS></Size>'
        for r in (10, 20, 60)
    )
    places = "".join(
        f'<Geoposition resolution="{r}"><ULX>{WEST}</ULX><ULY>{NORTH}</ULY><XDIM>{r}</XDIM><YDIM>-{r}</YDIM></Geoposition>'
        for r in (10, 20, 60)
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><n1:Level-{level}_Tile_ID xmlns:n1="x"><n1:Geometric_Info><Tile_Geocoding>'
        f"<HORIZONTAL_CS_NAME>WGS84 / UTM zone 32N</HORIZONTAL_CS_NAME><HORIZONTAL_CS_CODE>EPSG:{EPSG}</HORIZONTAL_CS_CODE>"
        f"{sizes}{places}</Tile_Geocoding></n1:Geometric_Info></n1:Level-{level}_Tile_ID>"
    )


def zipped(folder: Path, name: str) -> Path:
    """A zip that holds the folder, beside it."""
    archive = folder.with_name(name)
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, path.relative_to(folder.parent))
    shutil.rmtree(folder)
    return archive


def write_landsat(
    folder: Path, *, side: int = 60, level: str = "L2SP", metadata: str = "txt"
) -> tuple[Path, dict[str, np.ndarray]]:
    """A folder of Landsat 8, of ``side`` pixels of 30 m, and the stored values of each band."""
    name = LANDSAT.replace("L2SP", level)
    scene, values = folder / name, dict[str, np.ndarray]()
    surface = level == "L2SP"
    numbers = range(1, 8) if surface else range(1, 12)
    contents = {"LANDSAT_PRODUCT_ID": name, "PROCESSING_LEVEL": level, "COLLECTION_NUMBER": "02"}
    for k in numbers:
        band, n = f"B{k}", 2 * side - 1 if k == 8 else side
        file = f"{name}_{'SR_' if surface else ''}{band}.TIF"
        values[band] = addressed((n, n), k)
        values[band][: n // 5, : n // 3] = 0
        inset = 7.5 if k == 8 else 0  # centres coincide, not edges
        pixel = 15 if k == 8 else 30
        place = from_origin(WEST + inset, NORTH - inset, pixel, pixel)
        write_raster(scene / file, values[band], pixel, transform=place)
        contents[f"FILE_NAME_BAND_{k}"] = file
    if surface:
        values["ST_B10"] = addressed((side, side), 10)
        write_raster(scene / f"{name}_ST_B10.TIF", values["ST_B10"], 30)
        contents["FILE_NAME_BAND_ST_B10"] = f"{name}_ST_B10.TIF"
    values["QA_PIXEL"] = (
        np.random.default_rng(5).integers(0, 1 << 16, (side, side)).astype(np.uint16)
    )
    write_raster(scene / f"{name}_QA_PIXEL.TIF", values["QA_PIXEL"], 30)
    contents["FILE_NAME_QUALITY_L1_PIXEL"] = f"{name}_QA_PIXEL.TIF"
    groups = {"PRODUCT_CONTENTS": contents, "IMAGE_ATTRIBUTES": {"SPACECRAFT_ID": "LANDSAT_8"}}
    if surface:
        groups["LEVEL2_SURFACE_REFLECTANCE_PARAMETERS"] = _scales(
            "REFLECTANCE", numbers, "2.75e-05", "-0.2"
        )
        groups["LEVEL2_SURFACE_TEMPERATURE_PARAMETERS"] = _scales(
            "TEMPERATURE", ["ST_B10"], "0.00341802", "149.0"
        )
    groups["LEVEL1_RADIOMETRIC_RESCALING"] = {
        **_scales("RADIANCE", range(1, 12), "1.2E-02", "-60.5"),
        **_scales("REFLECTANCE", range(1, 10), "2.0000E-05", "-0.100000"),
    }
    (scene / f"{name}_MTL.{metadata}").write_text(_mtl(groups, metadata))
    return scene, values


def _scales(quantity: str, bands: object, mult: str, add: str) -> dict[str, str]:
    pairs = [(f"{quantity}_MULT_BAND_{b}", mult) for b in bands]  # type: ignore[attr-defined]
    return dict([*pairs, *((key.replace("MULT", "ADD"), add) for key, _ in pairs)])


def _mtl(groups: Mapping[str, Mapping[str, str]], kind: str) -> str:
    if kind == "json":
        import json

        return json.dumps({"LANDSAT_METADATA_FILE": groups})
    if kind == "xml":
        rows = "".join(
            f"<{g}>{''.join(f'<{k}>{v}</{k}>' for k, v in rows.items())}</{g}>"
            for g, rows in groups.items()
        )
        return f'<?xml version="1.0" encoding="UTF-8"?>\n<LANDSAT_METADATA_FILE>{rows}</LANDSAT_METADATA_FILE>'
    lines = ["GROUP = LANDSAT_METADATA_FILE"]
    for name, rows in groups.items():
        lines += [f"  GROUP = {name}"]
        lines += [
            f"    {k} = " + (v if v[0] in "-.0123456789" and k[0] in "RT" else f'"{v}"')
            for k, v in rows.items()
        ]
        lines += [f"  END_GROUP = {name}"]
    return "\n".join([*lines, "END_GROUP = LANDSAT_METADATA_FILE", "END", ""])
