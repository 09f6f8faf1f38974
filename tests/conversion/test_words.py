"""One rule for the words of others, wherever they stand: in options, in cards of other worlds, in results of nnU-Net."""

from __future__ import annotations

from pathlib import Path

import pytest

from seg_batch.config.command_options import ImportOptions
from seg_batch.conversion.cards.exported import ExportedFile
from seg_batch.conversion.declared import declared
from seg_batch.conversion.words import background_of, is_sequence, modality_of, word_of
from seg_batch.core.files import sha256
from seg_batch.core.text import as_name


@pytest.mark.parametrize(
    ("classes", "background"),
    [("a,Background", 1), ("bg,a", 0), ("a,unlabelled", 1), ("other,a", None), ("a,sea_bg", None)],
)
def test_the_background_is_the_class_that_is_called_so(
    classes: str, background: int | None
) -> None:
    names = classes.split(",")
    assert background_of({"id": k, "name": name} for k, name in enumerate(names)) == background
    options = ImportOptions(classes=classes, channels=("red",))
    assert declared(options, Path("b"))["background"] == background


def test_modalities_are_read_as_they_are_written() -> None:
    for modality in ("CT", "MR", "PET", "ultrasound", "microscopy"):
        assert modality_of(["image", word_of(modality) or ""]) == modality
    assert modality_of(["optical"]) is word_of("optical") is word_of(None) is None
    assert [is_sequence(name) for name in ("T1ce", "FLAIR", "mri", "t1 map", "red")] == [True] * 3 + [False] * 2  # fmt: skip


def test_a_text_becomes_a_name() -> None:
    names = [as_name(text) for text in ("_my model (2)", "x_", "...", "é" * 3, "n" * 200)]
    assert names == ["my-model-2", "x_", "model", "model", "n" * 100]


def test_the_hash_of_an_exported_file_is_of_it_alone(tmp_path: Path) -> None:
    """A catalogue gives the checksum of one file, and a card that of a network in two."""
    path = tmp_path / "model.xml"
    path.write_bytes(b"<net")
    path.with_suffix(".bin").write_bytes(b"")
    alone = sha256(path)
    path.with_suffix(".bin").write_bytes(b"numbers")
    assert ExportedFile.at(path, form="openvino").sha256 == alone != sha256(path)
