"""Fine-tuning: what is copied, what is fitted, what is refused."""

import functools

import numpy as np
import pytest

from seg_batch.core.errors import InputError
from seg_batch.nn.backend import keras
from seg_batch.nn.networks.anunet import deepest
from seg_batch.nn.networks.channel_fitting import Names, fitted
from seg_batch.nn.training.transfer import TransferredModel, new_model, with_source_weights
from tests.support.nn.squares import recipe

pytestmark = pytest.mark.full

RNG = np.random.default_rng(3)


@functools.cache
def source(channels: int = 3, classes: int = 2, arch: str = "anunet") -> keras.Model:
    """As it comes from a bundle: one head, statistics that are not those of a new model."""
    network = {"arch": arch, "filters": [4, 8, 8]}
    model = deepest(new_model(recipe(classes, channels, network=network)))
    model.set_weights([RNG.uniform(0.5, 1.5, w.shape) for w in model.get_weights()])
    return model


def new(channels: int = 3, classes: int = 2, **network: object) -> keras.Model:
    parts = {"arch": "anunet", "filters": [4, 8, 8], **network}
    return new_model(recipe(classes, channels, network=parts, fit={"seed": 5}))


def same_but(found: TransferredModel, old: keras.Model) -> set[str]:
    """Names of the layers whose weights are not those of `old`."""
    theirs = {layer.name: layer.get_weights() for layer in old.layers}
    return {
        layer.name
        for layer in found.model.layers
        if layer.weights
        and not all(map(np.array_equal, layer.get_weights(), theirs.get(layer.name, [None] * 9)))
    }


@pytest.mark.full
def test_the_same_task_takes_everything() -> None:
    old = source()
    found = with_source_weights(deepest(new()), old)
    assert (same_but(found, old), found.lines) == (set(), ())
    x = RNG.normal(size=(1, 16, 16, 3)).astype(np.float32)
    np.testing.assert_array_equal(found.model(x), old(x))


@pytest.mark.full
def test_other_classes_get_a_new_head_on_the_kept_body() -> None:
    old = source()
    found = with_source_weights(new(classes=5), old)
    assert same_but(found, old) == {"head_1", "head_2"}
    assert found.lines == ("head_1 and head_2 new, for 5 classes",)
    renamed = with_source_weights(new(), old, classes=Names(["sea", "land"], ["land", "sea"]))
    assert same_but(renamed, old) == {"head_1", "head_2"}
    kept = with_source_weights(new(), old, classes=Names(["sea", "land"], ["sea", "land"]))
    assert same_but(kept, old) == {"head_1"}  # the source came with the deepest only


@pytest.mark.parametrize("channels", [1, 2, 4, 7])
def test_other_channels_keep_the_response_to_equal_channels(channels: int) -> None:
    old = source(arch="unet")
    found = with_source_weights(new(channels=channels, arch="unet"), old)
    assert same_but(found, old) == {"x_0_0_conv1"}
    assert f"x_0_0_conv1 was fitted from 3 to {channels} channels" in found.lines[0]
    x = RNG.normal(size=(1, 16, 16, 1)).astype(np.float32)
    ours, theirs = found.model(np.tile(x, channels)), old(np.tile(x, 3))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_channels_of_the_same_name_keep_their_kernels_in_any_order() -> None:
    old = source(arch="unet")
    names = Names(["red", "green", "nir"], ["nir", "red", "green"])
    found = with_source_weights(new(arch="unet"), old, channels=names)
    assert found.lines == ("x_0_0_conv1 was fitted from 3 to 3 channels, each by its name",)
    x = RNG.normal(size=(1, 16, 16, 3)).astype(np.float32)
    np.testing.assert_allclose(found.model(x[..., [2, 0, 1]]), old(x), rtol=1e-4, atol=1e-6)


def test_unknown_channels_share_what_the_known_ones_leave() -> None:
    kernel = RNG.normal(size=(3, 3, 3, 8)).astype(np.float32)
    mixed = fitted(kernel, 3, Names(["r", "g", "b"], ["g", "nir", "swir"]))
    np.testing.assert_array_equal(mixed[:, :, 0], kernel[:, :, 1])
    np.testing.assert_allclose(mixed.sum(2), kernel.sum(2), atol=1e-5)
    more = fitted(kernel, 4, Names(["r", "g", "b"], ["r", "g", "b", "nir"]))
    np.testing.assert_array_equal(more[:, :, 3], 0)  # the old function, whatever nir shows
    fewer = fitted(kernel, 1, Names(["r", "g", "b"], ["b"]))
    np.testing.assert_array_equal(fewer, kernel[:, :, 2:])


@pytest.mark.parametrize(
    ("network", "says"),
    [
        ({"filters": [4, 8, 16]}, r"anunet with filters \[4, 8, 8\].* \[4, 8, 16\]"),
        ({"filters": [4, 8]}, r"\[4, 8, 8\].* \[4, 8\]"),
        ({"filters": [8, 8, 8]}, "x_0_0_conv1"),
        ({"arch": "unet"}, "anunet .* unet "),
    ],
)
def test_another_network_is_refused(network: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        with_source_weights(new(**network), source())


def test_names_must_be_as_many_as_channels() -> None:
    with pytest.raises(InputError, match="one name per channel"):
        with_source_weights(new(), source(), channels=Names(["a"], ["b", "c", "d"]))


def test_a_seed_decides_new_weights() -> None:
    one, other = new_model(recipe()), new_model(recipe())
    assert all(map(np.array_equal, one.get_weights(), other.get_weights()))
    third = new_model(recipe(fit={"seed": 1}))
    assert not all(map(np.array_equal, one.get_weights(), third.get_weights()))
