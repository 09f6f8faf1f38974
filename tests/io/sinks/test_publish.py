"""What stands in the product's place is either the old or the new, whatever happens between."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from seg_batch.core.errors import DiskFullError, OutputError
from seg_batch.io.sinks.publish import atomic_replace, require_writable, restore_and_clean


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


def make(part: Path, text: str, *, folder: bool) -> None:
    if folder:
        part.mkdir()
        part = part / "chunk"
    part.write_text(text)


def content(path: Path) -> str:
    return (path / "chunk" if path.is_dir() else path).read_text()


@pytest.mark.parametrize("folder", [False, True])
def test_the_new_replaces_the_old_and_nothing_else_is_left(tmp_path: Path, folder: bool) -> None:
    path = tmp_path / "a b[1].tif"
    for text in ("first", "second"):
        with atomic_replace(path) as part:
            make(part, text, folder=folder)
            (part.parent / "helper").write_text("x")
        assert content(path) == text
        assert names(tmp_path) == {path.name}


def _fail(part: Path, error: type[BaseException], *, folder: bool) -> None:
    make(part, "half", folder=folder)
    raise error


@pytest.mark.parametrize("folder", [False, True])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
def test_an_error_midway_keeps_the_old(
    tmp_path: Path, folder: bool, error: type[BaseException]
) -> None:
    path = tmp_path / "a.tif"
    make(path, "old", folder=folder)
    with pytest.raises((error, OutputError)), atomic_replace(path) as part:
        _fail(part, error, folder=folder)
    assert content(path) == "old"
    assert names(tmp_path) == {"a.tif"}


@pytest.mark.parametrize("folder", [False, True])
@pytest.mark.parametrize("step", ["flush", "move"])
def test_an_error_at_the_end_keeps_the_old(
    tmp_path: Path, folder: bool, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.tif"
    make(path, "old", folder=folder)
    move = os.replace

    def broken(source: Path, target: Path | None = None) -> None:
        if target is None or (source.parent.name == "a.tif.part" and source.name == "a.tif"):
            raise OSError(5, "Input/output error")
        move(source, target)

    monkeypatch.setattr(
        "seg_batch.io.sinks.publish.flush" if step == "flush" else "os.replace", broken
    )
    with pytest.raises(OutputError, match="check the disk"), atomic_replace(path) as part:
        make(part, "new", folder=folder)
    assert content(path) == "old"
    assert names(tmp_path) == {"a.tif"}


KILLED = (
    "import os, sys, pathlib\n"
    "from seg_batch.io.sinks.publish import atomic_replace\n"
    "move = os.replace\n"
    "os.replace = lambda a, b: (move(a, b), os._exit(9))\n"
    "with atomic_replace(pathlib.Path(sys.argv[1])) as part:\n"
    "    part.mkdir(); (part / 'chunk').write_text('new')\n"
)


def test_a_tree_that_finds_the_disk_full_says_so_in_one_line(tmp_path: Path) -> None:
    """``shutil`` tells of the files of a tree in one error that has no number."""
    for name in ("labels/0", "labels/1", "zarr.json"):
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).touch()

    def full(source: str, target: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), source, None, target)

    with pytest.raises(DiskFullError) as refused, atomic_replace(tmp_path / "out.zarr") as part:
        shutil.copytree(tmp_path / "tree", part, copy_function=full)
    assert refused.value.message == (
        f"can't write {tmp_path / 'out.zarr'} (No space left on device); the disk is full: free some "
        "space and run the same command again"
    )
    assert names(tmp_path) == {"tree"}


def test_killed_between_the_two_moves_of_a_folder(tmp_path: Path) -> None:
    """The earlier result stepped aside and its successor never came: the next run puts it back."""
    path = tmp_path / "a.zarr"
    make(path, "old", folder=True)
    assert subprocess.run([sys.executable, "-c", KILLED, str(path)]).returncode == 9
    assert not path.exists()
    with pytest.raises(ValueError), atomic_replace(path):
        raise ValueError
    assert content(path) == "old"
    assert names(tmp_path) == {"a.zarr"}


def test_what_was_killed_on_its_way_is_taken_away_without_a_next_run(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    make(path, "old", folder=True)
    assert subprocess.run([sys.executable, "-c", KILLED, str(path)]).returncode == 9
    for _ in range(2):
        restore_and_clean(path)
        assert content(path) == "old"
        assert names(tmp_path) == {"a.zarr"}


HOLD = (
    "import sys, pathlib\n"
    "from seg_batch.io.sinks.publish import atomic_replace\n"
    "with atomic_replace(pathlib.Path(sys.argv[1])) as part:\n"
    "    part.write_text('theirs'); print('held', flush=True); sys.stdin.read()\n"
)


@pytest.fixture
def other(tmp_path: Path):
    """Another process that is publishing ``a.tif``."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "a.tif")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_two_runs_do_not_collide(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    restore_and_clean(tmp_path / "a.tif")
    assert names(tmp_path) == {"a.tif.part"}, "it is at work"
    with (
        pytest.raises(OutputError, match="another segbatch run"),
        atomic_replace(tmp_path / "a.tif"),
    ):
        pass
    other.communicate()
    assert (tmp_path / "a.tif").read_text() == "theirs"


def test_what_a_killed_run_left_is_swept(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    other.kill()
    other.wait()
    assert names(tmp_path) == {"a.tif.part"}
    with atomic_replace(tmp_path / "a.tif") as part:
        assert list(part.parent.iterdir()) == []
        part.write_text("ours")
    assert (tmp_path / "a.tif").read_text() == "ours"
    assert names(tmp_path) == {"a.tif"}


def test_the_product_is_flushed_before_it_is_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr("seg_batch.io.sinks.publish.flush", lambda p: seen.append(Path(p).name))
    monkeypatch.setattr("os.replace", lambda a, b: seen.append("moved"))
    with atomic_replace(tmp_path / "a.tif") as part:
        part.write_text("x")
    assert seen == ["a.tif", "moved", tmp_path.name]


@pytest.mark.parametrize("folder", ["file/below", "/proc/nowhere"])
def test_an_unwritable_folder_is_one_line(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="another output") as caught:
        require_writable(tmp_path / folder)
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_folder_is_made(tmp_path: Path) -> None:
    require_writable(tmp_path / "new" / "folder")
    assert list((tmp_path / "new" / "folder").iterdir()) == []
