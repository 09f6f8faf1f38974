"""Converted models, kept in the user's cache.

They are not kept beside their bundle: the author of a bundle could put a conversion of another model
there, and the hash in the card would not reveal it. An entry is a folder named after all that its content
depends on: the weights, OpenVINO's version and our own code that converts. It is made beside its place and
moved there atomically, so several processes may make the same one; its content is compared with its
hash, and a damaged entry is made anew. Entries not used for half a year are removed.
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
from seg_batch.nn.engines.openvino.convert import convert
from seg_batch.nn.engines.openvino.library import openvino

XML = "model.xml"
MAKING, STALE_S = "making-", 3600.0
UNUSED_S = 180 * 86400.0
MADE_BY = ("engines/openvino/convert.py", "analysis/batchnorm_folding.py", "analysis/graph.py")


def convert_cached(weights: Path, sha256: str) -> tuple[bytes, bytes]:
    """Description and numbers (``.xml``, ``.bin``) of the ``.keras`` file of this hash.

    Where the cache can't be written to, or is full, nothing is kept.
    """
    parts = "|".join([sha256, openvino.__version__, _code_hash()])
    key = hashlib.sha256(parts.encode()).hexdigest()[:32]
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: there is no home
        if files := _intact(user_cache() / key):
            os.utime(user_cache() / key)
            return files
    with tempfile.TemporaryDirectory() as folder:
        convert(weights, Path(folder) / XML)
        files = read(Path(folder) / XML)
        with contextlib.suppress(OSError, RuntimeError):
            _keep(Path(folder), user_cache() / key)
    return files


def read(xml: Path) -> tuple[bytes, bytes]:
    """Description and numbers of an OpenVINO model."""
    return xml.read_bytes(), xml.with_suffix(".bin").read_bytes()


def user_cache() -> Path:
    """``$XDG_CACHE_HOME/segbatch/openvino``."""
    return hardware.user_cache("openvino")


@functools.cache
def _code_hash() -> str:
    sources = (PACKAGE / "nn" / name for name in MADE_BY)
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()


def _sweep(cache: Path) -> None:
    """Remove the files of killed processes (older than those of any live one) and unused entries."""
    for entry in cache.iterdir():
        kept_s = STALE_S if entry.name.startswith(MAKING) else UNUSED_S
        with contextlib.suppress(OSError):
            if time.time() - entry.stat().st_mtime > kept_s:
                shutil.rmtree(entry, ignore_errors=True)


def _keep(files: Path, entry: Path) -> None:
    """Copy a conversion into the cache: beside its place, then there in one move."""
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
    """The content of the entry, if it has the hash that was stored with it."""
    try:
        files = read(entry / XML)
        expected = (entry / "sha256").read_text()
    except (OSError, UnicodeDecodeError):
        return None
    return files if hashlib.sha256(b"".join(files)).hexdigest() == expected else None


def _put(made: Path, entry: Path) -> None:
    """Move an entry into place, unless another process put an undamaged one there."""
    for _ in range(2):
        try:
            made.rename(entry)
            return
        except OSError:
            if _intact(entry):
                return
            shutil.rmtree(entry, ignore_errors=True)
