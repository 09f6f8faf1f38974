"""int8: calibrated on real patches, compared, and its loss of Dice measured on what was held out."""

from __future__ import annotations

from pathlib import Path

import pytest

from seg_batch.config.card import read_card
from seg_batch.conversion import export as verb
from seg_batch.conversion.export import export, lines
from seg_batch.datasets.build import make_patches
from seg_batch.inference import bundles
from seg_batch.nn.export.formats import DICE_LOSS

RECIPES = Path(__file__).parents[2] / "workflows"
SCENE = Path(verb.__file__).parents[1] / "data" / "samples" / "zion_landsat8.tif"
ZION = "zion_landsat8_nlcd"


@pytest.mark.slow
def test_int8_of_a_2d_network_from_an_image(tmp_path: Path) -> None:
    """Without a held-out part there is no loss to tell, and no score of float32 is passed on."""
    report = export(
        "landsat8-landcover", "openvino", tmp_path / "out", quantize="int8", calibrate=str(SCENE)
    )
    assert report["calibrated"]["patches"] == 6
    assert report["difference"]["label_agreement"] > 0.97
    assert report["size_bytes"] < 0.6 * report["keras_bytes"]
    model = bundles.require_intact(bundles.find_bundle(str(tmp_path / "out")))
    assert (model.card.name, model.card.format) == ("landsat8-landcover-int8", "openvino")
    assert set(model.card.scores) <= {"training"}


@pytest.mark.slow
@pytest.mark.parametrize("to", ["openvino", "tflite"])
def test_the_loss_of_dice_is_measured_and_in_the_card(tmp_path: Path, data: Path, to: str) -> None:
    pair = "{0}/landsat8_b2345.tif={0}/label_nlcd8_on_landsat_grid.tif".format(data / ZION)
    recipe = str(RECIPES / "landsat8-landcover.yaml")
    make_patches([pair], str(tmp_path / "set"), recipe, cluster="inline")
    report = export(
        "landsat8-landcover", to, tmp_path / "out", quantize="int8", calibrate=str(tmp_path / "set")
    )
    dice = report["dice"]
    assert dice["loss"] == pytest.approx(dice["float32"] - dice["int8"], abs=1e-4)
    assert dice["loss"] < DICE_LOSS
    scores = read_card(tmp_path / "out").scores
    assert scores["int8"] == dice
    assert scores["test"]["overall"]["mean_dice"]["mean"] == dice["int8"]
    assert "validation" not in scores  # that was float32's
    assert f"loses {dice['loss']:.4f}" in lines(report)


@pytest.mark.slow
def test_the_loss_of_dice_of_a_3d_network(tmp_path: Path, data: Path) -> None:
    recipe = str(RECIPES / "hippocampus-mri.yaml")
    make_patches([str(data / "msd_hippocampus")], str(tmp_path / "set"), recipe, cluster="inline")
    report = export(
        "hippocampus-mri",
        "openvino",
        tmp_path / "out",
        quantize="int8",
        calibrate=str(tmp_path / "set"),
    )
    assert report["dice"]["loss"] < DICE_LOSS
    assert report["size_bytes"] < 0.6 * report["keras_bytes"]
