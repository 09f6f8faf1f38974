"""What a user names as the place of a bundle or of an index: a folder, a file, an address."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

from seg_batch.core import events
from seg_batch.core.callbacks import Callback
from seg_batch.core.errors import InputError
from seg_batch.core.files import hash_of, kind_of_address
from seg_batch.core.text import visible
from seg_batch.io.archive import Limit
from seg_batch.library.fetch import Fetched, fetch, require_https

HASH_DIGITS = 64


@dataclass(frozen=True)
class Place:
    """Where something lies: ``path`` on this machine, else ``url``."""

    path: Path | None = None
    url: str = ""

    def beside(self, url: str) -> Place:
        """The place that a file here names as ``url``: absolute, or from here."""
        if kind_of_address(url):
            if self.url and urlsplit(url).scheme.lower() != "https":
                raise InputError(
                    f"{visible(url)}: an index from the net names https addresses alone"
                )
            return place_of(url)
        if self.path is None:
            return place_of(urljoin(self.url, url))
        return Place(self.path.parent / unquote(url))


def place_of(text: str) -> Place:
    """InputError for an address that is neither https nor file."""
    if not kind_of_address(text):
        return Place(Path(text))
    parts = urlsplit(text)
    if parts.scheme.lower() == "file":
        if parts.netloc not in ("", "localhost"):
            raise InputError(f"{visible(text)} is a file of another machine: name it by https")
        return Place(Path(unquote(parts.path)))
    require_https(text)
    return Place(url=text)


def obtained(place: Place, into: Path, limit: Limit, callback: Callback) -> Fetched:
    """The file at a place, hashed; from the net it is written as ``into``. InputError where there is none."""
    if place.path is None:
        return fetch(place.url, into, limit, callback)
    path = place.path
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is no file: name an archive, or an index")
    try:
        size = path.stat().st_size
        limit.require(size, path)
        callback.on(events.Stage(f"reading {path.name}"))
        digest = hash_of(path)
    except OSError as error:
        raise InputError(
            f"{path} can't be read ({error.strerror}): name a file that is there"
        ) from None
    return Fetched(path, digest, size, str(path.resolve()))


def require_hash(file: Fetched, sha256: str | None, said_by: str) -> None:
    """InputError where a file is not the one that was meant."""
    if sha256 is not None and file.sha256 != sha256:
        raise InputError(
            f"{file.address} has the SHA-256 {file.sha256}, not {sha256} as {said_by} says: it was changed or "
            "damaged, or is another version; nothing was kept"
        )


def checked_hash(text: str | None, flag: str) -> str | None:
    """64 hexadecimal digits, in small letters; InputError for another text."""
    if text is None:
        return None
    digits = text.strip().lower().removeprefix("sha256:")
    if len(digits) != HASH_DIGITS or set(digits) - set("0123456789abcdef"):
        raise InputError(
            f"{flag} {visible(text[:80])} is no SHA-256: give its {HASH_DIGITS} digits"
        )
    return digits
