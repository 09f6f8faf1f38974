"""The work store: a Zarr v3 group that a run fills block by block, and that outlives any crash.

Order is everything: chunks are written and flushed to disk, then the block's marker. A missing
chunk means nothing; a marker with the store's own fingerprint means done (law 4).
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import ZstdCodec

from seg_batch.errors import DamagedError, OutputError, StoreError
from seg_batch.geometry import Block, Box, Shape
from seg_batch.georef import Georef, from_json, to_json

ATTRIBUTES = "segbatch"
AXES = {2: ("y", "x"), 3: ("z", "y", "x")}
LEVEL = 1
_EXACT = {"write_empty_chunks": True}


@dataclass(frozen=True)
class StoreSpec:
    """What a store is made for. ``fill``: the label of what was never written. ``fingerprint``:
    what must be equal to resume. Shapes are voxels in the file's own axes."""

    extent: Shape
    chunk: Shape
    label_dtype: str
    fill: int
    n_classes: int
    probabilities: bool
    georef: Georef
    card: dict[str, Any]
    plan: dict[str, Any]
    fingerprint: dict[str, Any]
    versions: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "georef": to_json(self.georef)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> StoreSpec:
        shapes = {name: tuple(data[name]) for name in ("extent", "chunk")}
        return cls(**{**data, **shapes, "georef": from_json(data["georef"])})


def fingerprint_digest(fingerprint: dict[str, Any]) -> str:
    text = json.dumps(fingerprint, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """One phrase for each part of two fingerprints that differs: ``overlap: 64 became 32``."""
    before, after = (json.loads(json.dumps(f, default=str)) for f in (before, after))
    return [
        f"{key}: {before.get(key)} became {after.get(key)}"
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
    ]


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Errors of the disk, as one line that says what to do."""
    try:
        yield
    except OSError as error:
        advice = {
            errno.ENOSPC: "the disk is full: free some space and run the same command again",
            errno.EDQUOT: "the disk quota is used up: free some space and run it again",
            errno.EACCES: "it may not be written: choose another -o",
            errno.EROFS: "the file system is read-only: choose another -o",
        }.get(error.errno or 0, "check the disk, then run the same command again")
        raise OutputError(f"can't write {path} ({error.strerror or error}); {advice}") from error


class WorkStore:
    """An open work store. Different blocks may be written from any thread or process at once."""

    def __init__(self, path: Path, spec: StoreSpec) -> None:
        self.path, self.spec = path, spec
        self._digest = fingerprint_digest(spec.fingerprint)
        self._group = zarr.open_group(path, mode="r+")

    @classmethod
    def create(cls, path: Path, spec: StoreSpec) -> WorkStore:
        """Make the store beside, whole, and move it into place."""
        with told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            part = Path(tempfile.mkdtemp(dir=path.parent, prefix=path.name + ".part"))
            try:
                _create_arrays(part, spec)
                os.chmod(part, 0o755)
                os.replace(part, path)
            except BaseException:
                shutil.rmtree(part, ignore_errors=True)
                raise
        return cls(path, spec)

    @classmethod
    def open(cls, path: Path) -> WorkStore:
        """StoreError when there is something else in its place."""
        try:
            attributes = zarr.open_group(path, mode="r").attrs[ATTRIBUTES]
            spec = StoreSpec.from_json(attributes)  # type: ignore[arg-type]
        except Exception as error:
            raise StoreError(
                f"{path} is not a work store of this version ({type(error).__name__}), so it can't "
                "be resumed: remove it, or use --overwrite"
            ) from error
        return cls(path, spec)

    def _array(self, name: str) -> zarr.Array:
        return self._group[name].with_config(_EXACT)  # type: ignore[return-value,union-attr]

    def write(
        self,
        block: Block,
        labels: np.ndarray,
        probabilities: np.ndarray | None,
        receipt: dict[str, Any],
        *,
        done: bool = True,
    ) -> None:
        """Write the block's chunks, flush them, then its marker (unless it is damaged)."""
        self._require_aligned(block.box)
        with told(self.path):
            self._array("labels")[block.box.slices()] = labels
            self._flush("labels", block.box)
            if probabilities is not None:
                self._array("probabilities")[(slice(None), *block.box.slices())] = probabilities
                self._flush("probabilities", block.box, lead=self.spec.n_classes)
            if done:
                crc = zlib.crc32(np.ascontiguousarray(labels).data)
                marker = {**receipt, "crc32": crc, "fingerprint": self._digest}
                write_json(self.path / "done" / f"{block.name}.json", marker)

    def _require_aligned(self, box: Box) -> None:
        sides = zip(box.start, box.stop, self.spec.chunk, self.spec.extent, strict=True)
        if any(a % c or (b % c and b != n) for a, b, c, n in sides):
            raise ValueError(f"block {box} is not made of whole chunks of {self.spec.chunk}")

    def _flush(self, name: str, box: Box, lead: int = 0) -> None:
        """fsync the chunk files of the box: a marker must not outlive what it speaks of."""
        spans = [
            range(a // c, -(-b // c))
            for a, b, c in zip(box.start, box.stop, self.spec.chunk, strict=True)
        ]
        spans = [range(lead), *spans] if lead else spans
        for index in np.ndindex(*map(len, spans)):
            place = "/".join(str(span[i]) for span, i in zip(spans, index, strict=True))
            _fsync(self.path / name / "c" / place)

    def receipts(self) -> dict[str, dict[str, Any]]:
        """The markers of this fingerprint, by block name; anything else is not done."""
        found = {}
        for path in (self.path / "done").glob("*.json"):
            try:
                marker = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            if isinstance(marker, dict) and marker.get("fingerprint") == self._digest:
                found[path.name.removesuffix(".json")] = marker
        found.pop("zarr", None)
        return found

    def finish(self, tags: dict[str, str]) -> None:
        """The store becomes the product: provenance in its attributes, metadata consolidated."""
        self._group.attrs.update({f"{ATTRIBUTES}_product": tags})
        zarr.consolidate_metadata(self.path)

    def forget(self, block: Block) -> None:
        """Take a block's marker away, so that the next run does it again."""
        (self.path / "done" / f"{block.name}.json").unlink(missing_ok=True)

    def read_labels(self, box: Box) -> np.ndarray:
        """``box.shape`` labels; DamagedError where a chunk fails its checksum."""
        return self._read("labels", box.slices())

    def read_probabilities(self, box: Box) -> np.ndarray:
        """``(classes, *box.shape)`` uint8; DamagedError where a chunk fails its checksum."""
        return self._read("probabilities", (slice(None), *box.slices()))

    def _read(self, name: str, slices: tuple[slice, ...]) -> np.ndarray:
        try:
            return np.asarray(self._array(name)[slices])
        except Exception as error:
            raise DamagedError(
                f"{self.path} can't be read back at {name} {slices} ({error}): the disk changed it; "
                "run the same command with --overwrite"
            ) from error

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the store for this process; the system lets go of it even when we are killed."""
        with (self.path / ".lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise StoreError(
                    f"another segbatch run is writing to {self.path}: wait for it, or use another -o"
                ) from None
            for partial in self.path.rglob("*.partial"):
                partial.unlink(missing_ok=True)
            yield


def _create_arrays(path: Path, spec: StoreSpec) -> None:
    """Groups and arrays with their metadata; no chunk yet."""
    rank = len(spec.extent)
    group = zarr.open_group(path, mode="w", zarr_format=3)
    codec = ZstdCodec(level=LEVEL, checksum=True)
    group.create_array(
        "labels",
        shape=spec.extent,
        chunks=spec.chunk,
        dtype=spec.label_dtype,
        fill_value=spec.fill,
        compressors=codec,
        dimension_names=AXES[rank],
        attributes=_class_attributes(spec),
    )
    if spec.probabilities:
        group.create_array(
            "probabilities",
            shape=(spec.n_classes, *spec.extent),
            chunks=(1, *spec.chunk),
            dtype="uint8",
            fill_value=0,
            compressors=codec,
            dimension_names=("class", *AXES[rank]),
            attributes={"scale_factor": 1 / 255},
        )
    group.create_group("done")
    group.attrs[ATTRIBUTES] = json.loads(json.dumps(spec.to_json(), default=str))


def _class_attributes(spec: StoreSpec) -> dict[str, Any]:
    """CF's way to say what label values mean."""
    classes = spec.card["classes"]
    return {
        "flag_values": [c["id"] for c in classes],
        "flag_meanings": " ".join(c["name"].replace(" ", "_") for c in classes),
        "_FillValue": spec.fill,
    }


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: Any) -> None:
    """Write beside, flush, move into place."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".partial")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    os.chmod(name, 0o644)
    os.replace(name, path)
