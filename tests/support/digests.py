"""Digests of products: what a file says, as text in a normal form, and the sha256 of that.

Two forms. The *settled* one is the same on every machine: pixels, metadata and reports, floats to six
digits. The *strict* one is the same only on one machine with one set of libraries: bytes of files,
weights that were trained, and every digit. ``DROPPED`` says what neither tells of a document.
"""

from __future__ import annotations

import base64
import csv
import gzip
import hashlib
import json
import re
import socket
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import rasterio
import zarr

# Keys that are removed from every JSON document, wherever they stand, with the reason.
DROPPED = {
    "times of day": {"t", "began", "begun", "created", "finished", "last", "mtime_ns", "stopped"},
    "durations": {
        *("seconds", "seconds_estimate", "estimated_s", "stages_s", "spell", "spells", "slowest"),
        *("minutes", "waited", "wait", "voxels_per_s", "time"),
    },
    "memory measured, and the machine": {
        *("peak_rss_bytes", "machine", "memory_bytes", "disk_free_bytes"),
    },
    "processes": {"host", "pid", "worker", "workers", "tenure"},
    "versions of libraries": {"versions"},
    "bytes as GDAL, zlib, zstd and HDF5 write them": {
        *("bytes", "product_bytes", "sha256", "weights_sha256"),
    },
    "digests of paths": {"workflow_sha256", "sources", "dataset"},
}
FINGERPRINT = "fingerprint"  # dropped where it is a digest: paths are in it
TIMED = ("seconds", "wait")  # columns of tables
DIGITS = 6
PROCESS = re.compile(rf"\b{re.escape(socket.gethostname())}:\d+\b")
# Of a product that keeps its plan, and that an estimate of seconds, which the machine decides.
DIGEST = re.compile(r"\b(sha256|report says) [0-9a-f]{16}\b")
XML_TIMES = re.compile(r' (time|timestamp|hostname)="[^"]*"')
PROM_TIMES = re.compile(r"seconds|per_second|rss_bytes|product_bytes")
PICTURES = re.compile(r"data:image/\w+;base64,([A-Za-z0-9+/=]+)")


@dataclass(frozen=True)
class Form:
    """How documents are told. ``roots``: folders whose paths differ from run to run, with the word
    that stands for each; ``unsettled``: further keys to drop from the settled form."""

    strict: bool
    roots: dict[str, str]
    unsettled: frozenset[str] = frozenset()

    def drops(self, key: str, value: Any) -> bool:
        if key == FINGERPRINT:
            return isinstance(value, str)
        if not self.strict and key in self.unsettled:
            return True
        return any(key in keys for keys in DROPPED.values())

    def text(self, value: str) -> str:
        for root, word in self.roots.items():
            value = value.replace(root, word)
        return DIGEST.sub("DIGEST", PROCESS.sub("PROCESS", value))

    def plain(self, value: Any) -> Any:
        """JSON values in the normal form."""
        if isinstance(value, dict):
            kept = {self.text(k): v for k, v in value.items() if not self.drops(k, v)}
            return {k: self.plain(v) for k, v in sorted(kept.items())}
        if isinstance(value, list | tuple):
            return [self.plain(one) for one in value]
        if isinstance(value, float) and not self.strict:
            return float(f"{value:.{DIGITS}g}")
        return self.text(value) if isinstance(value, str) else value


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def of_array(values: np.ndarray) -> str:
    """Type, shape and digest of the values, little-endian and in C order."""
    plain = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<"))
    return f"{plain.dtype.name} {'x'.join(map(str, plain.shape))} {sha256(plain.tobytes())}"


def geotiff(path: Path, form: Form) -> Any:
    """Bands, overviews, masks, tags, colours, place and layout."""
    with rasterio.open(path) as file:
        levels = file.overviews(1)
        told = {
            "profile": {k: str(v) for k, v in file.profile.items()},
            "bands": [_band(file, k) for k in file.indexes],
            "tags": file.tags(),
            "structure": file.tags(ns="IMAGE_STRUCTURE"),
            "gcps": [str(one) for one in file.gcps[0]],
            "overviews": levels,
        }
    for level in range(len(levels)):
        with rasterio.open(path, overview_level=level) as file:
            told[f"overview {level}"] = of_array(file.read())
    return form.plain(told)


def _band(file: Any, k: int) -> dict[str, Any]:
    coloured = file.colorinterp[k - 1].name == "palette"
    return {
        "pixels": of_array(file.read(k)),
        "mask": of_array(file.read_masks(k)),
        "colour": file.colorinterp[k - 1].name,
        "table": {str(i): list(c) for i, c in file.colormap(k).items()} if coloured else None,
        "tags": file.tags(k),
        "said": [file.descriptions[k - 1], file.units[k - 1], str(file.nodatavals[k - 1])],
    }


def nifti(path: Path, form: Form) -> Any:
    """The header, the extensions and the voxels."""
    image: Any = nibabel.load(path)
    header = {k: str(image.header[k].tolist()) for k in image.header}
    extensions = [form.text(str(one.get_content())) for one in image.header.extensions]
    return {"header": header, "extensions": extensions, "voxels": of_array(image.dataobj[...])}


def zarr_tree(path: Path, form: Form) -> Any:
    """Every metadata document, and the values of every array."""
    documents = {
        str(one.relative_to(path)): form.plain(json.loads(one.read_text("utf-8")))
        for one in sorted(path.rglob("*.json"))
    }
    group = zarr.open_group(path, mode="r", use_consolidated=False)
    arrays = {name: of_array(one[...]) for name, one in sorted(group.members(max_depth=None))
              if isinstance(one, zarr.Array)}  # fmt: skip
    return {"documents": documents, "arrays": arrays}


def zarr_bytes(path: Path, form: Form) -> Any:
    """Every file but metadata by its bytes."""
    files = sorted(one for one in path.rglob("*") if one.is_file() and one.suffix != ".json")
    chunks = {str(one.relative_to(path)): sha256(one.read_bytes()) for one in files}
    return {**zarr_tree(path, form), "chunks": chunks}


def document(path: Path, form: Form) -> Any:
    return form.plain(json.loads(path.read_text("utf-8")))


def lines(path: Path, form: Form) -> Any:
    """JSON documents one per line, sorted: threads write them in any order."""
    told = [form.plain(json.loads(line)) for line in path.read_text("utf-8").splitlines()]
    return sorted(json.dumps(one, sort_keys=True) for one in told)


def xml(path: Path, form: Form) -> Any:
    return form.text(XML_TIMES.sub("", path.read_text("utf-8"))).splitlines()


def prom(path: Path, form: Form) -> Any:
    return [one for one in path.read_text("utf-8").splitlines() if not PROM_TIMES.search(one)]


def text(path: Path, form: Form) -> Any:
    return form.text(path.read_text("utf-8")).splitlines()


def raw(path: Path, form: Form) -> Any:
    return sha256(path.read_bytes())


def unpacked(path: Path, form: Form) -> Any:
    return sha256(gzip.decompress(path.read_bytes()))


def weights(path: Path, form: Form) -> Any:
    """The members of a Keras archive but the one that holds the time of its making."""
    with zipfile.ZipFile(path) as archive:
        names = sorted(set(archive.namelist()) - {"metadata.json"})
        return {name: sha256(archive.read(name)) for name in names}


def table(path: Path, form: Form) -> Any:
    """The rows of a CSV file without durations."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [{form.text(k): form.text(v) for k, v in row.items() if k not in TIMED} for row in rows]


def pictures(path: Path, form: Form) -> Any:
    """The pictures within a page; its words hold times."""
    found = PICTURES.findall(path.read_text("utf-8"))
    return [sha256(base64.b64decode(one)) for one in found]


def presence(path: Path, form: Form) -> Any:
    """That it is there, and no more."""
    return "there"


# Ending -> settled form, strict form.
KINDS: dict[str, tuple[Callable[[Path, Form], Any], Callable[[Path, Form], Any]]] = {
    ".tif": (geotiff, raw),
    ".nii": (nifti, raw),
    ".nii.gz": (nifti, unpacked),
    ".zarr": (zarr_tree, zarr_bytes),
    ".json": (document, document),
    ".jsonl": (lines, lines),
    ".xml": (xml, xml),
    ".prom": (prom, prom),
    ".vrt": (text, text),
    ".txt": (text, text),
    ".yaml": (text, text),
    ".csv": (presence, table),
    ".html": (presence, pictures),
    ".png": (presence, raw),
    "curves.png": (presence, presence),  # drawn over seconds
    ".keras": (presence, weights),
    ".npz": (presence, presence),  # what a network computes on this machine
}


def normal(path: Path, form: Form) -> str:
    """The file in its normal form; ValueError for a kind that is not known."""
    for ending in sorted(KINDS, key=len, reverse=True):
        if path.name.endswith(ending):
            told = KINDS[ending][form.strict](path, form)
            return json.dumps(told, indent=1, sort_keys=True, ensure_ascii=False)
    raise ValueError(f"{path}: no digest of this kind of file: add it to KINDS")
