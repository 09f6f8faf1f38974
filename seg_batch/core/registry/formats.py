"""The list of file formats, and the facts of each that are known before its library is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from seg_batch.core.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Format:
    """A format of images. ``title``: its name in messages. ``kind``: of all its images, or empty.

    ``matches``: whether the first bytes are of this format; ``gzipped``: whether gzipped files are read
    too. ``metadata``: the files that mark a folder as an image of the format. ``open``: the source of
    ``(path, volume=, staged=)``, and ``alpha=`` where ``marks_alpha``: a band may be marked as alpha.
    ``stage``: of ``(path, folder)``, the file that workers read instead. ``has_series``: a place holds several
    images, and ``open`` and ``stage`` take ``series=``; ``reads_scene``: ``open`` takes ``scene=``, the ``SceneOptions``; ``is_read_remotely``: ``open``
    takes a ``RemotePath``, too; ``has_parts``: a file holds several images, and
    ``open`` takes ``part=``, the name of one or nothing; ``holds``: whether a folder, or an archive with these first bytes,
    holds such. ``shared_endings``: those that files of other kinds have too, so that only a look into one tells.
    ``names_folder``: whether a folder of this name, in small letters, is one image, where no ending tells. ``voxels``: the endings of headers whose voxels lie in a file of the same stem beside them -> the endings of that.
    """

    name: str
    title: str
    endings: tuple[str, ...]
    open: Callable[..., Any]
    kind: str = ""
    matches: Callable[[bytes], bool] = lambda head: False
    gzipped: bool = False
    metadata: tuple[str, ...] = ()
    marks_alpha: bool = False
    stage: Callable[..., Path] | None = None
    has_series: bool = False
    reads_scene: bool = False
    is_read_remotely: bool = False
    has_parts: bool = False
    holds: Callable[[Path], bool] = lambda path: False
    shared_endings: tuple[str, ...] = ()
    voxels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    names_folder: Callable[[str], bool] = lambda name: False


@dataclass(frozen=True, kw_only=True)
class ProductFormat:
    """A format of products. ``endings``: the default first; ``aliases``: other spellings.
    ``holds_probabilities``: in the product itself, not beside it; ``probabilities``: the ending of the file beside it, where
    it is another than the product's. ``of_format``: the format that the input must have;
    empty: any. ``holds_labels``: the whole map is read back from it through ``open_source``, so it may be the main
    product; else it is made with ``--also`` alone, of a main product that is finished. ``needs_store``: it is made of
    the work store, so it is a main product alone. ``settings``: the names of the ``FurtherOptions`` that its bytes depend on. ``is_coded``: it keeps sform and qform with their codes; else the affine
    alone, in mm.

    ``write``: of ``(part, store, spec, read, again, labels)``, writes ``part``, reads it back and compares it:
    DamagedError where that differs. With ``--also`` there is no work store any more: ``store`` is None, ``labels`` empty,
    and ``read`` and ``again`` read the finished main product, box by box. The image on the grid of the labels is
    ``open_view(spec.image, spec.card).native``. The bytes follow from the main product, the image and the card. ``begin``: of
    ``(spec, folder)``, what takes boxes of a product while others are still to come; ``write`` gets it as ``begun``.
    ``prove``:
    of ``(spec, name)``, before any work: OutputError where a product can't hold the place of ``spec``; else
    lines about how one of that name does.
    """

    name: str
    kinds: tuple[str, ...]
    endings: tuple[str, ...]
    write: Callable[..., None]
    prove: Callable[..., list[str]] = lambda spec, name: []
    begin: Callable[..., Any] | None = None
    aliases: tuple[str, ...] = ()
    is_folder: bool = False
    is_coded: bool = True
    holds_probabilities: bool = False
    probabilities: str = ""
    of_format: str = ""
    holds_labels: bool = True
    needs_store: bool = False
    settings: tuple[str, ...] = ()


# The first that matches is taken.
FORMATS: Registry[Format] = Registry(
    {
        "geotiff": "seg_batch.io.formats.raster:GEOTIFF",
        "png": "seg_batch.io.formats.raster:PNG",
        "jpeg": "seg_batch.io.formats.raster:JPEG",
        "jp2": "seg_batch.io.formats.raster:JP2",
        "netcdf": "seg_batch.io.formats.variables:NETCDF",
        "hdf5": "seg_batch.io.formats.variables:HDF5",
        "grib": "seg_batch.io.formats.variables:GRIB",
        "vrt": "seg_batch.io.formats.vrt:VRT",
        "nifti": "seg_batch.io.formats.nifti:NIFTI",
        "nrrd": "seg_batch.io.formats.nrrd:NRRD",
        "metaimage": "seg_batch.io.formats.metaimage:METAIMAGE",
        "zarr": "seg_batch.io.formats.zarr:ZARR",
        "sentinel2": "seg_batch.io.formats.satellites:SENTINEL_2",
        "landsat": "seg_batch.io.formats.satellites:LANDSAT",
        "dicom_seg": "seg_batch.io.formats.dicom_seg:DICOM_SEG",
        "dicom": "seg_batch.io.formats.dicom:DICOM",
    }
)
# The first of a kind is the usual one.
PRODUCTS: Registry[ProductFormat] = Registry(
    {
        "cog": "seg_batch.io.formats.raster:COG",
        "nifti": "seg_batch.io.formats.nifti:PRODUCT",
        "nrrd": "seg_batch.io.formats.nrrd:PRODUCT",
        "segments": "seg_batch.io.formats.nrrd:SEGMENTS",
        "metaimage": "seg_batch.io.formats.metaimage:PRODUCT",
        "zarr": "seg_batch.io.formats.zarr:PRODUCT",
        "sizes": "seg_batch.io.formats.tables:SIZES",
        "stac": "seg_batch.io.formats.stac:ITEM",
        "picture": "seg_batch.io.formats.raster:PICTURE",
        "itk-snap": "seg_batch.io.formats.tables:ITK_SNAP",
        "slicer": "seg_batch.io.formats.tables:SLICER",
        "qgis": "seg_batch.io.formats.tables:QGIS",
        "attribute table": "seg_batch.io.formats.tables:ATTRIBUTE_TABLE",
        "dicom_seg": "seg_batch.io.formats.dicom_seg:PRODUCT",
        "rtstruct": "seg_batch.io.formats.dicom_seg:STRUCTURES",
    }
)
STAC_ENDING = ".stac.json"
_LISTED = ("volume", "raster", "")


def image_endings() -> tuple[str, ...]:
    """The endings of image names, in small letters: of volumes, of rasters, of formats of either."""
    return _endings(tuple(FORMATS))


@cache
def _endings(names: tuple[str, ...]) -> tuple[str, ...]:
    formats = sorted((FORMATS[name] for name in names), key=lambda form: _LISTED.index(form.kind))
    return tuple(ending for form in formats for ending in form.endings)


def shared_endings() -> tuple[str, ...]:
    """The endings of which only a look into a file tells whether it is an image."""
    return tuple(ending for form in FORMATS.values() for ending in form.shared_endings)


def voxel_endings(ending: str) -> tuple[str, ...]:
    """The endings of the file beside a header with this ending that holds its voxels; none of an image in one file."""
    return _voxels(tuple(FORMATS)).get(ending.lower(), ())


@cache
def _voxels(names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    return {end: beside for name in names for end, beside in FORMATS[name].voxels.items()}


def names_folder(name: str) -> bool:
    """Whether a folder of this name (in small letters) is one image."""
    if name.endswith(_folders(tuple(FORMATS))):
        return True
    return any(form.names_folder(name) for form in FORMATS.values())


@cache
def _folders(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(e for name in names if FORMATS[name].metadata for e in FORMATS[name].endings)


def split(path: str) -> tuple[str, str]:
    """A path before the ending of an image, and the ending, empty where there is none."""
    endings = (ending for ending in image_endings() if path.lower().endswith(ending))
    at = len(path) - len(max(endings, key=len, default=""))
    return path[:at], path[at:]


def stem_of(name: str) -> str:
    """A name without the ending of an image, or without one that other files have, too."""
    shared = next((end for end in shared_endings() if name.lower().endswith(end)), "")
    return split(name)[0].removesuffix(name[len(name) - len(shared) :] if shared else "")


def products_of(kind: str) -> list[ProductFormat]:
    """The formats that a main product of a kind of image may have."""
    return [
        product for product in PRODUCTS.values() if kind in product.kinds and product.holds_labels
    ]


def also_of(kind: str) -> list[ProductFormat]:
    """The formats that a further product may have, made with ``--also``."""
    return [
        product
        for product in PRODUCTS.values()
        if kind in product.kinds and not product.needs_store
    ]


def product_ending(name: str) -> str:
    """The ending of the name of a product of any format, as it is written there; empty where there is none."""
    every = (e for product in PRODUCTS.values() for e in (*product.endings, *product.aliases))
    known = (ending for ending in every if name.lower().endswith(ending))
    return name[len(name) - len(max(known, key=len, default="")) :]


def product_endings(kind: str) -> tuple[str, ...]:
    """The endings that products of a kind of image may have, the default first."""
    return tuple(ending for product in products_of(kind) for ending in product.endings)


def probabilities_ending(ending: str) -> str:
    """The ending of the file of probabilities beside a product with this ending."""
    others = {
        e: form.probabilities
        for form in PRODUCTS.values()
        for e in form.endings
        if form.probabilities
    }
    return others.get(ending.lower(), ending)


def holds_probabilities(name: str) -> bool:
    """Whether a product of this name holds its probabilities itself."""
    inside = (product for product in PRODUCTS.values() if product.holds_probabilities)
    return any(name.endswith(product.endings) for product in inside)
