"""A script in another Python answers, or its fault is told in one line; this Python has no torch."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from seg_batch.core.errors import InputError
from seg_batch.nn.torch_conversion import process


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    runner = Path(process.__file__).with_name("run_script.py")
    (tmp_path / runner.name).write_text(runner.read_text())
    monkeypatch.setattr(process, "_HERE", tmp_path)
    monkeypatch.delenv(process.VARIABLE, raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("import nonesuch", "no nonesuch.*--torch-python"),
        ("raise ValueError('a\\n  b')", "^a b$"),
        ("raise RuntimeError('first\\nsecond')", "RuntimeError: first\\)"),
        ("import os; os._exit(7)", "status 7"),
    ],
)
def test_faults_are_one_line(scripts: Path, body: str, words: str) -> None:
    (scripts / "s.py").write_text(f"def main(arguments):\n    {body}\n")
    with pytest.raises(InputError, match=words) as caught:
        process.convert("s", [], scripts)
    assert "\n" not in caught.value.message


def test_it_answers_in_its_folder_whatever_it_prints(scripts: Path) -> None:
    body = (
        "import os, sys\ndef main(a):\n    print('noise')\n    return {'a': a, 'at': os.getcwd()}"
    )
    (scripts / "s.py").write_text(body)
    (folder := scripts / "work").mkdir()
    assert process.convert("s", ["x y"], folder, python=sys.executable) == {
        "a": ["x y"],
        "at": str(folder),
    }


def test_a_python_that_is_none_is_told(scripts: Path) -> None:
    with pytest.raises(InputError, match=r"can't be run.*--torch-python"):
        process.convert("s", [], scripts, python=str(scripts / "python"))
