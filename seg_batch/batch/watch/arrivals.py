"""What lies in a hot folder, what of it is whole, and what has been dealt with.

Looking is by polling, since the kernel tells of no changes that another host makes on a network
file system. A look is one listing and one ``stat`` per image; nothing is opened.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from seg_batch.core.errors import InputError
from seg_batch.core.registry.formats import image_endings, names_folder
from seg_batch.core.run_files import PART, PARTIAL
from seg_batch.inference.outputs import split_output

CHANGED = "changed"  # while it was in hand: to be taken again, over what was made of it
TEMPORARY = ("~", PART, PARTIAL, ".filepart", ".tmp", ".temp", ".crdownload", ".swp")
LOOK_LIMIT = 100_000  # names of one look: a folder of millions must not stop everything
TREE_LIMIT = 10_000  # files of one Zarr that a look takes in

Glance = tuple[int, int, int]  # bytes, newest modification (ns), files


@dataclass(frozen=True)
class FolderListing:
    """The folder at one moment: images by name, every other name, and whether that was all."""

    images: dict[str, Glance]
    others: frozenset[str]
    whole: bool = True


def is_temporary(name: str) -> bool:
    """Names that writers use until a file is complete, and names that are hidden."""
    return name.startswith(".") or name.lower().endswith(TEMPORARY)


def list_arrivals(folder: Path) -> FolderListing:
    """InputError when the folder can't be listed."""
    images: dict[str, Glance] = {}
    others: set[str] = set()
    endings = image_endings()
    try:
        with os.scandir(folder) as entries:
            for n, entry in enumerate(entries):
                if n >= LOOK_LIMIT:
                    return FolderListing(images, frozenset(others), whole=False)
                if is_temporary(entry.name):
                    continue
                glance = _glance(entry) if entry.name.lower().endswith(endings) else None
                if glance is None:
                    others.add(entry.name)
                else:
                    images[entry.name] = glance
    except OSError as error:
        raise InputError(
            f"{folder} can't be listed ({error.strerror or error}), so nothing that arrives there "
            "would be seen: check the path, its permissions and the mount"
        ) from error
    return FolderListing(images, frozenset(others))


def _glance(entry: os.DirEntry[str]) -> Glance | None:
    """None where it is gone again, or neither a file nor a Zarr folder."""
    try:
        if entry.is_dir():
            return _tree(Path(entry.path)) if names_folder(entry.name.lower()) else None
        stat = entry.stat()
        return (stat.st_size, stat.st_mtime_ns, 1) if entry.is_file() else None
    except OSError:
        return None


def glance_at(path: Path) -> Glance | None:
    """The same of one path; None where there is nothing."""
    try:
        if path.is_dir():
            return _tree(path)
        stat = path.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns, 1


def _tree(folder: Path) -> Glance:
    size = newest = files = 0
    for stat in _stats(folder):
        size, newest, files = size + stat.st_size, max(newest, stat.st_mtime_ns), files + 1
        if files >= TREE_LIMIT:
            break
    return size, newest, files


def _stats(folder: Path) -> Iterator[os.stat_result]:
    for root, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            yield os.stat(os.path.join(root, name))


class Settling:
    """Which images have kept still for ``settle_s`` seconds, look by look."""

    def __init__(self, settle_s: float) -> None:
        self.settle_s = settle_s
        self._since: dict[str, tuple[Glance, float]] = {}

    def settled(self, images: dict[str, Glance], now_s: float) -> list[str]:
        """Names, those first that have been still for longest. What is not in ``images`` is
        forgotten: when it comes again, it is new."""
        before = self._since
        self._since = {
            name: before[name] if name in before and before[name][0] == glance else (glance, now_s)
            for name, glance in images.items()
        }
        still = [(since, name) for name, (_, since) in self._since.items()]
        return [name for since, name in sorted(still) if now_s - since >= self.settle_s]


def marked(seen: FolderListing, marker: str) -> list[str]:
    """Images that whoever sent them has declared complete: ``scan.nii.gz`` by
    ``scan.nii.gz.done``, or ``scan.done``, where ``marker`` is ``.done``."""
    return sorted(name for name in seen.images if markers(name, marker) & seen.others)


def markers(name: str, marker: str) -> set[str]:
    """Names of the files that declare an image complete."""
    return {name + marker, split_output(Path(name))[0] + marker}


def marker_at(path: Path, marker: str | None) -> Glance | None:
    """The newest of what declares the image at ``path`` complete; None where nothing does."""
    texts = markers(path.name, marker) if marker is not None else set()
    found = filter(None, (glance_at(path.with_name(text)) for text in texts))
    return max(found, key=lambda glance: glance[1], default=None)


@dataclass(frozen=True)
class ArrivalOutcome:
    """What became of one arrival. ``glance``: as it was when it was taken; ``fate``: done, failed or
    changed; ``why``: the reason of a failure, else empty; ``output``: the product, where there is one;
    ``marker``: what declared it complete, which declares no later arrival so."""

    name: str
    glance: Glance
    fate: str
    why: str = ""
    output: str | None = None
    t: float = 0.0
    marker: Glance | None = None


class ArrivalLog:
    """Fates, appended to a file and never forgotten: each arrival is dealt with once, by name and
    glance. A file that is replaced or touched is another arrival. ``damaged``: how many lines of the
    file do not read."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fates: dict[str, ArrivalOutcome] = {}
        self._times: Counter[str] = Counter()
        self.damaged = whole = 0
        if path.exists():
            for line in path.read_bytes().splitlines(keepends=True):
                if not line.endswith(b"\n"):
                    break  # torn by a kill
                whole += len(line)
                try:
                    self._take(json.loads(line))
                except (ValueError, TypeError, AttributeError):
                    self.damaged += 1
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.ftruncate(self._handle, whole)

    def _take(self, told: dict[str, Any]) -> ArrivalOutcome:
        glances = {key: tuple(told[key]) for key in ("glance", "marker") if told.get(key)}
        fate = ArrivalOutcome(**{**told, **glances})
        self._fates[fate.name] = fate
        self._times[fate.name] += 1
        return fate

    def of(self, name: str, glance: Glance) -> ArrivalOutcome | None:
        """What became of it for good; None where it is still to be dealt with."""
        fate = self._fates.get(name)
        over = fate is not None and fate.glance == glance and fate.fate != CHANGED
        return fate if over else None

    def last(self, name: str) -> ArrivalOutcome | None:
        """What became of the last arrival of this name."""
        return self._fates.get(name)

    def times(self, name: str) -> int:
        """How many arrivals of this name were dealt with."""
        return self._times[name]

    def write(self, fate: ArrivalOutcome) -> ArrivalOutcome:
        """Note it for good, with the time: on the disk when this returns. OSError when the disk refuses."""
        told = asdict(replace(fate, t=round(time.time(), 3)))
        line = json.dumps(told).encode() + b"\n"
        size = os.fstat(self._handle).st_size
        try:
            written = os.write(self._handle, line)
            if written < len(line):
                raise OSError("the disk is full")
            os.fsync(self._handle)
        except OSError:
            os.ftruncate(self._handle, size)
            raise
        return self._take(told)

    def close(self) -> None:
        os.close(self._handle)
