"""From the output of a network to what is blended of it: activation, a class for what has no output.

In NumPy: what every engine gives may go through here, and it is what their own graphs are tested by.
"""

import math

import numpy as np

from seg_batch.config.card_parts.network import Network


def finished(y: np.ndarray, network: Network) -> np.ndarray:
    """Scores ``(..., outputs)`` as what ``network.output.blend`` names, float32 ``(..., classes)``.

    One output of exclusive classes becomes two, ``(1 - p, p)`` or the logits ``(0, y)``. Of independent classes the background gets the
    threshold (or its logit), in the place of its output where it has one: so the largest is a class above it, or the background.
    """
    output = network.output
    if output.classes == "independent":
        return _independent(y, network)
    y = y.astype(np.float32, copy=False)
    if y.shape[-1] > 1:
        return _softmax(y) if output.gives != output.blend else y
    if output.blend == "logits":
        return np.concatenate([np.zeros_like(y), y], axis=-1)
    y = _sigmoid(y) if output.gives == "logits" else y
    return np.concatenate([np.float32(1) - y, y], axis=-1)


def classes_of(outputs: int, network: Network) -> int:
    """How many classes so many outputs are."""
    if network.output.classes == "exclusive":
        return max(outputs, 2)
    return outputs + (network.background is not None and outputs + 1 == network.classes)


def _independent(y: np.ndarray, network: Network) -> np.ndarray:
    output, place = network.output, network.background
    y = _sigmoid(y) if output.gives != output.blend else y
    if place is None:
        return y
    threshold = output.threshold
    if output.blend == "logits":
        threshold = math.log(threshold / (1 - threshold))
    if y.shape[-1] < network.classes:
        return np.insert(y, place, np.float32(threshold), axis=-1)
    y = y.copy()
    y[..., place] = threshold
    return y


def _sigmoid(y: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.float32(1) / (np.float32(1) + np.exp(-y))


def _softmax(y: np.ndarray) -> np.ndarray:
    e = np.exp(y - y.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)
