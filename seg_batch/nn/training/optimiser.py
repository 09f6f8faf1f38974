"""Optimisers by name, and how the learning rate runs over a training: pure functions.

What depends on validations (plateau, early stopping) is a function of all scores so far, so that a
resumed training needs no state for it but its history.
"""

import math
from collections.abc import Sequence
from typing import Any

from seg_batch.config.recipe import Optimiser, Schedule
from seg_batch.nn.backend import keras

# Left out of weight decay: they scale and shift what the kernels make.
UNDECAYED = ["bias", "gamma", "beta"]

# Never quite 0, so that the first step of a warm-up already moves something.
LEAST = 0.01


def optimiser(recipe: Optimiser, variables: Sequence[Any]) -> Any:
    """The Keras optimiser of that name for `variables`, built; its learning rate is set per step.

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
    made = kinds[recipe.name](**options)
    if recipe.name != "adam":
        made.exclude_from_weight_decay(var_names=UNDECAYED)
    made.build(list(variables))
    return made


def share_of_peak(schedule: Schedule, progress: float, scores: Sequence[float] = ()) -> float:
    """The learning rate as a part of its peak, at `progress` from 0 (start) to 1 (end).

    ``progress / warmup`` while that is below 1, then with ``d = (progress - warmup) / (1 - warmup)``:
    cosine ``floor + (1 - floor) (1 + cos(pi d)) / 2``; polynomial ``floor + (1 - floor) (1 - d)^power``;
    plateau ``max(floor, factor^n)``, n being how often `patience` of the validations' `scores` in a
    row brought nothing better; constant 1.
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
    """How often `patience` scores in a row were not above the best before them."""
    best, waited, count = -math.inf, 0, 0
    for score in scores:
        waited = 0 if score > best else waited + 1
        best = max(best, score) if not math.isnan(score) else best
        if waited == patience:
            waited, count = 0, count + 1
    return count


def since_best(scores: Sequence[float]) -> int:
    """How many scores came since the first of the best; 0 if the last one is it."""
    numbers = [-math.inf if math.isnan(score) else score for score in scores]
    return len(numbers) - 1 - numbers.index(max(numbers)) if numbers else 0
