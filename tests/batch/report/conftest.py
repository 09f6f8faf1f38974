"""A night of one input of each kind, and its report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from seg_batch.batch.report import write
from tests.support.batch.run_folders import small_night


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str, Path]:
    run = small_night(tmp_path_factory.mktemp("night"))
    return write(run), (run / "report.html").read_text(encoding="utf-8"), run
