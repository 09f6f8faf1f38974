"""The work store: a Zarr v3 group that a run fills block by block, and that survives any crash.

::

    labels/           uint8 or uint16, (z,) y, x
    probabilities/    uint8, class, (z,) y, x            when asked for, or a later step needs them
    done/...          see ``store_folder``

The order is essential: chunks are written and flushed to disk, then the block's marker. A missing
chunk means nothing; a marker with the store's own fingerprint means that the block is done (law 4).
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.config.postprocess import describe
from seg_batch.core.errors import BusyError, DamagedError, StoreError
from seg_batch.core.files import file_lock, flush, read_json, translate_os_errors, write_json
from seg_batch.core.geometry import Block, Box, Shape
from seg_batch.core.hardware import is_running
from seg_batch.core.run_files import PART, shortened
from seg_batch.io.sinks.chunks import (
    CHECKSUM,
    LEVEL,
    chunk_files,
    constant_value,
    crc32,
    drop_chunks,
    write_chunks,
)
from seg_batch.io.sinks.spec import StoreSpec
from seg_batch.io.sinks.store_folder import ATTRIBUTES, DONE, STEP, StoreFolder
from seg_batch.io.sinks.zarr.attributes import AXES, annotate
from seg_batch.io.sources.constant import constant
from seg_batch.io.sources.identity import changed_beside
from seg_batch.io.sources.protocol import one_line

_PART_BYTES = 16  # room for the ending of a store that is being made


def plain(value: Any) -> Any:
    """The value after a round trip through JSON, as attributes return it."""
    return json.loads(json.dumps(value, default=str))


def create_arrays(path: Path, spec: StoreSpec) -> None:
    """Create the group at ``path`` with its arrays and metadata."""
    import zarr

    attributes = {ATTRIBUTES: plain(spec.to_json())}
    group = zarr.create_group(path, zarr_format=3, overwrite=True, attributes=attributes)
    create_labels(group, "labels", spec)
    if spec.probabilities:
        group.create_array(
            "probabilities",
            shape=(spec.n_classes, *spec.extent),
            chunks=(1, *spec.chunk),
            dtype="uint8",
            fill_value=0,
            compressors=_codec(),
            dimension_names=("class", *AXES[len(spec.extent)]),
            attributes={"scale_factor": 1 / 255},
        )
    group.create_group(DONE)
    annotate(group, spec)


def _codec() -> Any:
    from zarr.codecs import ZstdCodec  # zarr takes long to import, and plans need no store

    return ZstdCodec(level=LEVEL, checksum=CHECKSUM)


def create_labels(group: Any, name: str, spec: StoreSpec) -> None:
    group.create_array(
        name,
        shape=spec.extent,
        chunks=spec.chunk,
        dtype=spec.label_dtype,
        fill_value=spec.fill,
        compressors=_codec(),
        dimension_names=AXES[len(spec.extent)],
    )


_EXACT = {"write_empty_chunks": True}  # zarr does not store this: it is passed at every open


def fingerprint_digest(fingerprint: dict[str, Any]) -> str:
    text = json.dumps(fingerprint, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def fingerprint_differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """One phrase for each difference of two fingerprints: ``overlap: 64 became 32``."""
    before, after = plain(before), plain(after)
    changed = [k for k in sorted({*before, *after}) if before.get(k) != after.get(k)]
    return [_phrase(key, before.get(key), after.get(key)) for key in changed]


def _phrase(key: str, before: Any, after: Any) -> str:
    if key == "input":
        return f"the input file has changed since{changed_beside(before or {}, after or {})}"
    if key == "post":
        before, after = (
            "; ".join(map(describe, steps or [])) or "none" for steps in (before, after)
        )
    return f"{key}: {before} became {after}"


class WorkStore(StoreFolder):
    """An open work store. Any threads and processes may write at once, different blocks or the same
    one: the result is the same."""

    def __init__(self, path: Path, spec: StoreSpec) -> None:
        super().__init__(path)
        self.spec = spec
        self._digest = fingerprint_digest(spec.fingerprint)
        self._folder = path.stat().st_ino
        self._arrays: dict[str, Any] = {}

    @classmethod
    def create(cls, path: Path, spec: StoreSpec) -> WorkStore:
        """Make the store beside ``path``, whole, and move it into place.

        StoreError when ``path`` exists, OutputError when the disk refuses.
        """
        with translate_os_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _sweep_parts(path)
            part = path.with_name(f"{shortened(path.name, _PART_BYTES)}{PART}-{os.getpid()}")
            try:
                create_arrays(part, spec)
                if path.exists():
                    raise StoreError(f"{path} is there already: remove it, or use --overwrite")
                os.replace(part, path)
            finally:
                shutil.rmtree(part, ignore_errors=True)
            flush(path.parent)
        return cls(path, spec)

    @classmethod
    def open(cls, path: Path) -> WorkStore:
        """StoreError when ``path`` is no store of this version."""
        import zarr

        try:
            attributes = zarr.open_group(path, mode="r", use_consolidated=False).attrs[ATTRIBUTES]
            spec = StoreSpec.from_json(attributes)  # type: ignore[arg-type]
        except Exception as error:
            raise StoreError(
                f"{path} is not a work store of this version ({type(error).__name__}), so it can't "
                "be resumed: remove it, or use --overwrite"
            ) from error
        return cls(path, spec)

    def _array(self, name: str) -> Any:
        import zarr

        if name not in self._arrays:
            self._arrays[name] = zarr.open_array(self.path / name, mode="r+", config=_EXACT)
        return self._arrays[name]

    def write(
        self,
        block: Block,
        labels: np.ndarray,
        probabilities: np.ndarray | None,
        receipt: Mapping[str, Any],
        *,
        done: bool = True,
    ) -> None:
        """Write the block's chunks, flush them, then its marker (unless it is damaged).

        ``labels`` of the block's shape; ``probabilities`` ``(classes, *shape)`` uint8. ValueError
        unless the block is made of whole chunks, OutputError when the disk refuses.
        """
        self._require_aligned(block.box)
        with translate_os_errors(self.path):
            self._require_same()
            self._write_chunks("labels", block.box, labels)
            if probabilities is not None:
                self._write_chunks("probabilities", block.box, probabilities)
            if not done:
                self.forget(block)
                return
            marker = {**receipt, "crc32": crc32(labels), "fingerprint": self._digest}
            self._require_same()
            write_json(self.marker(block.name), marker)

    def new_map(self) -> str:
        """Create an array like ``labels`` for the map after a step; returns its unique name."""
        import zarr

        name = f"{STEP}{uuid.uuid4().hex[:12]}"
        with translate_os_errors(self.path):
            self._require_same()
            group = zarr.open_group(self.path, mode="r+", use_consolidated=False)
            create_labels(group, name, self.spec)
        return name

    def write_map(self, name: str, block: Block, labels: np.ndarray) -> None:
        """Write the block's chunks of a map and flush them; see ``write``."""
        self._require_aligned(block.box)
        with translate_os_errors(self.path):
            self._require_same()
            self._write_chunks(name, block.box, labels)

    def drop_maps(self, keep: str | None = None) -> None:
        """Remove all maps except the predicted one and ``keep``."""
        for path in self.path.glob(f"{STEP}*"):
            if path.name != keep:
                shutil.rmtree(path, ignore_errors=True)

    def _require_aligned(self, box: Box) -> None:
        sides = zip(box.start, box.stop, self.spec.chunk, self.spec.extent, strict=True)
        if any(a % c or (b % c and b != n) for a, b, c, n in sides):
            raise ValueError(f"block {box} is not made of whole chunks of {self.spec.chunk}")

    def _require_same(self) -> None:
        """A worker that outlived its run must not write into the store that took its place."""
        if not self.path.exists() or self.path.stat().st_ino != self._folder:
            raise BusyError(f"{self.path} was replaced while it was being written: run again")

    def _write_chunks(self, name: str, box: Box, values: np.ndarray) -> None:
        """Write a box of an array, then fsync its chunk files and their folders: a marker must not
        survive a crash that its chunks do not."""
        leading = values.shape[: values.ndim - len(box.start)]  # classes of probabilities
        top, fill = self.chunks(name), 0 if leading else self.spec.fill
        files = chunk_files(top, box, self.spec.chunk, leading)
        write_chunks(files, values, self.spec.chunk, fill)
        folders = {top, top.parent}
        for chunk, _ in files:
            flush(chunk)
            folders.update(p for p in chunk.parents if p.is_relative_to(top))
        for folder in folders:
            flush(folder)

    def receipts(self) -> dict[str, Any]:
        """The markers with this store's fingerprint, by block name. Other blocks are not done."""
        receipts = self.idle(self._digest)
        for path in self.markers():
            marker = read_json(path)
            if isinstance(marker, dict) and marker.get("fingerprint") == self._digest:
                receipts[path.name.removesuffix(".json")] = marker
        return receipts

    def note_idle(self, shared: dict[str, Any], notes: dict[Block, dict[str, Any]]) -> None:
        """Mark blocks as done that are all fill, in one file for all: no chunk of them is there. ``shared``: what their receipts
        have alike; ``notes``: the rest of each."""
        with translate_os_errors(self.path):
            self._require_same()
            for name, leading in {"labels": (), "probabilities": (self.spec.n_classes,)}.items():
                drop_chunks(self.chunks(name), [b.box for b in notes], self.spec.chunk, leading)
            new = {block.name: own for block, own in notes.items()}
            self.write_idle(self._digest, shared, {**self.idle(self._digest), **new})

    def forget(self, block: Block) -> None:
        """Remove a block's marker, so that the next run repeats it."""
        self.marker(block.name).unlink(missing_ok=True)
        if block.name in (idle := self.idle(self._digest)):
            self.write_idle(self._digest, {}, {k: v for k, v in idle.items() if k != block.name})

    def verify(self, blocks: Iterable[Block]) -> list[str]:
        """Names of the blocks that have no marker, or labels that do not match its checksum."""
        markers = self.receipts()
        return [b.name for b in blocks if not self._is_intact(b, markers.get(b.name, {}))]

    def forget_damaged(self, blocks: Iterable[Block]) -> None:
        """Forget every block with a marker that does not read back."""
        markers = self.receipts()
        for block in blocks:
            if block.name in markers and not self._is_intact(block, markers[block.name]):
                self.forget(block)

    def _is_intact(self, block: Block, marker: dict[str, Any]) -> bool:
        try:
            if self.spec.probabilities:
                self.read_probabilities(block.box)
            return bool(crc32(self.read_labels(block.box)) == marker.get("crc32"))
        except DamagedError:
            return False

    def read_labels(self, box: Box, name: str = "labels") -> np.ndarray:
        """``box.shape`` labels, predicted or of the map ``name``; DamagedError where a chunk fails its
        checksum."""
        return self._read(name, box, ())

    def read_probabilities(self, box: Box) -> np.ndarray:
        """``(classes, *box.shape)`` uint8; DamagedError where a chunk fails its checksum."""
        return self._read("probabilities", box, (self.spec.n_classes,))

    def _read(self, name: str, box: Box, leading: Shape) -> np.ndarray:
        files = chunk_files(self.chunks(name), box, self.spec.chunk, leading)
        dtype = "uint8" if leading else self.spec.label_dtype
        fill = np.dtype(dtype).type(0 if leading else self.spec.fill)
        if (value := constant_value((path for path, _ in files), dtype, fill)) is not None:
            return constant(value, (*leading, *box.shape))
        try:
            return np.asarray(self._array(name)[(*map(slice, leading), *box.slices())])
        except MemoryError:
            raise
        except Exception as error:  # codecs raise errors of any type
            raise DamagedError(
                f"{self.path}: the {name} in box {box} do not read back as they were written "
                f"({one_line(error)}): run the same command with --overwrite, and check the disk if it stays"
            ) from error

    @contextmanager
    def lock(self) -> Iterator[None]:
        """An exclusive lock on the store, which a killed process releases.

        StoreError when another run has it. Leftovers of killed writers are removed.
        """
        with file_lock(self.lock_file, self._busy()) as handle:
            with translate_os_errors(self.path):
                self._require_same()
                os.ftruncate(handle, 0)
                os.pwrite(handle, str(os.getpid()).encode(), 0)
                self.sweep()
            yield

    def _busy(self) -> BusyError:
        try:
            owner = f" (pid {self.lock_file.read_text(encoding='ascii')})"
        except (OSError, ValueError):
            owner = ""
        return BusyError(
            f"another segbatch run{owner} is writing to {self.path}: wait for it, or use another output"
        )


def _sweep_parts(path: Path) -> None:
    """Remove stores that a killed process did not finish."""
    for part in path.parent.glob(f"{glob.escape(shortened(path.name, _PART_BYTES))}{PART}-*"):
        pid = part.name.rpartition("-")[2]
        if pid.isdigit() and not is_running(int(pid)):
            shutil.rmtree(part, ignore_errors=True)
