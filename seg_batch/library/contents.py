"""Which files a bundle may have: card, networks, test tensor, what tells of its training, licence.

Code is refused by name, since a bundle needs none: whoever finds some beside a model would run it. Other files stay
outside, and are named.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from seg_batch.core.errors import InputError
from seg_batch.core.files import translate_os_errors
from seg_batch.core.run_files import ADDED, CARD, TEST
from seg_batch.core.text import visible
from seg_batch.core.units import counted_plainly
from seg_batch.io.archive import (
    CHUNK_BYTES,
    MOST_MEMBERS,
    Limit,
    Member,
    members,
    path_inside,
    write_member,
)

EXAMPLES = "examples"  # the one folder in a bundle: pictures
MOST_BYTES = 2 << 30  # of a bundle, where nobody says otherwise
CARD_BYTES = 16 << 20
_NETWORK = re.compile(r"model(_\d{1,2})?\.(keras|onnx|xml|bin)")
_TOLD = (".json", ".csv", ".yaml", ".yml", ".md", ".txt", ".rst", ".png", ".jpg", ".jpeg")
_NAMES = ("licence", "license", "notice", "readme", "copying", "authors", "citation.cff")
_CODE = (
    *(
        ".py",
        ".pyc",
        ".pyd",
        ".pyw",
        ".pyx",
        ".ipynb",
        ".so",
        ".dll",
        ".dylib",
        ".exe",
        ".jar",
        ".js",
    ),
    *(".sh", ".bash", ".bat", ".cmd", ".ps1", ".whl", ".egg", ".m", ".r", ".jl", ".rb", ".pl"),
    *(".pkl", ".pickle", ".pt", ".pth", ".pt2", ".ckpt", ".joblib", ".dill", ".h5", ".hdf5"),
)
_NOISE = ("__MACOSX", "Thumbs.db", "desktop.ini")  # what archivers add; hidden files too


@dataclass
class Unpacked:
    """A folder with the files that were taken, and the names of those that were not."""

    folder: Path
    left_out: list[str] = field(default_factory=list)


def unpack(file: IO[bytes], folder: Path, where: str, most_bytes: int) -> Unpacked:
    """Write the files of an archive that a bundle may have into the new ``folder``.

    InputError for links, devices, code, paths that lead outside, a name twice, and for more than ``most_bytes``.
    """
    return _take(members(file, where, most_bytes), folder, where, most_bytes)


def copy(source: Path, folder: Path, where: str, most_bytes: int) -> Unpacked:
    """The same from a folder of this machine; links to files are followed."""
    return _take(_in_folder(source), folder, where, most_bytes)


def bundle_in(unpacked: Unpacked, where: str) -> Path:
    """The folder of the one bundle in it, at the top or one below; InputError otherwise."""
    folder = unpacked.folder
    places = [
        path.parent for path in (folder / CARD, *sorted(folder.glob(f"*/{CARD}"))) if path.is_file()
    ]
    if not places:
        raise InputError(
            f"{where} holds no bundle: there is no {CARD} at its top, or in a folder there; of a network without one "
            "segbatch models import makes a bundle"
        )
    if len(places) > 1:
        names = ", ".join(place.name for place in places if place != folder)
        raise InputError(
            f"{where} holds {counted_plainly(len(places), 'bundle')} ({names}), and one is added at a time: "
            "name the folder of one, or pack each by itself"
        )
    bundle = places[0]
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        parts = path.relative_to(bundle).parts if path.is_relative_to(bundle) else ()
        if not (len(parts) == 1 or (len(parts) == 2 and parts[0] == EXAMPLES)):
            unpacked.left_out.append(path.relative_to(folder).as_posix())
            path.unlink()
    for path in sorted(p for p in bundle.iterdir() if p.is_dir() and p.name != EXAMPLES):
        _remove_empty(path)
    return bundle


def _remove_empty(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir()
    folder.rmdir()


def _take(found: Iterable[Member], folder: Path, where: str, most_bytes: int) -> Unpacked:
    taken, left_bytes = Unpacked(folder), most_bytes
    with translate_os_errors(folder):
        folder.mkdir()
    for member in found:
        parts = path_inside(member, where)
        if not parts or member.kind == "folder" or _is_noise(parts):
            continue
        if not _is_wanted(parts[-1], member, where) or len(parts) > 3:
            taken.left_out.append("/".join(parts))
            continue
        most = Limit(left_bytes)
        if parts[-1] == CARD and left_bytes > CARD_BYTES:
            most = Limit(CARD_BYTES, "a card is small, so it is none")
        left_bytes -= write_member(member, folder, most, where)
    return taken


def _is_noise(parts: tuple[str, ...]) -> bool:
    return any(part.startswith(".") or part in _NOISE for part in parts)


def _is_wanted(name: str, member: Member, where: str) -> bool:
    """Whether a bundle has such files; InputError for code."""
    lower = name.lower()
    if lower.endswith(_CODE):
        raise InputError(
            f"{where}: {visible(member.name)} is or may hold code, and a bundle has none: leave it out "
            "(networks are model.keras, model.onnx, or model.xml with model.bin)"
        )
    if name == ADDED:  # we write it
        return False
    named = lower.split(".")[0] in _NAMES or lower in _NAMES
    return bool(_NETWORK.fullmatch(name)) or name == TEST or named or lower.endswith(_TOLD)


def _in_folder(source: Path) -> Iterator[Member]:
    for count, path in enumerate(_files(source)):
        if count == MOST_MEMBERS:
            raise InputError(
                f"{source} holds more than {MOST_MEMBERS} files: name the folder of the bundle"
            )

        def chunks(path: Path = path) -> Iterator[bytes]:
            try:
                with path.open("rb") as file:
                    while chunk := file.read(CHUNK_BYTES):
                        yield chunk
            except OSError as error:
                raise InputError(
                    f"{path} can't be read ({error.strerror}): let it be read, or leave it out"
                ) from None

        name = path.relative_to(source).as_posix()
        yield Member(name, "file" if path.is_file() else "device", chunks)


def _files(source: Path) -> Iterator[Path]:
    """All but hidden ones: a folder may be a repository."""
    for folder, inner, names in os.walk(source):
        inner[:] = sorted(name for name in inner if not _is_noise((name,)))
        yield from (Path(folder, name) for name in sorted(names))
