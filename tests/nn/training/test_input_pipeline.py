"""The feed gives what the plain loop gives, in order, from any number on, and lets go."""

from __future__ import annotations

import gc
import itertools
import resource
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seg_batch.nn.backend import tf
from seg_batch.nn.training.input_pipeline import feed
from tests.support.patience import until

SHAPE = (6, 5)


def sample(k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Takes longer for some numbers than for others, so that threads overtake one another."""
    rng = np.random.default_rng([3, int(k)])
    time.sleep(0.003 * rng.random())
    x = rng.standard_normal((*SHAPE, 2), np.float32)
    return x, rng.integers(4, size=SHAPE, dtype=np.int32), rng.random(SHAPE) < 0.9


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def taken(source: Any, n: int) -> list[list[np.ndarray]]:
    return [[part.numpy() for part in batch] for batch in source.take(n)]


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("start", [0, 12, 2**40 + 1])
def test_the_feed_is_the_plain_loop_from_any_number_on(threads: int, start: int) -> None:
    found = taken(feed(sample, start, 3, threads), 6)
    for n, batch in enumerate(found):
        plain = [sample(start + 3 * n + i) for i in range(3)]
        for part, expected in zip(batch, zip(*plain, strict=True), strict=True):
            np.testing.assert_array_equal(part, np.stack(expected))
            assert part.dtype == expected[0].dtype


def test_shapes_are_known_before_the_first_batch() -> None:
    x, labels, valid = feed(sample, 0, 4, 2).element_spec
    assert (x.shape, x.dtype) == ((4, *SHAPE, 2), tf.float32)
    assert (labels.shape, labels.dtype) == ((4, *SHAPE), tf.int32)
    assert (valid.shape, valid.dtype) == ((4, *SHAPE), tf.bool)


@pytest.mark.full
def test_it_runs_ahead_but_not_for_ever_and_stops_when_nobody_listens() -> None:
    asked: list[int] = []

    def noted(k: int) -> Any:
        asked.append(int(k))
        return sample(k)

    before, running = threading.active_count(), iter(feed(noted, 0, 2, 2))
    next(running)
    until(lambda: len(asked) > 4, "the first of those that are kept ready")
    assert settled(asked) < 20, "a few batches are ready"
    del running
    gc.collect()
    assert settled(asked) < 20
    assert threading.active_count() <= before + 3


def settled(asked: list[int]) -> int:
    """How many were asked for, once no more are."""

    def at_rest() -> bool:
        before = len(asked)
        time.sleep(0.3)
        return len(asked) == before

    until(at_rest)
    return len(asked)


def test_an_error_comes_out_with_its_words() -> None:
    def broken(k: int) -> Any:
        if k == 5:
            raise ValueError(f"sample {k} can't be read")
        return sample(k)

    running = iter(feed(broken, 0, 2, 2))
    next(running), next(running)
    with pytest.raises(tf.errors.OpError, match="sample 5 can't be read"):
        next(running)


@pytest.mark.full
@pytest.mark.needs("linux")
def test_memory_stays_flat_however_long_it_runs() -> None:
    """2000 batches of 200 kB: keeping one in ten would show."""

    def large(k: int) -> Any:
        x = np.full((64, 64, 6), k, np.float32)
        return x, np.zeros((64, 64), np.int32), np.ones((64, 64), bool)

    sizes = []
    for n, _ in enumerate(itertools.islice(feed(large, 0, 2, 2), 2000)):
        if n in (400, 1999):
            gc.collect()
            sizes.append(resident_bytes())
    assert sizes[1] - sizes[0] < 24 << 20
