"""What a file is that can't be read, and what to do: by its first bytes; by its name where they don't tell."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path

from seg_batch.core.registry.formats import FORMATS
from seg_batch.core.text import either

_GDAL = "convert it with gdal_translate -of COG"
_RASTER, _NIFTI = "convert it to GeoTIFF or PNG", "convert it to NIfTI"
_PHOTO, _UNPACK = "convert it to PNG or JPEG", "unpack it first"
_TABLE = "give the {readable} file that belongs to it"
_MGH = "convert it with mri_convert to .nii.gz"

_SURE = 4  # voxels may well begin with fewer bytes by chance: then the name counts more
# First bytes, where they begin, name, remedy.
_BYTES: tuple[tuple[bytes, int, str, str], ...] = (
    (b"\x0e\x03\x13\x01", 0, "an HDF4 file", _GDAL),
    (b"PK\x03\x04", 0, "a zip archive", _UNPACK),
    (b"PK\x05\x06", 0, "an empty zip archive", "give another file"),
    (b"\x28\xb5\x2f\xfd", 0, "a zstd archive", _UNPACK),
    (b"BZh", 0, "a bzip2 archive", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", 0, "a 7-Zip archive", _UNPACK),
    (b"Rar!\x1a\x07", 0, "a RAR archive", _UNPACK),
    (b"\xfd7zXZ\0", 0, "an xz archive", _UNPACK),
    (b"\x04\x22\x4d\x18", 0, "an lz4 archive", _UNPACK),
    (b"LZIP", 0, "an lzip archive", _UNPACK),
    (b"ustar", 257, "a tar archive", _UNPACK),
    (b"\x1f\x9d", 0, "a compress (.Z) archive", _UNPACK),
    (b"\0\0\0\x0cJXL \r\n\x87\n", 0, "a JPEG XL image", _PHOTO),
    (b"\xff\x0a", 0, "a JPEG XL image", _PHOTO),
    (b"ftypavif", 4, "an AVIF image", _PHOTO),
    (b"ftypavis", 4, "an AVIF image", _PHOTO),
    (b"ftyphei", 4, "an HEIC image", _PHOTO),
    (b"ftyphev", 4, "an HEIC image", _PHOTO),
    (b"ftypmif1", 4, "an HEIF image", _PHOTO),
    (b"ftypmsf1", 4, "an HEIF image", _PHOTO),
    (b"ftyp", 4, "a video (MP4 or QuickTime)", "give its pictures one by one"),
    (b"WEBP", 8, "a WebP image", _PHOTO),
    (b"8BPS", 0, "a Photoshop document", "export it as TIFF or PNG"),
    (b"\x76\x2f\x31\x01", 0, "an OpenEXR image", _RASTER),
    (b"qoif", 0, "a QOI image", _PHOTO),
    (b"\x8aMNG", 0, "an MNG animation", "give its pictures one by one"),
    (b"\x8bJNG", 0, "a JNG image", _PHOTO),
    (b"II\xbc\x01", 0, "a JPEG XR image", _PHOTO),
    (b"IIRO", 0, "an Olympus raw photo", "develop it to TIFF"),
    (b"IIU\0", 0, "a Panasonic raw photo", "develop it to TIFF"),
    (b"NITF", 0, "a NITF file", _GDAL),
    (b"NSIF", 0, "a NITF file", _GDAL),
    (b"SIMPLE  =", 0, "a FITS file", "convert it with gdal_translate -of COG or astropy"),
    (b"EHFA_HEADER_TAG", 0, "an ERDAS Imagine file", _GDAL),
    (b"ERDAS", 0, "a LAN or GIS file of ERDAS", _GDAL),
    (b"PIX ", 0, "a PCI .pix file", _GDAL),
    (b"DSBB", 0, "a Surfer grid", _GDAL),
    (b"DSRB", 0, "a Surfer grid", _GDAL),
    (b"AT&TFORM", 0, "a DjVu document", "give the {readable} it was made from"),
    (b"GIF8", 0, "a GIF image", "convert it to PNG or TIFF"),
    (b"BM", 0, "a BMP image", "convert it to PNG or TIFF"),
    (b"\x93NUMPY", 0, "a NumPy array", "write it as GeoTIFF, NIfTI or Zarr, which tell its axes"),
    (b"SQLite format 3\0", 0, "an SQLite database, perhaps a GeoPackage",
     "write its raster, or burn its features, with gdal_translate or gdal_rasterize"),
    (b"PAR1", 0, "a Parquet table", _TABLE),
    (b"ARROW1", 0, "an Arrow table", _TABLE),
    (b"FGB", 0, "a FlatGeobuf file of vectors", "burn them into a raster with gdal_rasterize"),
    (b"\0\0\x27\x0a", 0, "a shapefile, which holds vectors",
     "burn them into a raster with gdal_rasterize"),
    (b"LASF", 0, "a LAS point cloud", "grid it to a GeoTIFF first (pdal)"),
    (b"MATLAB 5.0", 0, "a MATLAB file", "write its array as GeoTIFF, NIfTI or Zarr"),
    (b"%PDF", 0, "a PDF", "give the {readable} it was made from"),
    (b"%!PS", 0, "a PostScript document", "give the {readable} it was made from"),
    (b"{\\rtf", 0, "an RTF document", "give the {readable} it was made from"),
    (b"\x7fELF", 0, "a program", _TABLE),
    (b"P4", 0, "a portable bitmap", _PHOTO), (b"P5", 0, "a portable greymap", _PHOTO),
    (b"P6", 0, "a portable pixmap", _PHOTO), (b"P7", 0, "a portable anymap", _PHOTO),
    (b"PF", 0, "a portable float map", _RASTER), (b"Pf", 0, "a portable float map", _RASTER),
    (b"\x80\x02", 0, "a Python pickle", "write its array as GeoTIFF, NIfTI or Zarr"),
    (b"\x80\x03", 0, "a Python pickle", "write its array as GeoTIFF, NIfTI or Zarr"),
    (b"\x80\x04\x95", 0, "a Python pickle", "write its array as GeoTIFF, NIfTI or Zarr"),
    (b"\x80\x05\x95", 0, "a Python pickle", "write its array as GeoTIFF, NIfTI or Zarr"),
)  # fmt: skip

# Endings, name, remedy: where the bytes are those of voxels, or text of any kind.
_ENDINGS: tuple[tuple[str, str, str], ...] = (
    (".img", "the voxels of a pair", "give the .hdr of a NIfTI pair; convert others to GeoTIFF"),
    (".mgh .mgz", "a FreeSurfer volume (MGH)", _MGH),
    (".mnc", "a MINC volume", "convert it with mnc2nii"),
    (".nhdr .nrrd", "an NRRD volume, whose first bytes are others", "copy it again"),
    (".mhd .mha", "a MetaImage volume, whose first lines are others", "copy it again"),
    (".ecw", "an ECW raster", _GDAL), (".sid", "a MrSID raster", _GDAL),
    (".hdr", "a header of raw data (ENVI, Analyze)", "convert it and its data to GeoTIFF or NIfTI"),
    (".zraw", "the voxels of a MetaImage", "give the .mhd beside it"),
    (".raw .bin .dat .bil .bsq .bip .envi", "raw data, whose shape stands in another file",
     "convert both to GeoTIFF, NIfTI or Zarr"),
    (".asc .grd", "a grid as text", _GDAL), (".xyz", "points as text", _GDAL),
    (".geojson .json .kml .gml", "a file of vectors or settings", _TABLE),
    (".csv .tsv", "a table", "list its files under inputs.manifest of a workflow"),
    (".yaml .yml", "a YAML file", "segbatch run takes workflows"),
    (".svg", "an SVG drawing", _PHOTO),
    (".pkl .pickle", "a Python pickle", "write its array as GeoTIFF, NIfTI or Zarr"),
    (".keras .h5 .onnx .tflite", "a model", "give it with --model, and an image as INPUT"),
    (".tfw .jgw .pgw .wld .prj .aux.xml .ovr .msk", "a side file of a raster",
     "give the raster itself"),
)  # fmt: skip


def foreign(path: Path, head: bytes) -> str:
    """What the file with these first bytes is, and what to do; one line without the path."""
    if line := _by_bytes(head, lambda magic: len(magic) >= _SURE):
        return line
    if head[:4] == b"\0\0\0\x01" and path.name.lower().endswith((".mgh", ".mgz", ".gz")):
        return _line("a FreeSurfer volume (MGH)", _MGH)
    if len(head) >= 4 and 348 in struct.unpack("<i", head[:4]) + struct.unpack(">i", head[:4]):
        return "an Analyze header (or a damaged NIfTI one), which has no affine, so that left and right can't be told; convert it to NIfTI"
    short = _by_bytes(head, lambda magic: len(magic) < _SURE)
    return _text(head) or _named(path) or short or _unknown(head)


def _by_bytes(head: bytes, counts: Callable[[bytes], bool]) -> str | None:
    for magic, at, what, remedy in _BYTES:
        if counts(magic) and head[at : at + len(magic)] == magic:
            return _line(what, remedy)
    return None


def _line(what: str, remedy: str) -> str:
    return f"{what}, which is not read; {remedy.format(readable=readable())}"


def readable() -> str:
    """The names of the formats that are read."""
    return either([form.title for form in FORMATS.values()])


def _text(head: bytes) -> str | None:
    """Kinds of text that their first words tell."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if b"<GIFTI" in head:
        return "a GIFTI surface, not a volume; give a NIfTI volume"
    if b"<svg" in head:
        return _line("an SVG drawing", _PHOTO)
    if start.startswith(b"<"):
        return f"XML or HTML text, not an image; give a {readable()} file"
    if re.match(rb'\{\s*"type"\s*:\s*"Feature', start):
        return _line("a GeoJSON file of vectors", "burn them into a raster with gdal_rasterize")
    if start.startswith(b"ENVI"):
        return _line(
            "an ENVI header", "convert the raster it belongs to with gdal_translate -of COG"
        )
    if start.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS and not the file itself; fetch that with git lfs pull"
    return None


def _named(path: Path) -> str | None:
    name = path.name.lower()
    for endings, what, remedy in _ENDINGS:
        if name.endswith(tuple(endings.split())):
            header = next((p for p in _headers(path) if p.is_file()), None)
            beside = f" (its header is {header.name})" if header else ""
            return _line(f"by its name {what}{beside}", remedy)
    return None


def _headers(path: Path) -> list[Path]:
    """The header that may lie beside raw data."""
    endings = (".hdr", ".HDR", ".mhd", ".nhdr")
    return [path.with_suffix(e) for e in endings if path.suffix.lower() != e.lower()]


def _unknown(head: bytes) -> str:
    if all(byte >= 32 or byte in b"\t\r\n" for byte in head):
        return f"text, not an image; give a {readable()} file"
    return f"unknown format (it begins with {head[:8].hex(' ')}); give a {readable()} file"
