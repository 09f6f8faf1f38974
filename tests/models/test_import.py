"""Any Keras model of the right shape becomes a bundle, and what does not fit is refused in one line."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import rasterio

from seg_batch.errors import BundleError, InputError, OutputError
from seg_batch.normalise import Pixels
from seg_batch.options import Options
from seg_batch.stitch import cut
from seg_batch.taper import Taper
from seg_batch.verbs.evaluate import evaluate_bundle
from seg_batch.verbs.importing import Foreign, import_model, imported_lines
from seg_batch.verbs.predict import predict_one
from seg_batch.verbs.request import Request, prepare
from seg_batch.verbs.show import model_facts, model_lines, summary
from tests.engine.files import address_raster, address_volume, segbatch, write_raster, write_volume
from tests.models.made import by_place, layers, saved, strided_encoder

from seg_batch.nn.backend import keras  # isort: skip


def told(**fields: Any) -> Foreign:
    return Foreign(**{"channels": ("r", "g", "b"), "classes": "a,b,c,d", **fields})


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
    said = Foreign(tuple("rgb"[:channels]), names, patch=patch, licence="CC0-1.0")
    result = import_model(saved(model, tmp_path / "m.keras"), tmp_path / "mine", said)
    assert result["card"]["patch"] == list(patch or (256, 256))
    assert result["card"]["compute"]["flops"] > 0
    values = address_raster((301, 270), channels, "uint8")
    scene = write_raster(tmp_path / "a.tif", values)
    tensorflow = Options(engine="tensorflow", precision="float32")
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
    said = Foreign(("T1",), "background,tumour", patch=(16, 16, 16), mean=(10.0,), std=(300.0,))
    result = import_model(saved(model, tmp_path / "m.keras"), tmp_path / "b", said)
    card = result["card"]
    assert (card["kind"], card["rank"], card["background"]) == ("volume", 3, 0)
    volume = write_volume(tmp_path / "a.nii", address_volume((30, 25, 20)), np.eye(4))
    tensorflow = Options(engine="tensorflow")
    predict_one(Request(str(volume), str(tmp_path / "o.nii"), str(tmp_path / "b"), tensorflow))
    found = np.asarray(nibabel.load(tmp_path / "o.nii").dataobj)
    assert set(np.unique(found)) == {0, 1}


@pytest.mark.full
def test_a_super_resolving_model_is_found_to_be_one(tmp_path: Path) -> None:
    """The leaky U-Net with its finer head: three voxels per voxel, and the COG says so."""
    from seg_batch.nn.zoo import build

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
    result = import_model(path, tmp_path / "c", told(patch=(16, 16), head="early"))
    assert result["notes"] == []
    assert keras.models.load_model(tmp_path / "c" / "model.keras").output.name.startswith("keras")
    with pytest.raises(InputError, match="early, late"):
        import_model(path, tmp_path / "d", told(head="middle"))


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


def two_inputs() -> Any:
    a, b = layers.Input((None, None, 3)), layers.Input((None, None, 3))
    return keras.Model([a, b], layers.Conv2D(4, 1, activation="softmax")(layers.add([a, b])))


def of_vectors() -> Any:
    image = layers.Input((9, 3))
    return keras.Model(image, layers.Dense(4, activation="softmax")(image))


def of_whole_images() -> Any:
    image = layers.Input((None, None, 3))
    x = layers.GlobalAveragePooling2D()(image)
    return keras.Model(image, layers.Dense(4, activation="softmax")(x))


def without_padding() -> Any:
    image = layers.Input((None, None, 3))
    return keras.Model(image, layers.Conv2D(4, 3, activation="softmax")(image))


def coarser() -> Any:
    image = layers.Input((None, None, 3))
    return keras.Model(image, layers.Conv2D(4, 2, strides=2, activation="softmax")(image))


def far_finer() -> Any:
    image = layers.Input((None, None, 3))
    return keras.Model(image, layers.Conv2DTranspose(4, 9, strides=9, activation="softmax")(image))


def channels_first() -> Any:
    image = layers.Input((None, None, 3))
    x = layers.MaxPool2D(1, data_format="channels_first")(image)
    return keras.Model(image, layers.Conv2D(4, 1, activation="softmax")(x))


def not_finite() -> Any:
    model = by_place()
    model.weights[0].assign(np.full(model.weights[0].shape, np.nan))
    return model


def with_lambda() -> Any:
    image = layers.Input((None, None, 3))
    x = layers.Lambda(lambda x: x * 2, name="twice")(image)
    return keras.Model(image, layers.Conv2D(4, 1, activation="softmax")(x))


def with_lambda_activation() -> Any:
    image = layers.Input((None, None, 3))
    return keras.Model(image, layers.Conv2D(4, 1, name="top", activation=lambda x: x)(image))


@pytest.mark.full
@pytest.mark.parametrize(
    ("build", "words"),
    [
        (two_inputs, "2 inputs"),
        (of_vectors, "no image"),
        (of_whole_images, "no class for each voxel"),
        (without_padding, "padding='same'"),
        (coarser, "upsample"),
        (far_finer, "more than 8"),
        (channels_first, "channels first"),
        (not_finite, "not finite"),
        (with_lambda, "Lambda layers .twice."),
        (with_lambda_activation, "Lambda layers .top."),
        (lambda: by_place(2), "takes 2 channels and 3 are named"),
        (lambda: by_place(3, 5), "gives 5 classes and 4 are named"),
        (lambda: by_place(3, 1), "one sigmoid channel is two classes"),
    ],
)
def test_models_that_make_no_bundle(tmp_path: Path, build: Callable[[], Any], words: str) -> None:
    path = saved(build(), tmp_path / "m.keras")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match=words) as caught:
        import_model(path, tmp_path / "b", told())
    assert "\n" not in caught.value.message
    assert sorted(tmp_path.iterdir()) == before


def test_unknown_classes_are_named(tmp_path: Path) -> None:
    @keras.saving.register_keras_serializable("elsewhere")
    class Wobble(layers.Layer):
        def call(self, x: Any) -> Any:
            return x

    image = layers.Input((None, None, 3))
    x = Wobble(name="mine")(image)
    path = saved(
        keras.Model(image, layers.Conv2D(4, 1, activation="softmax")(x)), tmp_path / "m.keras"
    )
    del keras.saving.get_custom_objects()["elsewhere>Wobble"]
    with pytest.raises(InputError, match="mine of class Wobble"):
        import_model(path, tmp_path / "b", told())


def test_files_that_are_no_models(tmp_path: Path) -> None:
    legacy = saved(by_place(), tmp_path / "old.h5")
    text = tmp_path / "text.keras"
    text.write_text("weights")
    other = tmp_path / "other.keras"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("config.json", json.dumps([1, 2]))
    broken = tmp_path / "broken.keras"
    with zipfile.ZipFile(saved(by_place(), tmp_path / "m.keras")) as whole_file:
        config = whole_file.read("config.json")
    with zipfile.ZipFile(broken, "w") as archive:
        archive.writestr("config.json", config)
    for path, words in (
        (tmp_path / "none.keras", "no file"),
        (tmp_path, "is a folder"),
        (legacy, "legacy HDF5 .* pickled"),
        (text, "no Keras model"),
        (other, "no Keras model"),
        (broken, "can't be built"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            import_model(path, tmp_path / "b", told())
        assert "\n" not in caught.value.message
    assert not (tmp_path / "b").exists()


@pytest.mark.full
@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"channels": ("r", "r", "b")}, "name of its own"),
        ({"classes": "a,a,c,d"}, "one name twice"),
        ({"classes": "0=a,0=b,2=c,3=d"}, "one value twice"),
        ({"classes": "a,,c,d"}, "no class"),
        ({"classes": "a"}, "at least two"),
        ({"mean": (1.0,), "std": (1.0,)}, "for each of 3 channels"),
        ({"mean": (1.0,) * 3, "std": (0.0,) * 3}, "above 0"),
        ({"mean": (1.0,) * 3, "normalisation": "source"}, "belong to"),
        ({"kind": "volume", "patch": (16, 16, 16)}, "2-D"),
        ({"patch": (0, 16)}, "--patch 0,16"),
        ({"patch": (10**9, 16)}, "smaller --patch"),
        ({"pixel_m": -3.0}, "above 0"),
        ({"pixel_m": 0.0}, "above 0"),
        ({"spacing_mm": (1.0, 0.0)}, "above 0"),
        ({"spacing_mm": (1.0, 2.0, 3.0)}, "give 2 numbers"),
        ({"overlap": (300, 300)}, "overlap"),
        ({"overlap": (3,)}, "give 2 numbers"),
        ({"name": "../up"}, "name"),
    ],
)
def test_words_that_make_no_card(tmp_path: Path, fields: dict[str, Any], words: str) -> None:
    path = saved(by_place(), tmp_path / "m.keras")
    with pytest.raises(InputError, match=words) as caught:
        import_model(path, tmp_path / "b", told(**fields))
    assert "\n" not in caught.value.message
    assert not (tmp_path / "b").exists()


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
    assert line in summary(report)


@pytest.mark.full
def test_a_finer_bundle_is_not_scored_on_the_grid_of_its_image(tmp_path: Path) -> None:
    image = layers.Input((None, None, 3))
    x = layers.Conv2DTranspose(4, 2, strides=2, activation="softmax")(image)
    path = saved(keras.Model(image, x), tmp_path / "m.keras")
    import_model(path, tmp_path / "b", told(patch=(32, 32)))
    with pytest.raises(BundleError, match="2 times finer"):
        evaluate_bundle(str(tmp_path / "b"), tmp_path / "data.zarr", output=None)
