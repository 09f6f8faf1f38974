"""Names of the files and folders that segbatch writes beside products and in run folders.

A name that several modules use is spelled only here. The names inside a work store are in
``io.sinks.store_folder``.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

NAME_BYTES = 255  # the longest name that the usual file systems hold

# Suffixes beside a product.
REPORT = ".json"
STORE = ".work.zarr"
STAGED = ".staged"  # uncompressed copies that the blocks of one input share
PART = ".part"  # a folder in which the product is being made
PARTIAL = ".partial"  # a file that is being written, in any folder
WORK = ".work"  # of a training, or of a patch dataset
PROBABILITIES = "_probabilities"  # after its stem
ATTEMPT = "try-"  # prefix of an attempt
ATTEMPT_BYTES = 112  # room behind the name of a product for what an attempt writes beside it
INTERMEDIATE = (STORE, STAGED)  # suffixes of intermediate results

# In an output folder, and in a hot folder.
BUCKETS = ".segbatch-buckets"  # where products are made that go into buckets
RUNS = ".segbatch"  # the run folders of an output folder; also a prefix of other names
PROBE = f"{RUNS}-probe-"  # pid, host and a unique name follow
MARKED_DONE, MARKED_FAILED = f"{RUNS}-done", f"{RUNS}-failed"
# Hidden: a folder with an image that is to be moved, and at its destination; the name that it gets there.
MOVING, MOVED, DESTINATION = f"{RUNS}-moving", f"{RUNS}-moved", f"{RUNS}-destination"
TILES = "tiles.jsonl"  # in a folder with maps of the pieces of a mosaic
RESERVED = f"{RUNS}-reserved"
# Hidden: beside the folder of a series that is being received; a folder of instances that are being written.
RECEIVING, INCOMING = f"{RUNS}-receiving", f"{RUNS}-incoming"

# In a run folder.
JOURNAL = "journal.jsonl"
LOG = "log.jsonl"
ARRIVALS = "arrivals.jsonl"
OUTBOX, SENT = "outbox", "sent.jsonl"  # what is to be sent, and what was
WORKFLOW = "workflow.json"
SET_ASIDE = "set-aside.txt"
PAGE, FACTS = "report.html", "report.json"
JUNIT, METRICS = "report.xml", "metrics.prom"
AREAS, VOLUMES = "areas.csv", "volumes.csv"
MAPS = "maps.vrt"  # all maps seen as one; maps_2.vrt those of a second CRS
AREAS_BY_CLASS, VOLUMES_BY_CLASS = "areas_by_class.csv", "volumes_by_class.csv"

# In the folder of a bundle, of a running training, of an evaluation.
CARD = "card.json"
ADDING = f"{RUNS}-adding"  # beside the user's bundles: what is being added or removed
ADDED = "added.json"  # where a bundle of the user's folder came from
TEST = "test.npz"  # a patch and what the network gave for it when the bundle was made
CHECKPOINT = "checkpoint-"
EVALUATION, EVALUATION_PAGE = "evaluation.json", "index.html"


def path_beside(path: Path, ending: str) -> Path:
    """``x.tif`` and ``.json``: ``x.tif.json``; with a hash in it where that would be too long a name."""
    return path.with_name(named(path.name, ending))


def hidden_beside(path: Path, ending: str) -> Path:
    """``x.tif`` and ``.json``: ``.x.tif.json``."""
    return path_beside(path.with_name(f".{path.name}"), ending)


def named(stem: str, ending: str) -> str:
    """``stem + ending``, with a hash in it where that would be too long."""
    return shortened(stem, len(os.fsencode(ending))) + ending


def shortened(name: str, room_bytes: int) -> str:
    """The name, where so many bytes more fit behind it; else its beginning and a hash of the whole."""
    whole = os.fsencode(name)
    if len(whole) + room_bytes <= NAME_BYTES:
        return name
    mark = f"~{hashlib.sha256(whole).hexdigest()[:12]}"
    return whole[: NAME_BYTES - room_bytes - len(mark)].decode(errors="ignore") + mark


def staged_name(known: Iterable[object], ending: str) -> str:
    """The name of the uncompressed copy of a source: a digest of what is ``known`` of it, and nothing that could be read."""
    whole = "\0".join(map(str, known)).encode("utf-8", "surrogateescape")
    return f"copy-{hashlib.sha256(whole).hexdigest()[:20]}{ending}"


def kept_journal(until: str | int) -> str:
    """The name of a journal that a newer one has replaced."""
    return f"journal-until-{until}.jsonl"
