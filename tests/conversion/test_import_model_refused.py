"""What makes no bundle is refused in one line: models, words and files."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seg_batch.config.command_options import ImportOptions
from seg_batch.conversion.import_model import import_model
from seg_batch.core.errors import InputError
from tests.support.nn.foreign_models import by_place, layers, saved

from seg_batch.nn.backend import keras  # isort: skip


def told(**fields: Any) -> ImportOptions:
    return ImportOptions(**{"channels": ("r", "g", "b"), "classes": "a,b,c,d", **fields})


@pytest.fixture(autouse=True)
def same_weights() -> None:
    keras.utils.set_random_seed(7)


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
        ({"low": (1.0,) * 3, "normalisation": "range"}, "--low belong to"),
        ({"mean": (1.0,) * 3, "std": (1.0,) * 3, "low": (0.0,) * 3}, "3 and 0 were given"),
        ({"mean": (1.0,) * 3, "std": (1.0,) * 3, "low": (5.0,) * 3, "high": (5.0,) * 3}, "below"),
        ({"mean": (float("nan"),) * 3, "std": (1.0,) * 3}, "finite"),
        ({"kind": "volume", "patch": (16, 16, 16)}, "2-D"),
        ({"patch": (0, 16)}, "--patch 0,16"),
        ({"patch": (10**9, 16)}, "smaller --patch"),
        ({"pixel_m": -3.0}, "above 0"),
        ({"pixel_m": 0.0}, "above 0"),
        ({"quantity": ("DN", "HU")}, "--quantity names 2 of 3"),
        ({"quantity": ("inches",)}, "quantity"),
        ({"aliases": ("nir",)}, "--aliases names 1 of 3"),
        ({"modality": "x-ray"}, "modality"),
        ({"pixel_range_m": (12.0, 8.0)}, "above the greatest"),
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
