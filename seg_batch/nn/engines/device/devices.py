"""The device of this process for each network: its batch, which is halved where memory runs out, and its end."""

import logging
import threading
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from seg_batch.core.geometry import Shape
from seg_batch.nn.engines.batched import KEPT, ModelPredictor
from seg_batch.nn.engines.device.backends import Kind, backend_of
from seg_batch.nn.engines.device.programs import DevicePrograms
from seg_batch.nn.engines.device.shared_batch import SharedBatch

_log = logging.getLogger(__name__)


class DeviceLost(Exception):  # noqa: N818 - what became of the device, not of the work
    """The device does not compute any more, or has too little memory for one patch; the CPU goes on."""


class Device:
    """A network on the device of this process.

    ``shared``: the batch as it is now; DeviceLost when there is none any more. ``on_cpu``: the same network on the
    CPU in float32, for what the device failed at.
    """

    def __init__(self, predictor: ModelPredictor, patch: Shape, batch: int) -> None:
        self.patch = patch
        self._predictor = predictor
        self._lock = threading.Lock()
        self._batch = batch
        self._shared: SharedBatch | None = None
        self._why_lost = ""
        self._on_cpu: Any = None

    def shared(self) -> SharedBatch:
        with self._lock:
            while self._shared is None:
                if self._why_lost:
                    raise DeviceLost(self._why_lost)
                self._shared = self._made()
            return self._shared

    def _made(self) -> SharedBatch | None:
        """The programs and their batch; None where the device failed at them."""
        network, precision = self._predictor.loaded, self._predictor.precision
        try:
            return SharedBatch(DevicePrograms(network, self.patch, self._batch, precision))
        except Exception as error:
            kind = _kind_of(error)
            if kind is None:
                raise
            self._go_on(kind, error)
            return None

    def failed(self, shared: SharedBatch, error: BaseException) -> bool:
        """Whether the same tiles can be tried again after an error: with a batch of half the size, or because
        another thread has halved it. Errors that are no fault of the device can't; after a lost one nothing can."""
        kind = _kind_of(error)
        if kind is None:
            return False
        shared.broken(error)
        with self._lock:
            if shared is self._shared:
                self._shared = None
                self._go_on(kind, error)
        return True

    def _go_on(self, kind: Kind, error: BaseException) -> None:
        if kind == "memory" and self._batch > 1:
            self._batch //= 2
            _log.warning(
                "the GPU has too little memory: %s patches at a time from now on", self._batch
            )
            return
        words = " ".join(str(error).split())[:200] or type(error).__name__
        what = "has too little memory for a single patch" if kind == "memory" else "stopped working"
        self._why_lost = f"the GPU {what} ({words}); the CPU computes what is left"
        _log.warning("%s", self._why_lost)

    def on_cpu(self, patches: np.ndarray) -> np.ndarray:
        """Probabilities of patches, computed on the CPU."""
        with self._lock, _cpu():
            if self._on_cpu is None:
                predictor = self._predictor
                self._on_cpu = type(predictor)(
                    predictor.weights, precision="float32", sha256=predictor.sha256
                )
            result: np.ndarray = self._on_cpu(patches)
            return result


def _kind_of(error: BaseException) -> Kind | None:
    from seg_batch.nn.backend import keras

    return backend_of(keras.backend.backend()).kind_of(error)


def _cpu() -> AbstractContextManager[Any]:
    from seg_batch.nn.backend import keras

    context: AbstractContextManager[Any] = keras.device("cpu:0")
    return context


class _Devices:
    """The devices of a process, by network, patch and batch: jobs of one model share one. Those used
    last are kept; another lives as long as a job has it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[tuple[int, Shape, int], Device] = {}

    def of(self, predictor: ModelPredictor, patch: Shape, batch: int) -> Device:
        key = id(predictor), patch, batch
        with self._lock:
            device = self._known.pop(key, None) or Device(predictor, patch, batch)
            for last in list(self._known)[: 1 - KEPT]:
                del self._known[last]
            self._known[key] = device  # in the order of their last use
            return device


DEVICES = _Devices()
