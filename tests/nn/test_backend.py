"""Importing the room costs nothing; entering it is quiet."""

import subprocess
import sys

import pytest


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)


def test_the_package_imports_neither_keras_nor_tensorflow() -> None:
    loaded = run(
        "import seg_batch.nn, sys; print('keras' in sys.modules, 'tensorflow' in sys.modules)"
    )
    assert loaded.stdout.split() == ["False", "False"]


@pytest.mark.full
def test_tensorflow_starts_without_chatter() -> None:
    assert run("from seg_batch.nn.backend import tf; tf.ones(2) + 1").stderr == ""
