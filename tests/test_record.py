"""What was made before code was moved: the same is made after it.

``tests/support/record.py`` makes a product of every kind and compares digests.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.full

ROOT = Path(__file__).resolve().parents[1]


def test_every_product_is_that_of_the_record() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.record"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-2000:]}"
