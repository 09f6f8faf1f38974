"""What a test may need of the machine that it runs on, and whether this one has it.

``@pytest.mark.needs("bfloat16")`` names what a test needs, out of `NEEDS`. Where the machine lacks it
the test is skipped, in CI too, and the end of the run counts it. What can be installed by pip is no
such need: a test that skips for want of that is a failed one in CI.

``SEGBATCH_TEST_WITHOUT=bfloat16,mount`` makes this machine one that lacks these. bfloat16 is then
absent for the package as well, in processes that the tests start, too: `imitate`.
"""

import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from seg_batch.core import hardware

GIB = 1 << 30
# On PYTHONPATH, a folder that takes bfloat16 from every process.
WITHOUT_BFLOAT16 = Path(__file__).parent / "without_bfloat16"


def is_linux() -> bool:
    return sys.platform == "linux" and Path("/proc/self/statm").exists()


def browser() -> str | None:
    return shutil.which("chromium") or shutil.which("google-chrome")


def is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def can_mount() -> bool:
    """A small disk, in a name space of its own."""
    with TemporaryDirectory() as folder:
        return _works("unshare", "-rm", "mount", "-t", "tmpfs", "-o", "size=64k", "none", folder)


def can_lock() -> bool:
    """A folder that we ourselves can't write to. Only a flag of the file system binds root."""
    if not is_root():
        return True
    with TemporaryDirectory() as folder:
        locked = _works("chattr", "+i", folder)
        return _works("chattr", "-i", folder) and locked


def _works(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False


NEEDS: dict[str, Callable[[], bool]] = {
    "bfloat16": hardware.has_bfloat16,  # a CPU that computes in it
    "avx512": hardware.has_avx512,
    "gpu": lambda: hardware.gpus() > 0,  # one that CUDA_VISIBLE_DEVICES shows
    "memory": lambda: hardware.available_bytes() >= 8 * GIB,
    "linux": is_linux,  # its /proc, its limits of a process
    "root": is_root,
    "mount": can_mount,
    "lock": can_lock,
    "chromium": lambda: browser() is not None,
    "dciodvfy": lambda: shutil.which("dciodvfy") is not None,
    "dcmtk": lambda: shutil.which("storescu") is not None,
    "orthanc": lambda: shutil.which("Orthanc") is not None,
    "curl": lambda: shutil.which("curl") is not None,
}


def known(names: Iterable[str]) -> list[str]:
    """The names; ValueError for one that `NEEDS` does not have."""
    found = list(names)
    for name in found:
        if name not in NEEDS:
            raise ValueError(f"{name!r} is no need of a test: use one of {', '.join(NEEDS)}")
    return found


WITHOUT = known(filter(None, os.environ.get("SEGBATCH_TEST_WITHOUT", "").split(",")))


def imitate() -> None:
    """Make this process, and those that it starts, what `WITHOUT` says."""
    if "bfloat16" in WITHOUT:
        paths = [str(WITHOUT_BFLOAT16), *filter(None, [os.environ.get("PYTHONPATH")])]
        os.environ["PYTHONPATH"] = os.pathsep.join(paths)
        runpy.run_path(str(WITHOUT_BFLOAT16 / "sitecustomize.py"))


@cache
def lacks(name: str) -> bool:
    return name in WITHOUT or not NEEDS[name]()
