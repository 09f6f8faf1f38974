"""What holds for the project as a whole: its top level, its files, what a command imports."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE_S

ROOT = Path(__file__).resolve().parents[1]
TOP = {
    *("seg_batch", "workflows", "tests", "pyproject.toml", "Makefile", "README.md"),
    *("LICENSE", "CHANGELOG.md", "constraints.txt"),
}
# A path or an address of somebody's own machine, or the place they fetch packages from.
PRIVATE = re.compile(
    r"(?<![\w.])/(work|root|home|Users|opt|mnt)/\w|[A-Z]:\\Users|file:/{2}|index[-]url"
    r"|\b(10\.\d+|192\.168|172\.(1[6-9]|2\d|3[01]))\.\d+\.\d+\b"
)
RUN = """
import os, sys
sys.argv = ["segbatch", *sys.argv[1:]]
from seg_batch.cli import main
os._exit = sys.exit  # what is imported is told after the command
try:
    main.main()
except SystemExit as stop:
    assert not stop.code, stop.code
print("imported:", *{name.partition(".")[0] for name in sys.modules}, file=sys.stderr)
"""
SLOW = {
    *("tensorflow", "keras", "openvino", "dask", "distributed", "scipy", "matplotlib"),
    *("numpy", "rasterio", "nibabel", "zarr", "jinja2", "cryptography"),
    *("pydicom", "gdcm", "highdicom", "pynetdicom", "SimpleITK", "PIL", "contourpy"),
}
SCENE = ROOT / "seg_batch" / "data" / "samples" / "zion_landsat8.tif"


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [Path(name) for name in listed.stdout.split("\0") if (ROOT / name).is_file()]


def imported(*arguments: str) -> set[str]:
    """The top-level modules that a command line has imported by its end."""
    command = [sys.executable, "-c", RUN, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    found = set(done.stderr.rpartition("imported:")[2].split())
    assert {"seg_batch", "typer"} <= found, "it tells what was imported"
    return found


def test_the_top_level_is_as_agreed() -> None:
    names = {path.parts[0] for path in tracked()}
    assert {name for name in names if not name.startswith(".")} == TOP


def test_no_file_tells_of_the_machine_it_was_written_on() -> None:
    found = []
    for path in tracked():
        data = (ROOT / path).read_bytes()
        if b"\0" not in data:  # text
            match = PRIVATE.search(data.decode("utf-8"))
            found += [f"{path}: {match[0]}"] if match else []
    assert not found


def test_every_file_can_be_read_in_one_sitting() -> None:
    lengths = {
        path: len((ROOT / path).read_text(encoding="utf-8").splitlines())
        for path in tracked()
        if path.parts[0] == "seg_batch" and path.suffix == ".py"
    }
    assert not {str(path): n for path, n in lengths.items() if n > 350}


@pytest.mark.parametrize(
    "command", [["--help"], ["plan", "--help"], ["predict", "--help"], ["docs"]]
)
def test_help_and_docs_import_nothing_slow(command: list[str]) -> None:
    assert not imported(*command) & SLOW


def test_a_scene_is_inspected_without_what_reads_volumes() -> None:
    assert imported("inspect", str(SCENE)) & SLOW == {"numpy", "rasterio"}
