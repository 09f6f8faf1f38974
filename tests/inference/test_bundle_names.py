"""A bundle is called by its folder, as ``--model`` takes it, whatever its card says."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from seg_batch.cli.display.lines import plan_facts
from seg_batch.cli.display.model_lines import model_facts
from seg_batch.cli.display.source_lines import source_facts
from seg_batch.core.errors import BundleError
from seg_batch.core.resources import BUNDLES, SAMPLES
from seg_batch.inference.bundles import find_bundle, name_for
from seg_batch.inference.request import Request, prepare

VOLUME = SAMPLES / "hippocampus_001.nii.gz"


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a packaged bundle in a folder of another name."""
    monkeypatch.setenv("SEGBATCH_BUNDLES", str(tmp_path))
    return Path(shutil.copytree(BUNDLES / "hippocampus-mri", tmp_path / "mine"))


def test_it_is_listed_and_taken_by_that_name(mine: Path) -> None:
    names = [row["name"] for row in model_facts(None)["models"]]
    assert {"mine", "hippocampus-mri"} <= {*names}
    assert find_bundle("mine").path == mine.resolve()
    assert {"mine", "hippocampus-mri"} <= source_facts(str(VOLUME), None)["models"].keys()
    with pytest.raises(BundleError, match="mine, hippocampus-mri"):
        prepare(Request(str(VOLUME)))
    by_name, by_path = (
        plan_facts(prepare(Request(str(VOLUME), model=model))) for model in ("mine", str(mine))
    )
    assert by_name["model"] == by_path["model"] == "mine"
    with pytest.raises(BundleError, match="one of mine, "):
        find_bundle("others")


def test_products_depend_on_the_card_and_not_on_the_folder(mine: Path) -> None:
    plans = [prepare(Request(str(VOLUME), model=m)).plan for m in ("mine", "hippocampus-mri")]
    assert plans[0].identity == plans[1].identity


@pytest.mark.parametrize(
    ("folder", "name"),
    [("out/forest", "forest"), ("mein Wald", "mein-Wald"), (".hidden", "hidden"), ("/", "model")],
)
def test_a_new_bundle_has_the_name_of_its_folder(folder: str, name: str) -> None:
    assert name_for(Path(folder)) == name
