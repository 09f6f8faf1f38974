"""The network against the paper's own table, and the promises of its pruning."""

import numpy as np
import pytest

from seg_batch.core.errors import InputError
from seg_batch.nn.backend import keras
from seg_batch.nn.networks.anunet import ANUNetConfig, anunet, deepest, filters_of, prune

FILTERS = (32, 64, 128, 256, 512)


def trainable(model: keras.Model) -> int:
    return sum(int(np.prod(w.shape)) for w in model.trainable_weights)


@pytest.mark.parametrize(
    ("depth", "trained", "total"),
    [
        (1, 103_812, 104_518),
        (2, 513_387, 515_377),
        (3, 2_191_829, 2_196_513),
        (4, 8_950_594, 8_960_790),
    ],
)
def test_parameters_are_those_of_the_paper(depth: int, trained: int, total: int) -> None:
    """Table 6 of the paper: 0.1038, 0.5134, 2.1918 and 8.9506 million."""
    model = anunet(ANUNetConfig(2, 1, 1, FILTERS[: depth + 1]))
    assert (trainable(model), model.count_params()) == (trained, total)


def test_ten_gates_four_shared_ups_and_the_papers_gate_widths() -> None:
    config = ANUNetConfig(2, 1, 1)
    names = [layer.name for layer in anunet(config).layers]
    assert [config.gate_width(i) for i in range(4)] == [32, 32, 64, 128]
    assert sum(name.endswith("_alpha") for name in names) == 10
    assert sum(name.startswith("up_") and name.endswith("_conv") for name in names) == 4


@pytest.mark.parametrize("rank", [2, 3])
def test_output_is_probabilities_per_head(rank: int) -> None:
    model = anunet(ANUNetConfig(rank, 2, 3, (4, 6, 8)))
    heads = model(np.ones((2, *(8, 12, 16)[:rank], 2), np.float32))
    assert [tuple(h.shape) for h in heads] == [(2, *(8, 12, 16)[:rank], 3)] * 2
    for head in heads:
        np.testing.assert_allclose(np.asarray(head).sum(-1), 1.0, atol=1e-6)
        assert keras.backend.standardize_dtype(head.dtype) == "float32"


@pytest.mark.full
def test_pruned_model_shares_weights_and_equals_its_head() -> None:
    model = anunet(ANUNetConfig(2, 1, 2, (4, 8, 12, 16)))
    x = np.random.default_rng(0).normal(size=(1, 16, 16, 1)).astype(np.float32)
    for level in (1, 2, 3):
        part = prune(model, level)
        np.testing.assert_array_equal(part(x), model(x)[level - 1])
        assert {id(w) for w in part.weights} <= {id(w) for w in model.weights}
    assert "x_3_0_conv1" not in [layer.name for layer in prune(model, 2).layers]
    np.testing.assert_array_equal(deepest(model)(x), model(x)[-1])


def test_pruning_keeps_what_the_paper_keeps() -> None:
    """LN has the nodes with i + j <= N: as many parameters as a network of that depth, less heads."""
    full = anunet(ANUNetConfig(2, 1, 1, FILTERS[:4]))
    alone = anunet(ANUNetConfig(2, 1, 1, FILTERS[:3], heads=(2,)))
    assert trainable(prune(full, 2)) == trainable(alone)


def test_a_missing_head_is_named() -> None:
    model = anunet(ANUNetConfig(2, 1, 1, (4, 8, 12), heads=(2,)))
    with pytest.raises(InputError, match="no head_1, it has head_2"):
        prune(model, 1)


@pytest.mark.parametrize("rank", [2, pytest.param(3, marks=pytest.mark.full)])
def test_saved_model_needs_nothing_but_keras(rank: int, tmp_path) -> None:  # type: ignore[no-untyped-def]
    model = deepest(anunet(ANUNetConfig(rank, 1, 2, (4, 8, 12))))
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras", safe_mode=True, compile=False)
    assert {type(layer).__module__.split(".")[0] for layer in again.layers} == {"keras"}
    x = np.random.default_rng(0).normal(size=(1, *(8,) * rank, 1)).astype(np.float32)
    np.testing.assert_array_equal(model(x), again(x))


def test_filters_can_be_read_from_a_model() -> None:
    model = anunet(ANUNetConfig(2, 1, 2, (4, 8, 12)))
    assert filters_of(deepest(model)) == (4, 8, 12)
    assert filters_of(prune(model, 1)) == (4, 8)
    assert filters_of(keras.Sequential([keras.Input((3,))])) == ()


def test_what_follows_from_a_configuration() -> None:
    config = ANUNetConfig(3, 2, 5, (8, 16, 32), heads=(2,))
    assert (config.depth, config.multiple, config.levels) == (2, 4, (2,))


@pytest.mark.parametrize(
    "wrong",
    [
        {"rank": 1},
        {"channels": 0},
        {"classes": 0},
        {"filters": (8,)},
        {"filters": (8, 0)},
        {"heads": (5,)},
        {"heads": (2, 1)},
    ],
)
def test_impossible_configurations_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match="ANU-Net cannot be built"):
        ANUNetConfig(**{"rank": 2, "channels": 1, "classes": 2, **wrong})  # type: ignore[arg-type]
