"""Converted models, kept: beside their bundle where that can be written to, else in the user's cache.

An entry is a folder named after all that its content follows from: the weights, OpenVINO's version
and our own code that converts. It is made beside its place and moved there whole, so any number of
processes may race for it; what is read is compared with its hash, and a damaged entry made anew.
"""

import contextlib
import functools
import hashlib
import os
import shutil
import tempfile
import time
from pathlib import Path

from seg_batch import bundles
from seg_batch.nn.engines.convert import convert
from seg_batch.nn.engines.silent import openvino

NAME = ".openvino"
XML = "model.xml"
MAKING, STALE_S = "making-", 3600.0
MADE_BY = ("engines/convert.py", "fold.py", "graph.py")


def converted(weights: Path, sha256: str) -> tuple[bytes, bytes]:
    """Description and numbers (``.xml``, ``.bin``) of the ``.keras`` file of this hash."""
    key, places = _key(sha256), _places(weights)
    for place in places:
        if found := _intact(place / key):
            return found
    for place in filter(_takes_more, places):
        _sweep(place)
        return _added(weights, place / key)
    with tempfile.TemporaryDirectory() as folder:
        return _made(weights, Path(folder))


def read(xml: Path) -> tuple[bytes, bytes]:
    """Description and numbers of an OpenVINO model."""
    return xml.read_bytes(), xml.with_suffix(".bin").read_bytes()


def user_cache() -> Path:
    """``$XDG_CACHE_HOME/segbatch/openvino``."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "segbatch" / "openvino"


def _places(weights: Path) -> list[Path]:
    """Bundles inside the package are never written to: it may be under version control."""
    if weights.is_relative_to(bundles.PACKAGED):
        return [user_cache()]
    return [weights.parent / NAME, user_cache()]


def _takes_more(place: Path) -> bool:
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(place, os.W_OK)


def _sweep(place: Path) -> None:
    """What killed processes left; of a live one nothing is as old as that."""
    for left in place.glob(f"{MAKING}*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > STALE_S:
                shutil.rmtree(left, ignore_errors=True)


@functools.cache
def _recipe() -> str:
    room = Path(__file__).parents[1]
    return hashlib.sha256(b"".join((room / name).read_bytes() for name in MADE_BY)).hexdigest()


def _key(sha256: str) -> str:
    told = "|".join([sha256, openvino.__version__, _recipe()])
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def _made(weights: Path, folder: Path) -> tuple[bytes, bytes]:
    folder.mkdir(exist_ok=True)
    convert(weights, folder / XML)
    (folder / "sha256").write_text(bundles.sha256(folder / XML))
    return read(folder / XML)


def _added(weights: Path, entry: Path) -> tuple[bytes, bytes]:
    with tempfile.TemporaryDirectory(
        dir=entry.parent, prefix=MAKING, ignore_cleanup_errors=True
    ) as folder:
        made = Path(folder) / entry.name
        found = _made(weights, made)
        _put(made, entry)
    return found


def _intact(entry: Path) -> tuple[bytes, bytes] | None:
    """What the entry holds, if that is what was put there."""
    try:
        found = read(entry / XML)
        expected = (entry / "sha256").read_text()
    except (OSError, UnicodeDecodeError):
        return None
    return found if hashlib.sha256(b"".join(found)).hexdigest() == expected else None


def _put(made: Path, entry: Path) -> None:
    """Move an entry into place; one that another process put there is as good, unless damaged."""
    for _ in range(2):
        try:
            made.rename(entry)
            return
        except OSError:
            if _intact(entry):
                return
            shutil.rmtree(entry, ignore_errors=True)
