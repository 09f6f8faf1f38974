"""What is installed is listed with all that decides which is taken; only what was added is removed."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from seg_batch.cli.display.model_lines import model_facts, model_lines
from seg_batch.core.errors import InputError
from seg_batch.core.resources import BUNDLES
from seg_batch.inference.bundles import find_bundle
from seg_batch.library.add import remove_bundle
from tests.library.conftest import Adds, Said, kept
from tests.support.library import files_of, written, zipped


def test_a_row_says_what_it_is_and_where_it_lies(tmp_path: Path, adds: Adds, home: Path) -> None:
    adds(zipped(tmp_path / "a.zip", files_of("hippocampus-mri")), overwrite=True)
    adds(zipped(tmp_path / "b.zip", files_of()))
    written(home / "broken", {"card.json": b"{}"})
    facts = model_facts(None)
    rows = {row["name"]: row for row in facts["models"]}
    assert rows["toy"]["licence"] == "CC0-1.0"
    assert rows["toy"]["bytes"] == sum(p.stat().st_size for p in (home / "toy").iterdir())
    assert rows["toy"]["overall"] == {"test": {"accuracy": 0.75, "mean_dice": 0.5}}
    assert (rows["toy"]["packaged"], rows["landsat8-landcover"]["packaged"]) == (False, True)
    assert rows["hippocampus-mri"]["hides"] == [str(BUNDLES / "hippocampus-mri")]
    assert facts["damaged"].keys() == {str(home / "broken")}
    text = model_lines(facts)
    assert "toy  (2-D raster, keras, " in text
    assert "accuracy 0.7500, mean Dice 0.5000 (test)" in text
    assert f"lies in   {home / 'toy'}" in text
    assert f"hides     {BUNDLES / 'hippocampus-mri'}" in text
    assert f"damaged  {home / 'broken'}: " in text
    json.dumps(facts)


def test_one_bundle_says_where_it_came_from_and_what_its_output_means(
    tmp_path: Path, adds: Adds, home: Path
) -> None:
    archive = zipped(
        tmp_path / "a.zip",
        files_of(
            output={"gives": "logits", "classes": "independent", "blend": "logits", "rule": "last"},
            tensors={"layout": "channels_first", "output": "scores"},
            patch_fixed="a layer says so",
            origin={"made_of": "elsewhere"},
            scores={"test": {"overall": 5}, "training": "long", "validation": [1]},
            description="\x1b[31mred",
        ),
    )
    adds(archive)
    text = model_lines(model_facts("toy"))
    rows = dict(re.split(r"  +", line, maxsplit=1) for line in text.splitlines() if "  " in line)
    assert rows["path"] == str(home / "toy")
    assert rows["added"].endswith(f"from {archive}")
    output = "logits of independent classes, blended as logits; the last above 0.5 is the label"
    assert rows["output"] == output
    assert rows["tensors"] == "layout channels first, output scores"
    assert rows["takes this patch alone"] == "a layer says so"
    assert rows["origin"] == "{'made_of': 'elsewhere'}"
    assert "test: {'overall': 5}" in text
    assert "\x1b" not in text + model_lines(model_facts(None))


def test_only_what_was_added_is_removed(
    tmp_path: Path, adds: Adds, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adds(zipped(tmp_path / "a.zip", files_of()))
    adds("hippocampus-mri", overwrite=True)
    written(home / "diary", {"day.txt": b""})
    written(tmp_path / "named" / "other", files_of())
    monkeypatch.setenv("SEGBATCH_BUNDLES", str(tmp_path / "named"))
    (home / "linked").symlink_to(tmp_path / "named" / "other")
    before = kept(home)
    for name, said in {
        "landsat8-landcover": "came with segbatch",
        "probe": "came with segbatch",
        "other": "SEGBATCH_BUNDLES",
        "diary": "no bundle that was added",
        "tyo": "did you mean toy",
        "../bundles/toy": "no bundle",
        str(home / "toy"): "no bundle",
        "..": "no bundle",
        "": "no bundle",
    }.items():
        with pytest.raises(InputError, match=said):
            remove_bundle(name)
    assert kept(home) == before
    for name in ("toy", "hippocampus-mri", "linked"):
        remove_bundle(name)
    assert os.listdir(home) == ["diary"]
    assert find_bundle("hippocampus-mri").path == BUNDLES / "hippocampus-mri"
    assert (tmp_path / "named/other/card.json").is_file()


def test_a_damaged_bundle_is_removed(home: Path) -> None:
    written(home / "broken", {"card.json": b"{"})
    remove_bundle("broken")
    assert os.listdir(home) == []


def test_where_nobody_can_answer_it_has_to_be_said(home: Path, said: Said) -> None:
    written(home / "toy", files_of())
    with pytest.raises(InputError, match="--yes"):
        said("models", "remove", "toy")
    assert said("models", "remove", "toy", "--yes").startswith(f"removed {home / 'toy'} (")
    assert os.listdir(home) == []


@pytest.mark.full
def test_the_command_asks_where_somebody_can_answer(home: Path) -> None:
    written(home / "toy", files_of())
    assert not _answered("n\n")
    assert (home / "toy").is_dir()
    assert _answered("y\n")
    assert not (home / "toy").exists()


def _answered(answer: str) -> bool:
    ours, theirs = pty.openpty()
    os.write(ours, answer.encode())
    command = [sys.executable, "-m", "seg_batch", "models", "remove", "toy"]
    done = subprocess.run(command, stdin=theirs, capture_output=True, text=True, check=False)
    for end in (ours, theirs):
        os.close(end)
    assert "for good?" in done.stdout + done.stderr
    return done.returncode == 0
