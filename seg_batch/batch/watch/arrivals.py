"""Arrivals in a hot folder: a listing of them, which are complete, and a log of their outcomes.

The folder is polled, since the kernel does not report changes that another host makes on a network
file system. A poll is one listing and one ``stat`` per image and side file; no file is opened.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from seg_batch.core.errors import InputError
from seg_batch.core.privacy.pseudonym import Pseudonym
from seg_batch.core.registry.formats import image_endings, names_folder
from seg_batch.core.run_files import PART, PARTIAL
from seg_batch.inference.outputs import split_output
from seg_batch.io.sources.side_files import SideFile, lacks_voxels, side_files_of, sides_of

CHANGED = "changed"  # while it was segmented: it is segmented again, and its product replaced
# How names end that writers use until a file is complete.
TEMPORARY = ("~", PART, PARTIAL, ".filepart", ".tmp", ".temp", ".crdownload", ".swp")
LOOK_LIMIT = 100_000  # names of one listing: a folder of millions must not block the watch
TREE_LIMIT = 10_000  # files of one Zarr store that are looked at

# Bytes, newest modification (ns), files; with side files the sums of these, so that each change shows.
Glance = tuple[int, int, int]


@dataclass(frozen=True)
class FolderListing:
    """The folder at one time: images by name, all other names; ``whole``: nothing is left out. ``waiting``: by
    their names, images that lack a file, with what they wait for; ``still``: images that are known to have kept still; ``passed``: why images are passed
    over; ``notes``: lines for the user, each once."""

    images: dict[str, Glance]
    others: frozenset[str]
    whole: bool = True
    waiting: dict[str, tuple[Glance, str]] = field(default_factory=dict)
    still: frozenset[str] = frozenset()
    passed: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


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
                name = entry.name
                if name.startswith(".") or name.lower().endswith(TEMPORARY):
                    continue
                glance = _glance(entry) if name.lower().endswith(endings) else None
                if glance is None:
                    others.add(name)
                else:
                    images[name] = glance
    except OSError as error:
        raise InputError(
            f"{folder} can't be listed ({error.strerror or error}), so nothing that arrives there "
            "would be seen: check the path, its permissions and the mount"
        ) from error
    rasters = [name for name in images if not names_folder(name.lower())]
    beside = side_files_of(rasters, others)
    for name, sides in beside.items():
        images[name] = _together(folder, images[name], sides)
    lacks = {name: lacks_voxels(name, beside.get(name, ())) for name in rasters}
    waiting = {
        name: (
            images.pop(name),
            f"{name} waits for its voxels ({file}, or whichever its header names after it)",
        )
        for name, file in lacks.items()
        if file
    }
    return FolderListing(images, frozenset(others), waiting=waiting)


def _together(folder: Path, image: Glance, sides: list[SideFile]) -> Glance:
    """The glance of an image and its side files, without those that change nothing of what is read, or
    are read only after a look into them."""
    kept = (side for side in sides if side.counts and not side.is_read_if)
    counted = (_file_glance(folder / side.name) for side in kept)
    size, times, files = zip(image, *filter(None, counted), strict=True)
    return sum(size), sum(times), sum(files)


def _glance(entry: os.DirEntry[str]) -> Glance | None:
    """None where it is gone, or neither a file nor a Zarr folder."""
    try:
        if entry.is_dir():
            return _tree(Path(entry.path)) if names_folder(entry.name.lower()) else None
        status = entry.stat()
        return (status.st_size, status.st_mtime_ns, 1) if entry.is_file() else None
    except OSError:
        return None


def glance_at(path: Path) -> Glance | None:
    """The glance of an image with its side files; None where there is no file or folder."""
    try:
        if path.is_dir():
            return _tree(path)
    except OSError:
        return None
    if (image := _file_glance(path)) is None:
        return None
    names = os.listdir(path.absolute().parent)  # all of them, as in a listing
    return _together(path.parent, image, sides_of(path.name, names))


def _file_glance(path: Path) -> Glance | None:
    try:
        status = path.stat()
    except OSError:
        return None
    is_file = stat.S_ISREG(status.st_mode)
    return (status.st_size, status.st_mtime_ns, 1) if is_file else None


def _tree(folder: Path) -> Glance:
    size = newest = files = 0
    for root, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            status = os.stat(os.path.join(root, name))
            size, newest = size + status.st_size, max(newest, status.st_mtime_ns)
            files += 1
            if files >= TREE_LIMIT:
                return size, newest, files
    return size, newest, files


class Settling:
    """Which images have not changed for ``settle_s`` seconds, from one poll to the next."""

    def __init__(self, settle_s: float) -> None:
        self.settle_s = settle_s
        self._since: dict[str, tuple[Glance, float]] = {}

    def settled(self, images: dict[str, Glance], now_s: float) -> list[str]:
        """Names, in the order of their last changes. An image that is missing in ``images`` is
        forgotten: it counts as new when it returns."""
        before = self._since
        self._since = {
            name: before[name] if name in before and before[name][0] == glance else (glance, now_s)
            for name, glance in images.items()
        }
        still = [(since, name) for name, (_, since) in self._since.items()]
        return [name for since, name in sorted(still) if now_s - since >= self.settle_s]


def marker_names(name: str, marker: str) -> set[str]:
    """Names of the files that declare an image complete: ``scan.nii.gz.done`` and ``scan.done`` for
    ``scan.nii.gz``, where ``marker`` is ``.done``."""
    return {name + marker, split_output(Path(name))[0] + marker}


def marker_at(path: Path, marker: str | None) -> Glance | None:
    """The newest file that declares the image at ``path`` complete; None where there is none."""
    names = marker_names(path.name, marker) if marker is not None else set()
    glances = filter(None, (_file_glance(path.with_name(name)) for name in names))
    return max(glances, key=lambda glance: glance[1], default=None)


@dataclass(frozen=True)
class ArrivalOutcome:
    """The outcome of one arrival. ``glance``: of the image when its segmentation began; ``fate``: done,
    failed or changed; ``why``: the reason of a failure, or of what is done by being passed over, else empty; ``output``: the product, if any;
    ``t``: unix seconds; ``marker``: the file that declared it complete, valid for this arrival only."""

    name: str
    glance: Glance
    fate: str
    why: str = ""
    output: str | None = None
    t: float = 0.0
    marker: Glance | None = None


class ArrivalCodes:
    """What the log of arrivals writes for their names and glances: themselves."""

    def name(self, name: str) -> str:
        return name

    def glance(self, glance: Glance) -> Glance:
        return glance

    def coded(self, outcome: ArrivalOutcome) -> ArrivalOutcome:
        marker = outcome.marker and self.glance(outcome.marker)
        return replace(
            outcome, name=self.name(outcome.name), glance=self.glance(outcome.glance), marker=marker
        )


class KeyedCodes(ArrivalCodes):
    """The ``code`` of each name; of glances, whose times are dates of the sources, digests with the key of the watched
    folder's ``pseudonym``."""

    def __init__(self, pseudonym: Pseudonym, code: Callable[[str], str]) -> None:
        self._sealed, self._code = pseudonym.sealed, code

    def name(self, name: str) -> str:
        return self._code(name)

    def glance(self, glance: Glance) -> Glance:
        digest = self._sealed(glance)["keyed"]
        return int(digest[:13], 16), int(digest[13:26], 16), int(digest[26:39], 16)


class ArrivalLog:
    """An append-only file of outcomes, so that each arrival, by name and glance, is segmented once. A file
    that is replaced or touched is another arrival. ``damaged``: the number of unreadable lines. ``codes``: what is written
    for names and glances."""

    def __init__(self, path: Path, codes: ArrivalCodes | None = None) -> None:
        self._codes = codes or ArrivalCodes()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._outcomes: dict[str, ArrivalOutcome] = {}
        self._times: Counter[str] = Counter()
        self.damaged = whole = 0
        if path.exists():
            for line in path.read_bytes().splitlines(keepends=True):
                if not line.endswith(b"\n"):
                    break  # torn by a kill
                whole += len(line)
                try:
                    self._add(json.loads(line))
                except (ValueError, TypeError, AttributeError):
                    self.damaged += 1
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.ftruncate(self._handle, whole)

    def _add(self, plain: dict[str, Any]) -> ArrivalOutcome:
        glances = {key: tuple(plain[key]) for key in ("glance", "marker") if plain.get(key)}
        outcome = ArrivalOutcome(**{**plain, **glances})
        self._outcomes[outcome.name] = outcome
        self._times[outcome.name] += 1
        return outcome

    def shown(self, name: str) -> str:
        """The name, or the code that stands for it."""
        return self._codes.name(name)

    def of(self, name: str, glance: Glance) -> ArrivalOutcome | None:
        """The final outcome of this arrival; None where it is still to be segmented."""
        outcome = self.last(name)
        if outcome is None or outcome.fate == CHANGED:
            return None
        if outcome.glance != self._codes.glance(glance):
            return None
        return replace(outcome, name=name, glance=glance)

    def last(self, name: str) -> ArrivalOutcome | None:
        """The outcome of the last arrival of this name, as it is written."""
        return self._outcomes.get(self.shown(name))

    def is_new_marker(self, name: str, marker: Glance) -> bool:
        """Whether this is not the marker of the last arrival of this name."""
        outcome = self.last(name)
        return outcome is None or outcome.marker != self._codes.glance(marker)

    def times(self, name: str) -> int:
        """How many arrivals of this name have an outcome."""
        return self._times[self.shown(name)]

    def write(self, outcome: ArrivalOutcome) -> ArrivalOutcome:
        """Append an outcome with the time, flushed (fsync); OSError when the disk refuses."""
        outcome = replace(outcome, t=round(time.time(), 3))
        plain = asdict(self._codes.coded(outcome))
        line = json.dumps(plain).encode() + b"\n"
        size = os.fstat(self._handle).st_size
        try:
            written = os.write(self._handle, line)
            if written < len(line):
                raise OSError("the disk is full")
            os.fsync(self._handle)
        except OSError:
            os.ftruncate(self._handle, size)
            raise
        self._add(plain)
        return outcome

    def close(self) -> None:
        os.close(self._handle)
