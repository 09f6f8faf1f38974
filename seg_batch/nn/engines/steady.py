"""The number of threads of an engine that can't change a bit of its results (law 2).

The threads of a worker depend on the number of workers, so bytes may not depend on them. Libraries
guarantee nothing here. Where the tests show no difference all threads are taken, elsewhere where a trial with
noise shows none, else one.
"""

import json
import logging
import platform
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.core import hardware
from seg_batch.core.geometry import Shape
from seg_batch.nn.engines.batched import Forward
from seg_batch.nn.noise import noise

# Layers that oneDNN and TensorFlow compute with AVX-512 without splitting a sum among threads. A mean
# over the whole patch (group normalisation, global pooling) is such a sum.
LOCAL_LAYERS = frozenset(
    {
        *("Activation", "Add", "BatchNormalization", "Concatenate", "Dropout", "InputLayer"),
        *("LeakyReLU", "Multiply", "ReLU", "UpSampling2D", "UpSampling3D", "ZeroPadding2D"),
        *("Conv2D", "Conv2DTranspose", "Conv3D", "Conv3DTranspose", "DepthwiseConv2D"),
        *("MaxPooling2D", "MaxPooling3D", "SeparableConv2D"),
    }
)
# Modules of the objects that a configuration names besides layers.
PARTS = ("keras.initializers", "keras.regularizers", "keras.constraints", "keras.src.models")

LARGEST_CONFIG = 64 << 20  # bytes; a longer one is cut, and then no valid JSON
# Errors of files that are cut, damaged, nested without end, encrypted or packed in an unknown way.
UNREADABLE = (OSError, EOFError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error)

_log = logging.getLogger(__name__)


def is_x86() -> bool:
    return platform.machine().lower() in ("x86_64", "amd64")


def tensorflow_may_thread(weights: Path, *, onednn: bool) -> bool:
    """Whether TensorFlow's results on a CPU are the same for any number of threads, for this model.

    They are with oneDNN on AVX-512, for layers that look at a part of the patch only. Below AVX-512
    oneDNN splits sums of convolutions in two dimensions (``gemm:jit``), and TensorFlow's own
    convolutions do everywhere.
    """
    return onednn and is_x86() and hardware.has_avx512() and layers_of(weights) <= LOCAL_LAYERS


def layers_of(weights: Path) -> set[str]:
    """Names of the layers in a ``.keras`` file, and of operations, which have a module before them.

    Empty for a file that can't be read: the engine raises the error when it loads it.
    """
    try:
        with zipfile.ZipFile(weights) as file, file.open("config.json") as config:
            return set(_layers(json.loads(config.read(LARGEST_CONFIG))))
    except UNREADABLE:
        return set()


def _layers(config: Any) -> Iterator[str]:
    if isinstance(config, dict):
        module, name = str(config.get("module") or "keras"), config.get("class_name")
        if name and module == "keras.layers":
            yield str(name)
        elif name and module != "keras" and not module.startswith(PARTS):
            yield f"{module}.{name}"
    if isinstance(config, (dict, list)):
        for value in config.values() if isinstance(config, dict) else config:
            yield from _layers(value)


def with_equal_bits(compiled: Callable[[int], Forward], threads: int, shape: Shape) -> Forward:
    """What is `compiled` for so many threads, if noise of `shape` gives the same bits as with one; else
    that with one thread, and a warning in the log. Each is let go before the next is made: the promised memory is that of one."""
    if threads > 1:
        image = noise(shape)
        expected = compiled(1)(image)
        many = compiled(threads)
        if np.array_equal(many(image), expected, equal_nan=True):
            return many
        warn_of_one_thread("OpenVINO")
        del many
    return compiled(1)


def warn_of_one_thread(engine: str) -> None:
    _log.warning(
        "%s computes with one thread: the last bits of this model depend on how many there are on "
        "this CPU; more workers use more cores",
        engine,
    )
