"""Networks by name on the command line: trained, described, refused; and the list of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seg_batch.cli.display.networks import _facts, arch_lines
from seg_batch.nn.networks.registry import ARCHITECTURES, build
from tests.support.training.pairs import bright_recipe, bright_scene, command, refused

FIT = {"steps": 20, "validate_every": 10, "checkpoint_every": 10}


def trained(folder: Path, arch: str, *settings: str) -> dict:
    """The card of 20 steps on the bright scene."""
    pair, _ = bright_scene(folder)
    how = folder / "recipe.yaml"
    how.write_text(bright_recipe(fit=FIT).model_dump_json())
    extra = [word for one in settings for word in ("--set", one)]
    command("train", pair, "-o", folder / "b", "--recipe", how, "--arch", arch, *extra)
    return json.loads((folder / "b" / "card.json").read_text())


@pytest.mark.full
def test_a_strided_one_learns_and_its_card_builds_it_again(tmp_path: Path) -> None:
    card = trained(tmp_path, "unet_strided", "network.options.dropout=[0.1, 0.2]")
    said = card["architecture"]
    options = {"dropout": [0.1, 0.2], "slope": 0.2}
    assert said == {"name": "unet_strided", "filters": [4, 8], "options": options}
    assert card["scores"]["test"]["overall"]["accuracy"]["mean"] > 0.8
    build(said["name"], rank=2, channels=1, classes=2, filters=said["filters"], **said["options"])


@pytest.mark.full
def test_one_that_sees_the_whole_patch_is_trained_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = trained(tmp_path, "unet_se")
    assert card["scores"]["test"]["overall"]["accuracy"]["mean"] > 0.8
    (layer,) = card["architecture"]["whole_patch_layers"]
    said = capsys.readouterr().err.replace("\n", " ")
    assert "warning: a layer sees the whole patch" in said
    assert layer in said


@pytest.mark.full
def test_networks_that_can_not_be_trained_are_refused_before_patches_are_cut(
    tmp_path: Path,
) -> None:
    pair, _ = bright_scene(tmp_path)
    how = tmp_path / "recipe.yaml"
    how.write_text(bright_recipe().model_dump_json())

    def said(arch: str, *settings: str) -> str:
        extra = [word for one in settings for word in ("--set", one)]
        return refused("train", pair, "-o", tmp_path / "b", "--recipe", how, "--arch", arch, *extra)

    assert "did you mean unet_se?" in said("unet_s")
    assert "no option 'norm'; known are reduction" in said("unet_se", "network.options.norm=true")
    assert "rank is 2; use 3 (volumes)" in said("unet3d")
    assert "network.options.finer is above 1" in said("unet_lrelu", "network.options.finer=3")
    deep = said("unet_xception", "network.filters=[2, 2, 2, 2, 2]", "fit.patch=[40, 40]")
    assert "multiple of 32; the nearest that fit are 32 x 32 or 64 x 64" in deep
    assert not (tmp_path / "b.work").exists()


@pytest.mark.full
def test_the_list_says_what_each_network_costs() -> None:
    facts = [_facts(name) for name in ("unet_xception", "unet_se")]
    plain, squeezed = facts
    assert (plain["ranks"], plain["multiple"], plain["filters"]) == ([2], 16, [32, 64, 128, 256])
    # The source's 2 058 979 are for 3 channels and 3 classes: one channel and five classes more.
    assert plain["parameters"] == 2_058_979 + 9 * 32 + 5 * (9 * 32 + 1)
    assert plain["whole_patch"] == []
    assert squeezed["receptive_field"] == [None, None]
    assert len(squeezed["whole_patch"]) == 4
    json.dumps(facts)
    table = arch_lines(facts)
    assert table[1].startswith("unet_xception  images  2,060,712")
    assert "whole patch" in table[2]
    assert "  unet_se: reduction=8, dilation=2" in table


def test_every_network_says_what_it_is() -> None:
    for name, one in ARCHITECTURES.items():
        assert one.says, name
        assert one.config(one.config.ranks[0], 1, 2).multiple >= 2
