"""What holds for every loss there is, in two and in three dimensions."""

import numpy as np
import pytest

from seg_batch.nn.backend import tf
from seg_batch.nn.losses.build import LOSSES, build_loss
from seg_batch.nn.losses.shapes import Loss

pytestmark = pytest.mark.full  # left to make test: whole runs, or many networks

CLASSES = 3
SHAPES = [(2, 6, 7), (2, 4, 5, 4)]
WITH_OPTIONS = [
    *((name, {}) for name in LOSSES),
    *((name, {"smooth": 0.0}) for name in ("dice", "tversky", "focal_tversky", "paper")),
    *((name, {"gamma": gamma}) for name in ("focal", "focal_tversky") for gamma in (0.5, 1.0, 3.0)),
]


def loss_of(name: str, **options: object) -> Loss:
    return build_loss([{"name": name, **options}], background=False, class_weights=None)


def value(loss: object) -> float:
    return float(np.asarray(loss))


def noise(shape: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities; no class is absent and none is perfect."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(CLASSES), shape).astype(np.float32)
    return rng.integers(0, CLASSES, shape), p


def perfect(truth: np.ndarray) -> np.ndarray:
    return np.eye(CLASSES, dtype=np.float32)[truth]


def gradient(loss: Loss, truth: np.ndarray, p: np.ndarray) -> np.ndarray:
    variable = tf.Variable(p)
    with tf.GradientTape() as tape:
        total = loss(truth, variable, None)
    return np.asarray(tape.gradient(total, variable))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", LOSSES)
def test_a_float32_scalar_above_its_minimum(name: str, shape: tuple[int, ...]) -> None:
    truth, p = noise(shape)
    found = np.asarray(loss_of(name)(truth, p.astype(np.float16), None))
    assert (found.shape, found.dtype) == ((), np.float32)
    assert float(found) > value(loss_of(name)(truth, perfect(truth), None)) + 0.01


@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"paper"}))
def test_a_perfect_prediction_is_the_minimum(name: str) -> None:
    """And that is 0: walking towards the truth never makes a loss grow."""
    truth, p = noise((2, 6, 7))
    path = [p + (perfect(truth) - p) * part for part in (0.0, 0.3, 0.6, 0.9, 1.0)]
    costs = [value(loss_of(name)(truth, step.astype(np.float32), None)) for step in path]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] == pytest.approx(0.0, abs=2e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", LOSSES)
def test_ignored_voxels_change_nothing(name: str, shape: tuple[int, ...]) -> None:
    truth, p = noise(shape)
    valid = np.random.default_rng(1).random(shape) < 0.7
    other, moved = truth.copy(), p.copy()
    other[~valid], moved[~valid] = 255, noise(shape, 2)[1][~valid]
    loss = loss_of(name)
    expected = value(loss(truth, p, valid))
    assert value(loss(other, moved, valid)) == pytest.approx(expected, abs=1e-7)
    other[~valid] = noise(shape, 3)[0][~valid]
    assert value(loss(other, moved, valid)) == pytest.approx(expected, abs=1e-7)
    assert value(loss(truth, p, None)) != pytest.approx(expected, abs=1e-7)
    assert np.isfinite(value(loss(truth, p, np.zeros_like(valid))))


@pytest.mark.parametrize(("name", "options"), WITH_OPTIONS)
def test_gradients_are_finite_at_zero_and_one(name: str, options: dict[str, float]) -> None:
    truth, _ = noise((2, 6, 7))
    loss = loss_of(name, **options)
    for p in (perfect(truth), perfect((truth + 1) % CLASSES), np.full_like(perfect(truth), 0.5)):
        assert np.isfinite(value(loss(truth, p, None)))
        assert np.all(np.isfinite(gradient(loss, truth, p)))
    empty = np.zeros_like(truth)
    assert np.all(np.isfinite(gradient(loss, empty, perfect(truth))))


@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"paper"}))  # that one sticks at its pole
def test_going_down_the_gradient_finds_the_truth(name: str) -> None:
    """Logits moved by gradient descent on one loss alone: most voxels come right."""
    truth, _ = noise((1, 6, 6))
    loss = loss_of(name, **({"background": True} if name in ("distance", "dice") else {}))
    logits = tf.Variable(np.zeros((1, 6, 6, CLASSES), np.float32))
    before = after = 0.0
    for step in range(60):
        with tf.GradientTape() as tape:
            total = loss(truth, tf.nn.softmax(logits), None)
        slope = tape.gradient(total, logits)
        logits.assign_sub(slope / (tf.reduce_max(tf.abs(slope)) + 1e-12))
        before, after = (float(total) if step == 0 else before), float(total)
    assert after < before
    right = np.asarray(tf.argmax(logits, -1)) == truth
    assert right.mean() > 0.6  # 1/3 by chance


@pytest.mark.parametrize("name", LOSSES)
def test_one_hot_equals_sparse_and_sigmoid_equals_two_classes(name: str) -> None:
    truth, p = noise((2, 6, 7))
    loss = loss_of(name)
    assert value(loss(perfect(truth), p, None)) == value(loss(truth, p, None))
    two, q = truth.clip(0, 1), p[..., 1:2]
    both = np.concatenate([1 - q, q], axis=-1)
    assert value(loss(two, q, None)) == pytest.approx(value(loss(two, both, None)), abs=1e-6)
