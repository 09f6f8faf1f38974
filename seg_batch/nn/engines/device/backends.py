"""What TensorFlow and JAX say in other words: how a function is compiled, where arrays lie, which error is which.

A ``DeviceBackend`` has one instance per library. The errors of a device are of three kinds: ``memory``, where a smaller
batch may fit; ``lost``, where the device does not answer as it should; None: the error is no fault of the device, as
where a program is given what it can't take.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import numpy as np

from seg_batch.core.geometry import Shape
from seg_batch.nn.engines.batched import unfit_shape

BACKENDS = ("tensorflow", "jax")  # of Keras, the default first
type Kind = Literal["memory", "lost"]


class DeviceBackend(Protocol):
    """The library that Keras computes with."""

    def compiled(self, function: Callable[..., Any], donated: tuple[int, ...] = ()) -> Any:
        """`function` of arrays, compiled for each shape that it meets. Arguments that are ``donated`` may be
        overwritten by the result."""

    def network(self, model: Any, shape: Shape, precision: str) -> Callable[[Any], Any]:
        """The probabilities of a batch of exactly `shape`; InputError if the model can't take it."""

    def put(self, array: np.ndarray) -> Any:
        """The array on the device; the copy may still be under way."""

    def start_fetch(self, arrays: Sequence[Any]) -> None:
        """Begin to copy results back."""

    def fetch(self, array: Any) -> np.ndarray:
        """A result, once it is there."""

    def wait(self, array: Any) -> None:
        """Return when the array is computed."""

    def written(self, array: Any, start: Sequence[Any], value: Any) -> Any:
        """The array with `value` at `start`."""

    def kind_of(self, error: BaseException) -> Kind | None:
        """Which fault of a device this is."""


def backend_of(name: str) -> DeviceBackend:
    return _Jax() if name == "jax" else _TensorFlow()


class _Jax:
    def __init__(self) -> None:
        import jax

        self._jax = jax

    def compiled(self, function: Callable[..., Any], donated: tuple[int, ...] = ()) -> Any:
        return self._jax.jit(function, donate_argnums=donated)

    def network(self, model: Any, shape: Shape, precision: str) -> Callable[[Any], Any]:
        try:
            model.compute_output_shape(shape)
        except ValueError as error:
            raise unfit_shape(shape, error) from error
        trained = [v.value for v in model.trainable_variables]
        others = [v.value for v in model.non_trainable_variables]
        jax = self._jax

        @jax.jit
        def forward(trained: Any, others: Any, x: Any) -> Any:  # float32 is float32, not TF32
            with jax.default_matmul_precision("highest" if precision == "float32" else "default"):
                return _probabilities(model.stateless_call(trained, others, x, training=False)[0])

        return lambda x: forward(trained, others, x)

    def put(self, array: np.ndarray) -> Any:
        return self._jax.device_put(array)

    def start_fetch(self, arrays: Sequence[Any]) -> None:
        for array in arrays:
            array.copy_to_host_async()

    def fetch(self, array: Any) -> np.ndarray:
        return np.asarray(array)

    def wait(self, array: Any) -> None:
        self._jax.block_until_ready(array)

    def written(self, array: Any, start: Sequence[Any], value: Any) -> Any:
        return self._jax.lax.dynamic_update_slice(array, value, tuple(start))

    def kind_of(self, error: BaseException) -> Kind | None:
        if not isinstance(error, self._jax.errors.JaxRuntimeError):
            return "memory" if isinstance(error, MemoryError) else None
        if str(error).startswith("INVALID_ARGUMENT"):
            return None
        return "memory" if "RESOURCE_EXHAUSTED" in str(error) else "lost"


class _TensorFlow:
    def __init__(self) -> None:
        from seg_batch.nn.engines.tensorflow import library

        self._tf = library()

    def compiled(self, function: Callable[..., Any], donated: tuple[int, ...] = ()) -> Any:
        return self._tf.function(function, autograph=False, reduce_retracing=True)

    def network(self, model: Any, shape: Shape, precision: str) -> Callable[[Any], Any]:
        tf = self._tf
        signature = [tf.TensorSpec(shape, tf.float32)]
        try:
            traced = tf.function(
                lambda x: _probabilities(model(x, training=False)),
                input_signature=signature,
                autograph=False,
            )
            graph: Callable[[Any], Any] = traced.get_concrete_function()
        except ValueError as error:
            raise unfit_shape(shape, error) from error
        return graph

    def put(self, array: np.ndarray) -> Any:
        return self._tf.convert_to_tensor(array)

    def start_fetch(self, arrays: Sequence[Any]) -> None:
        """TensorFlow copies when it is asked for the values."""

    def fetch(self, array: Any) -> np.ndarray:
        result: np.ndarray = array.numpy()
        return result

    def wait(self, array: Any) -> None:
        """Operations of TensorFlow end in their order; one number of the result comes back with the last."""
        self._tf.reshape(array, [-1])[0].numpy()

    def written(self, array: Any, start: Sequence[Any], value: Any) -> Any:
        tf = self._tf
        begin = tf.stack([tf.cast(each, tf.int32) for each in start])
        end = begin + tf.constant(value.shape.as_list(), tf.int32)
        return tf.raw_ops.TensorStridedSliceUpdate(  # unlike Keras' own it needs no XLA
            input=array, begin=begin, end=end, strides=tf.ones_like(begin), value=value
        )

    def kind_of(self, error: BaseException) -> Kind | None:
        errors = self._tf.errors
        if isinstance(error, (errors.ResourceExhaustedError, MemoryError)):
            return "memory"
        lost = isinstance(error, errors.OpError)
        return "lost" if lost and not isinstance(error, errors.InvalidArgumentError) else None


def _probabilities(y: Any) -> Any:
    """Float32 classes of an output, which may be the last of several, and one sigmoid."""
    from seg_batch.nn.backend import keras

    y = keras.ops.cast(y[-1] if isinstance(y, (list, tuple)) else y, "float32")
    return keras.ops.concatenate([1.0 - y, y], axis=-1) if y.shape[-1] == 1 else y
