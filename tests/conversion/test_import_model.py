"""Any Keras model of the right shape becomes a bundle."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import rasterio

from seg_batch.cli.display.lines import summary_lines
from seg_batch.cli.display.model_lines import model_facts, model_lines
from seg_batch.config.command_options import ImportOptions
from seg_batch.config.predict_options import PredictOptions
from seg_batch.conversion.import_model import import_model, imported_lines
from seg_batch.core.errors import BundleError, InputError, OutputError
from seg_batch.core.normalise import Pixels
from seg_batch.core.taper import Taper
from seg_batch.evaluation.evaluate import evaluate_bundle
from seg_batch.inference.predict import predict_one
from seg_batch.inference.request import Request, prepare
from seg_batch.inference.sliding_window.stitch import cut
from tests.support.files import address_raster, address_volume, segbatch, write_raster, write_volume
from tests.support.nn.foreign_models import by_place, layers, saved, strided_encoder

from seg_batch.nn.backend import keras  # isort: skip


def told(**fields: Any) -> ImportOptions:
    return ImportOptions(**{"channels": ("r", "g", "b"), "classes": "a,b,c,d", **fields})


@pytest.fixture(autouse=True)
def same_weights() -> None:
    keras.utils.set_random_seed(7)


def whole(model: Any, values: np.ndarray, plan: Any) -> np.ndarray:
    """Slow and plain: the Keras model on every tile of the plan, weighed, in float64."""
    grid = plan.grid
    total = np.zeros((*grid.extent, plan.classes))
    window = grid.window(plan.output_blocks.block((0,) * len(grid.extent)).box)
    assert window.shape == grid.extent
    for tile in grid:
        patch = cut(Pixels(values), window, tile.box, grid.extent).values
        found = np.asarray(model(patch[None].astype(np.float32), training=False))[0]
        inside = tile.trusted
        part = inside.slices(tile.box.start)
        weights = Taper(grid, plan.taper).weights(tile)
        total[inside.slices()] += (found * weights[..., None])[part]
    return total


@pytest.mark.full
@pytest.mark.parametrize(
    ("build", "channels", "classes", "patch"),
    [(by_place, 3, 4, (40, 24)), (strided_encoder, 2, 3, None)],
)
def test_a_wrapped_model_predicts_a_scene(
    tmp_path: Path, build: Callable[..., Any], channels: int, classes: int, patch: Any
) -> None:
    """Tile by tile what the model itself gives, blended; whatever its layers are called."""
    model = build(channels, classes)
    names = ",".join(f"k{i}" for i in range(classes))
    said = ImportOptions(tuple("rgb"[:channels]), names, patch=patch, licence="CC0-1.0")
    result = import_model(saved(model, tmp_path / "m.keras"), tmp_path / "mine", said)
    assert result["card"]["patch"] == list(patch or (256, 256))
    assert result["card"]["compute"]["flops"] > 0
    assert result["card"]["compute"]["weights_bytes"] > 0
    values = address_raster((301, 270), channels, "uint8")
    scene = write_raster(tmp_path / "a.tif", values)
    tensorflow = PredictOptions(engine="tensorflow", precision="float32")
    request = Request(str(scene), str(tmp_path / "o.tif"), str(tmp_path / "mine"), tensorflow)
    report = predict_one(request)
    assert report["status"] == "complete"
    expected = whole(model, np.moveaxis(values, 0, -1), prepare(request).plan)
    with rasterio.open(tmp_path / "o.tif") as file:
        found = file.read(1)
    sure = np.sort(expected, -1)[..., -1] - np.sort(expected, -1)[..., -2] > 0.02
    assert sure.mean() > 0.5
    assert np.array_equal(found[sure], expected.argmax(-1)[sure])
    assert len(np.unique(found)) > 1


@pytest.mark.full
def test_a_volume_model_of_one_sigmoid_channel(tmp_path: Path) -> None:
    model = by_place(1, 1, 3, activation="sigmoid")
    said = ImportOptions(
        ("T1",),
        "background,tumour",
        patch=(16, 16, 16),
        mean=(10.0,),
        std=(300.0,),
        modality="MR",
        aliases=("T1w|mprage",),
        quantity=("arbitrary",),
    )
    result = import_model(saved(model, tmp_path / "m.keras"), tmp_path / "b", said)
    card = result["card"]
    assert (card["kind"], card["rank"], card["background"]) == ("volume", 3, 0)
    assert (card["modality"], card["missing"]) == ("MR", "any")
    (channel,) = card["channels"]
    assert (channel["aliases"], channel["quantity"]) == (["T1w", "mprage"], "arbitrary")
    volume = write_volume(tmp_path / "a.nii", address_volume((30, 25, 20)), np.eye(4))
    tensorflow = PredictOptions(engine="tensorflow")
    predict_one(Request(str(volume), str(tmp_path / "o.nii"), str(tmp_path / "b"), tensorflow))
    found = np.asarray(nibabel.load(tmp_path / "o.nii").dataobj)
    assert set(np.unique(found)) == {0, 1}


@pytest.mark.full
def test_a_super_resolving_model_is_found_to_be_one(tmp_path: Path) -> None:
    """The leaky U-Net with its finer head: three voxels per voxel, and the COG says so."""
    from seg_batch.nn.networks.registry import build

    options = {"filters": (4, 8), "finer": 3}
    model = build("unet_lrelu", rank=2, channels=3, classes=4, **options)
    said = told(patch=(48, 48), normalisation="source")
    result = import_model(saved(model, tmp_path / "m.keras"), tmp_path / "b", said)
    assert result["card"]["finer"] == 3
    assert result["card"]["architecture"]["name"] == "unet_lrelu"
    scene = write_raster(tmp_path / "a.tif", address_raster((130, 101), 3, "uint8"))
    ran = segbatch("predict", scene, "-o", tmp_path / "o.tif", "--model", tmp_path / "b", "--json")
    assert ran.status == 0, ran.err
    assert ran.json["peak_rss_bytes"] <= ran.json["promised_bytes"]
    with rasterio.open(scene) as before, rasterio.open(tmp_path / "o.tif") as after:
        assert after.shape == (390, 303)
        assert after.bounds == pytest.approx(before.bounds)
        labels = after.read(1)
    cells = labels.reshape(130, 3, 101, 3)
    assert (cells != cells[:, :1, :, :1]).any()  # within a voxel of the input
    assert segbatch("verify", tmp_path / "o.tif").status == 0


@pytest.mark.full
def test_the_last_of_several_outputs_is_taken_and_said(tmp_path: Path) -> None:
    image = layers.Input((None, None, 3))
    x = layers.Conv2D(4, 3, padding="same")(image)
    early = layers.Conv2D(4, 1, activation="softmax", name="early")(x)
    late = layers.Conv2D(4, 1, activation="softmax", name="late")(x)
    path = saved(keras.Model(image, [early, late]), tmp_path / "m.keras")
    result = import_model(path, tmp_path / "b", told(patch=(16, 16)))
    assert "late" in result["notes"][0]
    assert any("late" in line for line in imported_lines(result))
    result = import_model(path, tmp_path / "c", told(patch=(16, 16), output_name="early"))
    assert result["notes"] == []
    assert keras.models.load_model(tmp_path / "c" / "model.keras").output.name.startswith("keras")
    with pytest.raises(InputError, match="early, late"):
        import_model(path, tmp_path / "d", told(output_name="middle"))


def test_raw_scores_are_refused_or_get_a_softmax(tmp_path: Path) -> None:
    path = saved(by_place(activation=None), tmp_path / "m.keras")
    with pytest.raises(InputError, match="--logits"):
        import_model(path, tmp_path / "b", told(patch=(16, 16)))
    import_model(path, tmp_path / "b", told(patch=(16, 16), logits=True))
    made = keras.models.load_model(tmp_path / "b" / "model.keras")
    assert np.asarray(made(np.ones((1, 16, 16, 3)))).sum(-1) == pytest.approx(1)
    sure = saved(by_place(), tmp_path / "p.keras")
    with pytest.raises(InputError, match="leave out --logits"):
        import_model(sure, tmp_path / "c", told(patch=(16, 16), logits=True))
    each = saved(by_place(activation="sigmoid"), tmp_path / "s.keras")
    with pytest.raises(InputError, match="sum to"):
        import_model(each, tmp_path / "c", told(patch=(16, 16)))


@pytest.mark.full
def test_the_stride_is_found_and_the_nearest_patches_are_told(tmp_path: Path) -> None:
    path = saved(strided_encoder(3, 4), tmp_path / "m.keras")
    with pytest.raises(InputError, match=r"multiples of 8,8: use --patch 96,96 or 104,104"):
        import_model(path, tmp_path / "b", told(patch=(100, 100)))
    with pytest.raises(InputError, match=r"use --patch 8,96 or 8,104"):
        import_model(path, tmp_path / "b", told(patch=(8, 100)))
    assert import_model(path, tmp_path / "b", told(patch=(96, 8)))["card"]["patch"] == [96, 8]
    fixed = saved(strided_encoder(3, 4, side=64), tmp_path / "f.keras")
    card = import_model(fixed, tmp_path / "c", told())["card"]
    assert (card["patch"], card["multiple"]) == ([64, 64], None)
    with pytest.raises(InputError, match="64,64 alone"):
        import_model(fixed, tmp_path / "d", told(patch=(96, 96)))


@pytest.mark.full
def test_strides_that_are_no_powers_of_two(tmp_path: Path) -> None:
    """3 down one axis of a volume and 2 along the others."""
    image = layers.Input((None, None, None, 3))
    x = layers.MaxPool3D((3, 2, 1))(image)
    x = layers.Conv3D(4, 1, activation="softmax")(layers.UpSampling3D((3, 2, 1))(x))
    path = saved(keras.Model(image, x), tmp_path / "m.keras")
    with pytest.raises(InputError, match=r"multiples of 3,2,1: use --patch 9,10,7 or 12,12,7"):
        import_model(path, tmp_path / "b", told(patch=(10, 11, 7)))
    assert import_model(path, tmp_path / "b", told())["card"]["patch"] == [66, 64, 64]


@pytest.mark.full
def test_an_earlier_bundle_survives_unless_told_otherwise(tmp_path: Path) -> None:
    path = saved(by_place(), tmp_path / "m.keras")
    import_model(path, tmp_path / "b", told(patch=(16, 16)))
    before = (tmp_path / "b" / "card.json").read_bytes()
    with pytest.raises(OutputError, match="--overwrite"):
        import_model(path, tmp_path / "b", told(patch=(24, 24)))
    other = saved(by_place(2), tmp_path / "o.keras")
    with pytest.raises(InputError):
        import_model(other, tmp_path / "b", told(), overwrite=True)
    assert (tmp_path / "b" / "card.json").read_bytes() == before
    import_model(path, tmp_path / "b", told(patch=(24, 24)), overwrite=True)
    assert json.loads((tmp_path / "b" / "card.json").read_text())["patch"] == [24, 24]


@pytest.mark.full
def test_the_command_says_what_was_made(tmp_path: Path) -> None:
    path = saved(by_place(), tmp_path / "m.keras")
    words = (
        "--channels",
        "red,green,blue",
        "--classes",
        "0=background,7=a,2=b,3=c",
        "--patch",
        "32,32",
    )
    ran = segbatch("models", "import", path, "-o", tmp_path / "b", *words)
    assert (ran.status, ran.err) == (0, "")
    assert "normalisation identity" in ran.out
    shown = segbatch("models", tmp_path / "b", "--json").json
    assert [c["id"] for c in shown["classes"]] == [0, 7, 2, 3]
    assert shown["background"] == 0
    again = segbatch("models", "import", path, "-o", tmp_path / "b", *words)
    assert (again.status, again.out, again.err.count("\n")) == (2, "", 1)
    named = segbatch("models", "landsat8-landcover", "--json").json
    assert named["name"] == "landsat8-landcover"
    assert segbatch("models", "nonesuch").status == 2


@pytest.mark.full
def test_layers_that_see_the_whole_patch_are_told(tmp_path: Path) -> None:
    """On import, in the card for people, and beside the seam index that was measured."""
    image = layers.Input((None, None, 3))
    x = layers.GroupNormalization(-1, name="levelled")(layers.Conv2D(4, 3, padding="same")(image))
    model = keras.Model(image, layers.Conv2D(4, 1, activation="softmax")(x))
    result = import_model(saved(model, tmp_path / "m.keras"), tmp_path / "b", told(patch=(32, 32)))
    (line,) = result["card"]["architecture"]["whole_patch_layers"]
    assert line.startswith("levelled (instance normalisation)")
    assert line in imported_lines(result)
    assert line in model_lines(model_facts(str(tmp_path / "b")))
    scene = write_raster(tmp_path / "a.tif", address_raster((150, 130), 3, "uint8"))
    report = predict_one(Request(str(scene), str(tmp_path / "o.tif"), str(tmp_path / "b")))
    assert report["seams"]["index"] is not None
    assert line in summary_lines(report)


@pytest.mark.full
def test_a_finer_bundle_is_not_scored_on_the_grid_of_its_image(tmp_path: Path) -> None:
    image = layers.Input((None, None, 3))
    x = layers.Conv2DTranspose(4, 2, strides=2, activation="softmax")(image)
    path = saved(keras.Model(image, x), tmp_path / "m.keras")
    import_model(path, tmp_path / "b", told(patch=(32, 32)))
    with pytest.raises(BundleError, match="2 times finer"):
        evaluate_bundle(str(tmp_path / "b"), tmp_path / "data.zarr", output=None)
