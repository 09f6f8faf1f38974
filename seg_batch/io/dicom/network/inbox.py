"""Received instances on disk: a folder for each series, a file for each instance, whole or not there.

    beside the folders (.part) -> fsync -> renamed into the folder of its series -> fsync -> success is told

A folder is open while a hidden file beside it says so: from before its first instance until the association that
brought it is released. What an association left that was cut stays open, also after a restart, until it has come again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
import time
from collections import defaultdict, deque
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

from seg_batch.core.files import flush
from seg_batch.core.run_files import INCOMING, PART, RECEIVING, hidden_beside
from seg_batch.io.dicom.arriving import folder_of_series
from seg_batch.io.dicom.network.guard import ReceiveLimits

# PS3.4 B.2.3, PS3.7 C.4
SUCCESS, DUPLICATE, NO_RESOURCES, MISMATCH, NOT_UNDERSTOOD = 0x0000, 0x0111, 0xA700, 0xA900, 0xC000
NOT_AUTHORISED = 0x0124
IMPLEMENTATION = "1.2.826.0.1.3680043.10.1519"
_PIXELS = 0x7FE00010
_TAGS = [0x00080016, 0x00080018, 0x0020000E]  # SOP class, SOP instance, series
_HOUR_S = 3600
_UID_LENGTH = 64


@dataclass(frozen=True)
class Instance:
    """A data set as it came, and what the command said of it."""

    sop_class: str
    sop_uid: str
    syntax: str
    data: BytesIO


class Inbox:
    """The folders of series in a hot folder. Its methods may be called by several threads."""

    def __init__(self, folder: Path, limits: ReceiveLimits) -> None:
        self._folder, self._limits = folder, limits
        self._lock = threading.Lock()
        self._bringing: defaultdict[str, set[object]] = defaultdict(set)  # series -> associations
        self._missing: defaultdict[str, set[str]] = defaultdict(
            set
        )  # SOP instances that were not taken
        self._cut, self._opened = set[str](), dict[str, float]()  # when it was last begun
        self._sizes: dict[str, tuple[int, int]] = {}
        self._hour, self._hour_bytes = deque[tuple[float, int]](), 0
        self._parts = folder / INCOMING
        shutil.rmtree(self._parts, ignore_errors=True)  # of a process that was killed

    def store(self, association: object, instance: Instance) -> int:
        """Write one instance; its status (PS3.4 Table B.2-1)."""
        known = _identity(instance)
        if known is None:
            return NOT_UNDERSTOOD
        sop_class, sop_uid, series = known
        name = folder_of_series(series)
        try:
            self._open(association, name)
            same = (sop_class, sop_uid) == (instance.sop_class, instance.sop_uid)
            status = self._stored(instance, name) if same else MISMATCH
        except OSError:
            status = NO_RESOURCES
        with self._lock:
            if status in (SUCCESS, DUPLICATE):
                self._missing[name].discard(sop_uid)
            else:
                self._missing[name].add(sop_uid)
        return status

    def _stored(self, instance: Instance, name: str) -> int:
        digest = hashlib.sha256(instance.sop_uid.encode("utf-8", "surrogateescape")).hexdigest()
        path = self._folder / name / f"{digest[:32]}{_ending()}"
        if not path.exists():
            size = instance.data.getbuffer().nbytes
            if not self._has_room(name, size):
                return NO_RESOURCES
            if self._write(instance, path):
                self._count(name, size)
                return SUCCESS
        return SUCCESS if _is_same(path, instance) else DUPLICATE

    def _open(self, association: object, name: str) -> None:
        """Note on disk that a series is being received."""
        with self._lock:
            if association in self._bringing[name]:
                return
            self._parts.mkdir(exist_ok=True)
            note = hidden_beside(self._folder / name, RECEIVING)
            if not note.exists():
                note.touch()
                flush(self._folder)
            self._cut.discard(name)
            self._bringing[name].add(association)
            self._opened[name] = time.monotonic()
            if name not in self._sizes:
                self._sizes[name] = _size_of(self._folder / name)

    def _has_room(self, name: str, size: int) -> bool:
        """Whether one more is within the limits of its series, of the hour and of the disk."""
        limits = self._limits
        with self._lock:
            files, total = self._sizes[name]
            while self._hour and time.monotonic() - self._hour[0][0] > _HOUR_S:
                self._hour_bytes -= self._hour.popleft()[1]
            few = files < limits.series_files and len(self._hour) < limits.hour_files
            in_hour = self._hour_bytes + size
        small = total + size <= limits.series_bytes and in_hour <= limits.hour_bytes
        return few and small and shutil.disk_usage(self._folder).free - size >= limits.free_bytes

    def _count(self, name: str, size: int) -> None:
        with self._lock:
            files, total = self._sizes[name]
            self._sizes[name] = files + 1, total + size
            self._hour.append((time.monotonic(), size))
            self._hour_bytes += size

    def _write(self, instance: Instance, path: Path) -> bool:
        """Whether it was written; not so where another one of its name has come meanwhile."""
        handle, part = tempfile.mkstemp(suffix=PART, dir=self._parts)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(_head(instance))
                file.write(instance.data.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            os.chmod(part, 0o640)
            return _into_place(part, path)
        finally:
            with suppress(OSError):
                os.unlink(part)

    def released(self, association: object) -> None:
        """What only this association has brought, and all of which was taken, is whole."""
        self._ended(association, None)

    def cut(self, association: object, heard: float) -> None:
        """What this association was bringing may lack some, unless it has begun to come again since it was last
        ``heard`` (``time.monotonic``): the end of a connection may be noticed late."""
        self._ended(association, heard)

    def _ended(self, association: object, heard: float | None) -> None:
        with self._lock:
            for name in [name for name, by in self._bringing.items() if association in by]:
                self._bringing[name].discard(association)
                was_cut = heard is not None and heard >= self._opened[name]
                if was_cut or self._missing[name]:
                    self._cut.add(name)
                if self._bringing[name]:
                    continue
                del self._bringing[name], self._sizes[name], self._opened[name]
                if name not in self._cut:
                    self._missing.pop(name, None)
                    hidden_beside(self._folder / name, RECEIVING).unlink(missing_ok=True)

    def close(self) -> None:
        """Leave nothing behind."""
        with suppress(OSError):
            self._parts.rmdir()

    def holds(self, name: str) -> str:
        """Why a series is not whole yet, where it is being received."""
        with self._lock:
            return f"{name} is being received" if self._bringing.get(name) else ""


def _into_place(part: str, path: Path) -> bool:
    """Give a written file its name, unless there is one of that name."""
    for last in (False, True):
        path.parent.mkdir(exist_ok=True)
        try:
            os.link(part, path)
        except FileExistsError:
            return False
        except FileNotFoundError:  # the folder was moved away just now
            if last:
                raise
            continue
        except OSError:  # a file system without links
            os.replace(part, path)
        flush(path.parent)
        return True
    return False


def _identity(instance: Instance) -> tuple[str, str, str] | None:
    """SOP class, SOP instance and series that the data set says; None where it says none."""
    syntax = UID(instance.syntax)
    instance.data.seek(0)
    try:
        header = read_dataset(
            instance.data,
            syntax.is_implicit_VR,
            syntax.is_little_endian,
            stop_when=lambda tag, vr, length: tag >= _PIXELS,
            specific_tags=list(_TAGS),
        )
        said = [str(header[tag].value) for tag in _TAGS]
    except Exception:  # whatever a damaged data set makes of the parser
        return None
    if not all(0 < len(text) <= _UID_LENGTH for text in said):
        return None
    return said[0], said[1], said[2]


def _head(instance: Instance) -> bytes:
    """Preamble and file meta information (PS3.10 7.1). The same for each copy of an instance."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(instance.sop_class)
    meta.MediaStorageSOPInstanceUID = UID(instance.sop_uid)
    meta.TransferSyntaxUID = UID(instance.syntax)
    meta.ImplementationClassUID = UID(IMPLEMENTATION)
    head = DicomBytesIO()
    head.write(b"\0" * 128 + b"DICM")
    write_file_meta_info(head, meta)
    return head.getvalue()


def _is_same(path: Path, instance: Instance) -> bool:
    with path.open("rb") as file:
        head, data = _head(instance), instance.data.getbuffer()
        if file.read(len(head)) != head:
            return False
        at, step = 0, 1 << 20
        while chunk := file.read(step):
            if chunk != data[at : at + step]:
                return False
            at += len(chunk)
        return at == data.nbytes


def _ending() -> str:
    from seg_batch.core.registry.formats import FORMATS

    return FORMATS["dicom"].endings[0]


def _size_of(folder: Path) -> tuple[int, int]:
    """Files and bytes that are there."""
    sizes = [path.stat().st_size for path in folder.iterdir()] if folder.is_dir() else []
    return len(sizes), sum(sizes)
