"""Optimisers by name, and learning-rate schedules as pure functions.

Plateau and early stopping are functions of all validation scores so far, so a resumed training
needs only its history for them.
"""

import math
from collections.abc import Sequence
from typing import Any

from seg_batch.config.recipe import Optimiser, Schedule
from seg_batch.nn.backend import keras

# Without weight decay: they only scale and shift what kernels compute.
UNDECAYED = ["bias", "gamma", "beta"]

# The first step of a warm-up has an effect, too.
LEAST = 0.01


def optimiser(recipe: Optimiser, variables: Sequence[Any]) -> Any:
    """The recipe's Keras optimiser, built for `variables`; the loop sets its rate per step.

    Weight decay is decoupled (``w -= rate * decay * w``; Loshchilov and Hutter, ICLR 2019) and not for
    biases, gamma and beta. "adam" is "adamw" without it. `momentum` is that of "sgd" (Nesterov's).
    """
    kinds = {
        "adamw": keras.optimizers.AdamW,
        "adam": keras.optimizers.Adam,
        "sgd": keras.optimizers.SGD,
        "lion": keras.optimizers.Lion,
        "rmsprop": keras.optimizers.RMSprop,
        "nadam": keras.optimizers.Nadam,
    }
    options: dict[str, Any] = {"learning_rate": recipe.learning_rate}
    if recipe.name != "adam":
        options["weight_decay"] = recipe.weight_decay
    if recipe.name == "sgd":
        options |= {"momentum": recipe.momentum, "nesterov": recipe.momentum > 0}
    keras_optimiser = kinds[recipe.name](**options)
    if recipe.name != "adam":
        keras_optimiser.exclude_from_weight_decay(var_names=UNDECAYED)
    keras_optimiser.build(list(variables))
    return keras_optimiser


def share_of_peak(schedule: Schedule, progress: float, scores: Sequence[float] = ()) -> float:
    """The learning rate as a share of its peak, at `progress` from 0 (start) to 1 (end).

    ``progress / warmup`` while that is below 1, then with
    ``d = (progress - warmup) / (1 - warmup)``: cosine ``floor + (1 - floor) (1 + cos(pi d)) / 2``;
    polynomial ``floor + (1 - floor) (1 - d)^power``; plateau ``max(floor, factor^n)``, n being the
    `reductions` by the validations' `scores`; constant 1.
    """
    if progress < schedule.warmup:
        return max(progress / schedule.warmup, LEAST)
    done = min((progress - schedule.warmup) / (1.0 - schedule.warmup), 1.0)
    if schedule.name == "cosine":
        left = 0.5 * (1.0 + math.cos(math.pi * done))
    elif schedule.name == "polynomial":
        left = (1.0 - done) ** schedule.power
    elif schedule.name == "plateau":
        return max(schedule.floor, schedule.factor ** reductions(scores, schedule.patience))
    else:
        return 1.0
    return schedule.floor + (1.0 - schedule.floor) * left


def reductions(scores: Sequence[float], patience: int) -> int:
    """How often `patience` scores in a row did not exceed the best score before them."""
    best, waited, count = -math.inf, 0, 0
    for score in scores:
        waited = 0 if score > best else waited + 1
        best = max(best, score) if not math.isnan(score) else best
        if waited == patience:
            waited, count = 0, count + 1
    return count


def since_best(scores: Sequence[float]) -> int:
    """The number of scores after the first maximum; 0 if the last score is the best."""
    numbers = [-math.inf if math.isnan(score) else score for score in scores]
    return len(numbers) - 1 - numbers.index(max(numbers)) if numbers else 0
