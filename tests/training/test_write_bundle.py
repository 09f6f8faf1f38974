"""The bundle of unusual trainings: slices of volumes, nothing to test on, pictures on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from seg_batch.cli.display.model_lines import score_lines
from seg_batch.config.card import read_card
from seg_batch.config.command_options import TrainOverrides
from seg_batch.config.recipe import Recipe, read_recipe
from seg_batch.core.geometry import Box
from seg_batch.training.provenance import configuration_hash
from seg_batch.training.train import train
from tests.support.training.pairs import bright_recipe, bright_scene, volume_recipe, volumes


def trained(data: object, folder: Path, recipe: Recipe) -> dict[str, Any]:
    path = folder / "recipe.yaml"
    path.write_text(recipe.model_dump_json())
    return train(str(data), folder / "b", wishes=TrainOverrides(recipe=path))


def test_the_middle_of_a_box() -> None:
    box = Box((10, 20, 5), (30, 80, 9))
    assert box.middle((1, 30, 100)) == Box((19, 35, 5), (20, 65, 9))
    assert box.middle((100, 100, 100)) == box


@pytest.mark.full
def test_a_flat_model_of_volumes(tmp_path: Path) -> None:
    flat: dict[str, Any] = {"rank": 2, "patch": [16, 16], "overlap": [8, 8]}
    cut = {"patch": [16, 16], "overlap": [8, 8]}
    recipe = volume_recipe(steps=2).changed(card=flat, cut=cut)
    card = trained(volumes(tmp_path / "v", 3), tmp_path, recipe)
    assert read_card(tmp_path / "b").model_dump(mode="json") == card
    assert card["scores"]["test"]["measured_on"].startswith("1 whole case")
    assert card["scores"]["test"]["cases"] == ["case_2"]
    assert len(card["border"]["overlap"]) == 2


@pytest.mark.full
def test_nothing_to_test_on_and_pictures_on_the_way(tmp_path: Path) -> None:
    pair, _ = bright_scene(tmp_path)
    recipe = bright_recipe(
        hold_out={"test": {}}, fit={"batch": 8, "steps": 24, "examples_every": 1, "patience": 9}
    )
    card = trained(pair, tmp_path, recipe)
    assert set(card["scores"]) == {"validation", "how", "training"}
    assert len(score_lines(card)) == 3
    shown = {path.name[:11] for path in (tmp_path / "b" / "examples").glob("*.png")}
    assert len(shown) >= 2, shown


@pytest.mark.full
def test_pairs_and_nothing_else(tmp_path: Path) -> None:
    """No recipe: what the data advise is trained, and stands in the bundle to be used again."""
    pair, _ = bright_scene(tmp_path)
    settings = ("fit.steps=2", "fit.batch=2", "network.filters=[4, 4]", "card.patch=[64, 64]")
    settings = (*settings, "card.overlap=[16, 16]")
    card = train(pair, tmp_path / "b", wishes=TrainOverrides(settings=settings))
    assert [c["id"] for c in card["classes"]] == [1, 7]
    assert card["scores"]["test"]["overall"]["accuracy"]["mean"] > 0
    recipe = read_recipe(tmp_path / "b" / "recipe.yaml")
    assert (recipe.network.filters, recipe.card.patch) == ((4, 4), (64, 64))
    assert configuration_hash(recipe) == card["scores"]["training"]["configuration"]["hash"]
