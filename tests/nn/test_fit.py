"""The training loop on a task it must learn in seconds."""

import json
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from seg_batch.errors import InputError
from seg_batch.nn.anunet import ANUNetConfig, anunet, deepest
from seg_batch.nn.backend import keras
from seg_batch.nn.fit import Batch, Schedule, adopt, fit
from seg_batch.nn.prefetch import prefetched

CONFIG = ANUNetConfig(rank=2, channels=1, classes=2, filters=(4, 8))


def batches(seed: int = 0, n: int = 10**6) -> Iterator[Batch]:
    """Bright squares in noise."""
    rng = np.random.default_rng(seed)
    for _ in range(n):
        labels = np.zeros((4, 16, 16), np.uint8)
        for sample in labels:
            y, x = rng.integers(2, 10, 2)
            sample[y : y + 5, x : x + 5] = 1
        image = 2.0 * labels[..., None] + 0.5 * rng.normal(size=(4, 16, 16, 1))
        yield image.astype(np.float32), labels, np.ones(labels.shape, bool)


def accuracy(predict) -> dict[str, float]:  # type: ignore[no-untyped-def]
    image, labels, _ = next(batches(seed=99))
    return {"score": float((predict(image).argmax(-1) == labels).mean())}


def test_it_learns_keeps_the_best_and_tells_its_history(tmp_path) -> None:  # type: ignore[no-untyped-def]
    keras.utils.set_random_seed(0)
    seen = []
    result = fit(
        CONFIG,
        batches(),
        steps=80,
        validate=accuracy,
        work=tmp_path / "work",
        validate_every=20,
        log_every=10,
        schedule=Schedule(peak=1e-2),
        ema=0.9,
        on_row=seen.append,
    )
    assert result.scores["score"] > 0.95
    assert result.path == tmp_path / "work" / "best.keras"
    lines = [json.loads(s) for s in (tmp_path / "work" / "history.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(10, 81, 10))
    assert tuple(seen) == result.history
    scored = [row for row in result.history if row.scores]
    assert [row.step for row in scored] == [20, 40, 60, 80]
    best = max(row.scores["score"] for row in scored if row.scores)
    assert result.scores["score"] == best
    assert accuracy(lambda x: np.asarray(result.model(x))) == result.scores
    assert result.history[-1].loss < result.history[0].loss


def test_a_worse_model_does_not_replace_the_best(tmp_path) -> None:  # type: ignore[no-untyped-def]
    scores = iter([0.5, 0.9, 0.1])
    options = {"steps": 3, "validate_every": 1, "work": tmp_path}
    result = fit(CONFIG, batches(), validate=lambda predict: {"score": next(scores)}, **options)
    assert (result.step, result.scores) == (2, {"score": 0.9})


def test_it_ends_with_the_batches_or_with_the_time(tmp_path) -> None:  # type: ignore[no-untyped-def]
    options = {"steps": 10**6, "validate": accuracy, "work": tmp_path}
    assert fit(CONFIG, batches(n=3), **options).history[-1].step == 3
    result = fit(CONFIG, batches(), minutes=0.02, **options)
    assert result.history[-1].seconds < 30
    assert result.history[-1].lr == pytest.approx(Schedule()(1.0))


def test_nothing_to_train_on_and_divergence_are_said(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match="not a single batch"):
        fit(CONFIG, batches(n=0), steps=5, validate=accuracy, work=tmp_path)
    bad = ((x * np.nan, y, v) for x, y, v in batches())
    with pytest.raises(InputError, match="diverged"):
        fit(CONFIG, bad, steps=5, validate=accuracy, work=tmp_path)


def test_an_existing_model_is_trained_further_in_place_of_a_new_one(tmp_path) -> None:  # type: ignore[no-untyped-def]
    model = deepest(anunet(CONFIG))
    before = [np.array(w) for w in model.get_weights()]
    fit(model, batches(), steps=2, validate=accuracy, work=tmp_path)
    assert not all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_adopted_weights_come_by_name_and_shape() -> None:
    source = deepest(anunet(CONFIG))
    model = anunet(ANUNetConfig(2, 1, 5, (4, 8)))
    assert adopt(model, source) == ["head_1"]
    np.testing.assert_array_equal(
        model.get_layer("x_1_0_conv1").get_weights()[0],
        source.get_layer("x_1_0_conv1").get_weights()[0],
    )


def test_schedule_rises_then_falls() -> None:
    rate = Schedule(peak=1.0, warmup=0.1, floor=0.01)
    assert rate(0.0) == pytest.approx(0.01)
    assert rate(0.05) == pytest.approx(0.5)
    assert rate(0.1) == pytest.approx(1.0)
    assert rate(0.55) == pytest.approx(0.505)
    assert rate(1.0) == rate(2.0) == pytest.approx(0.01)


def test_prefetching_keeps_order_passes_errors_and_stops() -> None:
    def failing() -> Iterator[int]:
        yield from range(5)
        raise ValueError("broken")

    taken = []
    with pytest.raises(ValueError, match="broken"), prefetched(failing()) as feed:
        taken.extend(feed)  # keeps what came before the error? extend takes one by one
    before = threading.active_count()
    with prefetched(iter(range(10**9))) as feed:
        assert [next(feed) for _ in range(3)] == [0, 1, 2]
    assert threading.active_count() == before
