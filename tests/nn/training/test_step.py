"""The compiled step, against what it must equal."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seg_batch.config.recipe import Recipe
from seg_batch.core.errors import InputError
from seg_batch.nn.backend import keras, tf
from seg_batch.nn.loading import load_model
from seg_batch.nn.losses.voxelwise import cross_entropy, distillation
from seg_batch.nn.networks.registry import part_of
from seg_batch.nn.training.fit import fit, loss_of
from seg_batch.nn.training.step import GROW_AFTER, SCALE, Scale, Trainer, frozen_steps
from seg_batch.nn.training.transfer import new_model
from tests.support.nn.squares import Squares, dice, recipe, trained

pytestmark = pytest.mark.full

ROOT = Path(__file__).resolve().parents[3]
ENTROPY = {"terms": [{"name": "cross_entropy"}]}  # a mean over voxels, so also over batches


def plain_network() -> keras.Model:
    """Without batch normalisation, whose statistics would depend on how a batch is divided."""
    keras.utils.set_random_seed(4)
    image = keras.Input((None, None, 1), name="image")
    x = keras.layers.Conv2D(6, 3, padding="same", activation="relu", name="x_0_0_conv1")(image)
    x = keras.layers.Conv2D(6, 3, padding="same", activation="relu", name="x_0_1_conv1")(x)
    y = keras.layers.Conv2D(2, 1, activation="softmax", name="head_1", dtype="float32")(x)
    return keras.Model(image, y, name="unet")


def batch(start: int, count: int) -> list[np.ndarray]:
    samples = Squares()
    parts = zip(*(samples(k) for k in range(start, start + count)), strict=True)
    return [np.stack(part) for part in parts]


def trainer(how: Recipe, model: keras.Model | None = None, **options: Any) -> Trainer:
    return Trainer(model or new_model(how), how, loss_of(how, Squares().histogram), **options)


def stepped(how: Recipe, model: keras.Model, steps: int = 3, rate: float = 0.01) -> Trainer:
    made, count = trainer(how, model), how.fit.batch * how.optimiser.accumulate
    for s in range(steps):
        assert made(*batch(s * count, count), rate, 0.5)[1]
    return made


def weights(model: keras.Model, part: str | None = None) -> dict[str, np.ndarray]:
    layers = [x for x in model.layers if x.weights and part in (None, part_of(x.name))]
    return {w.path: np.asarray(w) for x in layers for w in x.weights}


def assert_close(one: keras.Model, other: keras.Model, atol: float) -> None:
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=atol)


def assert_equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    for a, b in zip(one.values(), other.values(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.full
@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_accumulated_batches_equal_one_large_batch(name: str) -> None:
    model = plain_network()
    optimiser = {"name": name, "clip_norm": 0.05}  # clipped: the mean, not each batch
    large = stepped(recipe(fit={"batch": 8}, optimiser=optimiser, loss=ENTROPY), model)
    small = recipe(fit={"batch": 2}, optimiser={**optimiser, "accumulate": 4}, loss=ENTROPY)
    assert_close(stepped(small, model).model, large.model, atol=1e-5)


def test_clipping_is_of_the_global_norm() -> None:
    model, rate = plain_network(), 1.0
    optimiser = {"name": "sgd", "momentum": 0.0, "weight_decay": 0.0, "clip_norm": 1e-3}
    made = stepped(recipe(optimiser=optimiser), model, steps=1, rate=rate)
    moved = [a - b for a, b in zip(made.model.get_weights(), model.get_weights(), strict=True)]
    assert np.sqrt(sum((m**2).sum() for m in moved)) == pytest.approx(1e-3, rel=1e-3)


def test_the_average_follows_the_weights() -> None:
    model = plain_network()
    made, average = trainer(recipe(), model), model.get_weights()
    for s in range(3):
        made(*batch(4 * s, 4), 0.01, 0.75)
        now = made.model.get_weights()
        average = [0.75 * m + 0.25 * w for m, w in zip(average, now, strict=True)]
    for a, b in zip(made.averaged.get_weights(), average, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.full
def test_an_encoder_rate_scales_the_encoder_as_a_lower_rate_would() -> None:
    """Adam's steps do not depend on the size of gradients, so scaling those would do nothing."""
    how, model = {"encoder_rate": 0.25, "weight_decay": 0.1}, plain_network()
    both = stepped(recipe(optimiser=how), model, steps=1)
    slow = stepped(recipe(optimiser={**how, "encoder_rate": 1}), model, steps=1, rate=0.0025)
    fast = stepped(recipe(optimiser={**how, "encoder_rate": 1}), model, steps=1)
    for part, other in (("encoder", slow), ("decoder", fast), ("head", fast)):
        for a, b in zip(*(weights(t.model, part).values() for t in (both, other)), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-7)


@pytest.mark.full
def test_a_frozen_encoder_stays_bit_for_bit_and_is_thawed() -> None:
    how = recipe(optimiser={"frozen_epochs": 1})
    model = new_model(how)
    made, before = trainer(how, model), weights(model, "encoder")
    outside = weights(model, "decoder")
    for s in range(3):
        made(*batch(4 * s, 4), 0.01, 0.5, frozen=True)
    assert_equal(weights(made.model, "encoder"), before)
    assert_equal(weights(made.averaged, "encoder"), before)
    changed = weights(made.model, "decoder")
    assert all(
        not np.array_equal(a, b) for a, b in zip(changed.values(), outside.values(), strict=True)
    )
    for s in range(2):
        made(*batch(4 * s, 4), 0.01, 0.5)
    thawed = weights(made.model, "encoder")
    assert all(
        not np.array_equal(a, b) for a, b in zip(thawed.values(), before.values(), strict=True)
    )
    assert traces(made) == 2  # one per phase


def traces(made: Trainer) -> int:
    return sum(step.experimental_get_tracing_count() for step in made._functions.values())


def test_for_how_long_it_is_frozen() -> None:
    assert frozen_steps(recipe(optimiser={"frozen_epochs": 1.5}), epoch=21) == 8  # 31.5 / 4
    assert frozen_steps(recipe(), 21) == 0
    assert frozen_steps(recipe(optimiser={"encoder_rate": 0}), 21) == float("inf")


def test_one_trace_however_many_steps() -> None:
    made = stepped(recipe(), plain_network(), steps=6)
    for rate, decay in ((1, 0), (0.5, 0.25), (np.float64(0.1), 0.9)):
        made(*batch(0, 4), rate, decay)
    assert traces(made) == 1


@pytest.mark.full
@pytest.mark.needs("bfloat16")  # where oneDNN is kept from it, TensorFlow does not know that
def test_mixed_precision_computes_in_half_and_keeps_float32(tmp_path: Path) -> None:
    how = recipe(optimiser={"precision": "mixed", "ema": 0.9, "learning_rate": 1e-2})
    made = trainer(how)
    computed = {x.name: x.compute_dtype for x in made.model.layers if x.weights}
    assert {v for k, v in computed.items() if part_of(k) != "head"} <= {"bfloat16", "float16"}
    assert {v for k, v in computed.items() if part_of(k) == "head"} == {"float32"}
    result = trained(tmp_path, how.changed(fit={"steps": 60, "validate_every": 30}))
    loaded = load_model(result.path)
    assert {layer.dtype_policy.name for layer in loaded.layers} == {"float32"}
    assert {w.dtype for w in loaded.weights} == {"float32"}
    assert dice(lambda x: np.asarray(loaded(x))) == result.scores
    assert result.scores["score"] > 0.7


def test_the_scale_of_the_loss_halves_on_overflow_and_doubles_after_calm() -> None:
    scale = Scale()
    scale.adjust(tf.constant(False))
    assert (float(scale.value), int(scale.calm)) == (SCALE / 2, 0)
    for _ in range(GROW_AFTER - 1):
        scale.adjust(tf.constant(True))
    assert (float(scale.value), int(scale.calm)) == (SCALE / 2, GROW_AFTER - 1)
    scale.adjust(tf.constant(True))
    assert (float(scale.value), int(scale.calm)) == (SCALE, 0)


def test_a_scaled_loss_gives_the_same_steps_and_an_overflow_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """float16 as on a GPU; a CPU computes it too, only slowly."""
    model, how = plain_network(), {"name": "sgd", "momentum": 0.0}
    exact = stepped(recipe(optimiser=how, loss=ENTROPY), model, steps=2)
    monkeypatch.setattr("seg_batch.nn.training.step._policy", lambda precision: "mixed_float16")
    made = stepped(recipe(optimiser=how, loss=ENTROPY), model, steps=2)
    assert_close(made.model, exact.model, atol=2e-4)
    before = weights(made.model)
    made.variables()[-2].assign(1e30)
    assert made(*batch(0, 4), 0.01, 0.5)[1]
    assert_equal(weights(made.model), before)
    assert float(made.variables()[-2]) == pytest.approx(5e29)


def test_a_student_is_told_to_follow_its_teacher() -> None:
    model, teacher = plain_network(), new_model(recipe(fit={"seed": 8}))
    x, labels, valid = batch(0, 4)
    how = recipe(fit={"distil": {"weight": 0.7, "temperature": 3.0}}, loss=ENTROPY)
    loss, _ = trainer(how, model, teacher=teacher)(x, labels, valid, 0.01, 0.5)
    apart = distillation(teacher(x, training=False), model(x), valid, 3.0)
    assert loss == pytest.approx(float(cross_entropy(labels, model(x), valid) + 0.7 * apart), 1e-4)


@pytest.mark.full
def test_a_teacher_alone_can_teach_and_stays_as_it_is(tmp_path: Path) -> None:
    how = recipe(optimiser={"learning_rate": 2e-2, "ema": 0.9}, fit={"steps": 60})
    teacher = trained(tmp_path / "teacher", how).model
    before = weights(teacher)

    class Unlabelled(Squares):
        def __call__(self, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            x, labels, valid = super().__call__(k)
            return x, labels * 0, valid

    only = how.changed(loss={"terms": [{"name": "cross_entropy", "weight": 1e-9}]})
    student = trained(tmp_path / "student", only, Unlabelled(), teacher=teacher)
    assert student.scores["score"] > 0.5  # the labels alone would teach it to find nothing
    assert_equal(weights(teacher), before)


def test_a_teacher_of_other_classes_or_channels_is_refused(tmp_path: Path) -> None:
    for other in (recipe(classes=3), recipe(channels=2)):
        with pytest.raises(InputError, match="the teacher has"):
            fit(
                new_model(recipe()),
                Squares(),
                recipe=recipe(),
                validate=dice,
                work=tmp_path,
                teacher=new_model(other),
            )


def test_a_batch_that_devices_cannot_share_and_devices_that_are_not_there_are_refused() -> None:
    with pytest.raises(InputError, match="batch of 4 can't be shared out evenly among 3"):
        trainer(recipe(fit={"devices": 3}))
    with pytest.raises(InputError, match=r"fit.devices is 4, but this machine shows"):
        trainer(recipe(fit={"devices": 4}))


MIRRORED = """
from seg_batch.nn.backend import tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from pathlib import Path
import sys
from tests.nn.training.test_step import ENTROPY, assert_close, new_model, plain_network, recipe, stepped, trained
for accumulate in (1, 2):
    how = recipe(loss=ENTROPY, optimiser={"accumulate": accumulate, "clip_norm": 0.05})
    one = stepped(how, plain_network())
    two = stepped(how.changed(fit={"devices": 2}), plain_network())
    assert_close(one.model, two.model, atol=1e-5)
    assert_close(one.averaged, two.averaged, atol=1e-5)
import seg_batch.nn.training.step as step
policy, step._policy = step._policy, lambda precision: "mixed_float16"
assert_close(one.model, stepped(how.changed(fit={"devices": 2}), plain_network()).model, atol=1e-3)
step._policy = policy
# batch normalisation: each device its own statistics, one model in the end
how = recipe(fit={"devices": 2, "steps": 40, "validate_every": 20, "checkpoint_every": 10},
             optimiser={"learning_rate": 2e-2, "ema": 0.9, "frozen_epochs": 1})
found = trained(Path(sys.argv[1]), how)
assert found.scores["score"] > 0.4, found.scores
assert trained(Path(sys.argv[1]), how).scores == found.scores
"""


@pytest.mark.slow
def test_two_devices_with_half_a_batch_each_are_one_with_the_whole(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MIRRORED, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
