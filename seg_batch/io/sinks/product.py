"""From a work store to a product: atomic replace, after the product was read back and verified."""

from __future__ import annotations

import hashlib
import threading
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.config.card import ClassInfo
from seg_batch.config.image_options.scene import PLAIN, FurtherOptions
from seg_batch.core.errors import OutputError
from seg_batch.core.files import files_in, translate_os_errors
from seg_batch.core.geometry import Blocks, Box, Shape
from seg_batch.core.georef import Georef, RasterGeoref, VolumeGeoref, georef_differences
from seg_batch.core.registry.formats import (
    FORMATS,
    PRODUCTS,
    ProductFormat,
    also_of,
    products_of,
)
from seg_batch.io.sinks.early import EarlyProduct
from seg_batch.io.sinks.product_sides import side_digests
from seg_batch.io.sinks.publish import atomic_replace, require_writable
from seg_batch.io.sinks.spec import ProductSpec, Read
from seg_batch.io.sinks.work_store import WorkStore
from seg_batch.io.sources import open_source, pieces
from seg_batch.io.sources.areas.pixel_areas import PixelAreas
from seg_batch.io.sources.constant import is_constant, value_of
from seg_batch.io.sources.protocol import SourceInfo
from seg_batch.io.sources.views.image_spec import ImageSpec

_COUNTED = 1 << 20
_FLOAT32 = 1e-6  # NIfTI headers store their matrices in float32


@dataclass(frozen=True)
class Product:
    """A written product: path, bytes, sha256, and the number of voxels of each label value.
    ``side_files``: the identities of those that are part of it, by name; ``hectares``: of each label value,
    None where pixels have no area."""

    path: Path
    bytes: int
    sha256: str
    counts: dict[int, int]
    side_files: dict[str, Any] = field(default_factory=dict)
    hectares: dict[int, float] | None = None


def format_of(path: Path, kind: str) -> str:
    """The format for the name of a main product; OutputError with the possible endings."""
    endings = _endings(products_of(kind))
    if form := _longest(path, endings):
        return form
    also = "; --also takes it" if _longest(path, _endings(also_of(kind))) else ""
    raise OutputError(
        f"{path.name} can't hold the labels of a {kind}: name it {', '.join(sorted(endings))}{also}"
    )


def also_format_of(path: Path, kind: str) -> str:
    """The format for the name of a further product; OutputError with the possible endings."""
    endings = _endings(also_of(kind))
    if form := _longest(path, endings):
        return form
    if form := _longest(path, _endings(products_of(kind))):
        raise OutputError(f"{path.name} can't be made with --also: name it with -o, as the output")
    raise OutputError(
        f"{path.name} can't be made of the labels of a {kind}: --also takes {', '.join(sorted(endings))}"
    )


def _endings(formats: list[ProductFormat]) -> dict[str, str]:
    return {e: form.name for form in formats for e in (*form.endings, *form.aliases)}


def _longest(path: Path, endings: dict[str, str]) -> str:
    """The format of the longest ending that the name has; empty where it has none."""
    name = path.name.lower()
    return endings.get(max(filter(name.endswith, endings), key=len, default=""), "")


def check_output(path: Path, kind: str, *, also: bool = False) -> None:
    """Before any work: OutputError for an unknown ending, or a folder that is not writable."""
    form = (also_format_of if also else format_of)(path, kind)
    if not PRODUCTS[form].is_folder and path.is_dir():
        raise OutputError(f"{path} is a folder: use another output")
    require_writable(path.parent)


def prove_place(
    info: SourceInfo,
    path: Path,
    form: str,
    image: ImageSpec | None = None,
    classes: tuple[ClassInfo, ...] = (),
    further: FurtherOptions = PLAIN,
) -> list[str]:
    """Before any work: OutputError unless a product at ``path`` can be made of an input and hold its place, which is
    tried; lines about how it does where that matters to the user. ``classes``: those of the model; ``further``: how further products
    are made."""
    product = PRODUCTS[form]
    if product.of_format and any(file.format != product.of_format for file in info.files):
        others = (e for p in products_of(info.kind) if not p.of_format for e in p.endings)
        raise OutputError(
            f"{path.name}: there is no {product.endings[0]} of {info.path}, which is no "
            f"{FORMATS[product.of_format].title} series that it could refer to: name it {', '.join(others)}"
        )
    like = like_of(info, form)
    spec = ProductSpec(
        info.extent, "uint8", None, classes, info.georef, like=like, image=image, further=further
    )
    return product.prove(spec, path.name)


def like_of(info: SourceInfo, form: str) -> Path | None:
    """The file whose header a product of this format copies; None where there is none on its grid."""
    same = info.format == form and not info.resampled_from
    return Path(info.files[0].path) if same else None


class Counter:
    """A ``Read`` that counts the voxels of each label, and sums their areas, of each box once. Any thread may read."""

    def __init__(self, read: Read, areas: PixelAreas | None = None) -> None:
        self._read, self._areas, self._lock = read, areas, threading.Lock()
        self._bins = np.zeros(1 << 16, np.int64)
        self._units: dict[int, int] = {}
        self._seen: set[Box] = set()

    def __call__(self, box: Box) -> np.ndarray:
        labels = self._read(box)
        bins, units = np.zeros_like(self._bins), dict[int, int]()
        count_into(bins, labels)
        if self._areas is not None and not self._areas.flat:
            self._areas.add(units, labels, box)
        with self._lock:
            if box in self._seen:
                return labels
            self._seen.add(box)
            self._bins += bins
            for label, n in units.items():
                self._units[label] = self._units.get(label, 0) + n
        return labels

    @property
    def counts(self) -> dict[int, int]:
        return _counts(self._bins)

    @property
    def hectares(self) -> dict[int, float] | None:
        """Of each label; None where pixels have no area."""
        areas = self._areas
        if areas is None:
            return None
        units = self.counts if areas.flat else self._units
        return {k: areas.hectares(n) for k, n in units.items()}


def count_into(bins: np.ndarray, labels: np.ndarray) -> None:
    """Add the voxels of each label to 65536 bins. Bytes are counted in pairs, which halves the time, and
    in pieces, since NumPy converts them to 64 bits."""
    if is_constant(labels):
        bins[value_of(labels)] += labels.size
        return
    flat = np.ascontiguousarray(labels).reshape(-1)
    for start in range(0, flat.size, _COUNTED):
        piece = flat[start : start + _COUNTED]
        if piece.dtype == np.uint8 and piece.size % 2 == 0:
            pairs = np.bincount(piece.view(np.uint16), minlength=1 << 16).reshape(256, 256)
            bins[:256] += pairs.sum(0) + pairs.sum(1)
        else:
            bins += np.bincount(piece, minlength=1 << 16)


def _counts(bins: np.ndarray) -> dict[int, int]:
    return {int(i): int(bins[i]) for i in np.flatnonzero(bins)}


def begin_product(
    store: WorkStore, path: Path, spec: ProductSpec, blocks: Blocks
) -> EarlyProduct[Read] | None:
    """A product of which parts are made while ``blocks`` come into the store; None for a format that can't, and where
    there is one block. To be closed."""
    form = _form_of(path, spec)
    if form.begin is None or len(blocks) < 2 or spec.window is not None:
        return None
    spec = replace(spec, chunk=store.spec.chunk)
    with translate_os_errors(path):
        return EarlyProduct(form.begin(spec, path.parent), _reads(store, spec)[0], blocks)


def export_product(
    store: WorkStore,
    path: Path,
    spec: ProductSpec,
    labels: str = "labels",
    early: EarlyProduct[Read] | None = None,
) -> Product:
    """Write labels (or probabilities) of the store to ``path`` and verify them. ``labels``: the name of
    the store's map; ``early``: what was made of the product before.

    The store is unchanged. OutputError when the disk refuses, DamagedError when the store or the closed
    product does not read back; an earlier product at ``path`` is then unchanged.
    """
    form, spec = _form_of(path, spec), replace(spec, chunk=store.spec.chunk)
    read, plain = _reads(store, spec, labels)
    begun = {}
    if early is not None:
        early.end()
        read, begun = early.read, {"begun": early.begun}
    with atomic_replace(path) as part:
        form.write(part, store, spec, read, plain, labels, **begun)
        sha256 = digest(part)
        store.remember(sha256)
        sides = side_digests(part)
    counts, hectares = (read.counts, read.hectares) if isinstance(read, Counter) else ({}, None)
    return Product(path, size(path), sha256, counts, sides, hectares)


def _form_of(path: Path, spec: ProductSpec) -> ProductFormat:
    return PRODUCTS[format_of(path, "raster" if len(spec.extent) == 2 else "volume")]


def _reads(store: WorkStore, spec: ProductSpec, labels: str = "labels") -> tuple[Read, Read]:
    """Of what the product is of: one that counts labels, and one that does not."""
    if spec.is_probabilities:
        shares = _moved(store.read_probabilities, spec)
        return shares, shares
    plain = _moved(partial(store.read_labels, name=labels), spec)
    return Counter(plain, PixelAreas.of(spec.georef, spec.extent)), plain


def _moved(read: Read, spec: ProductSpec) -> Read:
    """A read by boxes of the product."""
    window = spec.window
    return read if window is None else lambda box: read(box.shift(window.start))


def digest(path: Path) -> str:
    """sha256 of a file; of a folder, over the names and contents of its files."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    total = hashlib.sha256()
    for file_path in files_in(path):
        total.update(str(file_path.relative_to(path)).encode())
        with file_path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def size(path: Path) -> int:
    return sum(file.stat().st_size for file in files_in(path))


def geometry_changes(path: Path, expected: Georef, extent: Shape) -> list[str]:
    """The differences between the georeference of a finished product and ``expected``.

    A NIfTI whose input had no code may have none, or the affine as its sform.
    """
    with closing(open_source(path)) as source:
        actual = source.info.georef
    if isinstance(expected, RasterGeoref) and isinstance(actual, RasterGeoref):
        from seg_batch.io.sinks.cog.check import place_changes

        return place_changes(expected, actual, extent)
    if isinstance(expected, VolumeGeoref) and not PRODUCTS[format_of(path, "volume")].is_coded:
        expected = expected.uncoded()
    changes = georef_differences(expected, actual, _FLOAT32)
    if isinstance(expected, VolumeGeoref) and not (expected.sform_code or expected.qform_code):
        coded = replace(expected, sform=expected.affine, sform_code=1)
        changes = min(changes, georef_differences(coded, actual, _FLOAT32), key=len)
    return changes


def count_labels(path: Path) -> dict[int, int]:
    """Voxels per label value of a finished product, which is read again."""
    bins = np.zeros(1 << 16, np.int64)
    with closing(open_source(path)) as source:
        for pixels in pieces(source):
            count_into(bins, pixels.values)
    return _counts(bins)


def probabilities_spec(spec: ProductSpec) -> ProductSpec:
    return replace(spec, is_probabilities=True, dtype="uint8", nodata=None)
