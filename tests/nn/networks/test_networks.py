"""Every network that is no relative of ANU-Net: published or hand-summed sizes, saving, learning."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seg_batch.core.errors import InputError
from seg_batch.nn.analysis.batchnorm_folding import fold_batchnorm
from seg_batch.nn.backend import keras
from seg_batch.nn.loading import load_model
from seg_batch.nn.networks.config import option_defaults
from seg_batch.nn.networks.registry import (
    ARCHITECTURES,
    architecture_of,
    build,
    configuration,
    described,
    multiple,
    part_of,
)
from seg_batch.nn.networks.unet_lrelu import depth_to_space
from seg_batch.nn.training.fit import loss_of
from seg_batch.nn.training.step import Trainer
from seg_batch.nn.training.transfer import new_model
from tests.support.nn.squares import OnRow, Squares, assert_same, recipe, trained

SMALL = (4, 6, 8)
# Name, rank, options that are not the defaults, what sides are multiples of at three levels.
CASES: list[tuple[str, int, dict[str, Any], int]] = [
    ("unet3d", 3, {"norm": False}, 4),
    ("unet_xception", 2, {}, 8),
    ("unet_strided", 2, {"dropout": [0.1, 0.2]}, 4),
    ("unet_strided", 3, {"slope": 0.1}, 4),
    ("unet_lrelu", 2, {"l2": 0.01}, 4),
    ("unet_lrelu", 2, {"finer": 3}, 4),
    ("unet_lrelu", 3, {"finer": 2}, 4),
    ("unet_se", 2, {"reduction": 2, "dilation": 3}, 4),
]
EVERY = pytest.mark.parametrize(("arch", "rank", "options", "sides"), CASES)


def small(arch: str, rank: int, options: dict[str, Any], classes: int = 3) -> keras.Model:
    keras.utils.set_random_seed(0)
    return build(arch, rank=rank, channels=2, classes=classes, filters=SMALL, **options)


def image(sides: tuple[int, ...], channels: int = 2, n: int = 2) -> np.ndarray:
    shape = (n, *sides, channels)
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def conv(before: int, width: int, size: int = 3, rank: int = 2) -> int:
    """Parameters of a convolution with bias."""
    return before * size**rank * width + width


def separable(before: int, width: int) -> int:
    return before * 9 + before * width + width


# -- sizes


@pytest.mark.full
@pytest.mark.parametrize(
    ("arch", "channels", "classes", "number"),
    [
        (
            "unet_xception",
            3,
            3,
            2_058_979,
        ),  # keras.io/examples/vision/oxford_pets_image_segmentation
        ("unet_lrelu", 3, 1, 31_031_745),  # the textbook U-Net of Keras with 64..1024
    ],
)
def test_published_numbers_of_parameters(
    arch: str, channels: int, classes: int, number: int
) -> None:
    filters = ARCHITECTURES[arch].config(2, channels, classes).filters
    model = build(arch, rank=2, channels=channels, classes=classes, filters=filters)
    assert model.count_params() == number


@pytest.mark.full
@pytest.mark.parametrize(("arch", "number"), [("unet", 7_759_521), ("unetpp", 9_041_601)])
def test_published_numbers_of_the_relatives_by_name(arch: str, number: int) -> None:
    heads = (4,)
    wide = (32, 64, 128, 256, 512)
    model = build(arch, rank=2, channels=1, classes=1, filters=wide, heads=heads, norm=False)
    assert model.count_params() == number


def test_parameters_of_the_strided_one_by_hand() -> None:
    """Two levels, a and b wide: a stage of a, down, a stage of b, up, a stage on 2a, the head."""
    for rank in (2, 3):
        a, b = 4, 6
        norm = 4
        stages = [(2, a), (a, a), (b, b), (b, b), (2 * a, a), (a, a)]
        total = sum(conv(f, g, 3, rank) + norm * g for f, g in stages)
        total += conv(a, b, 3, rank) + conv(b, a, 1, rank) + conv(a, 3, 1, rank)
        model = build("unet_strided", rank=rank, channels=2, classes=3, filters=(a, b))
        assert model.count_params() == total


@pytest.mark.parametrize(("rank", "finer"), [(2, 1), (2, 3), (3, 2)])
def test_parameters_of_the_leaky_one_by_hand(rank: int, finer: int) -> None:
    """The frozen ones of the finer head are ``cells ** 2 * classes ** 2``."""
    a, b, cells = 4, 6, finer**rank
    stages = [(2, a), (a, a), (a, b), (b, b), (2 * a, a), (a, a)]
    learnt = sum(conv(f, g, 3, rank) for f, g in stages)
    learnt += conv(b, a, 2, rank) + conv(a, 3 * cells, 1, rank)
    frozen = 0 if finer == 1 else (3 * cells) * (3 * cells)
    model = build("unet_lrelu", rank=rank, channels=2, classes=3, filters=(a, b), finer=finer)
    assert model.count_params() == learnt + frozen
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == learnt


def test_parameters_of_the_squeezed_one_by_hand() -> None:
    a, b, norm, r = 4, 6, 4, 2
    light = [(a, a), (a, b), (b, b), (2 * a, a), (a, a)]
    total = conv(2, a) + sum(separable(f, g) for f, g in light)
    total += norm * (a + a + b + b + a + a) + (conv(b, a, 2) + norm * a)
    total += conv(a, a // r, 1) + conv(a // r, a, 1) + conv(a, 3, 1)
    model = build("unet_se", rank=2, channels=2, classes=3, filters=(a, b), reduction=r)
    assert model.count_params() == total


# -- configuration


@EVERY
def test_a_configuration_holds_its_options(
    arch: str, rank: int, options: dict[str, Any], sides: int
) -> None:
    config = configuration(arch, SMALL, options, rank=rank, channels=2, classes=3)
    assert options.items() <= config.options.items()
    assert replace(config, channels=5).options == config.options


@EVERY
def test_a_card_says_enough_to_build_it_again(
    arch: str, rank: int, options: dict[str, Any], sides: int
) -> None:
    """With every default written out: a card outlives them."""
    said = json.loads(json.dumps(described(arch, SMALL, options)))
    name, filters, written = said["name"], said["filters"], said.get("options", {})
    again = configuration(name, filters, written, rank=rank, channels=2, classes=3)
    assert again == configuration(arch, SMALL, options, rank=rank, channels=2, classes=3)
    assert written.keys() == (option_defaults(type(again)).keys())


@pytest.mark.parametrize(
    ("arch", "options", "said"),
    [
        ("unet_strided", {"dropot": [0.1, 0.1]}, "no option 'dropot'; did you mean dropout?"),
        ("unet_strided", {"dropout": [0.1, 1.0]}, r"dropout is \(0.1, 1.0\); give two shares"),
        ("unet_strided", {"dropout": 0.1}, "option dropout is 0.1; give something like"),
        ("unet_lrelu", {"finer": 9}, "finer is 9; use 1 to 8"),
        ("unet_lrelu", {"finer": 1.5}, "option finer is 1.5"),
        ("unet_lrelu", {"l2": -1.0}, "l2 is -1.0; use 0 or more"),
        ("unet", {"norm": 1}, "option norm is 1; give something like True"),
        ("unet_se", {"reduction": 0}, "reduction is 0"),
        ("anunet", {"norm": False}, "ANU-Net has no option 'norm'; it takes none"),
    ],
)
def test_options_that_can_not_be_are_refused(arch: str, options: dict[str, Any], said: str) -> None:
    for call in (
        lambda: multiple(arch, SMALL, options),
        lambda: build(arch, rank=2, channels=1, classes=2, filters=SMALL, **options),
    ):
        with pytest.raises(InputError, match=said) as error:
            call()
        assert "\n" not in error.value.message


@pytest.mark.parametrize(
    ("arch", "rank"), [("unet_se", 3), ("unet_xception", 3), ("unet3d", 2), ("unet", 1)]
)
def test_a_rank_that_a_network_has_not_is_refused(arch: str, rank: int) -> None:
    with pytest.raises(InputError, match=f"cannot be built: rank is {rank}; use [23] "):
        build(arch, rank=rank, channels=1, classes=2, filters=SMALL)


# -- shapes


@pytest.mark.full
@EVERY
def test_shapes_and_probabilities(
    arch: str, rank: int, options: dict[str, Any], sides: int
) -> None:
    """Any sides that are multiples give ``finer`` times as many voxels; nothing smaller is taken."""
    assert multiple(arch, SMALL, options) == sides
    model, finer = small(arch, rank, options), options.get("finer", 1)
    shape = (sides, 2 * sides, 3 * sides)[:rank]
    y = np.asarray(model(image(shape)))
    assert (y.shape, y.dtype) == ((2, *(finer * side for side in shape), 3), np.float32)
    np.testing.assert_allclose(y.sum(-1), 1.0, atol=1e-6)
    assert architecture_of(model) == {"name": arch, "filters": list(SMALL)}
    if arch != "unet_xception":  # without skips, nothing has to meet: its output is just larger
        with pytest.raises(Exception, match=r"(?i)shape|dimension"):
            model(image((sides + sides // 2, *shape[1:])))


@pytest.mark.full
@EVERY
def test_one_class_is_a_sigmoid(arch: str, rank: int, options: dict[str, Any], sides: int) -> None:
    y = np.asarray(small(arch, rank, options, classes=1)(image((sides,) * rank)))
    assert y.shape[-1] == 1
    assert 0 < y.min() < y.max() < 1


@pytest.mark.parametrize("rank", [2, 3])
def test_depth_to_space_is_its_equation(rank: int) -> None:
    finer, channels, sides = 3, 2, (4, 5, 6)[:rank]
    inputs = keras.Input((None,) * rank + (channels * finer**rank,))
    model = keras.Model(inputs, depth_to_space(inputs, channels, finer, rank, "cells"))
    x = image(sides, channels * finer**rank, n=1)
    found = np.asarray(model(x))[0]
    assert found.shape == (*(finer * side for side in sides), channels)
    for place in np.ndindex(*found.shape[:-1]):
        whole, cell = zip(*(divmod(p, finer) for p in place), strict=True)
        number = int(np.ravel_multi_index(cell, (finer,) * rank))
        expected = x[0][whole][number * channels : (number + 1) * channels]
        np.testing.assert_array_equal(found[place], expected)


# -- parts, saving, learning


@pytest.mark.full
@EVERY
def test_parts_are_told_by_name_as_the_graph_has_them(
    arch: str, rank: int, options: dict[str, Any], sides: int
) -> None:
    """What the encoder's end needs is encoder, and no output depends on a head but its own."""
    model = small(arch, rank, options)
    parts = {layer.name: part_of(layer.name) for layer in model.layers}
    assert set(parts.values()) == {"encoder", "decoder", "head"}
    ends = [layer.output for layer in model.layers if parts[layer.name] == "encoder"]
    assert {parts[layer.name] for layer in keras.Model(model.inputs, ends).layers} == {"encoder"}
    rest = [layer.output for layer in model.layers if parts[layer.name] != "head"]
    assert "head" not in {parts[layer.name] for layer in keras.Model(model.inputs, rest).layers}


@pytest.mark.full
@EVERY
def test_saved_model_needs_nothing_but_keras(
    arch: str, rank: int, options: dict[str, Any], sides: int, tmp_path: Path
) -> None:
    model = small(arch, rank, options)
    model.save(tmp_path / "m.keras")
    again = load_model(tmp_path / "m.keras")
    assert {type(layer).__module__.split(".")[0] for layer in again.layers} == {"keras"}
    assert not any(isinstance(layer, keras.layers.Lambda) for layer in again.layers)
    assert architecture_of(again) == {"name": arch, "filters": list(SMALL)}
    x = image((2 * sides,) * rank)
    np.testing.assert_array_equal(np.asarray(again(x)), np.asarray(model(x)))


@pytest.mark.full
@EVERY
def test_a_training_step_lowers_the_loss(
    arch: str, rank: int, options: dict[str, Any], sides: int
) -> None:
    """Of the compiled step that ``train`` takes, without dropout, whose noise would hide it."""
    options = {**options, "dropout": [0.0, 0.0]} if "dropout" in options else options
    how = recipe(classes=3, optimiser={"name": "sgd", "momentum": 0.0, "weight_decay": 0.0})
    model = small(arch, rank, options)
    trainer = Trainer(model, how, loss_of(how, np.full(3, 100, np.int64)))
    x = image((2 * sides,) * rank)
    fine = x
    for axis in range(1, rank + 1):
        fine = np.repeat(fine, options.get("finer", 1), axis=axis)
    truth = (fine[..., 0] > 0).astype(np.int32) + (fine[..., 1] > 1)
    valid = np.ones(truth.shape, bool)
    losses = [trainer(x, truth, valid, 0.05, 0.5)[0] for _ in range(4)]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


@pytest.mark.full
@EVERY
def test_folding_leaves_the_same_network(
    arch: str, rank: int, options: dict[str, Any], sides: int
) -> None:
    model = small(arch, rank, options)
    rng = np.random.default_rng(1)
    model.set_weights([w + 0.1 * rng.uniform(size=w.shape) for w in model.get_weights()])
    folded = fold_batchnorm(model)
    assert not any(isinstance(y, keras.layers.BatchNormalization) for y in folded.layers)
    x = image((2 * sides,) * rank)
    np.testing.assert_allclose(np.asarray(folded(x)), np.asarray(model(x)), atol=1e-5)


@pytest.mark.full
def test_a_step_counts_what_layers_ask_of_their_weights() -> None:
    """L2: the loss is larger by ``l2 * sum of squared kernels``."""
    found, batch = [], [Squares()(k) for k in range(4)]
    x, labels, valid = (np.stack(part) for part in zip(*batch, strict=True))
    for l2 in (0.0, 0.5):
        how = recipe(network={"arch": "unet_lrelu", "filters": [4, 8], "options": {"l2": l2}})
        trainer = Trainer(new_model(how), how, loss_of(how, Squares().histogram))
        layers = [y for y in trainer.model.layers if hasattr(y, "kernel")]
        kernels = [np.asarray(y.kernel) for y in layers if part_of(y.name) != "head"]
        found.append(trainer(x, labels, valid, 0.0, 0.5)[0])
    asked = 0.5 * sum(np.sum(kernel**2) for kernel in kernels)
    assert found[1] - found[0] == pytest.approx(asked, rel=1e-4)


@pytest.mark.slow
def test_dropout_is_gone_on_with_after_a_stop(tmp_path: Path) -> None:
    """Its random numbers are part of the checkpoint: the same weights as without a stop."""
    how = recipe(
        network={"arch": "unet_strided", "filters": [4, 8]},
        fit={"steps": 6, "validate_every": 3, "checkpoint_every": 2},
    )
    whole = trained(tmp_path / "whole", how)
    with pytest.raises(KeyboardInterrupt):
        trained(
            tmp_path / "cut", how, callback=OnRow(lambda row: os.kill(os.getpid(), signal.SIGINT))
        )
    assert_same(trained(tmp_path / "cut", how), whole)
