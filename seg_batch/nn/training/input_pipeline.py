"""The input pipeline: samples by number through tf.data, prefetched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from seg_batch.nn.backend import tf

type Sample = Callable[[int], tuple[np.ndarray, np.ndarray, np.ndarray]]

AHEAD = 3
_ENDLESS = 1 << 62


def feed(sample: Sample, start: int, batch: int, threads: int) -> Any:
    """An endless ``tf.data.Dataset`` of batches of samples ``start``, ``start + 1``, ...

    Elements are ``(x, labels, valid)``: ``(batch, *patch, C)`` float32, ``(batch, *patch)`` int32
    and bool, in the order of the numbers for any number of ``threads``; AHEAD batches are
    prefetched. ``sample`` is called from several threads at once, and once here for its shapes. An
    error of ``sample`` leaves the iteration as ``tf.errors.OpError`` with its text.
    """
    shapes = [part.shape for part in sample(start)]

    @tf.autograph.experimental.do_not_convert
    def load(k: Any) -> Any:
        parts = tf.numpy_function(sample, [k], (tf.float32, tf.int32, tf.bool), stateful=False)
        return tuple(tf.ensure_shape(p, s) for p, s in zip(parts, shapes, strict=True))

    numbers = tf.data.Dataset.range(start, _ENDLESS)
    items = numbers.map(load, num_parallel_calls=threads, deterministic=True)
    return items.batch(batch, drop_remainder=True).prefetch(AHEAD).with_options(_options(threads))


def _options(threads: int) -> Any:
    """A private thread pool, so that the model's threads never wait for a sample."""
    options = tf.data.Options()
    options.deterministic = True
    options.threading.private_threadpool_size = threads + 1
    return options
