"""Converted models, kept in the user's cache.

Not beside their bundle: whoever hands a bundle on could lay a conversion of another model there, and
no hash in the card would tell. An entry is a folder named after all that its content follows from: the
weights, OpenVINO's version and our own code that converts. It is made beside its place and moved there
whole, so any number of processes may race for it; what is read is compared with its hash, and a damaged
entry made anew. What was not used for half a year goes.
"""

import contextlib
import functools
import hashlib
import os
import shutil
import tempfile
import time
from pathlib import Path

from seg_batch.core import hardware
from seg_batch.core.files import sha256
from seg_batch.core.resources import PACKAGE
from seg_batch.nn.engines.openvino_convert import convert
from seg_batch.nn.engines.openvino_import import openvino

XML = "model.xml"
MAKING, STALE_S = "making-", 3600.0
UNUSED_S = 180 * 86400.0
MADE_BY = ("engines/openvino_convert.py", "analysis/batchnorm_folding.py", "analysis/graph.py")


def converted(weights: Path, sha256: str) -> tuple[bytes, bytes]:
    """Description and numbers (``.xml``, ``.bin``) of the ``.keras`` file of this hash.

    Where the cache can't be written to, or is full, nothing is kept.
    """
    key = _key(sha256)
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: there is no home
        if found := _intact(user_cache() / key):
            os.utime(user_cache() / key)
            return found
    with tempfile.TemporaryDirectory() as folder:
        found = _made(weights, Path(folder))
        with contextlib.suppress(OSError, RuntimeError):
            _keep(Path(folder), user_cache() / key)
    return found


def read(xml: Path) -> tuple[bytes, bytes]:
    """Description and numbers of an OpenVINO model."""
    return xml.read_bytes(), xml.with_suffix(".bin").read_bytes()


def user_cache() -> Path:
    """``$XDG_CACHE_HOME/segbatch/openvino``."""
    return hardware.user_cache("openvino")


def _sweep(place: Path) -> None:
    """What killed processes left (of a live one nothing is as old as that), and what nobody uses."""
    for entry in place.iterdir():
        kept_s = STALE_S if entry.name.startswith(MAKING) else UNUSED_S
        with contextlib.suppress(OSError):
            if time.time() - entry.stat().st_mtime > kept_s:
                shutil.rmtree(entry, ignore_errors=True)


@functools.cache
def _recipe() -> str:
    room = PACKAGE / "nn"
    return hashlib.sha256(b"".join((room / name).read_bytes() for name in MADE_BY)).hexdigest()


def _key(sha256: str) -> str:
    told = "|".join([sha256, openvino.__version__, _recipe()])
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def _made(weights: Path, folder: Path) -> tuple[bytes, bytes]:
    convert(weights, folder / XML)
    return read(folder / XML)


def _keep(files: Path, entry: Path) -> None:
    """Copy what was made into the cache: beside its place, then there in one move."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    _sweep(entry.parent)
    with tempfile.TemporaryDirectory(
        dir=entry.parent, prefix=MAKING, ignore_cleanup_errors=True
    ) as folder:
        made = Path(folder) / entry.name
        shutil.copytree(files, made)
        (made / "sha256").write_text(sha256(made / XML))
        _put(made, entry)


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
