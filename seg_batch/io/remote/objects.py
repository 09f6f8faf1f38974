"""Objects that are written into buckets: whole or not at all, and never over one that is not known.

A large file goes up in parts, of which nothing is seen under its name before the last request, which joins them.
Credentials come from the environment alone.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg_batch.core.errors import DamagedError, InputError, OutputError, PassingError
from seg_batch.core.run_files import PARTIAL, shortened
from seg_batch.io.remote.buckets import (
    CREDENTIALS,
    plain_address,
    require_encrypted,
    store_of,
)
from seg_batch.io.remote.places import BUCKETS, Place, place_of

SHA256 = "segbatch-sha256"  # metadata of every object that is written here
PART_BYTES = 16 << 20
_PARALLEL = 4


@dataclass(frozen=True)
class StoredObject:
    """``etag``: as the service names this content; ``sha256``: of the file that it was written of, empty where another
    program wrote it."""

    size: int
    etag: str
    sha256: str


def require_bucket(url: str) -> Place:
    """The place of an object to be written; OutputError where it is in no bucket, or nothing lets one write there."""
    try:
        place = place_of(url)
    except InputError as error:
        raise OutputError(error.message) from None
    if place.scheme not in BUCKETS:
        raise OutputError(
            f"{place}: products are written into folders of this machine and into buckets (s3, gs, az): name one of these"
        )
    env = {key.upper(): value for key, value in os.environ.items() if value}
    require_encrypted(place, plain_address(place, env), env)
    names = CREDENTIALS[place.scheme]
    if not any(env.get(name) for name in names):
        raise OutputError(
            f"{place}: the environment has no credentials for it, without which nothing is written: set {names[0]}"
        )
    return place


def stored(url: str) -> StoredObject | None:
    """What is under this name; None where nothing is. OutputError where that is denied."""
    import obstore
    from obstore.exceptions import NotFoundError

    place = require_bucket(url)
    with _one_line(place, "looked at"):
        try:
            answer = obstore.get(store_of(place), place.key, options={"head": True})
        except (NotFoundError, FileNotFoundError):
            return None
        attributes: Any = answer.attributes
        own = {str(key).lower(): str(value) for key, value in attributes.items()}
        return StoredObject(answer.meta["size"], answer.meta["e_tag"] or "", own.get(SHA256, ""))
    return None


def upload(path: Path, url: str, *, replaces: bool, media_type: str) -> StoredObject:
    """Write a file as one object and read it back. ``replaces``: one that is there may be replaced. OutputError where it may
    not, or is denied; PassingError where the service fails; DamagedError where other bytes come back."""
    import obstore

    place = require_bucket(url)
    size, sha256 = path.stat().st_size, _sha256(path)
    attributes = {"Content-Type": media_type, SHA256: sha256}
    several = size > PART_BYTES
    with _one_line(place, "written"):
        # Parts can't be joined on a condition: what is there was looked at before.
        mode: Any = {} if replaces or several else {"mode": "create"}
        obstore.put(
            store_of(place),
            place.key,
            path,
            attributes=attributes,
            use_multipart=several,
            chunk_size=PART_BYTES,
            max_concurrency=_PARALLEL,
            **mode,
        )
    with _one_line(place, "read back"):
        answer = obstore.get(store_of(place), place.key)
        back, etag = hashlib.sha256(), answer.meta["e_tag"] or ""
        for piece in answer.stream(min_chunk_size=1 << 20):
            back.update(piece)
    if back.hexdigest() != sha256:
        raise DamagedError(
            f"{place} does not read back as it was written: run the same command again, which writes it again"
        )
    return StoredObject(size, etag, sha256)


def download(url: str, path: Path, etag: str) -> None:
    """Write an object to ``path``, which is there whole or not at all. OutputError where it is no longer the one with this etag."""
    import obstore

    place = require_bucket(url)
    with _one_line(place, "read"):
        answer = obstore.get(store_of(place), place.key)
        if (answer.meta["e_tag"] or "") != etag:
            raise OutputError(f"{place} was replaced since it was written here: use --overwrite")
        part = path.with_name(shortened(path.name, len(PARTIAL)) + PARTIAL)
        try:
            with part.open("wb") as file:
                for piece in answer.stream(min_chunk_size=1 << 20):
                    file.write(piece)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def _one_line(place: Place, done: str) -> Iterator[None]:
    """Faults of the service in fixed words: those of libraries hold keys and addresses."""
    from obstore import exceptions as of

    try:
        yield
    except (of.AlreadyExistsError, of.PreconditionError):
        raise OutputError(
            f"{place} exists and is not an unchanged result of segbatch, so it would be lost: use --overwrite or another output"
        ) from None
    except (of.PermissionDeniedError, of.UnauthenticatedError, PermissionError):
        raise OutputError(
            f"{place} can't be {done} (denied): check the credentials in the environment, and what they allow"
        ) from None
    except (of.NotFoundError, FileNotFoundError):
        raise OutputError(
            f"{place} can't be {done}: there is no bucket {place.host}, or not what was written: check its name"
        ) from None
    except (of.BaseError, OSError, TimeoutError) as error:
        raise PassingError(
            f"{place} can't be {done} ({type(error).__name__}): check the network, then run the same command again"
        ) from None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
