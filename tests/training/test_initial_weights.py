"""What a training starts from and follows: other classes, other channels, other networks, a teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seg_batch.config.command_options import TrainOverrides
from seg_batch.config.recipe import Recipe
from seg_batch.core.errors import InputError
from seg_batch.inference import bundles
from seg_batch.nn.loading import load_model
from seg_batch.training.initial_weights import initial_weights, require_fitting, teacher_of
from seg_batch.training.train import train
from tests.support.training.pairs import bright_recipe, bright_scene, volume_recipe


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A plain U-Net of four steps, trained straight from the pair."""
    folder = tmp_path_factory.mktemp("start")
    pair, _ = bright_scene(folder)
    path = folder / "recipe.yaml"
    path.write_text(bright_recipe(network={"arch": "unet"}).model_dump_json())
    card = train([pair], folder / "b", wishes=TrainOverrides(recipe=path))
    return {"pair": pair, "recipe": path, "bundle": str(folder / "b"), "card": card}


def other(**card: Any) -> Recipe:
    """Another recipe, whose network is not the bundle's."""
    return bright_recipe(card=card, network={"arch": "anunet", "filters": [6, 6]})


def body(model: Any) -> dict[str, list[np.ndarray]]:
    """Weights by layer, less heads and the first convolution."""
    layers = [layer for layer in model.layers if layer.weights]
    return {layer.name: layer.get_weights() for layer in layers[1:] if "head" not in layer.name}


@pytest.mark.full
def test_another_network_is_trained_by_name(made: dict[str, Any]) -> None:
    network = {"name": "unet", "filters": [4, 8], "options": {"norm": True}}
    assert made["card"]["architecture"] == network
    assert made["card"]["scores"]["test"]["overall"]["accuracy"]["mean"] > 0


@pytest.mark.full
def test_other_classes_and_channels_start_from_all_that_they_share(made: dict[str, Any]) -> None:
    theirs = load_model(bundles.find_bundle(made["bundle"]).weights)
    names = ("dark", "bright", "new")
    three = [{"id": k, "name": n, "colour": [k, k, 0]} for k, n in enumerate(names)]
    for recipe in (other(), other(classes=three), other(channels=["light", "heat"])):
        began = initial_weights(recipe, made["bundle"])
        expected, found = body(theirs), body(began.model)
        assert expected.keys() == found.keys()
        for name, weights in expected.items():
            for a, b in zip(weights, found[name], strict=True):
                np.testing.assert_array_equal(a, b)
        assert began.model.input_shape[-1] == len(recipe.card.channels)
        assert began.model.output_shape[-1] == len(recipe.card.classes)
    lines = initial_weights(other(classes=three), made["bundle"]).lines
    assert any("new, for 3 classes" in line for line in lines)


@pytest.mark.full
def test_a_teacher_changes_what_is_learnt(made: dict[str, Any], tmp_path: Path) -> None:
    wishes = TrainOverrides(recipe=made["recipe"])
    train(made["pair"], tmp_path / "b", wishes=wishes, teacher=made["bundle"])
    one, two = (load_model(Path(b) / "model.keras") for b in (made["bundle"], tmp_path / "b"))
    pairs = zip(one.get_weights(), two.get_weights(), strict=True)
    assert any(not np.array_equal(a, b) for a, b in pairs)


@pytest.mark.full
def test_what_can_not_be_started_from_is_refused(made: dict[str, Any]) -> None:
    fits = bright_recipe()
    require_fitting(fits, made["bundle"], made["bundle"])
    swapped = list(reversed(fits.model_dump(mode="json")["card"]["classes"]))
    for refuse in (
        lambda recipe: require_fitting(recipe, None, made["bundle"]),
        lambda recipe: teacher_of(recipe, made["bundle"]),
    ):
        with pytest.raises(InputError, match="knows other classes"):
            refuse(bright_recipe(card={"classes": swapped}))
        with pytest.raises(InputError, match="knows other classes"):
            refuse(bright_recipe(card={"channels": ["heat"]}))
    with pytest.raises(InputError, match="is 2-D and the recipe 3-D"):
        require_fitting(volume_recipe(), made["bundle"], None)


def test_the_probe_has_no_weights() -> None:
    for names in (("probe", None), (None, "probe")):
        with pytest.raises(InputError, match="probe has no weights"):
            require_fitting(bright_recipe(), *names)
    with pytest.raises(InputError, match="probe has no weights"):
        initial_weights(bright_recipe(), "probe")


def test_sides_that_can_not_be_halved_so_often_are_refused() -> None:
    deep = bright_recipe(network={"filters": [2] * 7})
    said = r"a patch of \(32, 32\).*multiple of 64; the nearest that fit are 64 x 64$"
    with pytest.raises(InputError, match=said):
        require_fitting(deep, None, None)
