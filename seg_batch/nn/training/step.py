"""The compiled training step: gradients accumulated, clipped and applied; EMA weights.

Plain TensorFlow graphs of one fixed shape (no XLA: it is slower on CPUs). With several devices each
takes an equal part of every batch (`tf.distribute.MirroredStrategy`): each computes gradients, and
everything after their mean is done once.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from seg_batch.config.recipe import Recipe
from seg_batch.core.errors import InputError
from seg_batch.nn.analysis.graph import maker
from seg_batch.nn.backend import keras, tf
from seg_batch.nn.losses.build import over_heads
from seg_batch.nn.losses.shapes import Loss
from seg_batch.nn.losses.voxelwise import distillation
from seg_batch.nn.networks.registry import part_of
from seg_batch.nn.training.optimiser import optimiser

SCALE, GROW_AFTER = 2.0**15, 2000  # of the loss, in float16 only; usual values


class Trainer:
    """A copy of a model in training: `model` in the recipe's precision, `averaged`, optimisers.

    `averaged` is a float32 copy that follows the weights, batch statistics included, as an
    exponential moving average: ``mean += (1 - decay) (weight - mean)``. `loss` is a function of
    (truth, probabilities of one head, valid). Raises InputError if there are too few devices, or
    the batch is no multiple of their number.
    """

    def __init__(
        self, model: keras.Model, recipe: Recipe, loss: Loss, teacher: keras.Model | None = None
    ) -> None:
        self.recipe = recipe
        self._strategy = _strategy(recipe.fit.devices, recipe.fit.batch)
        policy = _policy(recipe.optimiser.precision)
        with self._strategy.scope():
            self.model = copied(model, policy)
            self._teacher = None if teacher is None else copied(teacher, policy)
            self._groups = self._optimisers()
            self._scale = Scale() if policy == "mixed_float16" else None
        self.averaged = copied(model)
        self._loss = loss
        self._functions: dict[bool, Any] = {}

    def __call__(
        self, x: Any, labels: Any, valid: Any, rate: float, decay: float, *, frozen: bool = False
    ) -> tuple[float, bool]:
        """One step; the loss before the update, and whether loss and gradients are finite.

        ``x (accumulate * batch, *patch, C)`` float32, `labels` int32 and `valid` bool without C.
        `frozen`: the encoder does not change, batch statistics included.
        """
        if frozen not in self._functions:
            self._functions[frozen] = self._compiled(frozen)
        arrays = (self._shared(x), self._shared(labels), self._shared(valid))
        scalars = (tf.constant(rate, tf.float32), tf.constant(decay, tf.float32))
        loss, finite = self._functions[frozen](*arrays, *scalars).numpy().tolist()
        return loss, bool(finite)

    def variables(self) -> list[Any]:
        """The variables of a checkpoint, in a fixed order: weights, EMA, optimisers, scale."""
        variables = [*self.model.variables, *self.averaged.variables]
        for group in self._groups:
            variables.extend(group.optimiser.variables)
        return variables + ([self._scale.value, self._scale.calm] if self._scale else [])

    def _optimisers(self) -> list["Group"]:
        """One for all weights; two if the encoder is frozen at first or has a rate of its own."""
        settings, variables = self.recipe.optimiser, self.model.trainable_variables
        parts = [(variables, 1.0)]
        if settings.encoder_rate != 1 or settings.frozen_epochs != 0:
            paths = {v.path for layer in _encoder(self.model) for v in layer.trainable_variables}
            inner = [v for v in variables if v.path in paths]
            outer = [v for v in variables if v.path not in paths]
            parts = [(outer, 1.0), (inner, settings.encoder_rate)]
        return [Group(part, optimiser(settings, part), factor) for part, factor in parts]

    def _compiled(self, frozen: bool) -> Any:
        groups = self._groups[:1] if frozen else self._groups
        if len(self._groups) == 2:  # tracing reads `trainable` of batch normalisations
            for layer in _encoder(self.model):
                layer.trainable = not frozen
        clip = self.recipe.optimiser.clip_norm
        pairs = list(zip(self.averaged.weights, self.model.weights, strict=True))

        @tf.function(autograph=False, reduce_retracing=False)
        def step(x: Any, labels: Any, valid: Any, rate: Any, decay: Any) -> Any:
            variables = [v for group in groups for v in group.variables]
            values = self._strategy.run(self._replica, (x, labels, valid, variables))
            loss, *gradients = [self._strategy.reduce("MEAN", v, axis=None) for v in values]
            if self._scale is not None:
                gradients = [g / self._scale.value for g in gradients]
            clipped, norm = tf.clip_by_global_norm(gradients, clip)
            finite = tf.math.is_finite(norm)
            if self._scale is None:
                self._apply(groups, clipped, rate)
            else:  # a step whose gradients overflow is skipped: the scale was too high
                tf.cond(finite, lambda: self._apply(groups, clipped, rate), tf.no_op)
                self._scale.adjust(finite)
                finite = True
            for mean, weight in pairs:
                mean.assign(weight + decay * (mean - weight))
            sound = tf.math.logical_and(tf.math.is_finite(loss), finite)
            return tf.stack([loss, tf.cast(sound, tf.float32)])

        return step

    def _replica(self, x: Any, labels: Any, valid: Any, variables: Sequence[Any]) -> list[Any]:
        """``[loss, *gradients]`` on one device: the mean over the accumulated batches."""
        rounds = self.recipe.optimiser.accumulate
        if rounds == 1:
            return self._gradients(x, labels, valid, variables)
        x, labels, valid = (self._rounds(values) for values in (x, labels, valid))

        def body(i: Any, sums: list[Any]) -> tuple[Any, list[Any]]:
            values = self._gradients(x[i], labels[i], valid[i], variables)
            return i + 1, [s + v for s, v in zip(sums, values, strict=True)]

        zeros = [tf.zeros(()), *(tf.zeros(v.shape) for v in variables)]
        # Sequential, so that only the activations of one batch are in memory.
        _, sums = tf.while_loop(
            lambda i, _: i < rounds, body, (tf.constant(0), zeros), parallel_iterations=1
        )
        return [s / rounds for s in sums]

    def _gradients(self, x: Any, labels: Any, valid: Any, variables: Sequence[Any]) -> list[Any]:
        loss = self._loss
        if self._teacher is not None:
            heads = self._teacher(x, training=False)
            target = heads[-1] if isinstance(heads, (list, tuple)) else heads
            settings = self.recipe.fit.distil
            loss = taught(loss, target, settings.weight, settings.temperature)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([v.value for v in variables])
            heads = self.model(x, training=True)
            value = over_heads(loss, labels, heads, valid, weights=self.recipe.loss.heads)
            value = sum(self.model.losses, start=value)  # L2 terms of layers
            scaled = value if self._scale is None else value * self._scale.value
        # Zeros for a head of weight 0, which the loss does not read.
        none = tf.UnconnectedGradients.ZERO
        sources = [v.value for v in variables]
        return [value, *tape.gradient(scaled, sources, unconnected_gradients=none)]

    def _apply(self, groups: Sequence["Group"], gradients: Sequence[Any], rate: Any) -> Any:
        count = self._strategy.num_replicas_in_sync
        start = 0
        for group in groups:
            stop = start + len(group.variables)
            group.optimiser.learning_rate.assign(rate * group.factor)
            self._strategy.run(group.apply, (gradients[start:stop], count))
            start = stop
        return tf.no_op()

    def _shared(self, values: Any) -> Any:
        """``(accumulate * batch, ...)``; with several devices each gets its part of every batch."""
        count = self._strategy.num_replicas_in_sync
        if count == 1:
            return values
        rows, part = self._rounds(values), self.recipe.fit.batch // count

        def part_of_device(context: Any) -> Any:
            first = context.replica_id_in_sync_group * part
            return tf.reshape(rows[:, first : first + part], (-1, *values.shape[1:]))

        return self._strategy.experimental_distribute_values_from_function(part_of_device)

    def _rounds(self, values: Any) -> Any:
        """``(accumulate * n, ...)`` as ``(accumulate, n, ...)``."""
        return tf.reshape(values, (self.recipe.optimiser.accumulate, -1, *values.shape[1:]))


class Group:
    """Weights with an optimiser of their own, whose rate is `factor` times the common one."""

    def __init__(self, variables: Sequence[Any], optimiser: Any, factor: float) -> None:
        self.variables, self.optimiser, self.factor = list(variables), optimiser, factor

    def apply(self, gradients: Sequence[Any], devices: int) -> None:
        """Runs on each device; Keras sums the gradients of all devices, which are equal here."""
        self.optimiser.apply([g / devices for g in gradients], self.variables)


class Scale:
    """Loss scaling: a factor that keeps small float16 gradients above 0 (Micikevicius et al., 2018).

    It is halved when gradients overflow, and doubled after GROW_AFTER steps without overflow.
    """

    def __init__(self) -> None:
        self.value = tf.Variable(SCALE, trainable=False)
        self.calm = tf.Variable(0, trainable=False)

    def adjust(self, finite: Any) -> None:
        calm = tf.where(finite, self.calm + 1, 0)
        grow = calm == GROW_AFTER
        grown = tf.where(grow, self.value * 2.0, self.value)
        self.value.assign(tf.where(finite, grown, tf.maximum(self.value * 0.5, 1.0)))
        self.calm.assign(tf.where(grow, 0, calm))


def taught(loss: Loss, teacher: Any, weight: float, temperature: float) -> Loss:
    """`loss` plus `weight` times the distillation loss against the `teacher`'s probabilities."""

    def total(truth: Any, probability: Any, valid: Any = None) -> Any:
        divergence = distillation(teacher, probability, valid, temperature)
        return loss(truth, probability, valid) + weight * divergence

    return total


def copied(model: keras.Model, policy: str | None = None) -> keras.Model:
    """A copy with the same weights; `policy`: dtype policy of all layers but outputs and logits."""
    outputs = {maker(tensor) for tensor in model.outputs}

    def copy(layer: keras.Layer) -> keras.Layer:
        config = layer.get_config()
        if layer.name not in outputs and not layer.name.startswith("head_"):
            config["dtype"] = policy or "float32"
        return layer.__class__.from_config(config)

    clone = keras.models.clone_model(model, clone_function=copy)
    clone.set_weights(model.get_weights())
    return clone


def frozen_steps(recipe: Recipe, epoch: int) -> float:
    """The number of steps with a frozen encoder; infinite at an `encoder_rate` of 0."""
    settings = recipe.optimiser
    if settings.encoder_rate == 0:
        return float("inf")
    per_step = recipe.fit.batch * settings.accumulate
    return float(np.ceil(settings.frozen_epochs * epoch / per_step))


def _encoder(model: keras.Model) -> list[keras.Layer]:
    return [layer for layer in model.layers if layer.weights and part_of(layer.name) == "encoder"]


def _policy(precision: str) -> str | None:
    """The dtype policy: all GPUs with tensor cores are fast in float16; CPUs have only bfloat16."""
    if precision == "float32":
        return None
    return "mixed_float16" if tf.config.list_physical_devices("GPU") else "mixed_bfloat16"


def _strategy(devices: int, batch: int) -> Any:
    """TensorFlow's default strategy, or one that mirrors the weights on `devices` devices."""
    if devices == 1:
        return tf.distribute.get_strategy()
    if batch % devices:
        raise InputError(
            f"a batch of {batch} can't be shared out evenly among {devices} devices: set fit.batch "
            f"to a multiple of {devices}"
        )
    kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    visible = tf.config.list_logical_devices(kind)
    if len(visible) < devices:
        raise InputError(
            f"fit.devices is {devices}, but this machine shows {len(visible)} {kind}: set it to "
            f"{len(visible)}, or make more visible"
        )
    names = [device.name for device in visible[:devices]]
    # Collective operations are matched by running numbers, which two optimisers would mix up; the
    # weights are small enough for one device to sum.
    return tf.distribute.MirroredStrategy(names, tf.distribute.ReductionToOneDevice())
