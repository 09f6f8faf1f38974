"""Options that mean nothing for a file of PyTorch, or for another, are refused before any Python with torch is asked."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

from seg_batch.config.command_options import ImportOptions
from seg_batch.conversion.import_model import import_model
from seg_batch.core.errors import InputError


@pytest.mark.parametrize(
    ("name", "said", "words"),
    [
        ("net.pt", {"output_name": "y"}, "--output-name"),
        ("net.onnx", {"torch_python": "python"}, "--torch-python"),
        ("fold_0/checkpoint_final.pth", {}, "checkpoint of nnU-Net.*results folder"),
    ],
)
def test_it_is_refused(tmp_path: Path, name: str, said: dict[str, Any], words: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("m/code/net.py", "")
    options = ImportOptions(("a",), "background,x", patch=(8, 8), **said)
    with pytest.raises(InputError, match=words):
        import_model(path, tmp_path / "b", options)
    assert not (tmp_path / "b").exists()
