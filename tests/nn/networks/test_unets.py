"""ANU-Net's relatives, and the table of networks: published sizes, names, saving, learning."""

import re
from pathlib import Path

import numpy as np
import pytest

from seg_batch.core.errors import InputError
from seg_batch.nn.analysis.batchnorm_folding import fold_batchnorm
from seg_batch.nn.backend import keras, tf
from seg_batch.nn.losses.build import build_loss, over_heads
from seg_batch.nn.networks.anunet import deepest, prune
from seg_batch.nn.networks.registry import ARCHITECTURES, architecture_of, build, multiple, part_of
from seg_batch.nn.networks.unets import (
    AttentionUNetConfig,
    UNetConfig,
    UNetPPConfig,
    unet,
    unetpp,
)

WIDE = (32, 64, 128, 256, 512)
SMALL = (4, 6, 8)
# The dear ones only in `make test`; anunet has fast tests of its own.
DEAR = [pytest.param(a, marks=pytest.mark.full) for a in ("anunet", "unetpp", "attention_unet")]
EVERY = pytest.mark.parametrize("arch", ["unet", *DEAR])


def small(arch: str, rank: int = 2, classes: int = 3) -> keras.Model:
    keras.utils.set_random_seed(0)
    return build(arch, rank=rank, channels=2, classes=classes, filters=SMALL)


def image(rank: int, seed: int = 0) -> np.ndarray:
    shape = (2, *(8, 12, 16)[:rank], 2)
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def outputs(model: keras.Model, x: np.ndarray) -> list[np.ndarray]:
    found = model(x)
    return [np.asarray(y) for y in (found if isinstance(found, list) else [found])]


def unit(before: int, width: int, rank: int = 2) -> int:
    """Parameters of two convolutions of 3^d with bias, each with a batch normalisation."""
    return (before * 3**rank + 1 + 4) * width + (width * 3**rank + 1 + 4) * width


def gate(f: int, inner: int) -> int:
    return 2 * (f + 1 + 4) * inner + (inner + 1 + 4)


def test_unet_and_unetpp_have_the_published_numbers_of_parameters() -> None:
    plain = unet(UNetConfig(2, 1, 1, WIDE, norm=False))
    nested = unetpp(UNetPPConfig(2, 1, 1, WIDE, heads=(4,), norm=False))
    assert plain.count_params() == 7_759_521
    assert nested.count_params() == 9_041_601


@pytest.mark.parametrize("rank", [2, 3])
def test_parameters_by_hand(rank: int) -> None:
    """Two levels, a and b wide: a, b, Up (b to a, normalised), a node on 2a, heads of 3 classes."""
    a, b = 4, 6
    up, head = (b * 2**rank + 1 + 4) * a, (a + 1) * 3
    plain = unit(2, a, rank) + unit(a, b, rank) + up + unit(2 * a, a, rank) + head
    gated = plain + gate(a, a)
    for arch, number in {
        "unet": plain,
        "unetpp": plain,
        "attention_unet": gated,
        "anunet": gated,
    }.items():
        model = build(arch, rank=rank, channels=2, classes=3, filters=(a, b))
        assert model.count_params() == number, arch


@pytest.mark.full
def test_attention_unet_is_a_unet_and_a_gate_on_every_skip() -> None:
    config = AttentionUNetConfig(2, 1, 1, WIDE)
    with_gates, without = unet(config), unet(UNetConfig(2, 1, 1, WIDE))
    widths = [config.gate_width(i) for i in range(4)]
    gates = sum(gate(f, inner) for f, inner in zip(WIDE, widths, strict=False))
    assert with_gates.count_params() - without.count_params() == gates
    names = {layer.name for layer in without.layers}
    extra = {layer.name for layer in with_gates.layers} - names
    assert all(name.startswith("gate_") for name in extra)


@pytest.mark.full
def test_the_nested_ones_differ_in_gates_and_in_what_is_shared() -> None:
    """10 Ups of their own against 4 shared ones, no gates against 10."""
    names = {
        a: [y.name for y in build(a, rank=2, channels=1, classes=1, filters=WIDE).layers]
        for a in ("unetpp", "anunet")
    }
    counts = {
        arch: [
            sum(bool(re.fullmatch(p, n)) for n in found)
            for p in (r"up_.*_conv", r".*_alpha", r"x_.*_concat", r"head_\d")
        ]
        for arch, found in names.items()
    }
    assert counts == {"unetpp": [10, 0, 10, 4], "anunet": [4, 10, 10, 4]}


@EVERY
@pytest.mark.parametrize("rank", [2, 3])
def test_probabilities_in_float32_from_every_head(arch: str, rank: int) -> None:
    x = image(rank)
    heads = outputs(small(arch, rank), x)
    assert len(heads) == (2 if arch in ("anunet", "unetpp") else 1)
    for y in heads:
        assert (y.shape, y.dtype) == ((*x.shape[:-1], 3), np.float32)
        np.testing.assert_allclose(y.sum(-1), 1.0, atol=1e-6)


@pytest.mark.full
@EVERY
def test_heads_stay_float32_in_mixed_precision(arch: str) -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = small(arch)
    finally:
        keras.config.set_dtype_policy("float32")
    assert {keras.backend.standardize_dtype(y.dtype) for y in model.outputs} == {"float32"}


@pytest.mark.full
@EVERY
@pytest.mark.parametrize("rank", [2, 3])
def test_saved_model_needs_nothing_but_keras(arch: str, rank: int, tmp_path: Path) -> None:
    model = small(arch, rank)
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras", safe_mode=True, compile=False)
    assert {type(layer).__module__.split(".")[0] for layer in again.layers} == {"keras"}
    assert not any(isinstance(layer, keras.layers.Lambda) for layer in again.layers)
    assert architecture_of(again) == {"name": arch, "filters": list(SMALL)}
    for ours, theirs in zip(outputs(model, image(rank)), outputs(again, image(rank)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.full
@EVERY
@pytest.mark.parametrize("rank", [2, 3])
def test_a_gradient_step_lowers_the_loss(arch: str, rank: int) -> None:
    model, x = small(arch, rank), image(rank)
    truth = (x[..., 0] > 0).astype(np.int32) + (x[..., 1] > 1)
    loss = build_loss([{"name": "dice"}, {"name": "cross_entropy"}], background=False)
    optimizer = keras.optimizers.SGD(0.01)

    def cost() -> tf.Tensor:
        return over_heads(loss, truth, model(x, training=True))

    with tf.GradientTape() as tape:
        before = cost()
    slopes = tape.gradient(before, model.trainable_variables)
    assert all(np.all(np.isfinite(slope)) for slope in slopes)
    optimizer.apply_gradients(zip(slopes, model.trainable_variables, strict=True))
    assert float(cost()) < float(before)


@EVERY
def test_folding_and_the_deepest_head_work_on_every_network(arch: str) -> None:
    model, x = deepest(small(arch)), image(2)
    folded = fold_batchnorm(model)
    assert not any(isinstance(y, keras.layers.BatchNormalization) for y in folded.layers)
    np.testing.assert_allclose(outputs(folded, x)[0], outputs(model, x)[0], atol=1e-5)
    assert architecture_of(model) == architecture_of(folded) == {"name": arch, "filters": [4, 6, 8]}


@EVERY
def test_layers_of_one_place_have_one_name_in_every_network(arch: str) -> None:
    """The encoder of any network fits into that of any other, weights and all."""
    model, other = small(arch), small("anunet")
    ours = {y.name: [tuple(w.shape) for w in y.weights] for y in model.layers}
    theirs = {y.name: [tuple(w.shape) for w in y.weights] for y in other.layers}
    encoder = {name for name in ours if part_of(name) == "encoder"}
    assert encoder == {name for name in theirs if part_of(name) == "encoder"}
    assert all(ours[name] == theirs[name] for name in encoder)


@EVERY
def test_the_encoder_is_what_no_decoder_layer_feeds(arch: str) -> None:
    """By the graph: frozen encoder outputs depend on encoder layers only, heads feed nothing."""
    model = small(arch)
    parts = {layer.name: part_of(layer.name) for layer in model.layers}
    assert set(parts.values()) == {"encoder", "decoder", "head"}
    ends = [y.output for y in model.layers if parts[y.name] == "encoder"]
    below = keras.Model(model.inputs, ends)
    assert {parts[layer.name] for layer in below.layers} == {"encoder"}
    last = {y.name for y in model.layers if parts[y.name] == "head"}
    assert last == {name for name in parts if name.startswith("head_")}
    assert parts["image"] == "encoder"
    assert parts[f"x_{len(SMALL) - 1}_0_conv2"] == "encoder"
    assert parts["x_0_2_bn1"] == "decoder"


def test_a_deep_level_is_not_taken_for_an_encoder() -> None:
    assert part_of("x_10_0_conv1") == part_of("pool_10") == "encoder"
    assert part_of("x_0_10_conv1") == part_of("up_10_conv") == part_of("up_0_10_relu") == "decoder"
    assert part_of("mean_of_heads") == "head"
    with pytest.raises(InputError, match="'dense_3' belongs to no network of ours"):
        part_of("dense_3")


@EVERY
def test_sides_must_be_multiples_of(arch: str) -> None:
    assert multiple(arch, SMALL) == 4
    assert multiple(arch, WIDE) == 16
    model = small(arch)
    assert outputs(model, np.zeros((1, 4, 8, 2), np.float32))[-1].shape == (1, 4, 8, 3)
    with pytest.raises(Exception, match=r"(?i)shape|dimension"):
        model(np.zeros((1, 6, 8, 2), np.float32))


def test_a_foreign_model_has_no_architecture() -> None:
    assert architecture_of(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])) == {}


@pytest.mark.parametrize("arch", ["unet", "attention_unet"])
def test_one_head_means_one(arch: str) -> None:
    title = ARCHITECTURES[arch].config.title
    with pytest.raises(InputError, match=f"{title} cannot be built: heads are .1,.; use some of 2"):
        build(arch, rank=2, channels=1, classes=2, filters=SMALL, heads=(1,))
    model = build(arch, rank=2, channels=1, classes=2, filters=SMALL, heads=(2,))
    assert [y.name for y in model.layers if part_of(y.name) == "head"] == ["head_2"]


@pytest.mark.parametrize(
    ("name", "advice"), [("u-net", "did you mean unet?"), ("segformer", "known are anunet")]
)
def test_an_unknown_name_gets_the_nearest(name: str, advice: str) -> None:
    for call in (
        lambda: multiple(name, SMALL),
        lambda: build(name, rank=2, channels=1, classes=2, filters=SMALL),
    ):
        with pytest.raises(InputError, match="there is no network") as error:
            call()
        assert advice in str(error.value)


@pytest.mark.full
def test_a_pruned_network_is_one_of_fewer_levels() -> None:
    for arch in ("anunet", "unetpp"):
        part = prune(small(arch), 1)
        assert architecture_of(part) == {"name": arch, "filters": [4, 6]}
        alone = build(arch, rank=2, channels=2, classes=3, filters=(4, 6))
        assert part.count_params() == alone.count_params()
