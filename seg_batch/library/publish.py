"""A folder of bundles as a library for others: an archive of each, and the index that names them by hash."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from seg_batch.config.bundle_index import BundleIndex, IndexEntry
from seg_batch.core import events
from seg_batch.core.callbacks import Callback
from seg_batch.core.errors import InputError, OutputError
from seg_batch.core.files import (
    flush,
    require_local_output,
    sha256,
    translate_os_errors,
    write_text,
)
from seg_batch.core.run_files import CARD, PARTIAL
from seg_batch.io.sinks.publish import require_writable
from seg_batch.library.check import checked
from seg_batch.library.contents import MOST_BYTES, bundle_in, copy
from seg_batch.library.listing import summary_of
from seg_batch.library.users_folder import require_name

_YEAR_1980 = (1980, 1, 1, 0, 0, 0)  # the first that a zip can hold


@dataclass(frozen=True)
class Publication:
    """``name``: of the group; ``version``: of its bundles, in any words; ``most_bytes``: of each."""

    name: str = ""
    version: str = ""
    most_bytes: int = MOST_BYTES
    overwrite: bool = False


def write_index(
    folder: Path, output: Path, wanted: Publication, callback: Callback
) -> dict[str, Any]:
    """Write the index ``output`` of all bundles in ``folder``, and beside it an archive of each, named by its hash so
    that what was published before stays. Equal bundles give equal bytes. Returns the index and its hash.

    InputError or BundleError for a bundle that could not be added; OutputError if a file can't be written, or the
    index exists and is not to be replaced. Nothing was written then.
    """
    require_local_output(output)
    if output.exists() and not (wanted.overwrite and output.is_file()):
        raise OutputError(f"{output} exists: give another -o, or replace it with --overwrite")
    bundles = _bundles(folder)
    require_writable(output.parent)
    callback.on(events.StepsPlanned(len(bundles)))
    with translate_os_errors(output), _work(output) as work:
        entries, left_out = [], []
        for bundle in bundles:
            callback.on(events.Advanced(text=bundle.name))
            entry, left = _packed(bundle, work, wanted)
            entries.append(entry)
            left_out += [f"{bundle.name}/{path}" for path in left]
        for entry in entries:
            os.replace(work / entry.url, output.parent / entry.url)
        index = BundleIndex(name=wanted.name, bundles=tuple(entries))
        write_text(output, index.model_dump_json(indent=2) + "\n")
    return {
        "path": str(output),
        "sha256": sha256(output),
        "left_out": left_out,
        **index.model_dump(mode="json"),
    }


def pack(bundle: Path, archive: Path) -> None:
    """A zip of a bundle's folder: sorted, without times and owners, stored, so that its bytes follow from its files."""
    with zipfile.ZipFile(archive, "x", zipfile.ZIP_STORED) as packed:
        for path in sorted(path for path in bundle.rglob("*") if path.is_file()):
            info = zipfile.ZipInfo(path.relative_to(bundle.parent).as_posix(), _YEAR_1980)
            info.create_system, info.external_attr = 3, 0o100644 << 16
            info.file_size = path.stat().st_size
            with path.open("rb") as source, packed.open(info, "w") as target:
                shutil.copyfileobj(source, target, 1 << 20)


def _bundles(folder: Path) -> list[Path]:
    """The folders of bundles in it; itself where it is one."""
    if (folder / CARD).is_file():
        found = [folder.resolve()]
    else:
        cards = sorted(folder.glob(f"*/{CARD}"))
        found = [card.parent for card in cards if not card.parent.name.startswith(".")]
    if not found:
        raise InputError(
            f"{folder} holds no bundle: name a folder of bundles, each a folder with {CARD}"
        )
    for bundle in found:
        require_name(bundle.name)
    return found


def _packed(bundle: Path, work: Path, wanted: Publication) -> tuple[IndexEntry, list[str]]:
    """The archive of one bundle in ``work``, as it would be added; what of its folder is not in it."""
    copied = copy(bundle, work / bundle.name, str(bundle), wanted.most_bytes)
    root = bundle_in(copied, str(bundle))
    card = checked(root, str(bundle)).card
    draft = work / f"{bundle.name}.zip"
    pack(root, draft)
    digest = sha256(draft)
    url = f"{bundle.name}-{digest[:12]}.zip"
    draft.rename(work / url)
    flush(work / url)
    shutil.rmtree(work / bundle.name)
    size = (work / url).stat().st_size
    summary = summary_of(card)
    return (
        IndexEntry(
            name=bundle.name,
            version=wanted.version,
            url=url,
            sha256=digest,
            bytes=size,
            card=summary,
        ),
        copied.left_out,
    )


@contextmanager
def _work(output: Path) -> Iterator[Path]:
    work = Path(mkdtemp(dir=output.parent, prefix=f".{output.name}.", suffix=PARTIAL))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
