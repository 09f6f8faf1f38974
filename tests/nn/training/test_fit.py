"""The training loop on a task it must learn in seconds."""

import json
from pathlib import Path

import numpy as np
import pytest

from seg_batch.core.errors import InputError
from seg_batch.nn.loading import load_model
from seg_batch.nn.training.fit import Row
from seg_batch.nn.training.transfer import new_model
from tests.support.nn.squares import OnRow, Squares, assert_same, dice, recipe, timeless, trained

LEARNS = {"learning_rate": 2e-2, "ema": 0.9}


@pytest.mark.full
def test_it_learns_keeps_the_best_and_tells_its_history(tmp_path: Path) -> None:
    seen: list[Row] = []
    how = recipe(optimiser=LEARNS, fit={"steps": 80, "validate_every": 30})
    model = new_model(how)
    before = model.get_weights()
    result = trained(tmp_path / "work", how, model=model, callback=OnRow(seen.append))
    assert result.scores["score"] > 0.75
    lines = (tmp_path / "work" / "history.jsonl").read_text().splitlines()
    assert [Row(**json.loads(line)) for line in lines] == seen == list(result.history)
    assert [row.step for row in seen] == [20, 30, 40, 60, 80]
    scored = {row.step: row.scores["score"] for row in seen if row.scores}
    assert list(scored) == [30, 60, 80]
    assert result.scores["score"] == max(scored.values()) == scored[result.step]
    assert dice(lambda x: np.asarray(result.model(x))) == result.scores
    assert dice(lambda x: np.asarray(load_model(result.path)(x))) == result.scores
    assert seen[-1].loss < seen[0].loss
    assert all(0 <= row.wait <= 1 for row in seen)
    assert result.model.name == model.name
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


@pytest.mark.full
def test_same_seed_same_run_and_another_seed_another(tmp_path: Path) -> None:
    how = recipe()
    one = trained(tmp_path / "a", how)
    assert_same(one, trained(tmp_path / "b", how))
    other = trained(tmp_path / "c", recipe(fit={"seed": 1}))
    assert timeless(one.history) != timeless(other.history)


@pytest.mark.full
def test_a_worse_model_does_not_replace_the_best_and_the_earlier_of_equals_stays(
    tmp_path: Path,
) -> None:
    scores = iter([0.5, 0.9, 0.9, 0.1])
    how = recipe(fit={"steps": 4, "validate_every": 1})
    result = trained(tmp_path, how, validate=lambda predict: {"score": next(scores)})
    assert (result.step, result.scores) == (2, {"score": 0.9})


@pytest.mark.full
def test_it_stops_when_patience_is_at_its_end(tmp_path: Path) -> None:
    scores = iter([0.5, 0.9, 0.9, 0.1])
    how = recipe(fit={"steps": 100, "validate_every": 2, "patience": 2})
    result = trained(tmp_path, how, validate=lambda predict: {"score": next(scores)})
    assert (result.history[-1].step, result.step) == (8, 4)


@pytest.mark.full
def test_it_ends_with_the_time_and_the_rate_with_it(tmp_path: Path) -> None:
    how = recipe(fit={"steps": 10**6, "minutes": 0.02, "validate_every": 10**6})
    result = trained(tmp_path, how)
    assert 1.2 <= result.history[-1].seconds < 30
    assert result.history[-1].lr == pytest.approx(how.optimiser.learning_rate * how.schedule.floor)
    assert result.history[-1].scores


@pytest.mark.full
def test_a_finished_training_is_not_done_again(tmp_path: Path) -> None:
    one = trained(tmp_path, recipe())
    assert_same(one, trained(tmp_path, recipe(), validate=lambda predict: 1 / 0))


@pytest.mark.full
def test_examples_are_asked_for_each_so_many_epochs(tmp_path: Path) -> None:
    steps: list[int] = []
    how = recipe(fit={"steps": 22, "examples_every": 2})  # an epoch is 20 samples, 5 batches
    trained(tmp_path, how, on_examples=lambda step, predict: steps.append(step))
    assert steps == [10, 20]


@pytest.mark.full
def test_a_batch_that_is_not_finite_is_named_and_nothing_is_lost(tmp_path: Path) -> None:
    bad = Squares(broken=(42,))
    with pytest.raises(
        InputError, match=r"step 11 \(learning rate .*case squares, tile 42 hold"
    ) as told:
        trained(tmp_path, recipe(), bad)
    assert "tile 41" not in str(told.value)
    assert "checkpoint 8 is kept" in str(told.value)
    assert load_model(tmp_path / "best-00000006.keras")
    with pytest.raises(InputError, match="step 11"):  # it went on from the checkpoint
        trained(tmp_path, recipe(), bad)


@pytest.mark.full
def test_divergence_is_said_with_the_batch(tmp_path: Path) -> None:
    how = recipe(optimiser={"learning_rate": 1e30, "name": "sgd"}, schedule={"warmup": 0})
    with pytest.raises(InputError, match=r"diverged on case squares, tile \d+; .*learning_rate"):
        trained(tmp_path, how)


@pytest.mark.full
def test_an_error_of_a_sample_is_told_as_it_is(tmp_path: Path) -> None:
    class Gone(Squares):
        def __call__(self, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            if k == 17:
                raise InputError("the dataset is damaged at row 17")
            return super().__call__(k)

    with pytest.raises(InputError, match=r"^the dataset is damaged at row 17$"):
        trained(tmp_path, recipe(), Gone())


def test_nothing_to_train_on_is_said(tmp_path: Path) -> None:
    class Empty(Squares):
        epoch = 0

    with pytest.raises(InputError, match="not a single sample"):
        trained(tmp_path, recipe(), Empty())
