"""A bundle from elsewhere, moved into the user's folder once all of it is checked; and out of there."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg_batch.config.bundle_index import BundleIndex, CardSummary, IndexEntry, parse_index
from seg_batch.core import events
from seg_batch.core.callbacks import Callback
from seg_batch.core.errors import InputError
from seg_batch.core.files import translate_os_errors, write_json
from seg_batch.core.run_files import ADDED, CARD, TEST
from seg_batch.core.text import nearest, visible
from seg_batch.inference.bundles import find_bundle, users_bundles
from seg_batch.io.archive import Limit
from seg_batch.io.sinks.publish import writing_folder
from seg_batch.library.check import checked
from seg_batch.library.contents import MOST_BYTES, Unpacked, bundle_in, copy, unpack
from seg_batch.library.fetch import Fetched
from seg_batch.library.listing import folder_bytes, summary_of
from seg_batch.library.sources import Place, checked_hash, obtained, place_of, require_hash
from seg_batch.library.users_folder import namesakes, removable, require_free_name, staging

_INDEX = Limit(16 << 20, "an index is small, name the file of one")
_PACKED = (".zip", ".tar", ".gz", ".tgz")
_NETWORKS = (".keras", ".onnx", ".pt2", ".pt", ".pth", ".h5")


@dataclass(frozen=True)
class Wish:
    """What is to be added. ``what``: a folder, an archive, an address, an installed bundle, or with ``index`` a name
    in there. ``name``: what it will be called, else as the index or its card calls it. ``sha256``: of the archive.
    ``most_bytes``: of the archive, and of what it unpacks to."""

    what: str
    name: str | None = None
    sha256: str | None = None
    index: str | None = None
    index_sha256: str | None = None
    most_bytes: int = MOST_BYTES
    overwrite: bool = False


@dataclass(frozen=True)
class _Sought:
    """Where it lies, and what is known of it beforehand. ``origin``: what is kept of that beside the bundle."""

    place: Place
    called: str
    limit: Limit
    hashes: dict[str, str]
    origin: dict[str, str]
    name: str | None = None
    card: CardSummary | None = None


@dataclass(frozen=True)
class Index:
    """An index, where it lies, and its file."""

    place: Place
    file: Fetched
    content: BundleIndex


def add(wish: Wish, callback: Callback) -> dict[str, Any]:
    """Install the bundle, and tell of it. InputError, BundleError or OutputError, and nothing has changed, where it
    can't be had, is not the one that was meant, is not sound, or its name is taken."""
    if wish.name is not None:
        require_free_name(wish.name, wish.overwrite)
    with staging() as stage:
        sought = _sought(wish, stage, callback)
        unpacked, file = _unpacked(sought, stage, wish.most_bytes, callback)
        callback.on(events.Stage("checking the bundle"))
        bundle = bundle_in(unpacked, sought.called)
        card = checked(bundle, sought.called).card
        name = sought.name or card.name
        require_free_name(name, wish.overwrite)
        source = file.address if file else str(sought.place.path)
        added = {"source": source, "sha256": file and file.sha256, **sought.origin}
        path = _publish(bundle, name, added, wish.overwrite)
    return {
        "name": name,
        "path": str(path),
        "bytes": folder_bytes(path),
        **added,
        "archive_bytes": file and file.bytes,
        "has_test": (path / TEST).is_file(),
        "left_out": unpacked.left_out,
        "otherwise": _otherwise(sought.card, summary_of(card)),
        "hides": [str(folder) for folder in namesakes(name, before=False)],
        "hidden_by": [str(folder) for folder in namesakes(name, before=True)],
        "card": summary_of(card).model_dump(mode="json"),
    }


def remove_bundle(name: str) -> dict[str, Any]:
    """Take that bundle out of the user's folder, at once and whole. InputError as of ``removable``."""
    path = removable(name)
    link = path.is_symlink()
    size = 0 if link else folder_bytes(path)
    with staging() as stage, translate_os_errors(path):
        removable(name)
        os.replace(path, stage / "removed")
        if link:
            (stage / "removed").unlink()
    return {"name": name, "path": str(path), "bytes": size, "link": link}


def index_facts(where: str, sha256: str | None, callback: Callback) -> dict[str, Any]:
    """What an index has, with its hash; InputError as of ``read_index``."""
    with tempfile.TemporaryDirectory(prefix="segbatch-index-") as folder:
        index = read_index(where, sha256, Path(folder), callback)
    return {
        "path": index.file.address,
        "sha256": index.file.sha256,
        **index.content.model_dump(mode="json"),
    }


def read_index(where: str, sha256: str | None, stage: Path, callback: Callback) -> Index:
    """The index at a path or an address; InputError where there is none, or another than ``sha256`` says."""
    pinned = checked_hash(sha256, "--index-sha256")
    place = place_of(where)
    file = obtained(place, stage / "index.json", _INDEX, callback)
    require_hash(file, pinned, "--index-sha256")
    return Index(place, file, parse_index(file.path.read_bytes(), file.address))


def _sought(wish: Wish, stage: Path, callback: Callback) -> _Sought:
    sha256 = checked_hash(wish.sha256, "--sha256")
    hashes = {"--sha256": sha256} if sha256 else {}
    if wish.index is not None:
        index = read_index(wish.index, wish.index_sha256, stage, callback)
        return _indexed(wish, index, hashes)
    if wish.index_sha256 is not None:
        raise InputError("--index-sha256 is the hash of an index: name it with --index")
    limit = Limit(wish.most_bytes)
    return _Sought(_place(wish.what), visible(wish.what), limit, hashes, {}, wish.name)


def _indexed(wish: Wish, index: Index, hashes: dict[str, str]) -> _Sought:
    entries = {entry.name: entry for entry in index.content.bundles}
    address = index.file.address
    if wish.what not in entries:
        hint = nearest(wish.what, entries) if entries else "it is empty"
        raise InputError(f"{address} has no bundle {visible(wish.what)}: {hint}")
    entry: IndexEntry = entries[wish.what]
    Limit(wish.most_bytes).require(entry.bytes, f"{entry.name} of {address}")
    origin = {"index": address, "index_sha256": index.file.sha256, "version": entry.version}
    return _Sought(
        index.place.beside(entry.url),
        entry.name,
        Limit(entry.bytes, "the index says that it has so much, so it was changed"),
        {**hashes, "the index": entry.sha256},
        origin,
        wish.name or entry.name,
        entry.card,
    )


def _place(what: str) -> Place:
    """A path, an address, or the folder of an installed bundle."""
    place = place_of(what)
    if place.path is not None and place.path.is_file() and place.path.suffix in _NETWORKS:
        raise InputError(
            f"{visible(what)} is a network without its card: make a bundle of it with segbatch models import"
        )
    if place.path is None or place.path.exists():
        return place
    if place.path.name != what or place.path.suffix in _PACKED:
        raise InputError(
            f"there is no {visible(what)}: name a folder, an archive or an https address"
        )
    folder = find_bundle(what).path
    if folder is None:
        raise InputError(f"{visible(what)} is built in: there is nothing to add")
    return Place(folder)


def _unpacked(
    sought: _Sought, stage: Path, most_bytes: int, callback: Callback
) -> tuple[Unpacked, Fetched | None]:
    """The files of the bundle in the stage, and the archive that they were in."""
    folder, path = stage / "unpacked", sought.place.path
    if path is not None and path.is_dir():
        if sought.hashes:
            raise InputError(
                f"{path} is a folder, and a hash is that of one file: name its archive"
            )
        return copy(path, folder, sought.called, most_bytes), None
    file = obtained(sought.place, stage / "archive", sought.limit, callback)
    for said_by, sha256 in sought.hashes.items():
        require_hash(file, sha256, said_by)
    callback.on(events.Stage("unpacking"))
    with file.path.open("rb") as archive:
        return unpack(archive, folder, sought.called, most_bytes), file


def _otherwise(told: CardSummary | None, card: CardSummary) -> list[str]:
    """What an index tells of a bundle that its card does not, as ``licence CC0``."""
    if told is None:
        return []
    pairs = ((key, getattr(told, key), getattr(card, key)) for key in CardSummary.model_fields)
    return [f"{key} {there}" for key, there, here in pairs if there != here]


def _publish(bundle: Path, name: str, added: dict[str, Any], overwrite: bool) -> Path:
    path = users_bundles() / name
    with writing_folder(path, overwrite, CARD) as folder:
        for item in sorted(bundle.iterdir()):
            os.replace(item, folder / item.name)
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        write_json(folder / ADDED, {**added, "added": moment})
    return path
