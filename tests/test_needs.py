"""What a machine lacks skips a test, is counted, and is no failure; every other skip is one in CI."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import hardware

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.full  # each in a process of its own
LACKING = """
import pytest
@pytest.mark.needs("curl")
@pytest.mark.parametrize("n", [1, 2])
def test_curl(n): pass
@pytest.mark.needs("linux", "mount")
def test_mount(): pass
@pytest.fixture
def broken(): raise RuntimeError
@pytest.mark.needs("mount")
def test_what_it_asks_for_is_not_made(broken): pass
def test_plain(): pass
"""
OTHER = """
import pytest
def test_inside(): pytest.skip("needs curl")
@pytest.mark.skip(reason="needs curl")
def test_mark(): pass
@pytest.mark.needs("linux")
def test_what_it_needs_is_there(): pytest.skip("of its own")
"""


def run(folder: Path, text: str, *options: str, without: str = "", ci: bool = True) -> list[str]:
    """Lines that pytest ends with, of a file of tests that has these tests' conftest."""
    (folder / "conftest.py").symlink_to(ROOT / "tests" / "conftest.py")
    (folder / "test_it.py").write_text(text)
    settings = {"SEGBATCH_NO_SKIPS": str(int(ci)), "SEGBATCH_TEST_WITHOUT": without}
    command = [sys.executable, "-m", "pytest", "-q", "--color=no", *options]
    command += ["-p", "no:cacheprovider", f"--rootdir={ROOT}", f"-c{ROOT / 'pyproject.toml'}"]
    done = subprocess.run(
        [*command, folder / "test_it.py"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **settings},
    )
    return (done.stdout + done.stderr).rstrip().splitlines()


@pytest.mark.parametrize(("options", "ci"), [((), True), ((), False), (("-n", "1"), True)])
def test_what_the_machine_lacks_is_counted_and_no_failure(
    tmp_path: Path, options: tuple[str, ...], ci: bool
) -> None:
    *_, counted, last = run(tmp_path, LACKING, *options, without="curl,mount", ci=ci)
    assert counted == "skipped for want of: curl 2, mount 2"
    assert last.startswith("1 passed, 4 skipped in ")


def test_where_nothing_is_lacking_nothing_is_told(tmp_path: Path) -> None:
    lines = run(tmp_path, "def test_plain(): pass")
    assert "want" not in "".join(lines)
    assert lines[-1].startswith("1 passed in ")


@pytest.mark.parametrize(
    ("ci", "last"), [(True, "2 failed, 1 error in "), (False, "3 skipped in ")]
)
def test_every_other_skip_is_a_failure_in_ci(tmp_path: Path, ci: bool, last: str) -> None:
    lines = run(tmp_path, OTHER, without="curl", ci=ci)
    assert "want" not in "".join(lines)
    assert lines[-1].startswith(last)


def test_unknown_needs_are_errors(tmp_path: Path) -> None:
    text = "import pytest\n@pytest.mark.needs('luck')\ndef test_it(): pass"
    lines = run(tmp_path, text, ci=False)
    assert "'luck' is no need of a test: use one of bfloat16, " in "".join(lines)
    assert lines[-1].startswith("1 error in ")
    with pytest.raises(ValueError, match="'luck' is no need"):
        hardware.known(["curl", "luck"])


def test_every_probe_has_an_answer() -> None:
    assert {type(hardware.lacks(name)) for name in hardware.NEEDS} == {bool}
