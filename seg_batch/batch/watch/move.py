"""Moves of an image with its side files: whole at any time, and completed or undone after a kill.

    gathered in a hidden folder -> that folder renamed to the destination -> its files get their names

Before the rename all can have their names back; after it, the move is completed.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from seg_batch.batch.watch.series_arrivals import is_place
from seg_batch.core.hardware import here, is_running
from seg_batch.core.registry.formats import split
from seg_batch.core.run_files import (
    DESTINATION,
    MOVED,
    MOVING,
    RESERVED,
    hidden_beside,
    shortened,
)
from seg_batch.inference.outputs import split_output
from seg_batch.io.sources.identity import ZARR_METADATA
from seg_batch.io.sources.side_files import SideFile, others_of, renamed, side_files, sides_of

UNKNOWN_S = 60  # for which a reservation without the name of a process is valid


def gather(files: Sequence[Path], besides: Collection[str] = ()) -> Path:
    """Rename the files of an image and their side files, but those named ``besides``, into a hidden folder;
    returns the first file there. A side file that may belong to another image, too, is copied."""
    folder, ours = files[0].parent, {file.name for file in files}
    hidden = hidden_beside(files[0], MOVING)
    hidden.mkdir()
    names = os.listdir(folder)
    sides = {s: f.name for f in files if not f.is_dir() for s in side_files(f, names)}
    for file in files:
        _into(file, hidden)
    for side, image in sides.items():
        if side.name in besides or (hidden / side.name).exists():
            continue
        if ours.issuperset(others_of(side, image, names)):
            _into(folder / side.name, hidden)
        else:
            shutil.copy2(folder / side.name, hidden / side.name)
    return hidden / files[0].name


def _into(path: Path, hidden: Path) -> None:
    """Rename into a hidden folder; a relative link then names its target from the root, also later."""
    at = hidden / path.name
    os.rename(path, at)
    if at.is_symlink() and not os.path.isabs(os.readlink(at)):
        absolute = hidden / DESTINATION  # a name that ``give_back`` removes
        absolute.symlink_to(path.parent.absolute() / os.readlink(at))
        os.replace(absolute, at)


def hand_over(gathered: Path, free: Path) -> None:
    """Move a gathered image and its side files to the reserved name ``free`` on the same file system."""
    hidden, moved = gathered.parent, hidden_beside(free, MOVED)
    (hidden / DESTINATION).write_bytes(_destination(_names_at(free, gathered)))
    os.rename(hidden, moved)
    complete(moved)


def _names_at(free: Path, gathered: Path) -> dict[str, str]:
    """The names that the files of a gathered image get where the first is called ``free``: the same number
    behind each. The first is the last of them."""
    number = 1
    if free.name != gathered.name:
        number = int(split_output(free)[0].rpartition("-")[2])
    others = [p.name for p in _images_in(gathered.parent) if p.name != gathered.name]
    return {**{name: _numbered(name, number) for name in others}, gathered.name: free.name}


def _destination(names: dict[str, str]) -> bytes:
    """The name of a single file alone, as earlier versions wrote it; of several the pairs of names."""
    texts = [*names.values()] if len(names) == 1 else [t for pair in names.items() for t in pair]
    return b"\0".join(map(os.fsencode, texts))


def _destined(hidden: Path) -> dict[Path, str]:
    """The files of an image that are still in the hidden folder, and their names at the destination."""
    texts = [*map(os.fsdecode, (hidden / DESTINATION).read_bytes().split(b"\0"))]
    if len(texts) == 1:
        return dict.fromkeys(_images_in(hidden), texts[0])
    pairs = zip(map(hidden.joinpath, texts[::2]), texts[1::2], strict=True)
    return {path: new for path, new in pairs if os.path.lexists(path)}


def complete(hidden: Path) -> None:
    """Give the files in a hidden folder their names at the destination, each after its side files. Another
    process may do the same."""
    with suppress(FileNotFoundError):
        for image, name in _destined(hidden).items():
            for side, path in _sides(image):
                os.rename(path, hidden.with_name(renamed(side, image.name, name)))
            os.rename(image, hidden.with_name(name))
        (hidden / DESTINATION).unlink()
    _remove_empty(hidden)


def give_back(hidden: Path) -> None:
    """Give gathered files their names back, or a number where others have come since. An earlier version
    hid the image itself."""
    if hidden.is_file() or any((hidden / name).exists() for name in ZARR_METADATA):
        name = hidden.name.removesuffix(MOVING).removeprefix(".")
        with reserved_name(hidden.with_name(name)) as free:
            os.rename(hidden, free)
        return
    (hidden / DESTINATION).unlink(missing_ok=True)
    for image in _images_in(hidden):
        with reserved_name(hidden.with_name(image.name)) as free:
            for side, path in _sides(image):
                _give_back(path, free.with_name(renamed(side, image.name, free.name)))
            os.rename(image, free)
    _remove_empty(hidden)


def _give_back(side: Path, to: Path) -> None:
    if os.path.lexists(to) and filecmp.cmp(side, to, shallow=False):
        side.unlink()  # it was a copy
    else:
        with reserved_name(to) as free:
            os.rename(side, free)


def _remove_empty(hidden: Path) -> None:
    with suppress(FileNotFoundError):
        hidden.rmdir()


def _images_in(hidden: Path) -> list[Path]:
    """Files with the ending of an image, and places of series."""
    return sorted(path for path in hidden.iterdir() if split(path.name)[1] or is_place(path))


def _sides(image: Path) -> list[tuple[SideFile, Path]]:
    """What was gathered with an image, so that no look into it is needed."""
    sides = [] if image.is_dir() else sides_of(image.name, os.listdir(image.parent))
    return [(side, image.with_name(side.name)) for side in sides]


@contextmanager
def reserved_name(path: Path, gathered: Path | None = None) -> Iterator[Path]:
    """``path``, or ``scan-2.nii.gz`` and so on where that exists, reserved while the block lasts.
    ``gathered``: the image that is to get the name, beside which no file of another may lie.

    A hidden name beside it reserves it: a hard link is refused for the files of other users, on
    some file systems, and for folders.
    """
    tried, n = path, 1
    while True:
        hidden = hidden_beside(tried, RESERVED)
        if _reserve(hidden):
            if _is_free(tried, gathered):  # checked under the reservation
                break
            hidden.unlink()
        n += 1
        tried = path.with_name(_numbered(path.name, n))
    try:
        yield tried
    finally:
        hidden.unlink(missing_ok=True)


def _numbered(name: str, number: int) -> str:
    """``scan.nii.gz``, ``scan-2.nii.gz``, and so on."""
    stem, end = split_output(Path(name))
    if number == 1:
        return name
    return shortened(stem, len(os.fsencode(end)) + 8) + f"-{number}{end}"


def _is_free(path: Path, gathered: Path | None) -> bool:
    if gathered is None:
        return _is_free_for(path, None)
    names = _names_at(path, gathered)
    return all(
        _is_free_for(path.with_name(new), gathered.with_name(old)) for old, new in names.items()
    )


def _is_free_for(path: Path, gathered: Path | None) -> bool:
    if os.path.lexists(path) or os.path.lexists(hidden_beside(path, MOVED)):
        return False
    if gathered is None or gathered.is_dir():
        return True
    ours = {renamed(side, gathered.name, path.name): at for side, at in _sides(gathered)}
    taken = {side.name for side in side_files(path)}
    taken |= {name for name in ours if os.path.lexists(path.with_name(name))}
    # Two images may share one: it is there already.
    return all(
        name in ours and filecmp.cmp(ours[name], path.with_name(name), shallow=False)
        for name in taken
    )


def _reserve(hidden: Path) -> bool:
    """Create a symbolic link to the name of this process, which is atomic. On a file system without
    links, create an empty file."""
    try:
        os.symlink(here(), hidden)
    except FileExistsError:
        return False
    except OSError:
        try:
            os.close(os.open(hidden, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        except FileExistsError:
            return False
    return True


def remove_stale(folder: Path) -> None:
    """Remove reservations of ended processes of this machine. One that can't be removed only keeps
    a name from being used."""
    for hidden in folder.glob(f".*{RESERVED}"):
        with suppress(OSError):
            if hidden.is_symlink():
                host, _, pid = os.readlink(hidden).rpartition(":")
                ours = host == here().rpartition(":")[0] and pid.isdigit()
                dead = ours and not is_running(int(pid))
            else:
                dead = time.time() - hidden.stat().st_mtime > UNKNOWN_S
            if dead:
                hidden.unlink()
