"""A script that its workers would run again is told so at once."""

from __future__ import annotations

import subprocess
import sys

import pytest

CALL = "from seg_batch.executors.cluster.main_script import require_guard\n"


@pytest.mark.parametrize(
    ("script", "refused"),
    [("require_guard()\n", True), ('if __name__ == "__main__":\n    require_guard()\n', False)],
)
def test_a_script_without_a_guard_is_refused(tmp_path, script, refused):
    (tmp_path / "mine.py").write_text(CALL + script)
    done = subprocess.run([sys.executable, tmp_path / "mine.py"], capture_output=True, text=True)
    assert (done.returncode != 0) is refused
    assert ("mine.py would be run again by each of its workers" in done.stderr) is refused
