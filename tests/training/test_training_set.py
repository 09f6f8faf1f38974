"""What a training learns from: the order of wishes, advice for what nobody said, datasets as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from seg_batch.config.recipe import Recipe
from seg_batch.core.callbacks import Callback
from seg_batch.core.errors import InputError
from seg_batch.datasets.build import make_patches
from seg_batch.training.training_set import TrainingSet, Wishes, training_set
from tests.support.training.pairs import bright_recipe, bright_scene, volumes


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> str:
    return bright_scene(tmp_path_factory.mktemp("pair"))[0]


def found(data: str | Path, folder: Path, *settings: str, **more: Any) -> TrainingSet:
    wishes = Wishes(settings=settings, **more)
    return training_set([str(data)], folder / "p.zarr", wishes, Callback())


def explained(made: TrainingSet) -> set[str]:
    """The dotted keys that reasons begin with."""
    return {line.partition(" ")[0].rstrip(":=") for line in made.reasons}


def test_nothing_said_is_advised_and_each_setting_has_a_reason(tmp_path: Path) -> None:
    made = found(volumes(tmp_path / "v", 5), tmp_path)
    assert {c.id for c in made.recipe.card.classes} == {0, 1}
    assert len(made.patches.rows("training")) > 0
    assert made.patches.held("validation")
    assert {"card.patch", "network.filters"} <= explained(made)


def test_one_small_scene_can_be_cut_by_advice_alone(pair: str, tmp_path: Path) -> None:
    made = found(pair, tmp_path)
    assert {c.id for c in made.recipe.card.classes} == {1, 7}
    assert min(len(made.patches.rows("training")), len(made.patches.held("test"))) > 0
    assert 0 < max(made.patches.hold_out["gap"]) < max(made.recipe.fit_patch)
    assert "hold_out.gap" in explained(made)


def test_settings_go_over_the_file_and_the_file_over_the_advice(pair: str, tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    own = {"fit": {"batch": 3, "steps": 7}, "network": {"filters": [4, 8]}}
    file.write_text(yaml.safe_dump(own))
    made = found(pair, tmp_path, "fit.steps=5", recipe=file)
    assert (made.recipe.fit.steps, made.recipe.fit.batch) == (5, 3)
    assert made.recipe.network.filters == (4, 8)
    assert not explained(made) & {"fit.batch", "fit.steps", "network.filters"}
    assert "card.patch" in explained(made)


@pytest.mark.full
def test_a_network_without_levels_takes_its_own_filters_unless_some_are_asked_for(
    pair: str, tmp_path: Path
) -> None:
    arch = "network.arch=deeplabv3plus"
    made = found(pair, tmp_path, arch)
    assert made.recipe.network.filters == (256, 256)
    assert "network.filters" not in explained(made)
    assert "card.patch" in explained(made)
    asked = found(pair, tmp_path, arch, "network.filters=[8, 8]")
    assert asked.recipe.network.filters == (8, 8)
    plain = found(pair, tmp_path / "plain")
    again = found(tmp_path / "plain" / "p.zarr", tmp_path, arch)
    assert len(plain.recipe.network.filters) > 2
    assert again.recipe.network.filters == (256, 256)


def test_a_recipe_of_card_and_cut_stands_alone(pair: str, tmp_path: Path) -> None:
    file, recipe = tmp_path / "whole.yaml", bright_recipe()
    file.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    made = found(pair, tmp_path, recipe=file)
    assert (made.recipe, made.reasons) == (recipe, ())
    again = found(pair, tmp_path, "fit.steps=9", recipe=file)  # what is cut is found again
    assert again.recipe == recipe.changed(fit={"steps": 9})
    assert again.patches.fingerprint == made.patches.fingerprint


def test_a_refused_recipe_cuts_nothing(pair: str, tmp_path: Path) -> None:
    def no(recipe: Recipe) -> None:
        raise InputError("no")

    with pytest.raises(InputError, match=r"^no$"):
        training_set([pair], tmp_path / "p.zarr", Wishes(), Callback(), check=no)
    assert list(tmp_path.iterdir()) == []


def test_a_dataset_is_learnt_from_by_its_own_recipe(pair: str, tmp_path: Path) -> None:
    recipe = bright_recipe()
    make_patches([pair], tmp_path / "d.zarr", recipe)
    made = found(tmp_path / "d.zarr", tmp_path, "fit.seed=3", "card.overlap=[8, 8]")
    assert made.recipe == recipe.changed(fit={"seed": 3}, card={"overlap": [8, 8]})
    assert made.reasons == ()
    assert not (tmp_path / "p.zarr").exists()
